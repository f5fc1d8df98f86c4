package talk

import (
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"lockkeeper/forge/forgetest/internal/api"
	"lockkeeper/forge/forgetest/internal/hub"
)

var commentRoutes = []route{
	api.On("GET /repos/{owner}/{repo}/issues/{issue_number}/comments", "read", "issues:read|pull_requests:read", listComments),
	api.On("POST /repos/{owner}/{repo}/issues/{issue_number}/comments", "read", "issues:write|pull_requests:write", createComment),
	api.On("GET /repos/{owner}/{repo}/issues/comments/{comment_id}", "read", "issues:read|pull_requests:read", getComment),
	api.On("PATCH /repos/{owner}/{repo}/issues/comments/{comment_id}", "read", "issues:write|pull_requests:write", editComment),
	api.On("DELETE /repos/{owner}/{repo}/issues/comments/{comment_id}", "read", "issues:write|pull_requests:write", deleteComment),
	api.On("GET /repos/{owner}/{repo}/issues/comments/{comment_id}/reactions", "read", "issues:read|pull_requests:read", listReactions),
	api.On("POST /repos/{owner}/{repo}/issues/comments/{comment_id}/reactions", "read", "issues:write|pull_requests:write", react),
	api.On("DELETE /repos/{owner}/{repo}/issues/comments/{comment_id}/reactions/{reaction_id}", "read", "issues:write|pull_requests:write", unreact),
}

// maxComment is GitHub's limit of a comment's body, in characters.
const maxComment = 65536

func listComments(c *call) reply {
	since, _ := time.Parse(time.RFC3339, c.Query("since"))
	list := slices.DeleteFunc(c.Pull.CommentList(), func(m *hub.Comment) bool { return m.Updated.Before(since) })
	out := []any{}
	for _, m := range api.Paginate(c, list) {
		out = append(out, c.Hub.CommentJSON(m))
	}
	return api.OK(out)
}

// commentBody reads and checks the body of a comment.
func commentBody(c *call) (string, reply) {
	var in struct{ Body *string }
	if out, good := c.Decode(&in); !good {
		return "", out
	}
	switch {
	case c.Actor() == nil:
		return "", api.Refuse(http.StatusUnauthorized, "Requires authentication")
	case in.Body == nil || *in.Body == "":
		return "", api.Invalid("IssueComment", "body", "missing_field", "Body cannot be blank")
	case utf8.RuneCountInString(*in.Body) > maxComment:
		return "", api.Invalid("IssueComment", "body", "unprocessable", "Body is too long (maximum is 65536 characters)")
	}
	return *in.Body, reply{}
}

func createComment(c *call) reply {
	body, out := commentBody(c)
	if out.Status != 0 {
		return out
	}
	at := c.Hub.Tick()
	m := &hub.Comment{ID: c.Hub.NextID(), Pull: c.Pull, Author: c.Actor(), ViaApp: c.ViaApp(), Body: body, Created: at, Updated: at}
	c.Repo.Comments[m.ID] = m
	c.Pull.Updated = at
	c.Hub.EmitComment(m, "created", c.Actor(), nil)
	return api.Created(c.Hub.CommentJSON(m))
}

func findComment(c *call) *hub.Comment { return c.Repo.Comments[api.PathID(c, "comment_id")] }

func getComment(c *call) reply {
	if m := findComment(c); m != nil {
		return api.OK(c.Hub.CommentJSON(m))
	}
	return api.NotFound()
}

// mayTouch: the author may change a comment, and everybody with write access.
func mayTouch(c *call, m *hub.Comment) bool {
	return c.Actor() != nil && (m.Author == c.Actor() || (!c.ViaApp() && hub.AtLeast(c.Hub.Role(c.Cred, c.Repo), "write")))
}

func editComment(c *call) reply {
	m := findComment(c)
	if m == nil {
		return api.NotFound()
	}
	if !mayTouch(c, m) {
		return api.Refuse(http.StatusForbidden, "Resource not accessible")
	}
	body, out := commentBody(c)
	if out.Status != 0 {
		return out
	}
	from := m.Body
	m.Body, m.Updated = body, c.Hub.Tick()
	c.Hub.EmitComment(m, "edited", c.Actor(), obj{"body": obj{"from": from}})
	return api.OK(c.Hub.CommentJSON(m))
}

func deleteComment(c *call) reply {
	m := findComment(c)
	if m == nil {
		return api.NotFound()
	}
	if !mayTouch(c, m) {
		return api.Refuse(http.StatusForbidden, "Resource not accessible")
	}
	c.Hub.Tick()
	c.Hub.EmitComment(m, "deleted", c.Actor(), nil)
	delete(c.Repo.Comments, m.ID)
	return api.NoContent()
}

func listReactions(c *call) reply {
	m := findComment(c)
	if m == nil {
		return api.NotFound()
	}
	out := []any{}
	for _, r := range api.Paginate(c, m.Reactions) {
		out = append(out, reactionJSON(c.Hub, r))
	}
	return api.OK(out)
}

func react(c *call) reply {
	var in struct{ Content string }
	if out, good := c.Decode(&in); !good {
		return out
	}
	m := findComment(c)
	switch {
	case m == nil:
		return api.NotFound()
	case c.Actor() == nil:
		return api.Refuse(http.StatusUnauthorized, "Requires authentication")
	case !slices.Contains(hub.ReactionKinds, in.Content):
		return api.Invalid("Reaction", "content", "invalid", "")
	}
	for _, r := range m.Reactions {
		if r.User == c.Actor() && r.Content == in.Content {
			return api.OK(reactionJSON(c.Hub, r))
		}
	}
	r := &hub.Reaction{ID: c.Hub.NextID(), User: c.Actor(), Content: in.Content, Created: c.Hub.Tick()}
	m.Reactions = append(m.Reactions, r)
	return api.Created(reactionJSON(c.Hub, r))
}

func unreact(c *call) reply {
	m, id := findComment(c), api.PathID(c, "reaction_id")
	if m == nil {
		return api.NotFound()
	}
	m.Reactions = slices.DeleteFunc(m.Reactions, func(r *hub.Reaction) bool { return r.ID == id && r.User == c.Actor() })
	return api.NoContent()
}

func reactionJSON(s *hub.Hub, r *hub.Reaction) obj {
	return obj{"id": r.ID, "node_id": hub.Node("REA", r.ID), "user": s.UserJSON(r.User), "content": r.Content, "created_at": hub.Stamp(r.Created)}
}
