package api

import (
	"errors"
	"strings"

	"lockkeeper/forge/forgetest/schema"
)

// undescribed are operations that work on GitHub and are missing from its
// description; the template is the one whose answer they give.
var undescribed = map[string]string{
	"/repositories/{repository_id}": "/repos/{owner}/{repo}",
}

// check holds an answer against GitHub's description.
func (s *API) check(c *Call, rt Route, status int, body []byte) {
	if s.Schemas == nil || rt.pattern == "POST /graphql" || strings.HasSuffix(rt.pattern, "/unknown") {
		return
	}
	method, path, _ := strings.Cut(rt.pattern, " ")
	path = strings.ReplaceAll(path, "...}", "}")
	if real := undescribed[path]; real != "" {
		path = real
	}
	err := s.Schemas.Response(method, path, status, body)
	if errors.Is(err, schema.ErrUndescribed) && status >= 300 {
		return // the description lists neither every refusal nor every redirect
	}
	if err != nil {
		s.Opt.Validate(err.Error())
	}
}
