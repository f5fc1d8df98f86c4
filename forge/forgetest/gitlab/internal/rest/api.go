// Package rest answers GitLab's REST API, version 4, as far as lockkeeper and the
// people in its stories ask for it.
package rest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"lockkeeper/forge/forgetest/gitlab/internal/lab"
	"lockkeeper/forge/forgetest/gitlab/internal/refuse"
	"lockkeeper/forge/forgetest/gitlab/internal/shape"
)

// obj is a JSON object on its way out.
type obj = map[string]any

// API answers requests below /api/v4.
type API struct {
	*lab.Lab
	routes []route
}

// New gives the handler.
func New(s *lab.Lab) *API { return &API{Lab: s, routes: routes()} }

// call is one request being answered, under the state's lock.
type call struct {
	shape.View
	ctx     context.Context
	r       *http.Request
	user    *lab.User
	token   *lab.Token
	params  map[string]any
	path    map[string]string
	project *lab.Project
	group   *lab.Group
	mr      *lab.MR
	issue   *lab.Issue
	header  http.Header
}

// reply is an answer before it is written.
type reply struct {
	status int
	body   any
}

func ok(body any) (reply, error)      { return reply{http.StatusOK, body}, nil }
func created(body any) (reply, error) { return reply{http.StatusCreated, body}, nil }
func noContent() (reply, error)       { return reply{http.StatusNoContent, nil}, nil }

// route is one operation. Paths name their parts: {id} is a project or a group,
// by number or by path.
type route struct {
	method, path string
	// public ones need no token.
	public bool
	handle func(*call) (reply, error)
}

// maxBody is how much of a request is read.
const maxBody = 32 << 20

// ServeHTTP answers a request whose path begins below /api/v4.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "413 Request Entity Too Large", http.StatusRequestEntityTooLarge)
		return
	}
	a.Mu.Lock()
	rt, path := a.find(r)
	c := &call{View: shape.View{Lab: a.Lab}, ctx: context.WithoutCancel(r.Context()), r: r, path: path, header: w.Header()}
	out, err := a.answer(c, rt, body)
	if err != nil {
		refused := refuse.As(err)
		out = reply{refused.Status, obj{"message": refused.Message}}
		if whole, isWhole := refused.Message.(bare); isWhole {
			out.body = obj(whole)
		}
	}
	a.note(c, rt, out.status)
	var data []byte
	if text, isText := out.body.(string); isText {
		data = []byte(text)
	} else if out.body != nil {
		data, _ = json.Marshal(out.body)
		w.Header().Set("Content-Type", "application/json")
	}
	a.Mu.Unlock()
	w.Header().Set("X-Request-Id", fmt.Sprintf("01LAB%d", time.Now().UnixNano()))
	if out.status == http.StatusOK && r.Method == http.MethodGet {
		etag := fmt.Sprintf(`W/"%x"`, sha256.Sum256(data))
		w.Header().Set("Etag", etag)
		w.Header().Set("Cache-Control", "max-age=0, private, must-revalidate")
		if r.Header.Get("If-None-Match") == etag {
			out.status, data = http.StatusNotModified, nil
		}
	}
	w.WriteHeader(out.status)
	w.Write(data) //nolint:errcheck // the client went away
}

// bare is an error body that is no {"message": ...}.
type bare obj

// problem is 4xx with "error" in place of "message", as Grape answers for
// parameters and OAuth for tokens.
func problem(status int, text string) error { return refuse.With(status, bare{"error": text}) }

func (a *API) note(c *call, rt *route, status int) {
	n := lab.Call{Method: c.r.Method, Route: "(unknown)", Path: c.r.URL.Path, Status: status}
	if rt != nil {
		n.Route = rt.path
	}
	if c.user != nil {
		n.User = c.user.Login
	}
	a.Note(n)
}

// find picks the route by its template: literal parts win over names.
func (a *API) find(r *http.Request) (*route, map[string]string) {
	var best *route
	var values map[string]string
	most := -1
	for i := range a.routes {
		rt := &a.routes[i]
		if rt.method != r.Method {
			continue
		}
		if found, literals := match(rt.path, r.URL.EscapedPath()); found != nil && literals > most {
			best, values, most = rt, found, literals
		}
	}
	return best, values
}

func match(template, path string) (values map[string]string, literals int) {
	want, have := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return nil, 0
	}
	values = map[string]string{}
	for i, part := range want {
		name, isName := strings.CutPrefix(part, "{")
		if !isName {
			if part != have[i] {
				return nil, 0
			}
			literals++
			continue
		}
		value, err := url.PathUnescape(have[i])
		if err != nil || value == "" {
			return nil, 0
		}
		values[strings.TrimSuffix(name, "}")] = value
	}
	return values, literals
}

func (a *API) answer(c *call, rt *route, body []byte) (reply, error) {
	if out, limited, err := a.authenticate(c); err != nil || limited {
		return out, err
	}
	if rt == nil {
		return reply{}, refuse.With(http.StatusNotFound, bare{"error": "404 Not Found"})
	}
	if !rt.public && c.user == nil {
		return reply{}, refuse.With(http.StatusUnauthorized, "401 Unauthorized")
	}
	if err := c.scope(); err != nil {
		return reply{}, err
	}
	if err := c.parse(body); err != nil {
		return reply{}, err
	}
	if err := c.locate(rt.path); err != nil {
		return reply{}, err
	}
	return rt.handle(c)
}

// authenticate finds out who calls. A token that is not known or no longer good is
// refused even where none would be needed.
func (a *API) authenticate(c *call) (reply, bool, error) {
	value := c.r.Header.Get("Private-Token")
	if bearer, isBearer := strings.CutPrefix(c.r.Header.Get("Authorization"), "Bearer "); value == "" && isBearer {
		value = bearer
	}
	if value == "" {
		value = c.r.URL.Query().Get("private_token")
	}
	if value == "" {
		return reply{}, false, nil
	}
	t := a.Tokens[value]
	switch {
	case t == nil:
		return reply{}, false, refuse.With(http.StatusUnauthorized, "401 Unauthorized")
	case t.User.State != "active":
		return reply{}, false, refuse.With(http.StatusForbidden, "403 Forbidden - Your account has been blocked.")
	case t.Revoked:
		return reply{}, false, refuse.With(http.StatusUnauthorized, bare{"error": "invalid_token", "error_description": "Token was revoked. You have to re-authorize from the user."})
	case !t.Active(a.Clock()):
		return reply{}, false, refuse.With(http.StatusUnauthorized, bare{"error": "invalid_token", "error_description": "Token is expired. You can either do re-authorization or token refresh."})
	}
	c.token, c.user = t, t.User
	limited := a.limit(c)
	if limited {
		return reply{http.StatusTooManyRequests, "Retry later\n"}, true, nil
	}
	return reply{}, false, nil
}

// limit counts the request and says in headers what is left, as gitlab.com does.
func (a *API) limit(c *call) bool {
	a.Used[c.token.Value]++
	used, most := a.Used[c.token.Value], a.Opt.RateLimit
	reset := time.Now().Add(time.Minute).Truncate(time.Minute)
	for k, v := range map[string]any{
		"Name": "throttle_authenticated_api", "Limit": most, "Observed": used, "Remaining": max(0, most-used), "Reset": reset.Unix(), "ResetTime": reset.UTC().Format(http.TimeFormat),
	} {
		c.header.Set("RateLimit-"+k, fmt.Sprint(v))
	}
	if used > most {
		c.header.Set("Retry-After", strconv.Itoa(max(1, int(time.Until(reset).Seconds()))))
		c.header.Set("Content-Type", "text/plain")
		return true
	}
	return false
}

func (c *call) scope() error {
	if c.token == nil || c.token.Can("api") || c.r.Method == http.MethodGet && (c.token.Can("read_api") || strings.HasSuffix(c.r.URL.Path, "/personal_access_tokens/self")) {
		return nil
	}
	return refuse.With(http.StatusForbidden, bare{"error": "insufficient_scope",
		"error_description": "The request requires higher privileges than provided by the access token.", "scope": "api read_api"})
}

// parse gathers the parameters: of the address, of a form, of a JSON body.
func (c *call) parse(body []byte) error {
	c.params = map[string]any{}
	add := func(values url.Values) {
		for key, list := range values {
			if name, isList := strings.CutSuffix(key, "[]"); isList {
				c.params[name] = toAny(list)
			} else if len(list) > 0 {
				c.params[key] = list[len(list)-1]
			}
		}
	}
	add(c.r.URL.Query())
	switch kind := c.r.Header.Get("Content-Type"); {
	case len(body) == 0:
	case strings.HasPrefix(kind, "application/x-www-form-urlencoded"):
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return problem(http.StatusBadRequest, "invalid form")
		}
		add(form)
	default:
		if err := json.Unmarshal(body, &c.params); err != nil {
			return problem(http.StatusBadRequest, "The request body is not valid JSON: "+err.Error())
		}
	}
	return nil
}

func toAny(list []string) []any {
	var out []any
	for _, s := range list {
		out = append(out, s)
	}
	return out
}

// locate finds what the path names, or answers 404, also for what the caller must
// not know of.
func (c *call) locate(template string) error {
	switch {
	case strings.HasPrefix(template, "/projects/{id}"):
		return c.locateProject(template)
	case strings.HasPrefix(template, "/groups/{id}"):
		if c.group = c.Group(c.path["id"]); c.group == nil {
			id, _ := strconv.ParseInt(c.path["id"], 10, 64)
			c.group = c.GroupByID(id)
		}
		if c.group == nil || !c.SeesGroup(c.user, c.group) {
			return refuse.NotFound("Group")
		}
	}
	return nil
}

func (c *call) locateProject(template string) error {
	c.project = c.Project(c.path["id"])
	if c.project == nil {
		if to := c.Moved[strings.ToLower(c.path["id"])]; to != nil && c.Sees(c.user, to) {
			return c.movedTo(to)
		}
	}
	if c.project == nil || !c.Sees(c.user, c.project) {
		return refuse.NotFound("Project")
	}
	if c.project.Archived && c.r.Method != http.MethodGet {
		return refuse.Forbidden()
	}
	if strings.Contains(template, "/repository/") && !c.Reads(c.user, c.project) {
		return refuse.Forbidden()
	}
	if text, named := c.path["mr"]; named {
		iid, _ := strconv.Atoi(text)
		if c.mr = c.project.MRs[iid]; c.mr == nil || !c.Reads(c.user, c.project) {
			return refuse.NotFound("")
		}
	}
	if text, named := c.path["issue"]; named {
		iid, _ := strconv.Atoi(text)
		if c.issue = c.project.Issues[iid]; c.issue == nil {
			return refuse.NotFound("")
		}
	}
	return nil
}

// movedTo sends readers of a former path to the project, as GitLab does; writers
// are told to go there.
func (c *call) movedTo(to *lab.Project) error {
	if c.r.Method != http.MethodGet {
		return refuse.With(http.StatusMethodNotAllowed, "Non GET methods are not allowed for moved projects")
	}
	_, rest, _ := strings.Cut(strings.TrimPrefix(c.r.URL.EscapedPath(), "/projects/"), "/")
	at := fmt.Sprintf("%s/api/v4/projects/%d", c.URL, to.ID)
	if rest != "" {
		at += "/" + rest
	}
	if c.r.URL.RawQuery != "" {
		at += "?" + c.r.URL.RawQuery
	}
	c.header.Set("Location", at)
	return refuse.With(http.StatusMovedPermanently, fmt.Sprintf("This resource has been moved permanently to %s", at))
}

// text is a parameter as text, "" when it was not given.
func (c *call) text(key string) string {
	if v, given := c.params[key]; given && v != nil {
		return fmt.Sprint(v)
	}
	return ""
}

// maybe is a parameter that may not have been given.
func (c *call) maybe(key string) *string {
	v, given := c.params[key]
	if !given || v == nil {
		return nil
	}
	text := fmt.Sprint(v)
	return &text
}

func (c *call) flag(key string) *bool {
	if v := c.maybe(key); v != nil {
		on := *v == "true" || *v == "1"
		return &on
	}
	return nil
}

func (c *call) is(key string) bool {
	on := c.flag(key)
	return on != nil && *on
}

// numbers is a list of numbers: in JSON, repeated, or separated by commas.
func (c *call) numbers(key string) *[]int64 {
	v, given := c.params[key]
	if !given {
		return nil
	}
	list, isList := v.([]any)
	if !isList {
		list = nil
		for part := range strings.SplitSeq(c.text(key), ",") {
			list = append(list, part)
		}
	}
	out := []int64{}
	for _, item := range list {
		text := fmt.Sprint(item)
		if f, isFloat := item.(float64); isFloat {
			text = strconv.FormatInt(int64(f), 10)
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64); err == nil && n != 0 {
			out = append(out, n)
		}
	}
	return &out
}

func (c *call) words(key string) *[]string {
	v, given := c.params[key]
	if !given {
		return nil
	}
	out := []string{}
	if list, isList := v.([]any); isList {
		for _, item := range list {
			out = append(out, fmt.Sprint(item))
		}
	} else if text := c.text(key); text != "" {
		out = strings.Split(text, ",")
	}
	return &out
}

// number is a number of the path.
func (c *call) number(key string) int64 {
	n, _ := strconv.ParseInt(c.path[key], 10, 64)
	return n
}

// needs refuses a request that lacks a parameter, in Grape's words.
func (c *call) needs(keys ...string) error {
	var missing []string
	for _, key := range keys {
		if _, given := c.params[key]; !given {
			missing = append(missing, key+" is missing")
		}
	}
	if len(missing) > 0 {
		return problem(http.StatusBadRequest, strings.Join(missing, ", "))
	}
	return nil
}

// least refuses those who have less than an access level.
func (c *call) least(level int) error {
	if !c.May(c.user, c.project, level) {
		return refuse.Forbidden()
	}
	return nil
}

const (
	perPage    = 20
	maxPerPage = 100
	// maxTotal is from where on GitLab does not count a list.
	maxTotal = 10000
)

// page cuts a list to what was asked for, and tells of the rest in headers. counted
// is false for the lists whose length GitLab does not look up.
func page[T any](c *call, list []T, counted bool, shape func(T) any) (reply, error) {
	if c.text("pagination") == "keyset" {
		return reply{}, problem(http.StatusMethodNotAllowed, "Keyset pagination is not yet available for this type of request")
	}
	per, at := perPage, 1
	if n, err := strconv.Atoi(c.text("per_page")); err == nil && n > 0 {
		per = min(n, maxPerPage)
	}
	if n, err := strconv.Atoi(c.text("page")); err == nil && n > 0 {
		at = n
	}
	from := min((at-1)*per, len(list))
	to := min(from+per, len(list))
	c.pageHeaders(per, at, len(list), to < len(list), counted && len(list) <= maxTotal)
	out := []any{}
	for _, item := range list[from:to] {
		out = append(out, shape(item))
	}
	return ok(out)
}

func (c *call) pageHeaders(per, at, total int, more, counted bool) {
	last := max(1, (total+per-1)/per)
	var links []string
	link := func(rel string, page int) {
		q := c.r.URL.Query()
		q.Set("page", strconv.Itoa(page))
		q.Set("per_page", strconv.Itoa(per))
		links = append(links, fmt.Sprintf(`<%s/api/v4%s?%s>; rel=%q`, c.URL, c.r.URL.EscapedPath(), q.Encode(), rel))
	}
	next, prev := "", ""
	if at > 1 {
		prev = strconv.Itoa(at - 1)
		link("prev", at-1)
	}
	if more {
		next = strconv.Itoa(at + 1)
		link("next", at+1)
	}
	link("first", 1)
	h := c.header
	if counted {
		link("last", last)
		h.Set("X-Total", strconv.Itoa(total))
		h.Set("X-Total-Pages", strconv.Itoa(last))
	}
	h.Set("X-Next-Page", next)
	h.Set("X-Prev-Page", prev)
	h.Set("X-Page", strconv.Itoa(at))
	h.Set("X-Per-Page", strconv.Itoa(per))
	h.Set("Link", strings.Join(links, ", "))
}

// keyed pages by key where GitLab can: the address of the next page names the last
// item of this one.
func keyed[T any](c *call, list []T, key func(T) string, shape func(T) any) (reply, error) {
	if c.text("pagination") != "keyset" {
		return page(c, list, true, shape)
	}
	per := perPage
	if n, err := strconv.Atoi(c.text("per_page")); err == nil && n > 0 {
		per = min(n, maxPerPage)
	}
	after := c.text("cursor")
	if after == "" {
		after = c.text("page_token")
	}
	if after != "" {
		i := slices.IndexFunc(list, func(item T) bool { return key(item) == after })
		list = list[i+1:]
	}
	out := []any{}
	for _, item := range list[:min(per, len(list))] {
		out = append(out, shape(item))
	}
	if len(list) > per {
		q := c.r.URL.Query()
		q.Set("cursor", key(list[per-1]))
		q.Del("page_token")
		c.header.Set("Link", fmt.Sprintf(`<%s/api/v4%s?%s>; rel="next"`, c.URL, c.r.URL.EscapedPath(), q.Encode()))
	}
	return ok(out)
}
