package api

import (
	"net/http"
	"net/url"
	"strings"
)

// ServeHTTP routes by GitHub's own path templates. http.ServeMux cannot hold
// them: issues/comments/{id} and issues/{number}/comments overlap there.
func (s *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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
