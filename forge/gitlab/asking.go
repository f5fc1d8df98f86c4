package gitlab

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	gl "gitlab.com/gitlab-org/api/client-go"

	"lockkeeper/forge"
)

// perPage is the longest page that GitLab gives.
const perPage = 100

// get reads what GitLab's client has no fields or no parameters for.
func (f *Forge) get(ctx context.Context, path string, q url.Values, into any) error {
	_, err := f.page(ctx, path, q, into)
	return err
}

func (f *Forge) page(ctx context.Context, path string, q url.Values, into any) (*gl.Response, error) {
	req, err := f.client.NewRequest(http.MethodGet, path, nil, []gl.RequestOptionFunc{gl.WithContext(ctx), adding(q)})
	if err != nil {
		return nil, err
	}
	return f.client.Do(req, into)
}

// adding puts parameters into a request's query.
func adding(q url.Values) gl.RequestOptionFunc {
	return gl.WithKeysetPaginationParameters("?" + q.Encode())
}

// pages calls get until there is no next page. GitLab names the next page by a
// link where it goes on by key, and by a number as well where it counts.
func pages[T any](ctx context.Context, get func(...gl.RequestOptionFunc) ([]T, *gl.Response, error)) ([]T, error) {
	var all []T
	next := adding(url.Values{"per_page": {fmt.Sprint(perPage)}, "page": {"1"}})
	for at := ""; ; {
		some, resp, err := get(gl.WithContext(ctx), next)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		q, err := following(resp)
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

// following is the query of the page after resp, nil after the last one.
func following(resp *gl.Response) (url.Values, error) {
	if resp.NextLink != "" {
		u, err := url.Parse(resp.NextLink)
		if err != nil {
			return nil, fmt.Errorf("the link to the next page: %w", err)
		}
		return u.Query(), nil
	}
	if resp.NextPage != 0 {
		return url.Values{"per_page": {fmt.Sprint(perPage)}, "page": {fmt.Sprint(resp.NextPage)}}, nil
	}
	return nil, nil
}

// list reads all pages of a path.
func list[T any](ctx context.Context, f *Forge, path string, q url.Values) ([]T, error) {
	return pages(ctx, func(opts ...gl.RequestOptionFunc) ([]T, *gl.Response, error) {
		req, err := f.client.NewRequest(http.MethodGet, path, nil, append([]gl.RequestOptionFunc{adding(q)}, opts...))
		if err != nil {
			return nil, nil, err
		}
		var some []T
		resp, err := f.client.Do(req, &some)
		return some, resp, err
	})
}

// query posts a GraphQL query. GraphQL answers 200 with errors inside; any error
// fails the whole query, because half an answer hides facts.
func (f *Forge) query(ctx context.Context, text string, vars map[string]any, into any) error {
	req, err := f.client.NewRequestToURL(http.MethodPost, f.wire.GraphQL(), map[string]any{"query": text, "variables": vars}, []gl.RequestOptionFunc{gl.WithContext(ctx)})
	if err != nil {
		return err
	}
	answer := struct {
		Data   any `json:"data"`
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}{Data: into}
	if _, err := f.client.Do(req, &answer); err != nil || len(answer.Errors) == 0 {
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
			MergeRequest *mergeRequest `json:"mergeRequest"`
		} `json:"nodes"`
	} `json:"projects"`
}

type mergeRequest struct {
	Notes   connection[note]   `json:"notes"`
	Commits connection[commit] `json:"commits"`
	Checks  []struct {
		Identifier string `json:"identifier"`
		Status     string `json:"status"`
	} `json:"mergeabilityChecks"`
}

type connection[T any] struct {
	Nodes []T `json:"nodes"`
	Info  struct {
		More bool   `json:"hasNextPage"`
		End  string `json:"endCursor"`
	} `json:"pageInfo"`
}

// ofPull asks a query about a pull of a project.
func (f *Forge) ofPull(ctx context.Context, ref forge.RepoRef, number int, text, after string) (*mergeRequest, error) {
	vars := map[string]any{"ids": []string{gid("Project", ref.ID)}, "iid": fmt.Sprint(number)}
	if strings.Contains(text, "$after") {
		vars["after"] = nil
		if after != "" {
			vars["after"] = after
		}
	}
	var a pull
	if err := f.query(ctx, text, vars, &a); err != nil {
		return nil, err
	}
	if n := a.Projects.Nodes; len(n) == 1 && n[0].MergeRequest != nil {
		return n[0].MergeRequest, nil
	}
	return nil, &forge.Error{Code: forge.NotFound, Unsent: true, Message: fmt.Sprintf("GraphQL does not show pull %d of project %d", number, ref.ID)}
}

// connected asks page after page of one of a pull's lists.
func connected[T any](ctx context.Context, f *Forge, ref forge.RepoRef, number int, text string, which func(*mergeRequest) connection[T]) ([]T, error) {
	var all []T
	for after := ""; ; {
		m, err := f.ofPull(ctx, ref, number, text, after)
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

// gid is GitLab's global ID.
func gid(kind string, id int64) string { return fmt.Sprintf("gid://gitlab/%s/%d", kind, id) }
