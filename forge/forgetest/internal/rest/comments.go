package rest

import (
	"cmp"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"lockkeeper/forge/forgetest/internal/hub"
)

var commentRoutes = []route{
	{"GET /repos/{owner}/{repo}/issues/{issue_number}/comments", "read", "issues:read|pull_requests:read", listComments},
	{"POST /repos/{owner}/{repo}/issues/{issue_number}/comments", "read", "issues:write|pull_requests:write", createComment},
	{"GET /repos/{owner}/{repo}/issues/comments/{comment_id}", "read", "issues:read|pull_requests:read", getComment},
	{"PATCH /repos/{owner}/{repo}/issues/comments/{comment_id}", "read", "issues:write|pull_requests:write", editComment},
	{"DELETE /repos/{owner}/{repo}/issues/comments/{comment_id}", "read", "issues:write|pull_requests:write", deleteComment},
	{"GET /repos/{owner}/{repo}/issues/comments/{comment_id}/reactions", "read", "issues:read|pull_requests:read", listReactions},
	{"POST /repos/{owner}/{repo}/issues/comments/{comment_id}/reactions", "read", "issues:write|pull_requests:write", react},
	{"DELETE /repos/{owner}/{repo}/issues/comments/{comment_id}/reactions/{reaction_id}", "read", "issues:write|pull_requests:write", unreact},
	{"GET /repos/{owner}/{repo}/issues", "read", "issues:read|pull_requests:read", listIssues},
	{"POST /repos/{owner}/{repo}/issues", "read", "issues:write", openIssue},
	{"GET /repos/{owner}/{repo}/issues/{issue_number}", "read", "issues:read|pull_requests:read", getIssue},
	{"PATCH /repos/{owner}/{repo}/issues/{issue_number}", "triage", "issues:write|pull_requests:write", editIssue},
	{"POST /repos/{owner}/{repo}/issues/{issue_number}/labels", "triage", "issues:write|pull_requests:write", addLabels},
	{"DELETE /repos/{owner}/{repo}/issues/{issue_number}/labels/{name}", "triage", "issues:write|pull_requests:write", removeLabel},
}

// maxComment is GitHub's limit of a comment's body, in characters.
const maxComment = 65536

func listComments(c *call) reply {
	since, _ := time.Parse(time.RFC3339, c.query("since"))
	list := slices.DeleteFunc(c.pull.CommentList(), func(m *hub.Comment) bool { return m.Updated.Before(since) })
	out := []any{}
	for _, m := range paginate(c, list) {
		out = append(out, c.s.CommentJSON(m))
	}
	return ok(out)
}

// commentBody reads and checks the body of a comment.
func (c *call) commentBody() (string, reply) {
	var in struct{ Body *string }
	if out, good := c.decode(&in); !good {
		return "", out
	}
	switch {
	case c.actor() == nil:
		return "", refuse(http.StatusUnauthorized, "Requires authentication")
	case in.Body == nil || *in.Body == "":
		return "", invalid("IssueComment", "body", "missing_field", "Body cannot be blank")
	case utf8.RuneCountInString(*in.Body) > maxComment:
		return "", invalid("IssueComment", "body", "unprocessable", "Body is too long (maximum is 65536 characters)")
	}
	return *in.Body, reply{}
}

func createComment(c *call) reply {
	body, out := c.commentBody()
	if out.status != 0 {
		return out
	}
	at := c.s.Tick()
	m := &hub.Comment{ID: c.s.NextID(), Pull: c.pull, Author: c.actor(), ViaApp: c.viaApp(), Body: body, Created: at, Updated: at}
	c.repo.Comments[m.ID] = m
	c.pull.Updated = at
	c.s.EmitComment(m, "created", c.actor(), nil)
	return created(c.s.CommentJSON(m))
}

func (c *call) comment() *hub.Comment { return c.repo.Comments[pathID(c, "comment_id")] }

func getComment(c *call) reply {
	if m := c.comment(); m != nil {
		return ok(c.s.CommentJSON(m))
	}
	return notFound()
}

// mayTouch: the author may change a comment, and everybody with write access.
func (c *call) mayTouch(m *hub.Comment) bool {
	return c.actor() != nil && (m.Author == c.actor() || (!c.viaApp() && hub.AtLeast(c.s.Role(c.cred, c.repo), "write")))
}

func editComment(c *call) reply {
	m := c.comment()
	if m == nil {
		return notFound()
	}
	if !c.mayTouch(m) {
		return refuse(http.StatusForbidden, "Resource not accessible")
	}
	body, out := c.commentBody()
	if out.status != 0 {
		return out
	}
	from := m.Body
	m.Body, m.Updated = body, c.s.Tick()
	c.s.EmitComment(m, "edited", c.actor(), obj{"body": obj{"from": from}})
	return ok(c.s.CommentJSON(m))
}

func deleteComment(c *call) reply {
	m := c.comment()
	if m == nil {
		return notFound()
	}
	if !c.mayTouch(m) {
		return refuse(http.StatusForbidden, "Resource not accessible")
	}
	c.s.Tick()
	c.s.EmitComment(m, "deleted", c.actor(), nil)
	delete(c.repo.Comments, m.ID)
	return noContent()
}

func listReactions(c *call) reply {
	m := c.comment()
	if m == nil {
		return notFound()
	}
	out := []any{}
	for _, r := range paginate(c, m.Reactions) {
		out = append(out, c.s.reactionJSON(r))
	}
	return ok(out)
}

func react(c *call) reply {
	var in struct{ Content string }
	if out, good := c.decode(&in); !good {
		return out
	}
	m := c.comment()
	switch {
	case m == nil:
		return notFound()
	case c.actor() == nil:
		return refuse(http.StatusUnauthorized, "Requires authentication")
	case !slices.Contains(hub.ReactionKinds, in.Content):
		return invalid("Reaction", "content", "invalid", "")
	}
	for _, r := range m.Reactions {
		if r.User == c.actor() && r.Content == in.Content {
			return ok(c.s.reactionJSON(r))
		}
	}
	r := &hub.Reaction{ID: c.s.NextID(), User: c.actor(), Content: in.Content, Created: c.s.Tick()}
	m.Reactions = append(m.Reactions, r)
	return created(c.s.reactionJSON(r))
}

func unreact(c *call) reply {
	m, id := c.comment(), pathID(c, "reaction_id")
	if m == nil {
		return notFound()
	}
	m.Reactions = slices.DeleteFunc(m.Reactions, func(r *hub.Reaction) bool { return r.ID == id && r.User == c.actor() })
	return noContent()
}

func listIssues(c *call) reply {
	state := cmp.Or(c.query("state"), "open")
	var list []*hub.Pull
	for n := c.repo.LastNumber; n > 0; n-- {
		p := c.repo.Pulls[n]
		if p == nil {
			p = c.repo.Issues[n]
		}
		if p != nil && (state == "all" || p.State() == state) {
			list = append(list, p)
		}
	}
	out := []any{}
	for _, p := range paginate(c, list) {
		out = append(out, c.s.IssueJSON(p))
	}
	return ok(out)
}

type issueInput struct {
	Title, Body, State *string
	Labels             []string
}

func openIssue(c *call) reply {
	var in issueInput
	if out, good := c.decode(&in); !good {
		return out
	}
	if c.actor() == nil {
		return refuse(http.StatusUnauthorized, "Requires authentication")
	}
	if in.Title == nil || *in.Title == "" {
		return invalid("Issue", "title", "missing_field", "")
	}
	p := c.s.NewPull(c.repo, c.actor(), *in.Title, deref(in.Body))
	p.IsIssue, p.Labels = true, in.Labels
	c.repo.Issues[p.Number] = p
	return created(c.s.IssueJSON(p))
}

func getIssue(c *call) reply { return ok(c.s.IssueJSON(c.pull)) }

func editIssue(c *call) reply {
	var in issueInput
	if out, good := c.decode(&in); !good {
		return out
	}
	if !c.pull.IsIssue {
		if out := editPull(c); out.status != http.StatusOK {
			return out
		}
		return ok(c.s.IssueJSON(c.pull))
	}
	p := c.pull
	p.Updated = c.s.Tick()
	if in.Title != nil {
		p.Title = *in.Title
	}
	if in.Body != nil {
		p.Body = *in.Body
	}
	if in.State != nil {
		p.Closed, p.ClosedAt = *in.State == "closed", time.Time{}
		if p.Closed {
			p.ClosedAt = p.Updated
		}
	}
	if in.Labels != nil {
		p.Labels = in.Labels
	}
	return ok(c.s.IssueJSON(p))
}

func addLabels(c *call) reply {
	var in struct{ Labels []string }
	if err := decodeLabels(c, &in.Labels); err.status != 0 {
		return err
	}
	for _, name := range in.Labels {
		if !slices.Contains(c.pull.Labels, name) {
			c.pull.Labels = append(c.pull.Labels, name)
		}
	}
	c.pull.Updated = c.s.Tick()
	return ok(c.s.LabelsJSON(c.pull))
}

// decodeLabels takes both bodies that GitHub takes: a list, and {"labels": list}.
func decodeLabels(c *call, into *[]string) reply {
	if len(c.body) > 0 && c.body[0] == '[' {
		out, _ := c.decode(into)
		return out
	}
	var in struct{ Labels []string }
	out, _ := c.decode(&in)
	*into = in.Labels
	return out
}

func removeLabel(c *call) reply {
	c.pull.Labels = slices.DeleteFunc(c.pull.Labels, func(l string) bool { return l == c.r.PathValue("name") })
	c.pull.Updated = c.s.Tick()
	return ok(c.s.LabelsJSON(c.pull))
}
