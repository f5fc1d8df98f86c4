package gitlab

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"lockkeeper/forge"
	server "lockkeeper/forge/forgetest/gitlab"
	"lockkeeper/forge/people"
)

type account struct {
	ID       int64
	Username string
}

type note struct {
	ID     int64
	Author account
	Body   string
}

type mergeRequest struct {
	IID         int
	Title       string
	Description string
	Draft       bool
	Author      account
	Reviewers   []account
	State       string
	SHA         string
	Target      string `json:"target_branch"`
	Source      string `json:"source_branch"`
	Merged      string `json:"merge_commit_sha"`
	Squashed    string `json:"squash_commit_sha"`
}

// mergedAs is the commit on the target branch.
func (m mergeRequest) mergedAs() string {
	if m.State != "merged" {
		return ""
	}
	return cmp.Or(m.Merged, m.Squashed, m.SHA)
}

func (m mergeRequest) seen() people.Pull {
	title := m.Title
	if m.Draft {
		title = strings.TrimPrefix(title, draft)
	}
	return people.Pull{Number: m.IID, Title: title, Body: m.Description, Author: m.Author.Username, Base: m.Target, Head: m.Source, HeadSHA: m.SHA,
		State: state(m.State), Merged: m.State == "merged", MergeSHA: m.mergedAs()}
}

func state(word string) forge.PullState {
	if word == "opened" {
		return forge.Open
	}
	return forge.Closed
}

// Pull reads a merge request.
func (p *person) Pull(ctx context.Context, repo string, number int) (people.Pull, error) {
	var found mergeRequest
	err := p.get(ctx, server.MRPath(repo, number), &found)
	return found.seen(), err
}

// Pulls lists the merge requests.
func (p *person) Pulls(ctx context.Context, repo string) ([]people.Pull, error) {
	found, err := all[mergeRequest](ctx, p, server.ProjectPath(repo)+"/merge_requests")
	var list []people.Pull
	for _, m := range found {
		list = append(list, m.seen())
	}
	return list, err
}

// Issues lists the issues.
func (p *person) Issues(ctx context.Context, repo string) ([]people.Issue, error) {
	type issue struct {
		IID         int
		Title       string
		Description string
		Author      account
		State       string
	}
	found, err := all[issue](ctx, p, server.ProjectPath(repo)+"/issues")
	var list []people.Issue
	for _, i := range found {
		list = append(list, people.Issue{Number: i.IID, Title: i.Title, Body: i.Description, Author: i.Author.Username, State: state(i.State)})
	}
	return list, err
}

// Comments lists the notes of people and programs.
func (p *person) Comments(ctx context.Context, repo string, number int) ([]people.Comment, error) {
	found, err := all[note](ctx, p, notesPath(repo, number)+"?activity_filter=only_comments&sort=asc")
	var list []people.Comment
	for _, n := range found {
		list = append(list, people.Comment{ID: n.ID, Author: n.Author.Username, Body: n.Body})
	}
	return list, err
}

// Reactions lists who put which emoji on a note.
func (p *person) Reactions(ctx context.Context, repo string, number int, comment int64) (map[forge.Reaction][]string, error) {
	type award struct {
		Name forge.Reaction
		User account
	}
	found, err := all[award](ctx, p, notePath(repo, number, comment)+"/award_emoji")
	by := map[forge.Reaction][]string{}
	for _, a := range found {
		by[a.Name] = append(by[a.Name], a.User.Username)
	}
	return by, err
}

// Checks lists the newest status of each name on a commit.
func (p *person) Checks(ctx context.Context, repo, sha string) ([]people.Shown, error) {
	type status struct{ Name, Description, Status string }
	found, err := all[status](ctx, p, fmt.Sprintf("%s/repository/commits/%s/statuses", server.ProjectPath(repo), sha))
	shown := map[string]forge.CheckState{"pending": forge.Pending, "running": forge.Pending, "success": forge.Success, "skipped": forge.Skipped}
	var list []people.Shown
	for _, s := range found {
		list = append(list, people.Shown{Name: s.Name, Title: s.Description, State: cmp.Or(shown[s.Status], forge.Failure)})
	}
	return list, err
}
