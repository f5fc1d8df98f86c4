package api

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// ServeHTTP routes by GitHub's own path templates. http.ServeMux cannot hold
// them: issues/comments/{id} and issues/{number}/comments overlap there.
func (s *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.named(r)
	best := Route{pattern: r.Method + " /unknown", handle: func(*Call) Reply { return NotFound() }}
	var values map[string]string
	score := -1
	for _, rt := range s.routes {
		method, template, _ := strings.Cut(rt.pattern, " ")
		if method != r.Method {
			continue
		}
		if found, literals := match(template, r.URL.EscapedPath()); found != nil && literals > score {
			best, values, score = rt, found, literals
		}
	}
	for k, v := range values {
		r.SetPathValue(k, v)
	}
	s.serve(w, r, best)
}

// named gives an address by a repository's number, to which GitHub redirects the
// old names of repositories, the repository's name. The number alone has a route
// of its own.
func (s *API) named(r *http.Request) {
	rest, byID := strings.CutPrefix(r.URL.Path, "/repositories/")
	number, sub, more := strings.Cut(rest, "/")
	id, err := strconv.ParseInt(number, 10, 64)
	if !byID || !more || err != nil {
		return
	}
	s.Mu.Lock()
	defer s.Mu.Unlock()
	for _, repo := range s.Repos {
		if repo.ID == id {
			escaped := strings.TrimPrefix(r.URL.EscapedPath(), "/repositories/"+number)
			r.URL.Path, r.URL.RawPath = "/repos/"+repo.Full()+"/"+sub, "/repos/"+repo.Full()+escaped
		}
	}
}

// match holds an escaped path against a template and counts the segments that
// are equal by letter; nil is no match.
func match(template, path string) (values map[string]string, literals int) {
	want, have := strings.Split(template, "/"), strings.Split(path, "/")
	values = map[string]string{}
	for i, segment := range want {
		name, isName := strings.CutPrefix(segment, "{")
		name = strings.TrimSuffix(name, "}")
		switch {
		case i >= len(have):
			return nil, 0
		case !isName && segment != have[i]:
			return nil, 0
		case !isName:
			literals++
			continue
		}
		text := have[i]
		rest, takesRest := strings.CutSuffix(name, "...")
		if takesRest {
			text = strings.Join(have[i:], "/")
		}
		value, err := url.PathUnescape(text)
		if err != nil || value == "" {
			return nil, 0
		}
		values[rest] = value
		if takesRest {
			return values, literals
		}
	}
	if len(have) != len(want) {
		return nil, 0
	}
	return values, literals
}
