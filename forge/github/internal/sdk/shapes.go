// Package sdk is what the GitHub driver needs of go-github beyond its calls: whole
// lists, accounts, GraphQL, and its errors in forge's words.
package sdk

import (
	"strings"

	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge"
)

// PerPage is the longest page GitHub gives.
const PerPage = 100

// Pages calls get until there is no next page.
func Pages[T any](get func(gh.ListOptions) ([]T, *gh.Response, error)) ([]T, error) {
	var all []T
	opts := gh.ListOptions{PerPage: PerPage, Page: 1}
	for {
		some, resp, err := get(opts)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		if resp.NextPage <= opts.Page {
			return all, nil
		}
		opts.Page = resp.NextPage
	}
}

// ghost is the account that GitHub shows for people who left.
const ghostID = 10137

// User turns nil, which GitHub sends for deleted accounts and for commits it
// cannot attribute, into ID 0.
func User(u *gh.User) forge.User {
	if u == nil || u.GetID() == 0 {
		return forge.User{Type: forge.Deleted}
	}
	t := forge.Person
	switch {
	case u.GetID() == ghostID:
		t = forge.Deleted
	case u.GetType() == "Bot" || strings.HasSuffix(u.GetLogin(), "[bot]"):
		t = forge.Bot
	}
	return forge.User{ID: u.GetID(), Login: u.GetLogin(), Type: t}
}
