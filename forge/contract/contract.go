// Package contract is what every forge driver has to do, as one test suite. A
// driver's test calls Run with a Fixture, made by On, in which other people open
// pulls, comment, review and push, while the driver under test acts as the bot.
//
// The suite goes by what forge.Forge promises. Where forges truly differ, the
// difference is data in Traits.
package contract

import (
	"cmp"
	"context"
	"testing"
	"time"

	"lockkeeper/forge"
)

// Own is the name of the bot's check in the suite.
const Own = "lockkeeper"

// Traits are the differences between forges that the suite takes as given. Each
// is what a forge can tell or do; where it cannot, forge.Forge says what a driver
// answers instead, and the suite holds the driver to that.
type Traits struct {
	// CoAuthors: the forge names the accounts of co-authors. Else their addresses
	// lead to nobody, and what they say is not in Commit.CoAuthors.
	CoAuthors bool
	// Committers: the forge names the accounts of committers beside those of
	// authors. Else a committer may have ID 0, which policy counts as somebody
	// unknown.
	Committers bool
	// Pushers: the forge tells who pushed to a branch. Else ok is false.
	Pushers bool
	// ChildTeams: teams have child teams, whose members count.
	ChildTeams bool
	// Reregister: logins can be given up and registered anew.
	Reregister bool
	// Outside: the forge tells outside collaborators from members.
	Outside bool
	// Apps: programs have an identity of their own, which checks show.
	Apps bool
	// RequestTeams: teams can be asked for reviews.
	RequestTeams bool
	// ManyReviewers: several people can be asked for reviews of one pull, in every
	// edition of the forge. Else the suite asks for one.
	ManyReviewers bool
	// ReviewNotes: a review can have words, and can be words alone. Else approvals
	// and demands for changes are bare, and words are comments.
	ReviewNotes bool
	// NamedChecks: rules of a branch name the checks that must succeed. Else any
	// check that failed keeps a pull from being merged, if a rule wants checks.
	NamedChecks bool
	// RequiredReviews: rules of a branch can demand approving reviews, in every
	// edition of the forge.
	RequiredReviews bool
	// BlockingReviews: a demand for changes keeps a pull from being merged, in
	// every edition of the forge.
	BlockingReviews bool
	// Signs: the forge signs commits made through its API.
	Signs bool
	// Page is how many entries its longest page of a list has, 0 for a hundred.
	Page int
	// Methods are the merge methods that it offers.
	Methods []forge.MergeMethod
}

// Push is a series of commits on a branch.
type Push struct {
	// Branch receives them; Also are further branches for the same tip.
	Branch string
	Also   []string
	// From is the branch or SHA to build on, "" the Branch itself.
	From    string
	Force   bool
	Commits []Commit
}

// Commit is one commit; Author and Committer are logins, or any other word
// for somebody without an account.
type Commit struct {
	Author    string
	Committer string // "" is the author
	Message   string
	Files     map[string]string
	Merge     string // branch that becomes the second parent
}

// NewPull is a pull to open. HeadRepo is where the head lives if not in ref.
type NewPull struct {
	Title, Body, Head, Base string
	HeadRepo                forge.RepoRef
	Draft                   bool
}

// PullEdit changes what is not empty.
type PullEdit struct {
	Title string
	Base  string
	State forge.PullState
	Ready bool
}

// Email is the address that people in the suite commit with.
func Email(login string) string { return login + "@example.com" }

// Run holds a driver to the contract. newFixture is called once per case.
func Run(t *testing.T, newFixture func(t *testing.T) *Fixture) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *env)
	}{
		{"identity", identity},
		{"repository by id", repository},
		{"pull life cycle", pullLife},
		{"open pulls over pages", openPulls},
		{"comments", comments},
		{"comments over pages", commentPages},
		{"comment at the limit", commentLimit},
		{"reactions", reactions},
		{"reviews", reviews},
		{"reviews at other heads", reviewsAtHeads},
		{"reviews over pages", reviewPages},
		{"commits", commits},
		{"co-authors", coAuthors},
		{"commits beyond 250", manyCommits},
		{"pushers", pushers},
		{"fork", fork},
		{"fork that moves on", forkMoves},
		{"repository with another name and owner", movedRepository},
		{"teams", teams},
		{"team with another name", renamedTeam},
		{"team over pages", teamPages},
		{"permissions", permissions},
		{"login taken over", takenOver},
		{"check", check},
		{"check results", checkResults},
		{"check results over pages", checkPages},
		{"outside collaborators", outside},
		{"requested reviews", requestedReviews},
		{"issues", issues},
		{"issues over pages", issuePages},
		{"commit", commitEdits},
		{"commit of other modes", commitModes},
		{"commit to a branch that moved", commitRaces},
		{"commit with a lost answer", commitAnswerLost},
		{"commit refused", commitRefused},
		{"pulls of ours", ourPulls},
		{"pulls closed and reopened", closedPulls},
		{"pulls of a branch", pullsOfBranch},
		{"pulls of a commit", commitPulls},
		{"pushes to a branch", branchPushes},
		{"merge", merge},
		{"merge methods", mergeMethods},
		{"merge refused", mergeRefused},
		{"merge blocked by checks", blockedByChecks},
		{"merge blocked by reviews", blockedByReviews},
		{"errors", failures},
		{"cut connection", cutConnection},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // each has a forge, or an account and repositories, of its own
			f := newFixture(t)
			e := &env{Fixture: f, f: f.Driver(t, nil)}
			e.ref = f.Repo(t, "shop")
			c.test(t, e)
		})
	}
}

// env is a case's forge, with a repository to work in.
type env struct {
	*Fixture
	f   forge.Forge
	ref forge.RepoRef
}

// past is a number of entries that fills so many pages, and a few more.
func (e *env) past(pages int) int { return pages*cmp.Or(e.Traits.Page, 100) + 3 }

// person is somebody who may write.
func (e *env) person(t *testing.T, login string) forge.User {
	t.Helper()
	u := e.Person(t, login)
	e.Grant(t, e.ref, u, forge.Write)
	return u
}

// pull opens a pull of one commit from a branch of that name.
func (e *env) pull(t *testing.T, by forge.User, branch string) int {
	t.Helper()
	e.Push(t, e.ref, by, Push{Branch: branch, From: "main", Commits: []Commit{
		{Author: by.Login, Message: "Change " + branch, Files: map[string]string{branch + ".txt": "hello\n"}},
	}})
	return e.OpenPull(t, e.ref, by, NewPull{Title: "Add " + branch, Body: "why", Head: branch, Base: "main"})
}

// read reads a pull once the forge knows whether it can be merged.
func (e *env) read(t *testing.T, number int) forge.Pull {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		p, err := e.f.Pull(ctx, e.ref, number)
		if err != nil {
			t.Fatal(err)
		}
		if p.Mergeable != nil || p.State == forge.Closed {
			return p
		}
		select {
		case <-ctx.Done():
			t.Fatal("the forge never said whether the pull can be merged")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// must is for calls that have to work.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wantCode checks that an error is of a kind.
func wantCode(t *testing.T, what string, err error, want forge.Code) {
	t.Helper()
	if got := forge.CodeOf(err); got != want {
		t.Errorf("%s: code %q, want %q (%v)", what, got, want, err)
	}
}
