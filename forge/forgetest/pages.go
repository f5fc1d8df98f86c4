package forgetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"lockkeeper/forge/forgetest/internal/hub"
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
func (s *Server) pageUser(r *http.Request) *hub.Account {
	if c, err := r.Cookie("user"); err == nil && s.Account(c.Value) != nil {
		return s.Account(c.Value)
	}
	if people := s.people(); len(people) > 0 {
		return s.Account(people[0])
	}
	return nil
}

func (s *Server) people() []string {
	var list []string
	for _, a := range slices.SortedFunc(maps.Values(s.Accounts), func(a, b *hub.Account) int { return int(a.ID - b.ID) }) {
		if a.Kind == "User" && a != s.Ghost && a != s.WebFlow {
			list = append(list, a.Login)
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
		f.Me = me.Login
	}
	return f
}

func (s *Server) homePage(w http.ResponseWriter, r *http.Request) {
	s.Mu.Lock()
	view := page.Home{Frame: s.frame(r, "Repositories", "")}
	for _, repo := range s.SortedRepos() {
		line := page.Repo{Name: repo.Full(), Total: len(repo.Pulls)}
		for _, p := range repo.Pulls {
			if !p.Closed {
				line.Open++
			}
		}
		view.Repos = append(view.Repos, line)
	}
	s.Mu.Unlock()
	page.Render(w, r, "home", view)
}

func (s *Server) listPage(w http.ResponseWriter, r *http.Request) {
	s.Mu.Lock()
	repo := s.Repo(r.PathValue("owner"), r.PathValue("repo"))
	if repo == nil {
		s.Mu.Unlock()
		http.NotFound(w, r)
		return
	}
	view := page.List{Frame: s.frame(r, "Pull requests · "+repo.Full(), repo.Full())}
	for _, p := range slices.Backward(repo.SortedPulls()) {
		view.Pulls = append(view.Pulls, s.pullHead(r, p))
	}
	s.Mu.Unlock()
	page.Render(w, r, "list", view)
}

// pullHead is what a list shows of a pull.
func (s *Server) pullHead(r *http.Request, p *hub.Pull) page.Pull {
	state := p.State()
	switch {
	case p.Merged:
		state = "merged"
	case p.Draft && !p.Closed:
		state = "draft"
	}
	head := p.HeadRef
	if p.HeadRepo != p.Repo {
		head = p.HeadOwner.Login + ":" + p.HeadRef
	}
	return page.Pull{
		Frame:  s.frame(r, fmt.Sprintf("%s · #%d · %s", p.Title, p.Number, p.Repo.Full()), p.Repo.Full()),
		Number: p.Number, Subject: p.Title, State: state, Author: p.Author.Login, Base: p.BaseRef, Head: head, HeadSHA: p.HeadSHA,
		MergeSHA: p.MergeSHA, Created: p.Created, Body: p.Body, Comments: len(p.CommentList()),
	}
}

func (s *Server) pullPage(w http.ResponseWriter, r *http.Request) {
	s.Mu.Lock()
	repo := s.Repo(r.PathValue("owner"), r.PathValue("repo"))
	number, _ := strconv.Atoi(r.PathValue("number"))
	if repo == nil || repo.Pulls[number] == nil {
		s.Mu.Unlock()
		http.NotFound(w, r)
		return
	}
	view := s.pullView(r, repo.Pulls[number])
	s.Mu.Unlock()
	page.Render(w, r, "pull", view)
}

func (s *Server) pullView(r *http.Request, p *hub.Pull) page.Pull {
	ctx := context.WithoutCancel(r.Context())
	v := s.pullHead(r, p)
	v.Merge, _ = s.PullFull(ctx, p)["mergeable_state"].(string)
	if v.State == "open" {
		v.Missing = s.Missing(ctx, p, p.Repo.Protection[p.BaseRef])
	}
	v.Timeline = s.timeline(ctx, p)
	for _, k := range hub.LatestChecks(p.Repo, p.HeadSHA) {
		v.Checks = append(v.Checks, page.Check{Name: k.Name, State: s.CheckStates(p.Repo, p.HeadSHA)[k.Name], Title: cmp.Or(k.Title, k.Status), Summary: k.Summary})
	}
	seen := map[string]bool{}
	for _, t := range p.Repo.StatusesOf(p.HeadSHA) {
		if !seen[t.Context] {
			seen[t.Context] = true
			v.Checks = append(v.Checks, page.Check{Name: t.Context, State: s.CheckStates(p.Repo, p.HeadSHA)[t.Context], Title: t.Description})
		}
	}
	for _, f := range p.Patches(ctx) {
		v.Files = append(v.Files, page.File{Path: f.Path, Status: f.Status, Additions: f.Additions, Deletions: f.Deletions, Lines: page.Lines(f.Patch)})
	}
	return v
}

var reactionEmoji = map[string]string{
	"+1": "👍", "-1": "👎", "laugh": "😄", "confused": "😕", "heart": "❤️", "hooray": "🎉", "rocket": "🚀", "eyes": "👀"}

func (s *Server) timeline(ctx context.Context, p *hub.Pull) []page.Entry {
	var list []page.Entry
	for _, c := range p.Commits(ctx) {
		who := c.Author.Name
		if a := s.AccountByEmail(c.Author.Email); a != nil {
			who = a.Login
		}
		subject, _, _ := strings.Cut(c.Message, "\n")
		list = append(list, page.Entry{Kind: "commit", At: c.Committer.When, Who: who, Body: subject, SHA: c.SHA})
	}
	for _, m := range p.CommentList() {
		e := page.Entry{Kind: "comment", ID: m.ID, At: m.Created, Who: m.Author.Login, Body: m.Body, Edited: m.Updated.After(m.Created)}
		for _, kind := range hub.ReactionKinds {
			var who []string
			for _, x := range m.Reactions {
				if x.Content == kind {
					who = append(who, x.User.Login)
				}
			}
			if len(who) > 0 {
				e.React = append(e.React, page.Reaction{Emoji: reactionEmoji[kind], Count: len(who), Who: strings.Join(who, ", ")})
			}
		}
		list = append(list, e)
	}
	for _, v := range p.Reviews {
		if v.State != "PENDING" {
			list = append(list, page.Entry{
				Kind: "review", ID: v.ID, At: v.Submitted, Who: v.Author.Login, Body: v.Body, SHA: v.SHA, State: v.State, Stale: v.SHA != p.HeadSHA})
		}
	}
	slices.SortStableFunc(list, func(a, b page.Entry) int { return a.At.Compare(b.At) })
	if p.Closed {
		e := page.Entry{Kind: "event", At: p.ClosedAt, State: "closed", Mention: "closed this"}
		if by := p.ClosedBy; by != nil {
			e.Who = by.Login
		}
		if p.Merged {
			e.State, e.Mention = "merged", "merged this into "+p.BaseRef
			e.Who = p.MergedBy.Login
		}
		at := slices.IndexFunc(list, func(x page.Entry) bool { return x.At.After(p.ClosedAt) })
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
	s.Mu.Lock()
	me := s.pageUser(r)
	s.Mu.Unlock()
	number, err := strconv.Atoi(r.PathValue("number"))
	if me == nil || err != nil {
		http.NotFound(w, r)
		return
	}
	err = s.As(me.Login).press(r.Context(), r.PathValue("owner")+"/"+r.PathValue("repo"), number, r.FormValue("do"), r.FormValue("body"))
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
