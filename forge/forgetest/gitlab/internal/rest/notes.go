package rest

import (
	"cmp"
	"net/http"
	"slices"

	"lockkeeper/forge/forgetest/gitlab/internal/lab"
	"lockkeeper/forge/forgetest/gitlab/internal/refuse"
)

// notes lists what stands under a merge request or an issue, newest first unless
// asked otherwise.
func notes(c *call) (reply, error) {
	list := c.project.Notes(c.mr, c.issue)
	switch c.text("activity_filter") {
	case "only_comments":
		list = slices.DeleteFunc(list, func(n *lab.Remark) bool { return n.System })
	case "only_activity":
		list = slices.DeleteFunc(list, func(n *lab.Remark) bool { return !n.System })
	}
	slices.SortStableFunc(list, func(a, b *lab.Remark) int {
		if c.text("order_by") == "updated_at" {
			return a.Updated.Compare(b.Updated)
		}
		return cmp.Compare(a.ID, b.ID)
	})
	if c.text("sort") != "asc" {
		slices.Reverse(list)
	}
	return page(c, list, true, func(n *lab.Remark) any { return c.NoteJSON(n) })
}

// remark is the note that the path names.
func (c *call) remark() (*lab.Remark, error) {
	if n := c.project.Remark(c.mr, c.issue, c.number("note")); n != nil {
		return n, nil
	}
	return nil, refuse.NotFound("")
}

func note(c *call) (reply, error) {
	n, err := c.remark()
	if err != nil {
		return reply{}, err
	}
	return ok(c.NoteJSON(n))
}

// written is the answer to a note: 202 when it held quick actions only.
func (c *call) written(status int, out lab.Outcome) (reply, error) {
	if out.Remark == nil {
		return reply{http.StatusAccepted, obj{"commands_changes": out.Changes, "summary": out.Summary}}, nil
	}
	o := c.NoteJSON(out.Remark)
	if out.Changes != nil {
		o["commands_changes"] = out.Changes
	}
	return reply{status, o}, nil
}

func addNote(c *call) (reply, error) {
	if err := c.needs("body"); err != nil {
		return reply{}, err
	}
	if !c.Reads(c.user, c.project) && c.mr != nil {
		return reply{}, refuse.Forbidden()
	}
	out, err := c.Write(c.ctx, &lab.Remark{Project: c.project, MR: c.mr, Issue: c.issue, Author: c.user}, c.text("body"), c.text("merge_request_diff_head_sha"))
	if err != nil {
		return reply{}, err
	}
	return c.written(http.StatusCreated, out)
}

func editNote(c *call) (reply, error) {
	n, err := c.remark()
	if err != nil {
		return reply{}, err
	}
	if err := c.needs("body"); err != nil {
		return reply{}, err
	}
	out, err := c.Rewrite(c.ctx, n, c.user, c.text("body"))
	if err != nil {
		return reply{}, err
	}
	return c.written(http.StatusOK, out)
}

func deleteNote(c *call) (reply, error) {
	n, err := c.remark()
	if err != nil {
		return reply{}, err
	}
	if err := c.Erase(n, c.user); err != nil {
		return reply{}, err
	}
	return noContent()
}

func awards(c *call) (reply, error) {
	n, err := c.remark()
	if err != nil {
		return reply{}, err
	}
	return page(c, n.Awards, true, func(a *lab.Award) any { return c.AwardJSON(n, a) })
}

func addAward(c *call) (reply, error) {
	n, err := c.remark()
	if err != nil {
		return reply{}, err
	}
	if err := c.needs("name"); err != nil {
		return reply{}, err
	}
	a, err := c.React(n, c.user, c.text("name"))
	if err != nil {
		return reply{}, err
	}
	return created(c.AwardJSON(n, a))
}

func deleteAward(c *call) (reply, error) {
	n, err := c.remark()
	if err != nil {
		return reply{}, err
	}
	if err := c.Unreact(n, c.user, c.number("award")); err != nil {
		return reply{}, err
	}
	return noContent()
}

func issues(c *call) (reply, error) {
	var list []*lab.Issue
	for _, i := range c.project.Issues {
		if s := c.text("state"); s != "" && s != "all" && s != i.State || c.text("author_username") != "" && c.text("author_username") != i.Author.Login {
			continue
		}
		if ids := c.numbers("author_id"); ids != nil && !slices.Contains(*ids, i.Author.ID) {
			continue
		}
		list = append(list, i)
	}
	slices.SortFunc(list, func(a, b *lab.Issue) int { return cmp.Compare(b.IID, a.IID) })
	if c.text("sort") == "asc" {
		slices.Reverse(list)
	}
	return page(c, list, true, func(i *lab.Issue) any { return c.IssueJSON(i) })
}

func addIssue(c *call) (reply, error) {
	if err := c.needs("title"); err != nil {
		return reply{}, err
	}
	var labels []string
	if w := c.words("labels"); w != nil {
		labels = *w
	}
	i, err := c.CreateIssue(c.ctx, c.project, c.user, c.text("title"), c.text("description"), labels)
	if err != nil {
		return reply{}, err
	}
	return created(c.IssueJSON(i))
}

func readIssue(c *call) (reply, error) { return ok(c.IssueJSON(c.issue)) }

func editIssue(c *call) (reply, error) {
	if err := c.UpdateIssue(c.ctx, c.issue, c.user, c.maybe("title"), c.maybe("description"), c.maybe("state_event")); err != nil {
		return reply{}, err
	}
	return ok(c.IssueJSON(c.issue))
}
