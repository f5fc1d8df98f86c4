// Package rest answers the REST API of the GitHub look-alike from its state.
package rest

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
	routes []route
}

// NewAPI gives the handler of the REST API, rooted at /.
func NewAPI(h *hub.Hub) *API { return &API{Hub: h, routes: routes()} }

// call is one API request being answered, under the server's lock.
type call struct {
	s    *API
	r    *http.Request
	ctx  context.Context
	cred *hub.Credential
	repo *hub.Repo
	pull *hub.Pull
	body []byte
	page *paging
}

// reply is an answer before it is written.
type reply struct {
	status int
	body   any
	header http.Header
}

func ok(body any) reply      { return reply{status: http.StatusOK, body: body} }
func created(body any) reply { return reply{status: http.StatusCreated, body: body} }
func noContent() reply       { return reply{status: http.StatusNoContent} }

// Docs is where refusals send the reader.
const Docs = "https://docs.github.com/rest"

func refuse(status int, message string) reply {
	return reply{status: status, body: obj{"message": message, "documentation_url": Docs, "status": strconv.Itoa(status)}}
}

func notFound() reply { return refuse(http.StatusNotFound, "Not Found") }

// invalid is GitHub's 422 with the field at fault.
func invalid(resource, field, code, message string) reply {
	e := obj{"resource": resource, "field": field, "code": code}
	if message != "" {
		e["message"] = message
	}
	return reply{status: http.StatusUnprocessableEntity, body: obj{
		"message": "Validation Failed", "errors": []any{e}, "documentation_url": Docs, "status": "422"}}
}

// route is one operation of the API. role is what a user needs in the
// repository, app what an App's token needs ("name:level", alternatives by |).
type route struct {
	pattern string
	role    string
	app     string
	handle  func(*call) reply
}

// maxBody is how much of a request body is read; GitHub's own limit is above
// what a comment may hold.
const maxBody = 4 << 20

func (s *API) serve(w http.ResponseWriter, r *http.Request, rt route) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "body too large or cut", http.StatusRequestEntityTooLarge)
		return
	}
	s.Mu.Lock()
	c := &call{s: s, r: r, ctx: context.WithoutCancel(r.Context()), body: body}
	out := s.answer(c, rt)
	data := s.encode(c, rt, &out)
	_, path, _ := strings.Cut(rt.pattern, " ")
	s.Note(r, c.cred, path, out.status)
	s.Mu.Unlock()
	for k, v := range out.header {
		w.Header()[k] = v
	}
	w.WriteHeader(out.status)
	w.Write(data) //nolint:errcheck // the client went away
}

func (s *API) answer(c *call, rt route) reply {
	cred, valid := s.Authenticate(c.r)
	if !valid {
		return refuse(http.StatusUnauthorized, "Bad credentials")
	}
	c.cred = cred
	if cred != nil {
		if s.Used[cred.Token]++; s.Used[cred.Token] > s.Opt.RateLimit {
			return refuse(http.StatusForbidden, "API rate limit exceeded for "+cred.Who()+".")
		}
	}
	if out := s.locate(c, rt); out.status != 0 {
		return out
	}
	if out := s.authorize(c, rt); out.status != 0 {
		return out
	}
	return rt.handle(c)
}

// locate finds the repository and the pull that the path names.
func (s *API) locate(c *call, rt route) reply {
	owner, name := c.r.PathValue("owner"), c.r.PathValue("repo")
	if name == "" {
		return reply{}
	}
	c.repo = s.Repo(owner, name)
	if c.repo == nil {
		if to := s.Moved[strings.ToLower(owner+"/"+name)]; to != nil && s.Sees(c.cred, to) {
			return s.movedTo(c, to)
		}
		return notFound()
	}
	if !s.Sees(c.cred, c.repo) {
		return notFound()
	}
	for _, key := range []string{"pull_number", "issue_number"} {
		text := c.r.PathValue(key)
		if text == "" {
			continue
		}
		n, _ := strconv.Atoi(text)
		c.pull = c.repo.Pulls[n]
		if c.pull == nil && key == "issue_number" {
			c.pull = c.repo.Issues[n]
		}
		if c.pull == nil {
			return notFound()
		}
	}
	return reply{}
}

func (s *API) movedTo(c *call, to *hub.Repo) reply {
	prefix := "/repos/" + c.r.PathValue("owner") + "/" + c.r.PathValue("repo")
	u := fmt.Sprintf("%s/repositories/%d%s", s.URL, to.ID, strings.TrimPrefix(c.r.URL.Path, prefix))
	out := refuse(http.StatusMovedPermanently, "Moved Permanently")
	out.body.(obj)["url"] = u
	out.header = http.Header{"Location": {u}}
	return out
}

func (s *API) authorize(c *call, rt route) reply {
	if rt.role == "" {
		return reply{}
	}
	if c.cred == nil && rt.role != "read" {
		return refuse(http.StatusUnauthorized, "Requires authentication")
	}
	if c.repo == nil {
		if c.cred == nil {
			return refuse(http.StatusUnauthorized, "Requires authentication")
		}
		return reply{}
	}
	have := s.Role(c.cred, c.repo)
	if c.cred != nil && c.cred.Installation != nil {
		if !c.cred.Grants(rt.app) || !hub.AtLeast(have, "read") || (rt.role != "read" && have == "read") {
			return refuse(http.StatusForbidden, "Resource not accessible by integration")
		}
		have = "admin"
	}
	if !hub.AtLeast(have, rt.role) {
		if rt.role == "admin" && !hub.AtLeast(have, "write") {
			return notFound()
		}
		return refuse(http.StatusForbidden, "Must have "+rt.role+" rights to Repository.")
	}
	if c.repo.Archived && c.r.Method != http.MethodGet {
		return refuse(http.StatusForbidden, "Repository was archived so is read-only.")
	}
	return reply{}
}

// encode writes the body and the headers that every answer of GitHub carries.
func (s *API) encode(c *call, rt route, out *reply) []byte {
	if out.header == nil {
		out.header = http.Header{}
	}
	h := out.header
	h.Set("X-GitHub-Request-Id", fmt.Sprintf("F0F0:%X", s.LastID))
	h.Set("X-GitHub-Media-Type", "github.v3; format=json")
	c.page.link(c.r, h)
	var data []byte
	if out.body != nil {
		data, _ = json.Marshal(out.body)
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	s.check(c, rt, out.status, data)
	if c.r.Method == http.MethodGet && out.status == http.StatusOK {
		etag := fmt.Sprintf(`W/"%x"`, sha256.Sum256(append(data, h.Get("Link")...)))
		h.Set("Etag", etag)
		if c.r.Header.Get("If-None-Match") == etag {
			out.status, data = http.StatusNotModified, nil
			h.Del("Content-Type")
			if c.cred != nil {
				s.Used[c.cred.Token]-- // a 304 is free
			}
		}
	}
	s.limits(c.cred, h)
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

// decode reads the request's JSON body; a broken one is answered with 400.
func (c *call) decode(into any) (reply, bool) {
	if len(c.body) == 0 {
		return reply{}, true
	}
	if err := json.Unmarshal(c.body, into); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return invalid("Request", wrong.Field, "invalid", err.Error()), false
		}
		return refuse(http.StatusBadRequest, "Problems parsing JSON"), false
	}
	return reply{}, true
}

func (c *call) query(key string) string { return c.r.URL.Query().Get(key) }

func (c *call) actor() *hub.Account {
	if c.cred == nil {
		return nil
	}
	return c.cred.Actor
}

func (c *call) viaApp() bool { return c.cred != nil && c.cred.Installation != nil }

// paging is where in a list an answer stands.
type paging struct {
	page, per, total int
	after            int64  // the next page, for lists paged by cursor
	cursor           string // the query parameter it goes into
}

// paginate cuts a list to the page that was asked for.
func paginate[T any](c *call, list []T) []T {
	p := &paging{page: 1, per: 30, total: len(list)}
	if n, err := strconv.Atoi(c.query("per_page")); err == nil && n > 0 {
		p.per = min(n, 100)
	}
	if n, err := strconv.Atoi(c.query("page")); err == nil && n > 0 {
		p.page = n
	}
	c.page = p
	from := min((p.page-1)*p.per, len(list))
	return list[from:min(from+p.per, len(list))]
}

// cursored pages the activity by cursor, as GitHub does for it.
func (c *call) cursored(list []hub.Activity) reply {
	per, from := 30, 0
	if n, err := strconv.Atoi(c.query("per_page")); err == nil && n > 0 {
		per = min(n, 100)
	}
	if after, err := strconv.ParseInt(c.query("after"), 10, 64); err == nil {
		from = 1 + slices.IndexFunc(list, func(a hub.Activity) bool { return a.ID == after })
	}
	out := []any{}
	for _, a := range list[from:min(from+per, len(list))] {
		out = append(out, c.s.ActivityJSON(a))
	}
	if from+per < len(list) {
		c.page = &paging{cursor: "after", after: list[from+per-1].ID}
	}
	return ok(out)
}

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

func pathID(c *call, key string) int64 {
	n, _ := strconv.ParseInt(c.r.PathValue(key), 10, 64)
	return n
}
