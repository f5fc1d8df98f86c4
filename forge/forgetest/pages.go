package forgetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"lockkeeper/forge/forgetest/page"
)

// pages are what people see in a browser.
func (s *Server) pages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /settings/apps/new", s.createFromManifest)
	mux.HandleFunc("POST /organizations/{org}/settings/apps/new", s.createFromManifest)
	mux.HandleFunc("GET /{$}", s.homePage)
	mux.HandleFunc("GET /assets/{file}", page.Asset)
	mux.HandleFunc("POST /session", s.switchUser)
	mux.HandleFunc("GET /{owner}/{repo}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Path+"/pulls", http.StatusFound)
	})
	mux.HandleFunc("GET /{owner}/{repo}/pulls", s.listPage)
	mux.HandleFunc("GET /{owner}/{repo}/pull/{number}", s.pullPage)
	mux.HandleFunc("POST /{owner}/{repo}/pull/{number}", s.answerPage)
	return mux
}

// pageUser is who sits in front of the browser: whom they chose, or the first
// person that was seeded.
func (s *Server) pageUser(r *http.Request) *account {
	if c, err := r.Cookie("user"); err == nil && s.account(c.Value) != nil {
		return s.account(c.Value)
	}
	if people := s.people(); len(people) > 0 {
		return s.account(people[0])
	}
	return nil
}

func (s *Server) people() []string {
	var list []string
	for _, a := range slices.SortedFunc(maps.Values(s.accounts), func(a, b *account) int { return int(a.id - b.id) }) {
		if a.kind == "User" && a != s.ghost && a != s.webFlow {
			list = append(list, a.login)
		}
	}
	return list
}

func (s *Server) switchUser(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: "user", Value: r.FormValue("user"), Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	back := "/"
	if from, found := strings.CutPrefix(r.Referer(), s.URL); found {
		back = from
	}
	http.Redirect(w, r, back, http.StatusSeeOther)
}

func (s *Server) frame(r *http.Request, title, repo string) page.Frame {
	f := page.Frame{Title: title, Repo: repo, Users: s.people(), Problem: r.URL.Query().Get("problem")}
	if me := s.pageUser(r); me != nil {
		f.Me = me.login
	}
	return f
}

func (s *Server) homePage(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	view := page.Home{Frame: s.frame(r, "Repositories", "")}
	for _, repo := range s.sortedRepos() {
		line := page.Repo{Name: repo.full(), Total: len(repo.pulls)}
		for _, p := range repo.pulls {
			if !p.closed {
				line.Open++
			}
		}
		view.Repos = append(view.Repos, line)
	}
	s.mu.Unlock()
	page.Render(w, r, "home", view)
}

func (s *Server) listPage(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	repo := s.repo(r.PathValue("owner"), r.PathValue("repo"))
	if repo == nil {
		s.mu.Unlock()
		http.NotFound(w, r)
		return
	}
	view := page.List{Frame: s.frame(r, "Pull requests · "+repo.full(), repo.full())}
	for _, p := range slices.Backward(repo.sortedPulls()) {
		view.Pulls = append(view.Pulls, s.pullHead(r, p))
	}
	s.mu.Unlock()
	page.Render(w, r, "list", view)
}

// pullHead is what a list shows of a pull.
func (s *Server) pullHead(r *http.Request, p *pull) page.Pull {
	state := p.state()
	switch {
	case p.merged:
		state = "merged"
	case p.draft && !p.closed:
		state = "draft"
	}
	head := p.headRef
	if p.headRepo != p.repo {
		head = p.headOwner.login + ":" + p.headRef
	}
	return page.Pull{
		Frame:  s.frame(r, fmt.Sprintf("%s · #%d · %s", p.title, p.number, p.repo.full()), p.repo.full()),
		Number: p.number, Subject: p.title, State: state, Author: p.author.login, Base: p.baseRef, Head: head, HeadSHA: p.headSHA,
		MergeSHA: p.mergeSHA, Created: p.created, Body: p.body, Comments: len(p.commentList()),
	}
}

func (s *Server) pullPage(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	repo := s.repo(r.PathValue("owner"), r.PathValue("repo"))
	number, _ := strconv.Atoi(r.PathValue("number"))
	if repo == nil || repo.pulls[number] == nil {
		s.mu.Unlock()
		http.NotFound(w, r)
		return
	}
	view := s.pullView(r, repo.pulls[number])
	s.mu.Unlock()
	page.Render(w, r, "pull", view)
}

func (s *Server) pullView(r *http.Request, p *pull) page.Pull {
	ctx := context.WithoutCancel(r.Context())
	v := s.pullHead(r, p)
	v.Merge, _ = s.pullFull(ctx, p)["mergeable_state"].(string)
	if v.State == "open" {
		v.Missing = s.missing(ctx, p, p.repo.protection[p.baseRef])
	}
	v.Timeline = s.timeline(ctx, p)
	for _, k := range latestChecks(p.repo, p.headSHA) {
		v.Checks = append(v.Checks, page.Check{Name: k.name, State: s.checkStates(p.repo, p.headSHA)[k.name], Title: cmpOr(k.title, k.status), Summary: k.summary})
	}
	seen := map[string]bool{}
	for _, t := range p.repo.statusesOf(p.headSHA) {
		if !seen[t.context] {
			seen[t.context] = true
			v.Checks = append(v.Checks, page.Check{Name: t.context, State: s.checkStates(p.repo, p.headSHA)[t.context], Title: t.description})
		}
	}
	for _, f := range p.patches(ctx) {
		v.Files = append(v.Files, page.File{Path: f.Path, Status: f.Status, Additions: f.Additions, Deletions: f.Deletions, Lines: page.Lines(f.Patch)})
	}
	return v
}

var reactionEmoji = map[string]string{
	"+1": "👍", "-1": "👎", "laugh": "😄", "confused": "😕", "heart": "❤️", "hooray": "🎉", "rocket": "🚀", "eyes": "👀"}

func (s *Server) timeline(ctx context.Context, p *pull) []page.Entry {
	var list []page.Entry
	for _, c := range p.commits(ctx) {
		who := c.Author.Name
		if a := s.accountByEmail(c.Author.Email); a != nil {
			who = a.login
		}
		subject, _, _ := strings.Cut(c.Message, "\n")
		list = append(list, page.Entry{Kind: "commit", At: c.Committer.When, Who: who, Body: subject, SHA: c.SHA})
	}
	for _, m := range p.commentList() {
		e := page.Entry{Kind: "comment", ID: m.id, At: m.created, Who: m.author.login, Body: m.body, Edited: m.updated.After(m.created)}
		for _, kind := range reactionKinds {
			var who []string
			for _, x := range m.reactions {
				if x.content == kind {
					who = append(who, x.user.login)
				}
			}
			if len(who) > 0 {
				e.React = append(e.React, page.Reaction{Emoji: reactionEmoji[kind], Count: len(who), Who: strings.Join(who, ", ")})
			}
		}
		list = append(list, e)
	}
	for _, v := range p.reviews {
		if v.state != "PENDING" {
			list = append(list, page.Entry{
				Kind: "review", ID: v.id, At: v.submitted, Who: v.author.login, Body: v.body, SHA: v.sha, State: v.state, Stale: v.sha != p.headSHA})
		}
	}
	slices.SortStableFunc(list, func(a, b page.Entry) int { return a.At.Compare(b.At) })
	if p.closed {
		e := page.Entry{Kind: "event", At: p.closedAt, State: "closed", Mention: "closed this"}
		if by := p.closedBy; by != nil {
			e.Who = by.login
		}
		if p.merged {
			e.State, e.Mention = "merged", "merged this into "+p.baseRef
			e.Who = p.mergedBy.login
		}
		at := slices.IndexFunc(list, func(x page.Entry) bool { return x.At.After(p.closedAt) })
		if at < 0 {
			at = len(list)
		}
		list = slices.Insert(list, at, e)
	}
	return list
}

// answerPage does what the reader asked for, through the public API, as the
// user that the reader chose to be.
func (s *Server) answerPage(w http.ResponseWriter, r *http.Request) {
	if origin := r.Header.Get("Origin"); origin != "" && origin != s.URL {
		http.Error(w, "a form of another site", http.StatusForbidden)
		return
	}
	s.mu.Lock()
	me := s.pageUser(r)
	s.mu.Unlock()
	number, err := strconv.Atoi(r.PathValue("number"))
	if me == nil || err != nil {
		http.NotFound(w, r)
		return
	}
	err = s.As(me.login).press(r.Context(), r.PathValue("owner")+"/"+r.PathValue("repo"), number, r.FormValue("do"), r.FormValue("body"))
	to := r.URL.Path
	if err != nil {
		message := err.Error()
		if e := (*StatusError)(nil); errors.As(err, &e) {
			message = e.Message()
		}
		to += "?problem=" + url.QueryEscape(message)
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// press is what a button of the page does.
func (c *Client) press(ctx context.Context, repo string, number int, button, body string) error {
	switch button {
	case "APPROVE", "REQUEST_CHANGES":
		_, err := c.Review(ctx, repo, number, button, body)
		return err
	case "merge":
		_, err := c.Merge(ctx, repo, number, "merge")
		return err
	case "close":
		return c.Close(ctx, repo, number)
	case "reopen":
		return c.Reopen(ctx, repo, number)
	}
	_, err := c.Comment(ctx, repo, number, body)
	return err
}
