// Package api is how the driver asks GitLab: its client for what that knows, and
// paths and queries for the rest.
package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	gl "gitlab.com/gitlab-org/api/client-go"

	"lockkeeper/forge"
	"lockkeeper/forge/internal/wire"
)

// API is GitLab's, as the account behind a token sees it. SDK goes through Wire.
type API struct {
	SDK   *gl.Client
	Wire  *wire.Wire
	kinds kinds
}

// PerPage is the longest page that GitLab gives.
const PerPage = 100

// Get reads what GitLab's client has no fields or no parameters for.
func (a *API) Get(ctx context.Context, path string, q url.Values, into any) error {
	_, err := a.Page(ctx, path, q, into)
	return err
}

// Page reads one page, and tells of the next.
func (a *API) Page(ctx context.Context, path string, q url.Values, into any) (*gl.Response, error) {
	req, err := a.SDK.NewRequest(http.MethodGet, path, nil, []gl.RequestOptionFunc{gl.WithContext(ctx), adding(q)})
	if err != nil {
		return nil, err
	}
	return a.SDK.Do(req, into)
}

// adding puts parameters into a request's query.
func adding(q url.Values) gl.RequestOptionFunc {
	return gl.WithKeysetPaginationParameters("?" + q.Encode())
}

// Pages calls get until there is no next page. GitLab names the next page by a
// link where it goes on by key, and by a number as well where it counts.
func Pages[T any](ctx context.Context, get func(...gl.RequestOptionFunc) ([]T, *gl.Response, error)) ([]T, error) {
	var all []T
	next := adding(url.Values{"per_page": {fmt.Sprint(PerPage)}, "page": {"1"}})
	for at := ""; ; {
		some, resp, err := get(gl.WithContext(ctx), next)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		q, err := Following(resp)
		if err != nil {
			return nil, err
		}
		if q == nil {
			return all, nil
		}
		if q.Encode() == at {
			return nil, &forge.Error{Code: forge.Unavailable, Message: "the forge's pages lead in circles"}
		}
		at, next = q.Encode(), adding(q)
	}
}

// Following is the query of the page after resp, nil after the last one.
func Following(resp *gl.Response) (url.Values, error) {
	if resp.NextLink != "" {
		u, err := url.Parse(resp.NextLink)
		if err != nil {
			return nil, fmt.Errorf("the link to the next page: %w", err)
		}
		return u.Query(), nil
	}
	if resp.NextPage != 0 {
		return url.Values{"per_page": {fmt.Sprint(PerPage)}, "page": {fmt.Sprint(resp.NextPage)}}, nil
	}
	return nil, nil
}

// List reads all pages of a path.
func List[T any](ctx context.Context, a *API, path string, q url.Values) ([]T, error) {
	return Pages(ctx, func(opts ...gl.RequestOptionFunc) ([]T, *gl.Response, error) {
		req, err := a.SDK.NewRequest(http.MethodGet, path, nil, append([]gl.RequestOptionFunc{adding(q)}, opts...))
		if err != nil {
			return nil, nil, err
		}
		var some []T
		resp, err := a.SDK.Do(req, &some)
		return some, resp, err
	})
}

// Query posts a GraphQL query. GraphQL answers 200 with errors inside; any error
// fails the whole query, because half an answer hides facts.
func (a *API) Query(ctx context.Context, text string, vars map[string]any, into any) error {
	req, err := a.SDK.NewRequestToURL(http.MethodPost, a.Wire.GraphQL(), map[string]any{"query": text, "variables": vars}, []gl.RequestOptionFunc{gl.WithContext(ctx)})
	if err != nil {
		return err
	}
	answer := struct {
		Data   any `json:"data"`
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}{Data: into}
	if _, err := a.SDK.Do(req, &answer); err != nil || len(answer.Errors) == 0 {
		return err
	}
	e := &forge.Error{Code: forge.Unavailable, Status: http.StatusOK, Message: "GraphQL: " + answer.Errors[0].Message, Unsent: !strings.HasPrefix(text, "mutation")}
	switch {
	case strings.Contains(e.Message, "don't have permission"):
		e.Code = forge.Forbidden
	case strings.Contains(e.Message, "doesn't exist on type"):
		e.Code, e.Message = forge.Invalid, e.Message+"; this GitLab is older than what lockkeeper needs"
	}
	return e
}

// pull is what queries about a pull answer.
type pull struct {
	Projects struct {
		Nodes []struct {
			MergeRequest *MergeRequest `json:"mergeRequest"`
		} `json:"nodes"`
	} `json:"projects"`
}

// MergeRequest is what queries ask of a pull.
type MergeRequest struct {
	Notes   Connection[Note]   `json:"notes"`
	Commits Connection[Commit] `json:"commits"`
	Checks  []struct {
		Identifier string `json:"identifier"`
		Status     string `json:"status"`
	} `json:"mergeabilityChecks"`
}

// Connection is a page of a list.
type Connection[T any] struct {
	Nodes []T `json:"nodes"`
	Info  struct {
		More bool   `json:"hasNextPage"`
		End  string `json:"endCursor"`
	} `json:"pageInfo"`
}

// OfPull asks a query about a pull of a project.
func (a *API) OfPull(ctx context.Context, ref forge.RepoRef, number int, text, after string) (*MergeRequest, error) {
	vars := map[string]any{"ids": []string{GID("Project", ref.ID)}, "iid": fmt.Sprint(number)}
	if strings.Contains(text, "$after") {
		vars["after"] = nil
		if after != "" {
			vars["after"] = after
		}
	}
	var found pull
	if err := a.Query(ctx, text, vars, &found); err != nil {
		return nil, err
	}
	if n := found.Projects.Nodes; len(n) == 1 && n[0].MergeRequest != nil {
		return n[0].MergeRequest, nil
	}
	return nil, &forge.Error{Code: forge.NotFound, Unsent: true, Message: fmt.Sprintf("GraphQL does not show pull %d of project %d", number, ref.ID)}
}

// Connected asks page after page of one of a pull's lists.
func Connected[T any](ctx context.Context, a *API, ref forge.RepoRef, number int, text string, which func(*MergeRequest) Connection[T]) ([]T, error) {
	var all []T
	for after := ""; ; {
		m, err := a.OfPull(ctx, ref, number, text, after)
		if err != nil {
			return nil, err
		}
		c := which(m)
		all = append(all, c.Nodes...)
		if !c.Info.More {
			return all, nil
		}
		if c.Info.End == "" || c.Info.End == after {
			return nil, &forge.Error{Code: forge.Unavailable, Message: "the forge's pages lead in circles"}
		}
		after = c.Info.End
	}
}

// Note is a comment.
type Note struct {
	ID         string     `json:"id"` // gid://gitlab/Note/7, or DiscussionNote
	LastEdited *time.Time `json:"lastEditedAt"`
}

// Commit is a commit with its author's account, nil where there is none.
type Commit struct {
	SHA    string  `json:"sha"`
	Email  string  `json:"authorEmail"`
	Author *Person `json:"author"`
}

// GID is GitLab's global ID.
func GID(kind string, id int64) string { return fmt.Sprintf("gid://gitlab/%s/%d", kind, id) }
