package rest

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"lockkeeper/forge/forgetest/internal/api"
	"lockkeeper/forge/forgetest/internal/hub"
)

var issueRoutes = []route{
	api.On("GET /repos/{owner}/{repo}/issues", "read", "issues:read|pull_requests:read", listIssues),
	api.On("POST /repos/{owner}/{repo}/issues", "read", "issues:write", openIssue),
	api.On("GET /repos/{owner}/{repo}/issues/{issue_number}", "read", "issues:read|pull_requests:read", getIssue),
	api.On("PATCH /repos/{owner}/{repo}/issues/{issue_number}", "triage", "issues:write|pull_requests:write", editIssue),
	api.On("POST /repos/{owner}/{repo}/issues/{issue_number}/labels", "triage", "issues:write|pull_requests:write", addLabels),
	api.On("DELETE /repos/{owner}/{repo}/issues/{issue_number}/labels/{name}", "triage", "issues:write|pull_requests:write", removeLabel),
}

func listIssues(c *call) reply {
	state := cmp.Or(c.Query("state"), "open")
	var list []*hub.Pull
	for n := c.Repo.LastNumber; n > 0; n-- {
		p := c.Repo.Pulls[n]
		if p == nil {
			p = c.Repo.Issues[n]
		}
		by := c.Query("creator")
		if p != nil && (state == "all" || p.State() == state) && (by == "" || strings.EqualFold(by, p.Author.Login)) {
			list = append(list, p)
		}
	}
	out := []any{}
	for _, p := range api.Paginate(c, list) {
		out = append(out, c.Hub.IssueJSON(p))
	}
	return api.OK(out)
}

type issueInput struct {
	Title, Body, State *string
	Labels             []string
}

func openIssue(c *call) reply {
	var in issueInput
	if out, good := c.Decode(&in); !good {
		return out
	}
	if c.Actor() == nil {
		return api.Refuse(http.StatusUnauthorized, "Requires authentication")
	}
	if in.Title == nil || *in.Title == "" {
		return api.Invalid("Issue", "title", "missing_field", "")
	}
	if out := tooLong("Issue", in.Title, in.Body); out.Status != 0 {
		return out
	}
	p := c.Hub.NewPull(c.Repo, c.Actor(), *in.Title, deref(in.Body))
	p.IsIssue, p.Labels = true, in.Labels
	c.Repo.Issues[p.Number] = p
	return api.Created(c.Hub.IssueJSON(p))
}

// tooLong holds title and body to GitHub's limits, in characters.
func tooLong(resource string, title, body *string) reply {
	switch {
	case utf8.RuneCountInString(deref(title)) > 256:
		return api.Invalid(resource, "title", "custom", "title is too long (maximum is 256 characters)")
	case utf8.RuneCountInString(deref(body)) > 65536:
		return api.Invalid(resource, "body", "custom", "body is too long (maximum is 65536 characters)")
	}
	return reply{}
}

// getIssue tells who closed it, which lists and events leave out.
func getIssue(c *call) reply {
	o := c.Hub.IssueJSON(c.Pull)
	o["closed_by"] = c.Hub.UserJSON(c.Pull.ClosedBy)
	return api.OK(o)
}

func editIssue(c *call) reply {
	var in issueInput
	if out, good := c.Decode(&in); !good {
		return out
	}
	if !c.Pull.IsIssue {
		if out := editPull(c); out.Status != http.StatusOK {
			return out
		}
		return api.OK(c.Hub.IssueJSON(c.Pull))
	}
	if out := tooLong("Issue", in.Title, in.Body); out.Status != 0 {
		return out
	}
	p := c.Pull
	p.Updated = c.Hub.Tick()
	if in.Title != nil {
		p.Title = *in.Title
	}
	if in.Body != nil {
		p.Body = *in.Body
	}
	if in.State != nil {
		p.Closed, p.ClosedAt, p.ClosedBy = *in.State == "closed", time.Time{}, nil
		if p.Closed {
			p.ClosedAt, p.ClosedBy = p.Updated, c.Actor()
		}
	}
	if in.Labels != nil {
		p.Labels = in.Labels
	}
	return api.OK(c.Hub.IssueJSON(p))
}

func addLabels(c *call) reply {
	var in struct{ Labels []string }
	if err := decodeLabels(c, &in.Labels); err.Status != 0 {
		return err
	}
	for _, name := range in.Labels {
		if !slices.Contains(c.Pull.Labels, name) {
			c.Pull.Labels = append(c.Pull.Labels, name)
		}
	}
	c.Pull.Updated = c.Hub.Tick()
	return api.OK(c.Hub.LabelsJSON(c.Pull))
}

// decodeLabels takes both bodies that GitHub takes: a list, and {"labels": list}.
func decodeLabels(c *call, into *[]string) reply {
	if len(c.Body) > 0 && c.Body[0] == '[' {
		out, _ := c.Decode(into)
		return out
	}
	var in struct{ Labels []string }
	out, _ := c.Decode(&in)
	*into = in.Labels
	return out
}

func removeLabel(c *call) reply {
	c.Pull.Labels = slices.DeleteFunc(c.Pull.Labels, func(l string) bool { return l == c.Request.PathValue("name") })
	c.Pull.Updated = c.Hub.Tick()
	return api.OK(c.Hub.LabelsJSON(c.Pull))
}
