package forgetest

import (
	"encoding/json"
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
func (s *Server) check(c *call, rt route, status int, body []byte) {
	if s.schemas == nil || rt.pattern == "POST /graphql" || strings.HasSuffix(rt.pattern, "/unknown") {
		return
	}
	method, path, _ := strings.Cut(rt.pattern, " ")
	path = strings.ReplaceAll(path, "...}", "}")
	if real := undescribed[path]; real != "" {
		path = real
	}
	err := s.schemas.Response(method, path, status, body)
	if errors.Is(err, schema.ErrUndescribed) && status >= 400 {
		return // the description does not list every refusal
	}
	if err != nil {
		s.opt.Validate(err.Error())
	}
}

// checkPayload holds a webhook payload against the published schemas.
func (s *Server) checkPayload(event string, body []byte) {
	if s.schemas == nil {
		return
	}
	var head struct{ Action string }
	if err := json.Unmarshal(body, &head); err != nil {
		s.opt.Validate(err.Error())
		return
	}
	if err := s.schemas.Event(event, head.Action, body); err != nil {
		s.opt.Validate(err.Error())
	}
}
