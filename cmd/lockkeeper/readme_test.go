package main

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"lockkeeper/bot/command"
	"lockkeeper/bot/config"
	"lockkeeper/bot/plan"
	"lockkeeper/bot/policy"
)

const readmePath = "../../README.md"

var update = flag.Bool("update", false, "write the generated parts of the README anew")

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(readmePath)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestGeneratedPartsOfTheReadmeAreCurrent(t *testing.T) {
	text := readme(t)
	for name, want := range map[string]string{
		"comment": exampleComment(t), "drift": exampleDrift(t), "commands": command.Markdown(),
		"shape": jsonShape(reflect.TypeFor[plan.Output]()), "facts": jsonShape(reflect.TypeFor[policy.Facts]()),
		"explained": explainedExample(t),
	} {
		begin, end := "<!-- generated: "+name+" -->\n", "<!-- end -->"
		before, rest, ok := strings.Cut(text, begin)
		if !ok {
			t.Fatalf("the README has no part %s", name)
		}
		got, after, _ := strings.Cut(rest, end)
		if *update {
			text = before + begin + want + end + after
			continue
		}
		if got != want {
			t.Errorf("the part %s of the README is not current (go test ./cmd/lockkeeper -run Readme -update); want\n%s", name, want)
		}
	}
	if *update {
		if err := os.WriteFile(readmePath, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// exampleDrift is the story "drift", up to what one can do about it.
func exampleDrift(t *testing.T) string {
	t.Helper()
	story, err := txtar.ParseFile("../../testdata/stories/report/drift.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range story.Files {
		if f.Name != "drift.md" {
			continue
		}
		_, body, ok := strings.Cut(string(f.Data), " -->\n") // the title and the hidden marker
		body, _, ok2 := strings.Cut(body, "Nobody knows which person")
		if !ok || !ok2 {
			t.Fatal("the story has another shape")
		}
		return body
	}
	t.Fatal("the story has no drift.md")
	return ""
}

// exampleComment is the story "denied", without its long middle.
func exampleComment(t *testing.T) string {
	t.Helper()
	story, err := txtar.ParseFile("../../testdata/stories/report/denied.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range story.Files {
		if f.Name != "part1.md" {
			continue
		}
		_, body, _ := strings.Cut(string(f.Data), "\n") // the hidden marker
		head, rest, ok := strings.Cut(body, "<details><summary><b>production</b>")
		_, tail, ok2 := strings.Cut(rest, "**What is missing**")
		if !ok || !ok2 {
			t.Fatal("the story has another shape")
		}
		return head + "…\n\n**What is missing**" + tail
	}
	t.Fatal("the story has no comment")
	return ""
}

// jsonShape lists every key of a type's JSON.
func jsonShape(t reflect.Type) string {
	var b strings.Builder
	b.WriteString("```text\n")
	keys(&b, "", t)
	b.WriteString("```\n")
	return b.String()
}

func keys(b *strings.Builder, path string, t reflect.Type) {
	switch t.Kind() {
	case reflect.Pointer:
		keys(b, path, t.Elem())
	case reflect.Map:
		keys(b, path+"{}", t.Elem())
	case reflect.Slice:
		keys(b, path+"[]", t.Elem())
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			fmt.Fprintf(b, "%s: time, as in RFC 3339\n", path)
			return
		}
		for f := range fields(t) {
			name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "-" {
				continue
			}
			if strings.Contains(rest, "omitempty") || strings.Contains(rest, "omitzero") {
				name += "?"
			}
			keys(b, strings.TrimPrefix(path+"."+name, "."), f.Type)
		}
	default:
		kind := map[reflect.Kind]string{reflect.String: "string", reflect.Bool: "true or false", reflect.Interface: "any value"}[t.Kind()]
		if kind == "" {
			kind = "number"
		}
		fmt.Fprintf(b, "%s: %s\n", path, kind)
	}
}

// factsExample is the README's example of facts, and the policy it is about.
func factsExample(t *testing.T) (facts, policyFile string) {
	t.Helper()
	_, chapter, _ := strings.Cut(readme(t), "\n### The JSON of facts\n")
	m := regexp.MustCompile("(?s)```json\n(.*?)```").FindStringSubmatch(chapter)
	if m == nil {
		t.Fatal("the README has no example of facts")
	}
	const title = "Four eyes in production, security owns RBAC, nobody deletes volumes alone, frozen over the holidays"
	return m[1], exampleTargets + exampleBlocks(t)[title]
}

// explainedExample is what explain says of the README's facts.
func explainedExample(t *testing.T) string {
	t.Helper()
	facts, policyFile := factsExample(t)
	dir := t.TempDir()
	write(t, dir+"/facts.json", facts)
	write(t, dir+"/policy.yaml", policyFile)
	code, out, errs := lockkeeper(t.Context(), "explain", "--policy", dir+"/policy.yaml", "--facts", dir+"/facts.json")
	if code != 2 || errs != "" {
		t.Fatalf("code %d\n%s%s", code, out, errs)
	}
	return "```text\n" + out + "```\n"
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func fields(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && !yield(f) {
				return
			}
		}
	}
}

func TestExamplesInTheReadmeAreValid(t *testing.T) {
	found := map[string]int{}
	for _, m := range regexp.MustCompile("(?s)```yaml\n# (\\S+)\n(.*?)```").FindAllStringSubmatch(readme(t), -1) {
		name, text := m[1], []byte(m[2])
		found[name]++
		var err error
		if name == config.RepoFile {
			_, err = config.ParseFile(name, text)
		} else {
			_, err = config.ParseServer(name, text)
		}
		if err != nil {
			t.Errorf("the example is wrong: %v", err)
		}
	}
	if found[config.RepoFile] == 0 || found["server.yaml"] == 0 {
		t.Errorf("examples found: %v", found)
	}
}

func TestCommandsInTheReadmeExist(t *testing.T) {
	known := map[string]bool{"help": true}
	for _, s := range subcommands() {
		known[s.name] = true
	}
	for _, m := range regexp.MustCompile("(?:`|```sh\n)lockkeeper ([a-z]+)").FindAllStringSubmatch(readme(t), -1) {
		if !known[m[1]] {
			t.Errorf("the README names `lockkeeper %s`, which there is not", m[1])
		}
	}
}

func TestFilesNamedInTheReadmeExist(t *testing.T) {
	for _, m := range regexp.MustCompile("`((?:deploy|bot|cmd)/[a-z0-9/._-]*|LICENSE)`").FindAllStringSubmatch(readme(t), -1) {
		if _, err := os.Stat("../../" + m[1]); err != nil {
			t.Errorf("the README names %s: %v", m[1], err)
		}
	}
}
