package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Set is GitHub's published schemas, compiled as they are first needed.
type Set struct {
	mu       sync.Mutex
	rest     map[string]any // the OpenAPI document
	compiler *jsonschema.Compiler
	compiled map[string]*jsonschema.Schema
}

const (
	restURL = "mem:///rest.json"
	hookURL = "mem:///hooks.json"
)

// Load reads the schemas, once for the whole process.
var Load = sync.OnceValues(load)

func load() (*Set, error) {
	dir, err := Install()
	if err != nil {
		return nil, err
	}
	rest, err := readJSON(filepath.Join(dir, "openapi", "generated", "api.github.com.json"))
	if err != nil {
		return nil, err
	}
	hooks, err := readJSON(filepath.Join(dir, "webhooks-schemas", "schema.json"))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for _, name := range []string{"uri", "uri-template"} { // plain strings in places where GitHub's own answers are not RFC clean
		c.RegisterFormat(&jsonschema.Format{Name: name, Validate: nonEmptyURI})
	}
	toJSONSchema(rest["components"])
	correct(rest, hooks)
	if err := errors.Join(c.AddResource(restURL, rest), c.AddResource(hookURL, hooks)); err != nil {
		return nil, err
	}
	return &Set{rest: rest, compiler: c, compiled: map[string]*jsonschema.Schema{}}, nil
}

// correct mends what the published schemas get wrong about GitHub itself: the
// repository of a head is null once the fork it came from was deleted, and
// the account of a listed installation is a user or an enterprise, not both.
func correct(rest, hooks map[string]any) {
	list, _ := dig(rest, "paths", "/app/installations", "get", "responses", "200", "content", "application/json", "schema").(map[string]any)
	list["items"] = map[string]any{"$ref": "#/components/schemas/installation"}
	for _, head := range []any{
		dig(rest, "components", "schemas", "pull-request", "properties", "head", "properties"),
		dig(rest, "components", "schemas", "pull-request-simple", "properties", "head", "properties"),
		dig(hooks, "definitions", "simple-pull-request", "properties", "head", "properties"),
	} {
		if props, found := head.(map[string]any); found {
			props["repo"] = map[string]any{"anyOf": []any{props["repo"], map[string]any{"type": "null"}}}
		}
	}
}

func nonEmptyURI(v any) error {
	if s, isText := v.(string); isText && !strings.Contains(s, "://") {
		return fmt.Errorf("%q is no absolute URI", s)
	}
	return nil
}

func readJSON(path string) (map[string]any, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	doc, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return doc.(map[string]any), nil
}

// toJSONSchema turns OpenAPI 3.0's dialect into JSON Schema, in place:
// nullable becomes one more type, and its own formats are left out.
func toJSONSchema(v any) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			toJSONSchema(item)
		}
	case map[string]any:
		delete(v, "example")
		delete(v, "examples")
		delete(v, "discriminator")
		if v["nullable"] == true {
			delete(v, "nullable")
			allowNull(v)
		}
		for _, item := range v {
			toJSONSchema(item)
		}
	}
}

func allowNull(v map[string]any) {
	if enum, found := v["enum"].([]any); found {
		v["enum"] = append(enum, nil)
	}
	if kind, found := v["type"].(string); found {
		v["type"] = []any{kind, "null"}
	}
	for _, key := range []string{"anyOf", "oneOf"} {
		if list, found := v[key].([]any); found {
			v[key] = append(list, map[string]any{"type": "null"})
		}
	}
	if list, found := v["allOf"].([]any); found {
		delete(v, "allOf")
		v["anyOf"] = []any{map[string]any{"allOf": list}, map[string]any{"type": "null"}}
	}
}

// ErrUndescribed tells that the description knows no such operation or status.
var ErrUndescribed = errors.New("not in GitHub's description")

// Response checks the answer of an operation. path is the description's
// template, such as "/repos/{owner}/{repo}/pulls".
func (s *Set) Response(method, path string, status int, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	pointer, content, err := s.find(method, path, status)
	if err != nil {
		return err
	}
	if !content {
		// Refusals say why, also those whose body the description leaves out.
		if status < 400 && len(bytes.TrimSpace(body)) > 0 {
			return fmt.Errorf("%s %s: %d has no body in the description, got %.80s", method, path, status, body)
		}
		return nil
	}
	if err := s.validate(restURL+"#"+pointer, body); err != nil {
		return fmt.Errorf("%s %s %d: %w", method, path, status, err)
	}
	return nil
}

// find gives the JSON pointer to the schema of an answer.
func (s *Set) find(method, path string, status int) (pointer string, content bool, err error) {
	op, _ := dig(s.rest, "paths", path, strings.ToLower(method)).(map[string]any)
	res, _ := dig(op, "responses", fmt.Sprint(status)).(map[string]any)
	if res == nil {
		return "", false, fmt.Errorf("%s %s %d: %w", method, path, status, ErrUndescribed)
	}
	pointer = "/paths/" + escape(path) + "/" + strings.ToLower(method) + "/responses/" + fmt.Sprint(status)
	if ref, isRef := res["$ref"].(string); isRef {
		pointer = strings.TrimPrefix(ref, "#")
		res, _ = dig(s.rest, strings.Split(strings.TrimPrefix(pointer, "/"), "/")...).(map[string]any)
	}
	types, _ := res["content"].(map[string]any)
	for _, name := range []string{"application/json", "application/scim+json"} {
		if body, found := types[name].(map[string]any); found && body["schema"] != nil {
			toJSONSchema(body["schema"])
			return pointer + "/content/" + escape(name) + "/schema", true, nil
		}
	}
	return pointer, false, nil
}

func dig(v any, keys ...string) any {
	for _, k := range keys {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

func escape(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1")
	return strings.NewReplacer("{", "%7B", "}", "%7D").Replace(s)
}

// Event checks a webhook payload.
func (s *Set) Event(event, action string, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := event + "$" + action
	if action == "" {
		name = event + "$event"
	}
	if err := s.validate(hookURL+"#/definitions/"+name, body); err != nil {
		return fmt.Errorf("event %s %s: %w", event, action, err)
	}
	return nil
}

func (s *Set) validate(url string, body []byte) error {
	compiled := s.compiled[url]
	if compiled == nil {
		var err error
		if compiled, err = s.compiler.Compile(url); err != nil {
			return fmt.Errorf("compile %s: %w", url, err)
		}
		s.compiled[url] = compiled
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return shorten(compiled.Validate(doc))
}

// shorten keeps the deepest causes of a validation error; the whole tree of
// a pull's schema would be pages.
func shorten(err error) error {
	var v *jsonschema.ValidationError
	if !errors.As(err, &v) {
		return err
	}
	var lines []string
	var walk func(v *jsonschema.ValidationError)
	walk = func(v *jsonschema.ValidationError) {
		for _, c := range v.Causes {
			walk(c)
		}
		if len(v.Causes) == 0 {
			lines = append(lines, v.Error())
		}
	}
	walk(v)
	slices.Sort(lines)
	lines = slices.Compact(lines)
	return errors.New(strings.Join(lines[:min(len(lines), 12)], "\n"))
}

// Paths lists the operations of the description, for tests of coverage.
func (s *Set) Has(method, path string) bool {
	return dig(s.rest, "paths", path, strings.ToLower(method)) != nil
}

// Examples are GitHub's own example payloads: event name to payloads.
func Examples() (map[string][]json.RawMessage, error) {
	dir, err := Install()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(dir, "webhooks-examples", "api.github.com", "index.json"))
	if err != nil {
		return nil, err
	}
	var list []struct {
		Name     string
		Examples []json.RawMessage
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, err
	}
	out := map[string][]json.RawMessage{}
	for _, e := range list {
		out[e.Name] = e.Examples
	}
	return out, nil
}
