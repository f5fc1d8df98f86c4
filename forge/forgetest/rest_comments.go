package forgetest

import (
	"net/http"
	"slices"
	"time"
	"unicode/utf8"
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

var reactionKinds = []string{"+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"}

func listComments(c *call) reply {
	since, _ := time.Parse(time.RFC3339, c.query("since"))
	list := slices.DeleteFunc(c.pull.commentList(), func(m *comment) bool { return m.updated.Before(since) })
	out := []any{}
	for _, m := range paginate(c, list) {
		out = append(out, c.s.commentJSON(m))
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
	at := c.s.tick()
	m := &comment{id: c.s.nextID(), pull: c.pull, author: c.actor(), viaApp: c.viaApp(), body: body, created: at, updated: at}
	c.repo.comments[m.id] = m
	c.pull.updated = at
	c.s.emitComment(m, "created", c.actor(), nil)
	return created(c.s.commentJSON(m))
}

func (c *call) comment() *comment { return c.repo.comments[pathID(c, "comment_id")] }

func getComment(c *call) reply {
	if m := c.comment(); m != nil {
		return ok(c.s.commentJSON(m))
	}
	return notFound()
}

// mayTouch: the author may change a comment, and everybody with write access.
func (c *call) mayTouch(m *comment) bool {
	return c.actor() != nil && (m.author == c.actor() || (!c.viaApp() && atLeast(c.s.role(c.cred, c.repo), "write")))
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
	from := m.body
	m.body, m.updated = body, c.s.tick()
	c.s.emitComment(m, "edited", c.actor(), obj{"body": obj{"from": from}})
	return ok(c.s.commentJSON(m))
}

func deleteComment(c *call) reply {
	m := c.comment()
	if m == nil {
		return notFound()
	}
	if !c.mayTouch(m) {
		return refuse(http.StatusForbidden, "Resource not accessible")
	}
	c.s.tick()
	c.s.emitComment(m, "deleted", c.actor(), nil)
	delete(c.repo.comments, m.id)
	return noContent()
}

func (s *Server) reactionJSON(r *reaction) obj {
	return obj{"id": r.id, "node_id": node("REA", r.id), "user": s.userJSON(r.user), "content": r.content, "created_at": stamp(r.created)}
}

func listReactions(c *call) reply {
	m := c.comment()
	if m == nil {
		return notFound()
	}
	out := []any{}
	for _, r := range paginate(c, m.reactions) {
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
	case !slices.Contains(reactionKinds, in.Content):
		return invalid("Reaction", "content", "invalid", "")
	}
	for _, r := range m.reactions {
		if r.user == c.actor() && r.content == in.Content {
			return ok(c.s.reactionJSON(r))
		}
	}
	r := &reaction{id: c.s.nextID(), user: c.actor(), content: in.Content, created: c.s.tick()}
	m.reactions = append(m.reactions, r)
	return created(c.s.reactionJSON(r))
}

func unreact(c *call) reply {
	m, id := c.comment(), pathID(c, "reaction_id")
	if m == nil {
		return notFound()
	}
	m.reactions = slices.DeleteFunc(m.reactions, func(r *reaction) bool { return r.id == id && r.user == c.actor() })
	return noContent()
}

func listIssues(c *call) reply {
	state := cmpOr(c.query("state"), "open")
	var list []*pull
	for n := c.repo.lastNumber; n > 0; n-- {
		p := c.repo.pulls[n]
		if p == nil {
			p = c.repo.issues[n]
		}
		if p != nil && (state == "all" || p.state() == state) {
			list = append(list, p)
		}
	}
	out := []any{}
	for _, p := range paginate(c, list) {
		out = append(out, c.s.issueJSON(p))
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
	p := c.s.newPull(c.repo, c.actor(), *in.Title, deref(in.Body))
	p.isIssue, p.labels = true, in.Labels
	c.repo.issues[p.number] = p
	return created(c.s.issueJSON(p))
}

func getIssue(c *call) reply { return ok(c.s.issueJSON(c.pull)) }

func editIssue(c *call) reply {
	var in issueInput
	if out, good := c.decode(&in); !good {
		return out
	}
	if !c.pull.isIssue {
		if out := editPull(c); out.status != http.StatusOK {
			return out
		}
		return ok(c.s.issueJSON(c.pull))
	}
	p := c.pull
	p.updated = c.s.tick()
	if in.Title != nil {
		p.title = *in.Title
	}
	if in.Body != nil {
		p.body = *in.Body
	}
	if in.State != nil {
		p.closed, p.closedAt = *in.State == "closed", time.Time{}
		if p.closed {
			p.closedAt = p.updated
		}
	}
	if in.Labels != nil {
		p.labels = in.Labels
	}
	return ok(c.s.issueJSON(p))
}

func addLabels(c *call) reply {
	var in struct{ Labels []string }
	if err := decodeLabels(c, &in.Labels); err.status != 0 {
		return err
	}
	for _, name := range in.Labels {
		if !slices.Contains(c.pull.labels, name) {
			c.pull.labels = append(c.pull.labels, name)
		}
	}
	c.pull.updated = c.s.tick()
	return ok(c.s.labelsJSON(c.pull))
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
	c.pull.labels = slices.DeleteFunc(c.pull.labels, func(l string) bool { return l == c.r.PathValue("name") })
	c.pull.updated = c.s.tick()
	return ok(c.s.labelsJSON(c.pull))
}
