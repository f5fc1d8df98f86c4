package lab

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"lockkeeper/forge/forgetest/gitlab/internal/quick"
	"lockkeeper/forge/forgetest/gitlab/internal/refuse"
)

// Remark is a note: what somebody, or GitLab itself, wrote under a merge request
// or an issue.
type Remark struct {
	ID      int64
	Project *Project
	MR      *MR // or
	Issue   *Issue
	Author  *User
	Body    string
	System  bool
	Created time.Time
	// Updated moves with edits and with reactions, Edited with edits only.
	Updated, Edited time.Time
	EditedBy        *User
	Awards          []*Award
}

// Award is an emoji on a note.
type Award struct {
	ID   int64
	Name string
	User *User
	At   time.Time
}

// Issue is an issue.
type Issue struct {
	ID                 int64
	IID                int
	Project            *Project
	Title, Description string
	Author, ClosedBy   *User
	State              string
	Labels             []string
	Created, Updated   time.Time
	ClosedAt           time.Time
}

// Notes lists what stands under a merge request or an issue, oldest first.
func (p *Project) Notes(m *MR, i *Issue) []*Remark {
	var list []*Remark
	for _, n := range p.notes {
		if n.MR == m && n.Issue == i {
			list = append(list, n)
		}
	}
	slices.SortFunc(list, func(a, b *Remark) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// Remark finds a note under a merge request or an issue.
func (p *Project) Remark(m *MR, i *Issue, id int64) *Remark {
	if n := p.notes[id]; n != nil && n.MR == m && n.Issue == i {
		return n
	}
	return nil
}

func (s *Lab) keep(n *Remark) {
	n.ID = s.NextID()
	n.Created, n.Updated = s.Clock(), s.Clock()
	n.Project.notes[n.ID] = n
}

// system has GitLab itself note something.
func (s *Lab) system(m *MR, by *User, body string) {
	s.keep(&Remark{Project: m.Project, MR: m, Author: by, Body: body, System: true})
}

// Outcome is what became of a note: it was made, or it held quick actions only.
type Outcome struct {
	Remark  *Remark
	Changes obj
	Summary []string
}

// maxNote is Gitlab::Database::MAX_TEXT_SIZE_LIMIT, in characters.
const maxNote = 1_000_000

func checkNote(body string) error {
	switch {
	case strings.TrimSpace(body) == "":
		return refuse.With(http.StatusBadRequest, `400 Bad request - Note {:note=>["can't be blank"]}`)
	case len([]rune(body)) > maxNote:
		return refuse.With(http.StatusBadRequest, `400 Bad request - Note {:note=>["is too long (maximum is 1000000 characters)"]}`)
	}
	return nil
}

// Write adds a note. Its quick actions are executed and are no part of it; head is
// the commit that a /merge was meant for.
func (s *Lab) Write(ctx context.Context, n *Remark, body, head string) (Outcome, error) {
	if err := checkNote(body); err != nil {
		return Outcome{}, err
	}
	s.Tick()
	text, commands := quick.Extract(body)
	if text == "" {
		changes, summary := s.run(ctx, n, commands, head)
		if len(summary) == 0 {
			return Outcome{}, refuse.With(http.StatusBadRequest, "400 Bad request - Commands did not apply")
		}
		return Outcome{Changes: changes, Summary: summary}, nil
	}
	n.Body = text
	s.keep(n)
	s.event(n.Project, &Event{Action: "commented on", Author: n.Author, Target: "Note", TID: n.ID, TIID: int(n.ID), TTitle: n.title(), Comment: n})
	s.TellNote(n, "create")
	changes, _ := s.run(ctx, n, commands, head)
	return Outcome{Remark: n, Changes: changes}, nil
}

func (n *Remark) title() string {
	if n.MR != nil {
		return n.MR.Title
	}
	return n.Issue.Title
}

// Rewrite edits a note, whose quick actions are executed too. One that consists of
// nothing else is removed.
func (s *Lab) Rewrite(ctx context.Context, n *Remark, by *User, body string) (Outcome, error) {
	if n.System || n.Author != by && !s.May(by, n.Project, Maintainer) {
		return Outcome{}, refuse.Forbidden()
	}
	if err := checkNote(body); err != nil {
		return Outcome{}, err
	}
	at := s.Tick()
	text, commands := quick.Extract(body)
	if text == "" {
		delete(n.Project.notes, n.ID)
		changes, summary := s.run(ctx, n, commands, "")
		return Outcome{Changes: changes, Summary: summary}, nil
	}
	if text != n.Body {
		n.Body, n.Updated, n.Edited, n.EditedBy = text, at, at, by
		s.TellNote(n, "update")
	}
	changes, _ := s.run(ctx, n, commands, "")
	return Outcome{Remark: n, Changes: changes}, nil
}

// Erase deletes a note.
func (s *Lab) Erase(n *Remark, by *User) error {
	if n.Author != by && !s.May(by, n.Project, Maintainer) {
		return refuse.Forbidden()
	}
	s.Tick()
	delete(n.Project.notes, n.ID)
	return nil
}

// emoji are the names that the look-alike knows, of the thousands that GitLab has.
var emoji = map[string]string{
	"thumbsup": "👍", "thumbsdown": "👎", "eyes": "👀", "rocket": "🚀", "confused": "😕", "heart": "❤️", "tada": "🎉", "smile": "😄", "white_check_mark": "✅",
}

// Emoji are the reactions on a note by picture, with who gave them.
func (n *Remark) Emoji() map[string][]string {
	out := map[string][]string{}
	for _, a := range n.Awards {
		out[emoji[a.Name]] = append(out[emoji[a.Name]], a.User.Login)
	}
	return out
}

// React puts an emoji on a note. That moves updated_at: Note#bump_updated_at.
func (s *Lab) React(n *Remark, by *User, name string) (*Award, error) {
	switch name {
	case "+1":
		name = "thumbsup"
	case "-1":
		name = "thumbsdown"
	}
	if emoji[name] == "" {
		return nil, refuse.NotFound("Award Emoji Name is not a valid emoji name")
	}
	if n.System || slices.ContainsFunc(n.Awards, func(a *Award) bool { return a.User == by && a.Name == name }) {
		return nil, refuse.NotFound("Award Emoji Name has already been taken")
	}
	a := &Award{ID: s.NextID(), Name: name, User: by, At: s.Tick()}
	n.Awards = append(n.Awards, a)
	n.Updated = a.At
	return a, nil
}

// Unreact takes an emoji back.
func (s *Lab) Unreact(n *Remark, by *User, id int64) error {
	i := slices.IndexFunc(n.Awards, func(a *Award) bool { return a.ID == id })
	switch {
	case i < 0:
		return refuse.NotFound("")
	case n.Awards[i].User != by:
		return refuse.With(http.StatusUnauthorized, "401 Unauthorized")
	}
	n.Awards = slices.Delete(n.Awards, i, i+1)
	n.Updated = s.Tick()
	return nil
}

// CreateIssue opens an issue.
func (s *Lab) CreateIssue(ctx context.Context, p *Project, by *User, title, description string, labels []string) (*Issue, error) {
	if !s.May(by, p, Guest) && p.Visibility != "public" {
		return nil, refuse.Forbidden()
	}
	if err := checkTexts(title, description); err != nil {
		return nil, err
	}
	at := s.Tick()
	p.lastIssue++
	text, commands := quick.Extract(description)
	i := &Issue{ID: s.NextID(), IID: p.lastIssue, Project: p, Title: title, Description: text, Author: by, State: Opened, Labels: labels, Created: at, Updated: at}
	p.Issues[i.IID] = i
	s.event(p, &Event{Action: "opened", Author: by, Target: "Issue", TID: i.ID, TIID: i.IID, TTitle: i.Title})
	s.TellIssue(i, "open", by)
	s.run(ctx, &Remark{Issue: i, Author: by, Project: p}, commands, "")
	return i, nil
}

// UpdateIssue edits an issue.
func (s *Lab) UpdateIssue(ctx context.Context, i *Issue, by *User, title, description, event *string) error {
	if !s.May(by, i.Project, Reporter) && by != i.Author {
		return refuse.Forbidden()
	}
	newTitle, newText := i.Title, i.Description
	if title != nil {
		newTitle = *title
	}
	if description != nil {
		newText = *description
	}
	if err := checkTexts(newTitle, newText); err != nil {
		return err
	}
	text, commands := quick.Extract(newText)
	i.Title, i.Description, i.Updated = newTitle, text, s.Tick()
	if event != nil {
		if *event != "close" && *event != "reopen" {
			return refuse.With(http.StatusBadRequest, "state_event does not have a valid value")
		}
		s.setIssue(i, by, *event)
	} else {
		s.TellIssue(i, "update", by)
	}
	if description != nil {
		s.run(ctx, &Remark{Issue: i, Author: by, Project: i.Project}, commands, "")
	}
	return nil
}

func (s *Lab) setIssue(i *Issue, by *User, event string) {
	if event == "close" && i.State == Opened {
		i.State, i.ClosedBy, i.ClosedAt = Closed, by, s.Clock()
	} else if event == "reopen" && i.State == Closed {
		i.State, i.ClosedBy, i.ClosedAt = Opened, nil, time.Time{}
	} else {
		return
	}
	s.event(i.Project, &Event{Action: map[string]string{"close": "closed", "reopen": "reopened"}[event], Author: by, Target: "Issue", TID: i.ID, TIID: i.IID, TTitle: i.Title})
	s.TellIssue(i, event, by)
}

// place is where people find a note, below the project's address.
func (n *Remark) place() string {
	if n.MR != nil {
		return fmt.Sprintf("/-/merge_requests/%d#note_%d", n.MR.IID, n.ID)
	}
	return fmt.Sprintf("/-/issues/%d#note_%d", n.Issue.IID, n.ID)
}
