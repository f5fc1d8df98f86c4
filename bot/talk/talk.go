// Package talk says things about a pull on the forge: the report in its sticky
// comments, the check on its head, replies to commands, and who is asked for a
// review. Each is said once: what a lost answer or a crash left behind is found
// by its marker.
package talk

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/names"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/reconcile"
	"lockkeeper/bot/report"
	"lockkeeper/bot/store"
	"lockkeeper/forge"
)

// Speaker writes to the forge. All fields are required.
type Speaker struct {
	Forge forge.Forge
	Store *store.Store
	Log   *slog.Logger
	// Completed fills in of a record the pull, who acted (nobody, if the account
	// has no ID), when, and which lockkeeper wrote it.
	Completed func(p *reconcile.State, by forge.User, r audit.Record) audit.Record
}

// key names a pull in logs and markers.
func key(p *reconcile.State) string {
	return names.PullKey{Repo: p.Operator.ID, Number: p.Pull.Number}.String()
}

// Publish writes the report: existing comments are edited, missing ones made,
// surplus ones deleted.
func (s *Speaker) Publish(ctx context.Context, p *reconcile.State, a reconcile.Publish) error {
	bodies := a.Bodies
	s.adopt(p)
	var at time.Time
	for i, body := range bodies {
		posted, seen, err := s.post(ctx, p, i, body)
		if err != nil {
			return err
		}
		if i < len(p.Memory.Sticky) {
			p.Memory.Sticky[i] = posted
		} else {
			p.Memory.Sticky = append(p.Memory.Sticky, posted)
		}
		if seen.After(at) {
			at = seen
		}
	}
	for _, surplus := range p.Memory.Sticky[len(bodies):] {
		if err := s.Forge.DeleteComment(ctx, p.Operator.Ref(), p.Pull.Number, surplus.ID); err != nil && forge.CodeOf(err) != forge.NotFound {
			return err
		}
	}
	p.Memory.Sticky = p.Memory.Sticky[:len(bodies)]
	if !p.Fresh() {
		return nil
	}
	shown := p.Publication()
	shown.At = at
	if a.Unshown {
		shown.Digests = nil
	}
	p.Memory.Published(shown)
	return nil
}

// adopt finds the sticky comments of a lost memory, or of a creation whose
// answer was lost, by their markers.
func (s *Speaker) adopt(p *reconcile.State) {
	for i := len(p.Memory.Sticky); ; i++ {
		marker := report.Marker(key(p), i+1)
		found := slices.IndexFunc(p.Comments, func(c forge.Comment) bool {
			return c.Author.ID == p.Self.ID && strings.HasPrefix(c.Body, marker)
		})
		if found < 0 {
			return
		}
		c := p.Comments[found]
		p.Memory.Sticky = append(p.Memory.Sticky, reconcile.Posted{ID: c.ID, URL: c.URL})
	}
}

// post writes one part and tells when people could first see it, by the
// forge's clock. A text that stands already is not written again, and its
// time is that of the comment itself.
func (s *Speaker) post(ctx context.Context, p *reconcile.State, i int, body string) (reconcile.Posted, time.Time, error) {
	ref := p.Operator.Ref()
	if i < len(p.Memory.Sticky) {
		old := p.Memory.Sticky[i]
		// One that was deleted since it was listed is an error like any other:
		// the next try does not find it, and makes a new one.
		c, err := s.Forge.UpdateComment(ctx, ref, p.Pull.Number, old.ID, body)
		if err != nil {
			return reconcile.Posted{}, time.Time{}, err
		}
		if old.Doctored && !stands(p, old.ID, body) {
			_, err = s.Store.AppendRecord(context.WithoutCancel(ctx), s.Completed(p, forge.User{}, audit.Record{
				Type: audit.Forge, CommentID: old.ID, Outcome: "report edited",
				Reason: "the report was not as lockkeeper had left it, and was written again: somebody edited it, or an edit of lockkeeper's own was cut short",
			}))
		}
		return posted(c, body), c.UpdatedAt, err
	}
	c, err := s.Forge.CreateComment(ctx, ref, p.Pull.Number, body)
	if err != nil {
		return reconcile.Posted{}, time.Time{}, err
	}
	return posted(c, body), c.UpdatedAt, nil
}

// stands reports whether a comment says this already: the process that wrote it
// was stopped before it could note that.
func stands(p *reconcile.State, id int64, body string) bool {
	return slices.ContainsFunc(p.Comments, func(c forge.Comment) bool { return c.ID == id && strings.TrimSpace(c.Body) == strings.TrimSpace(body) })
}

// posted is a comment that was just written with a body.
func posted(c forge.Comment, body string) reconcile.Posted {
	return reconcile.Posted{ID: c.ID, Hash: names.Hash(body), Stands: names.Hash(c.Body), URL: c.URL}
}

// WriteCheck writes the check on a head.
func (s *Speaker) WriteCheck(ctx context.Context, p *reconcile.State, c forge.Check) error {
	id, err := s.Forge.SetCheck(ctx, p.Operator.Ref(), c)
	if err != nil {
		return err
	}
	p.Memory.Check = reconcile.Posted{ID: id, SHA: c.SHA, Hash: reconcile.CheckHash(c)}
	return nil
}

// Answer replies once: a reply that an earlier run managed to post, and not to
// note, is found by its marker.
func (s *Speaker) Answer(ctx context.Context, p *reconcile.State, a reconcile.Answer) error {
	marker := report.Marker(a.Reply.Key, 1)
	said := slices.ContainsFunc(p.Comments, func(c forge.Comment) bool {
		return c.Author.ID == p.Self.ID && strings.HasPrefix(c.Body, marker)
	})
	if !said {
		body, err := a.Reply.Body()
		if err != nil {
			return err
		}
		if _, err := s.Forge.CreateComment(ctx, p.Operator.Ref(), p.Pull.Number, body); err != nil {
			return err
		}
	}
	outcome, kind := "done", audit.Command
	if !a.Reply.OK() {
		outcome, kind = "refused", audit.Refusal
	}
	c := a.Command
	err := s.Store.FinishCommand(ctx, s.Forge.Kind(), c.Comment.ID, c.Index, outcome, nil, s.Completed(p, c.Comment.Author, audit.Record{
		Type: kind, CommentID: c.Comment.ID, Outcome: outcome,
		Reason: sentence(append([]string{c.Parsed.Line, a.Reply.Text}, a.Reply.Items...)...),
	}))
	if err != nil && !errors.Is(err, store.ErrFinished) {
		return err
	}
	p.Commands = slices.DeleteFunc(p.Commands, func(o reconcile.Command) bool { return o.Comment.ID == c.Comment.ID && o.Index == c.Index })
	return nil
}

// RequestReview asks once. People whom the forge does not let review are left
// alone: the report says who may approve. They must not keep the others from
// being asked, so that each is asked alone if the forge refuses all.
func (s *Speaker) RequestReview(ctx context.Context, p *reconcile.State, who []policy.Reviewer) error {
	for _, r := range who {
		p.Memory.Reviewers = append(p.Memory.Reviewers, reconcile.ReviewerName(r))
	}
	refused, err := s.askForReview(ctx, p, who...)
	if err != nil || !refused || len(who) == 1 {
		return err
	}
	for _, r := range who {
		if _, err := s.askForReview(ctx, p, r); err != nil {
			return err
		}
	}
	return nil
}

// askForReview reports whether the forge refuses to ask these.
func (s *Speaker) askForReview(ctx context.Context, p *reconcile.State, who ...policy.Reviewer) (refused bool, err error) {
	var users []forge.User
	var teams []forge.Team
	for _, r := range who {
		if team, isTeam := forge.ParseTeam(r.Team); isTeam {
			teams = append(teams, team)
		} else {
			users = append(users, forge.User{ID: r.ID, Login: r.Login})
		}
	}
	err = s.Forge.RequestReview(ctx, p.Operator.Ref(), p.Pull.Number, users, teams)
	switch forge.CodeOf(err) {
	case forge.Invalid, forge.NotFound, forge.Forbidden:
		s.Log.WarnContext(ctx, "a review could not be requested: the report names who is missing all the same", "key", key(p), "error", err)
		return true, nil
	}
	return false, err
}

// Acknowledge marks a command as seen. The reaction is a courtesy: a forge that
// refuses it must not keep the command from being carried out.
func (s *Speaker) Acknowledge(ctx context.Context, p *reconcile.State, c reconcile.Command) {
	if err := s.Forge.React(ctx, p.Operator.Ref(), p.Pull.Number, c.Comment.ID, forge.Eyes); err != nil {
		s.Log.WarnContext(ctx, "a command got no reaction; it is carried out and answered all the same", "key", key(p), "comment", c.Comment.ID, "error", err)
	}
}

// sentence joins the parts of an answer that are there.
func sentence(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), "; ")
}
