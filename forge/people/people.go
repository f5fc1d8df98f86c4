// Package people is a forge as those see it who work on it: they push, open
// pulls, comment, review, merge, and read what the bot wrote. Stories, the
// contract suite and the demo are told in its words, so that they can be told on
// every forge.
package people

import (
	"context"
	"time"

	"lockkeeper/forge"
)

// Forge is a running forge on loopback, with everything its administrator may
// do. Repositories are named "owner/name"; the owner may be nested where the
// forge nests groups. Implementations are safe for concurrent use.
type Forge interface {
	// Kind is what the driver's Kind says.
	Kind() string
	// URL is the root of its pages, without a slash at the end.
	URL() string
	// Now is its clock.
	Now() time.Time
	// Access is how the bot gets in.
	Access() Access
	// Close ends it and removes what it kept.
	Close() error

	// AddPerson registers an account, once; the addresses are verified. An
	// account that is there already is returned.
	AddPerson(ctx context.Context, login string, emails ...string) (forge.User, error)
	// AddOrg makes an organisation (GitLab: group) that a person owns.
	AddOrg(ctx context.Context, org, owner string) error
	AddMember(ctx context.Context, org, login string) error
	// AddTeam makes a team (GitLab: subgroup) of an organisation, below another
	// team if parent is given, or adds members to it.
	AddTeam(ctx context.Context, org, slug, parent string, members ...string) error
	// RenameTeam gives a team another slug; the old one is free.
	RenameTeam(ctx context.Context, org, slug, to string) error
	AddRepo(ctx context.Context, r NewRepo) (forge.RepoRef, error)
	// MoveRepo gives a repository another name, another owner or both: to is
	// "owner/name", and the owner is there.
	MoveRepo(ctx context.Context, repo, to string) error
	// Admit lets the bot into a repository, with what the README asks for, and
	// has its events delivered as Hook says.
	Admit(ctx context.Context, repo string) error
	Grant(ctx context.Context, repo, login string, p forge.Permission) error
	// GrantTeam gives a team of the repository's organisation write access.
	GrantTeam(ctx context.Context, repo, slug string) error
	Protect(ctx context.Context, repo, branch string, p Protection) error

	// Hook says where webhooks go from now on, signed with the secret.
	Hook(ctx context.Context, url, secret string) error
	// Settle waits until the forge is done with what it was asked, and until
	// every webhook that this led to was answered.
	Settle(ctx context.Context) error
	// Delivered is how many webhooks were answered so far.
	Delivered() int

	// Head is where a branch points, "" if there is none.
	Head(ctx context.Context, repo, branch string) (string, error)
	CloneURL(repo string) string
	// As is somebody who was added, at work.
	As(login string) Person
}

// Access is how the bot gets in: as an App, or with a token.
type Access struct {
	// APIURL is the address that the operator configures.
	APIURL string
	AppID  int64
	Key    string // PEM, of the App
	Token  string
	// Login is the account that the bot acts as.
	Login string
}

// NewRepo is a repository to make, with the files of its default branch main.
type NewRepo struct {
	Owner, Name string
	Files       map[string]string
	Private     bool
}

// Protection are the rules of a branch: it is changed by pulls only, once these
// checks succeeded and that many reviews approve.
type Protection struct {
	Checks  []string
	Reviews int
}

// Commit is one commit that Push makes.
type Commit struct {
	Message string
	// Files are the new contents by path; "" removes a file.
	Files map[string]string
	// Author and Committer are e-mail addresses, "" the pusher's own.
	Author, Committer string
}

// Comment is what people read under a pull.
type Comment struct {
	ID     int64
	Author string // login
	Body   string
}

// Pull is what people see of a pull.
type Pull struct {
	Number      int
	Title, Body string
	Author      string // login
	Base, Head  string
	HeadSHA     string
	State       forge.PullState
	Merged      bool
	MergeSHA    string // commit on the base, when Merged
}

// Issue is what people see of an issue.
type Issue struct {
	Number      int
	Title, Body string
	Author      string // login
	State       forge.PullState
}

// Shown is a check as people see it. Forges that tell fewer states fold them.
type Shown struct {
	Name, Title, Summary string
	State                forge.CheckState
}

// Person is somebody at work, over HTTP and Git as that person would be. What the
// forge refuses is an error that forge.CodeOf understands.
type Person interface {
	// Push adds commits to a branch and returns its head. A branch that does not
	// exist starts at the branch from.
	Push(ctx context.Context, repo, branch, from string, commits ...Commit) (string, error)
	// ForcePush rewrites a branch: commits on top of the branch from.
	ForcePush(ctx context.Context, repo, branch, from string, commits ...Commit) (string, error)
	// GitAuth is the value of an Authorization header for Git over HTTP.
	GitAuth() string
	CreateBranch(ctx context.Context, repo, name, from string) error
	DeleteBranch(ctx context.Context, repo, name string) error
	Fork(ctx context.Context, repo string) (forge.RepoRef, error)

	// OpenPull opens a pull from head ("branch", or "owner:branch" in that owner's
	// fork) into base and returns its number.
	OpenPull(ctx context.Context, repo, base, head, title, body string) (int, error)
	OpenDraft(ctx context.Context, repo, base, head, title, body string) (int, error)
	EditPull(ctx context.Context, repo string, number int, title, body string) error
	Retarget(ctx context.Context, repo string, number int, base string) error
	MarkReady(ctx context.Context, repo string, number int) error
	Close(ctx context.Context, repo string, number int) error
	Reopen(ctx context.Context, repo string, number int) error
	// Merge merges (merge, squash or rebase) and returns the commit on the base.
	Merge(ctx context.Context, repo string, number int, method string) (string, error)

	Comment(ctx context.Context, repo string, number int, body string) (int64, error)
	// EditComment replaces a comment's body, at a later time than it was made by
	// the forge's clock.
	EditComment(ctx context.Context, repo string, number int, id int64, body string) error
	DeleteComment(ctx context.Context, repo string, number int, id int64) error
	// Review says something of the present head and returns the review's ID. A
	// forge that only knows approvals takes Approved and, if it can,
	// ChangesRequested.
	Review(ctx context.Context, repo string, number int, s forge.ReviewState, body string) (int64, error)
	// Dismiss takes a review back: the reviewer's own, or as the forge allows.
	Dismiss(ctx context.Context, repo string, number int, review int64) error
	// Status writes another system's result for a commit.
	Status(ctx context.Context, repo, sha, name string, s forge.CheckState) error
	// OpenIssue opens an issue and returns its number.
	OpenIssue(ctx context.Context, repo, title string) (int, error)
	CloseIssue(ctx context.Context, repo string, number int) error

	Pull(ctx context.Context, repo string, number int) (Pull, error)
	// Pulls lists the pulls, open and closed, newest first.
	Pulls(ctx context.Context, repo string) ([]Pull, error)
	// Issues lists the issues, open and closed, newest first; pulls are none.
	Issues(ctx context.Context, repo string) ([]Issue, error)
	// Comments lists a pull's comments, oldest first, the forge's own remarks left
	// out.
	Comments(ctx context.Context, repo string, number int) ([]Comment, error)
	// Reactions lists who put which reaction on a comment: login by reaction.
	Reactions(ctx context.Context, repo string, number int, comment int64) (map[forge.Reaction][]string, error)
	// Checks lists what is shown on a commit now.
	Checks(ctx context.Context, repo, sha string) ([]Shown, error)
}
