package sdk

import (
	"context"
	"net/http"
	"strings"
	"time"

	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge"
	"lockkeeper/forge/internal/wire"
)

// pauseUntold is how long to wait after a limit whose end GitHub does not tell.
const pauseUntold = time.Minute

// Query posts a GraphQL query. GraphQL answers 200 with errors inside; any
// error fails the whole query, because half an answer hides facts. A mutation
// that failed for a reason which GitHub does not name may have had an effect.
func Query(ctx context.Context, w *wire.Wire, c *gh.Client, query string, vars map[string]any, into any) error {
	req, err := c.NewRequest(http.MethodPost, w.GraphQL().String(), map[string]any{"query": query, "variables": vars})
	if err != nil {
		return err
	}
	answer := struct {
		Data   any `json:"data"`
		Errors []struct {
			Type       string `json:"type"`
			Message    string `json:"message"`
			Extensions struct {
				Code string `json:"code"`
			} `json:"extensions"`
		} `json:"errors"`
	}{Data: into}
	resp, err := c.Do(ctx, req, &answer)
	if err != nil || len(answer.Errors) == 0 {
		return err
	}
	first := answer.Errors[0]
	e := &forge.Error{Code: forge.Unavailable, Status: resp.StatusCode, Message: "GraphQL: " + first.Message, Unsent: true}
	if strings.HasPrefix(first.Message, "refusing to allow") {
		first.Type = "FORBIDDEN" // what Git would be told: files that no App may touch without a permission of their own
	}
	switch first.Extensions.Code {
	case "undefinedField", "undefinedType", "argumentNotAccepted":
		first.Type = "UNPROCESSABLE" // an Enterprise Server that is older than what we ask
	}
	switch first.Type {
	case "RATE_LIMITED":
		until := resp.Rate.Reset.Time
		if until.IsZero() {
			until = w.Now().Add(pauseUntold)
		}
		return wire.Limited("", resp.Response, first.Message, until)
	case "FORBIDDEN", "INSUFFICIENT_SCOPES":
		e.Code = forge.Forbidden
	case "NOT_FOUND":
		e.Code = forge.NotFound
	case "STALE_DATA":
		e.Code = forge.Conflict
	case "UNPROCESSABLE", "BRANCH_PROTECTION_RULE_VIOLATION":
		e.Code = forge.Invalid
	default:
		e.Unsent = !strings.HasPrefix(query, "mutation")
	}
	return e
}
