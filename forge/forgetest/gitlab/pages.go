package gitlab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"lockkeeper/forge/forgetest/gitlab/internal/lab"
	"lockkeeper/forge/forgetest/page"
)

// browser is what people see in one. Groups nest, so that addresses are cut at
// "/-/", as GitLab does.
func (s *Server) browser() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.home)
	mux.HandleFunc("GET /assets/{file}", page.Asset)
	mux.HandleFunc("POST /session", s.switchUser)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		full, rest, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/-/")
		number, _ := strconv.Atoi(strings.TrimPrefix(rest, "merge_requests/"))
		switch {
		case rest == "" && r.Method == http.MethodGet:
			http.Redirect(w, r, s.Opt.Root+"/"+full+"/-/merge_requests", http.StatusFound)
		case rest == "merge_requests":
			s.list(w, r, full)
		case number > 0 && r.Method == http.MethodPost:
			s.press(w, r, full, number)
		case number > 0:
			s.conversation(w, r, full, number)
		default:
			http.NotFound(w, r)
		}
	})
	return mux
}

func (s *Server) persons() []string {
	var list []string
	for _, u := range s.Users {
		if !u.Bot {
			list = append(list, u.Login)
		}
	}
	return list
}

// viewer is who sits in front of the browser: whom they chose, or the first person.
func (s *Server) viewer(r *http.Request) string {
	if c, err := r.Cookie("user"); err == nil && s.User(c.Value) != nil {
		return c.Value
	}
	if list := s.persons(); len(list) > 0 {
		return list[0]
	}
	return ""
}

func (s *Server) switchUser(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: "user", Value: r.FormValue("user"), Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	back := s.URL + "/"
	if strings.HasPrefix(r.Referer(), s.URL) {
		back = r.Referer()
	}
	http.Redirect(w, r, back, http.StatusSeeOther)
}

func (s *Server) frame(r *http.Request, title, repo string) page.Frame {
	return page.Frame{
		Look:  page.Look{Forge: "GitLab", Root: s.Opt.Root, List: "/-/merge_requests", One: "/-/merge_requests/", Anchor: "note_", Mark: "!", Pulls: "merge requests"},
		Title: title, Repo: repo, Users: s.persons(), Me: s.viewer(r), Problem: r.URL.Query().Get("problem"),
	}
}

func (s *Server) home(w http.ResponseWriter, r *http.Request) {
	s.Mu.Lock()
	view := page.Home{Frame: s.frame(r, "Projects", "")}
	for _, p := range s.Projects {
		view.Repos = append(view.Repos, page.Repo{Name: p.Full(), Total: len(p.MRs), Open: len(p.OpenMRs())})
	}
	s.Mu.Unlock()
	page.Render(w, r, "home", view)
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, full string) {
	s.Mu.Lock()
	p := s.Project(full)
	if p == nil {
		s.Mu.Unlock()
		http.NotFound(w, r)
		return
	}
	view := page.List{Frame: s.frame(r, "Merge requests · "+full, full)}
	for _, m := range p.SortedMRs() {
		view.Pulls = append(view.Pulls, s.head(r, m))
	}
	s.Mu.Unlock()
	page.Render(w, r, "list", view)
}

// shown is a login as the pages take it: those of programs are marked.
func shown(u *lab.User) string {
	if u.Bot {
		return u.Login + "[bot]"
	}
	return u.Login
}

// head is what a list shows of a merge request.
func (s *Server) head(r *http.Request, m *lab.MR) page.Pull {
	state := map[string]string{lab.Opened: "open", lab.Closed: "closed", lab.Merged: "merged"}[m.State]
	if m.Draft() && m.State == lab.Opened {
		state = "draft"
	}
	from := m.SourceBranch
	if m.Source != m.Project && m.Source != nil {
		from = m.Source.Full() + ":" + from
	}
	comments := 0
	for _, n := range m.Project.Notes(m, nil) {
		if !n.System {
			comments++
		}
	}
	return page.Pull{
		Frame:  s.frame(r, fmt.Sprintf("%s (!%d) · %s", m.Title, m.IID, m.Project.Full()), m.Project.Full()),
		Number: m.IID, Subject: m.Title, State: state, Author: shown(m.Author), Base: m.TargetBranch, Head: from, HeadSHA: m.Head(),
		MergeSHA: cmp.Or(m.MergeSHA, m.SquashSHA, m.Head()), Created: m.Created, Body: m.Description, Comments: comments,
	}
}

func (s *Server) conversation(w http.ResponseWriter, r *http.Request, full string, number int) {
	s.Mu.Lock()
	p := s.Project(full)
	if p == nil || p.MRs[number] == nil {
		s.Mu.Unlock()
		http.NotFound(w, r)
		return
	}
	view := s.view(r, p.MRs[number])
	s.Mu.Unlock()
	page.Render(w, r, "pull", view)
}

// mergeWords turn detailed_merge_status into what the page knows, and into words.
var mergeWords = map[string][2]string{
	"mergeable": {"clean", ""}, "conflict": {"dirty", ""}, "draft_status": {"draft", ""}, "ci_must_pass": {"blocked", "The pipeline must succeed."},
	"ci_still_running": {"blocked", "The pipeline is running and must succeed."}, "not_approved": {"blocked", "Approvals are missing."},
	"requested_changes": {"blocked", "A reviewer requested changes."}, "need_rebase": {"behind", ""}, "commits_status": {"blocked", "The source branch is gone or brings nothing."},
}

func (s *Server) view(r *http.Request, m *lab.MR) page.Pull {
	ctx := context.WithoutCancel(r.Context())
	v := s.head(r, m)
	words := mergeWords[s.DetailedStatus(ctx, m, true)]
	v.Merge = words[0]
	if words[1] != "" {
		v.Missing = []string{words[1]}
	}
	v.Timeline = s.timeline(ctx, m)
	if line := m.HeadPipeline(); line != nil {
		for _, t := range line.Latest() {
			state := map[string]string{"success": "success", "failed": "failure", "canceled": "failure", "skipped": "success"}[t.State]
			v.Checks = append(v.Checks, page.Check{Name: t.Name, State: cmp.Or(state, "pending"), Title: t.Description, URL: t.TargetURL})
		}
	}
	for _, f := range m.Patches(ctx, true) {
		v.Files = append(v.Files, page.File{Path: f.Path, Status: f.Status, Additions: f.Additions, Deletions: f.Deletions, Lines: page.Lines(f.Patch)})
	}
	return v
}

func (s *Server) timeline(ctx context.Context, m *lab.MR) []page.Entry {
	var list []page.Entry
	for _, c := range m.Commits(ctx) {
		who := c.Author.Name
		if u := s.UserByEmail(c.Author.Email); u != nil {
			who = shown(u)
		}
		subject, _, _ := strings.Cut(c.Message, "\n")
		list = append(list, page.Entry{Kind: "commit", At: c.Committer.When, Who: who, Body: subject, SHA: c.SHA})
	}
	for _, n := range m.Project.Notes(m, nil) {
		if n.System {
			text, _, _ := strings.Cut(n.Body, "\n")
			list = append(list, page.Entry{Kind: "event", At: n.Created, Who: shown(n.Author), Mention: strings.NewReplacer("**", "", "`", "").Replace(text)})
			continue
		}
		e := page.Entry{Kind: "comment", ID: n.ID, At: n.Created, Who: shown(n.Author), Body: n.Body, Edited: !n.Edited.IsZero()}
		given := n.Emoji()
		for picture, who := range given {
			e.React = append(e.React, page.Reaction{Emoji: picture, Count: len(who), Who: strings.Join(who, ", ")})
		}
		slices.SortFunc(e.React, func(a, b page.Reaction) int { return cmp.Compare(a.Emoji, b.Emoji) })
		list = append(list, e)
	}
	if m.State == lab.Merged {
		list = append(list, page.Entry{Kind: "event", At: m.MergedAt, State: "merged", Who: shown(m.MergeUser), Mention: "merged this into " + m.TargetBranch})
	} else if m.State == lab.Closed {
		list = append(list, page.Entry{Kind: "event", At: m.ClosedAt, State: "closed", Who: shown(m.ClosedBy), Mention: "closed this"})
	}
	slices.SortStableFunc(list, func(a, b page.Entry) int { return a.At.Compare(b.At) })
	return list
}

// press does what the reader asked for, through the public API, as the user that
// the reader chose to be.
func (s *Server) press(w http.ResponseWriter, r *http.Request, full string, number int) {
	if origin := r.Header.Get("Origin"); origin != "" && !strings.HasPrefix(s.URL, origin) {
		http.Error(w, "a form of another site", http.StatusForbidden)
		return
	}
	s.Mu.Lock()
	me := s.viewer(r)
	s.Mu.Unlock()
	if me == "" {
		http.NotFound(w, r)
		return
	}
	err := s.As(me).Press(r.Context(), full, number, r.FormValue("do"), r.FormValue("body"))
	to := s.Opt.Root + r.URL.Path
	if err != nil {
		message := err.Error()
		if e := (*StatusError)(nil); errors.As(err, &e) {
			message = e.Message()
		}
		to += "?problem=" + url.QueryEscape(message)
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// Press is what a button of the page does.
func (c *Client) Press(ctx context.Context, full string, number int, name, body string) error {
	path := MRPath(full, number)
	if body != "" && name != "comment" {
		if err := c.Do(ctx, http.MethodPost, path+"/notes", obj{"body": body}, nil); err != nil {
			return err
		}
	}
	switch name {
	case "APPROVE":
		return c.Do(ctx, http.MethodPost, path+"/approve", obj{}, nil)
	case "REQUEST_CHANGES":
		return c.RequestChanges(ctx, full, number)
	case "merge":
		return c.Do(ctx, http.MethodPut, path+"/merge", obj{}, nil)
	case "close", "reopen":
		return c.Do(ctx, http.MethodPut, path, obj{"state_event": name}, nil)
	}
	return c.Do(ctx, http.MethodPost, path+"/notes", obj{"body": body}, nil)
}
