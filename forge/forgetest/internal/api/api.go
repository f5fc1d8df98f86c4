// Package api is the frame of the look-alike's REST API: who calls, what they
// may, which page they get, and the shape of answers and refusals. The
// operations themselves are in rest and talk.
package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"lockkeeper/forge/forgetest/internal/hub"
)

// obj is a JSON object on its way out.
type obj = map[string]any

// API answers REST and GraphQL.
type API struct {
	*hub.Hub
	routes []Route
}

// New gives the handler of the given operations, rooted at /.
func New(h *hub.Hub, routes []Route) *API { return &API{Hub: h, routes: routes} }

// Call is one API request being answered, under the state's lock.
type Call struct {
	Hub     *hub.Hub
	Request *http.Request
	Ctx     context.Context
	Cred    *hub.Credential
	Repo    *hub.Repo // the one that the path names, if any
	Pull    *hub.Pull // likewise, or an issue
	Body    []byte
	page    *paging
}

// Reply is an answer before it is written.
type Reply struct {
	Status int
	Body   any
	Header http.Header
}

// OK is 200.
func OK(body any) Reply { return Reply{Status: http.StatusOK, Body: body} }

// Created is 201.
func Created(body any) Reply { return Reply{Status: http.StatusCreated, Body: body} }

// NoContent is 204.
func NoContent() Reply { return Reply{Status: http.StatusNoContent} }

// Docs is where refusals send the reader.
const Docs = "https://docs.github.com/rest"

// Refuse is a refusal in GitHub's form.
func Refuse(status int, message string) Reply {
	return Reply{Status: status, Body: obj{"message": message, "documentation_url": Docs, "status": strconv.Itoa(status)}}
}

// NotFound is 404, also for what must not be seen.
func NotFound() Reply { return Refuse(http.StatusNotFound, "Not Found") }

// Invalid is GitHub's 422 with the field at fault.
func Invalid(resource, field, code, message string) Reply {
	e := obj{"resource": resource, "field": field, "code": code}
	if message != "" {
		e["message"] = message
	}
	return Reply{Status: http.StatusUnprocessableEntity, Body: obj{
		"message": "Validation Failed", "errors": []any{e}, "documentation_url": Docs, "status": "422"}}
}

// Route is one operation.
type Route struct {
	pattern, role, app string
	handle             func(*Call) Reply
}

// On makes an operation of "METHOD /path/{template}". role is what a user needs
// in the repository, app what an App's token needs ("name:level", alternatives
// by |); "" is nothing.
func On(pattern, role, app string, handle func(*Call) Reply) Route {
	return Route{pattern, role, app, handle}
}

// Pattern is "METHOD /path".
func (r Route) Pattern() string { return r.pattern }

// maxBody is how much of a request body is read; GitHub's own limit is above
// what a comment may hold.
const maxBody = 32 << 20

func (s *API) serve(w http.ResponseWriter, r *http.Request, rt Route) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "body too large or cut", http.StatusRequestEntityTooLarge)
		return
	}
	s.Mu.Lock()
	c := &Call{Hub: s.Hub, Request: r, Ctx: context.WithoutCancel(r.Context()), Body: body}
	out := s.answer(c, rt)
	data := s.encode(c, rt, &out)
	_, path, _ := strings.Cut(rt.pattern, " ")
	s.Note(r, c.Cred, path, out.Status)
	s.Mu.Unlock()
	for k, v := range out.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(out.Status)
	w.Write(data) //nolint:errcheck // the client went away
}

func (s *API) answer(c *Call, rt Route) Reply {
	cred, valid := s.Authenticate(c.Request)
	if !valid {
		return Refuse(http.StatusUnauthorized, "Bad credentials")
	}
	c.Cred = cred
	if cred != nil {
		if s.Used[cred.Token]++; s.Used[cred.Token] > s.Opt.RateLimit {
			return Refuse(http.StatusForbidden, "API rate limit exceeded for "+cred.Who()+".")
		}
	}
	if out := s.locate(c, rt); out.Status != 0 {
		return out
	}
	if out := s.authorize(c, rt); out.Status != 0 {
		return out
	}
	return rt.handle(c)
}

// locate finds the repository and the pull that the path names.
func (s *API) locate(c *Call, rt Route) Reply {
	owner, name := c.Request.PathValue("owner"), c.Request.PathValue("repo")
	if name == "" {
		return Reply{}
	}
	c.Repo = s.Repo(owner, name)
	if c.Repo == nil {
		if to := s.Moved[strings.ToLower(owner+"/"+name)]; to != nil && s.Sees(c.Cred, to) {
			return s.movedTo(c, to)
		}
		return NotFound()
	}
	if !s.Sees(c.Cred, c.Repo) {
		return NotFound()
	}
	for _, key := range []string{"pull_number", "issue_number"} {
		text := c.Request.PathValue(key)
		if text == "" {
			continue
		}
		n, _ := strconv.Atoi(text)
		c.Pull = c.Repo.Pulls[n]
		if c.Pull == nil && key == "issue_number" {
			c.Pull = c.Repo.Issues[n]
		}
		if c.Pull == nil {
			return NotFound()
		}
	}
	return Reply{}
}

func (s *API) movedTo(c *Call, to *hub.Repo) Reply {
	prefix := "/repos/" + c.Request.PathValue("owner") + "/" + c.Request.PathValue("repo")
	u := fmt.Sprintf("%s/repositories/%d%s", s.URL, to.ID, strings.TrimPrefix(c.Request.URL.Path, prefix))
	out := Refuse(http.StatusMovedPermanently, "Moved Permanently")
	if c.Request.Method != http.MethodGet {
		out = Refuse(http.StatusTemporaryRedirect, "Temporary Redirect")
	}
	out.Body.(obj)["url"] = u
	out.Header = http.Header{"Location": {u}}
	return out
}

func (s *API) authorize(c *Call, rt Route) Reply {
	if rt.role == "" {
		return Reply{}
	}
	if c.Cred == nil && rt.role != "read" {
		return Refuse(http.StatusUnauthorized, "Requires authentication")
	}
	if c.Repo == nil {
		if c.Cred == nil {
			return Refuse(http.StatusUnauthorized, "Requires authentication")
		}
		return Reply{}
	}
	have := s.Role(c.Cred, c.Repo)
	if c.Cred != nil && c.Cred.Installation != nil {
		if !c.Cred.Grants(rt.app) || !hub.AtLeast(have, "read") || (rt.role != "read" && have == "read") {
			return Refuse(http.StatusForbidden, "Resource not accessible by integration")
		}
		have = "admin"
	}
	if !hub.AtLeast(have, rt.role) {
		if rt.role == "admin" && !hub.AtLeast(have, "write") {
			return NotFound()
		}
		return Refuse(http.StatusForbidden, "Must have "+rt.role+" rights to Repository.")
	}
	if c.Repo.Archived && c.Request.Method != http.MethodGet {
		return Refuse(http.StatusForbidden, "Repository was archived so is read-only.")
	}
	return Reply{}
}

// encode writes the body and the headers that every answer of GitHub carries.
func (s *API) encode(c *Call, rt Route, out *Reply) []byte {
	if out.Header == nil {
		out.Header = http.Header{}
	}
	h := out.Header
	h.Set("X-GitHub-Request-Id", fmt.Sprintf("F0F0:%X", s.LastID))
	h.Set("X-GitHub-Media-Type", "github.v3; format=json")
	c.page.link(c.Request, h)
	var data []byte
	if out.Body != nil {
		data, _ = json.Marshal(out.Body)
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	s.check(c, rt, out.Status, data)
	if c.Request.Method == http.MethodGet && out.Status == http.StatusOK {
		etag := fmt.Sprintf(`W/"%x"`, sha256.Sum256(append(data, h.Get("Link")...)))
		h.Set("Etag", etag)
		if c.Request.Header.Get("If-None-Match") == etag {
			out.Status, data = http.StatusNotModified, nil
			h.Del("Content-Type")
			if c.Cred != nil {
				s.Used[c.Cred.Token]-- // a 304 is free
			}
		}
	}
	s.limits(c.Cred, h)
	return data
}

func (s *API) limits(cred *hub.Credential, h http.Header) {
	used := 0
	if cred != nil {
		used = s.Used[cred.Token]
	}
	h.Set("X-RateLimit-Limit", strconv.Itoa(s.Opt.RateLimit))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(max(0, s.Opt.RateLimit-used)))
	h.Set("X-RateLimit-Used", strconv.Itoa(used))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10))
	h.Set("X-RateLimit-Resource", "core")
}

// Decode reads the request's JSON body; a broken one is answered with 400.
func (c *Call) Decode(into any) (Reply, bool) {
	if len(c.Body) == 0 {
		return Reply{}, true
	}
	if err := json.Unmarshal(c.Body, into); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return Invalid("Request", wrong.Field, "invalid", err.Error()), false
		}
		return Refuse(http.StatusBadRequest, "Problems parsing JSON"), false
	}
	return Reply{}, true
}

// Query is a parameter of the address.
func (c *Call) Query(key string) string { return c.Request.URL.Query().Get(key) }

// Actor is whose doing it is; nil for nobody and for an App's JWT.
func (c *Call) Actor() *hub.Account {
	if c.Cred == nil {
		return nil
	}
	return c.Cred.Actor
}

// ViaApp tells an installation's token.
func (c *Call) ViaApp() bool { return c.Cred != nil && c.Cred.Installation != nil }

// paging is where in a list an answer stands.
type paging struct {
	page, per, total int
	after            int64  // the next page, for lists paged by cursor
	cursor           string // the query parameter it goes into
}

// Paginate cuts a list to the page that was asked for.
func Paginate[T any](c *Call, list []T) []T {
	p := &paging{page: 1, per: 30, total: len(list)}
	if n, err := strconv.Atoi(c.Query("per_page")); err == nil && n > 0 {
		p.per = min(n, 100)
	}
	if n, err := strconv.Atoi(c.Query("page")); err == nil && n > 0 {
		p.page = n
	}
	c.page = p
	from := min((p.page-1)*p.per, len(list))
	return list[from:min(from+p.per, len(list))]
}

// Cursored pages the activity by cursor, as GitHub does for it.
func (c *Call) Cursored(list []hub.Activity) Reply {
	per, from := 30, 0
	if n, err := strconv.Atoi(c.Query("per_page")); err == nil && n > 0 {
		per = min(n, 100)
	}
	if after, err := strconv.ParseInt(c.Query("after"), 10, 64); err == nil {
		from = 1 + slices.IndexFunc(list, func(a hub.Activity) bool { return a.ID == after })
	}
	out := []any{}
	for _, a := range list[from:min(from+per, len(list))] {
		out = append(out, c.Hub.ActivityJSON(a))
	}
	if from+per < len(list) {
		c.More("after", list[from+per-1].ID)
	}
	return OK(out)
}

// More links to the next page of a list that is paged by cursor.
func (c *Call) More(parameter string, after int64) {
	c.page = &paging{cursor: parameter, after: after}
}

// FirstPage tells that the list before was cut at its beginning.
func (c *Call) FirstPage() bool { return c.page == nil || c.page.page <= 1 }

func (p *paging) link(r *http.Request, h http.Header) {
	if p != nil && p.after != 0 {
		q := r.URL.Query()
		q.Set(p.cursor, strconv.FormatInt(p.after, 10))
		u := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawQuery: q.Encode()}
		h.Set("Link", fmt.Sprintf(`<%s>; rel="next"`, u.String()))
		return
	}
	if p == nil || p.total <= p.per {
		return
	}
	last := (p.total + p.per - 1) / p.per
	var links []string
	add := func(rel string, page int) {
		q := r.URL.Query()
		q.Set("page", strconv.Itoa(page))
		u := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawQuery: q.Encode()}
		links = append(links, fmt.Sprintf(`<%s>; rel=%q`, u.String(), rel))
	}
	if p.page > 1 {
		add("prev", p.page-1)
	}
	if p.page < last {
		add("next", p.page+1)
		add("last", last)
	}
	if p.page > 1 {
		add("first", 1)
	}
	h.Set("Link", strings.Join(links, ", "))
}

// PathID is a number in the path.
func PathID(c *Call, key string) int64 {
	n, _ := strconv.ParseInt(c.Request.PathValue(key), 10, 64)
	return n
}
