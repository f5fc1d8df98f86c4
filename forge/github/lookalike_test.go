package github

import (
	"fmt"
	"net/http"
	"testing"

	"lockkeeper/forge"
	"lockkeeper/forge/contract"
	"lockkeeper/forge/forgetest"
	people "lockkeeper/forge/people/github"
)

// The suite runs twice: as an App and with a personal token, which differ in
// credentials and in how checks are written.
func TestContractAsApp(t *testing.T) {
	contract.Run(t, func(t *testing.T) *contract.Fixture { return newLookalike(t, true).Fixture })
}

func TestContractWithAToken(t *testing.T) {
	contract.Run(t, func(t *testing.T) *contract.Fixture { return newLookalike(t, false).Fixture })
}

// lookalike is forge/forgetest with people on it.
type lookalike struct {
	*contract.Fixture
	world *people.Forge
}

func newLookalike(t *testing.T, asApp bool) *lookalike {
	t.Helper()
	world, err := people.New(people.Options{Options: forgetest.Options{LazyMergeable: true, RateLimit: 100000}, Token: !asApp, Permissions: permissions, Events: events})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := world.Close(); err != nil {
			t.Error(err)
		}
	})
	driver := func(t *testing.T, wrap func(http.RoundTripper) http.RoundTripper) forge.Forge {
		t.Helper()
		access := world.Access()
		c := Config{APIURL: access.APIURL, AppID: access.AppID, PrivateKey: []byte(access.Key), Token: access.Token}
		if wrap != nil {
			c.HTTPClient = &http.Client{Transport: wrap(http.DefaultTransport)}
		}
		f, err := New(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	return &lookalike{world: world, Fixture: contract.On(t, world, driver, contract.Traits{
		CoAuthors: true, Committers: true, Pushers: true, ChildTeams: true, Reregister: true, Outside: true, Apps: true,
		RequestTeams: true, ManyReviewers: true, ReviewNotes: true, NamedChecks: true, RequiredReviews: true, BlockingReviews: true, Signs: true,
		Methods: []forge.MergeMethod{forge.MethodMerge, forge.MethodSquash, forge.MethodRebase},
	})}
}

// openOne opens a pull of one commit.
func openOne(t *testing.T, l *lookalike, ref forge.RepoRef, by forge.User) int {
	t.Helper()
	l.Push(t, ref, by, contract.Push{Branch: "x", From: "main", Commits: []contract.Commit{{Author: by.Login, Message: "x", Files: map[string]string{"a": "1"}}}})
	return l.OpenPull(t, ref, by, contract.NewPull{Title: "x", Head: "x", Base: "main"})
}

// Gathering one pull must stay cheap: five calls, once a token is at hand.
func TestGatheringAPullTakesFiveCalls(t *testing.T) {
	l := newLookalike(t, true)
	ref := l.Repo(t, "shop")
	alice := l.Person(t, "alice")
	l.Grant(t, ref, alice, forge.Write)
	n := openOne(t, l, ref, alice)
	f := l.Driver(t, nil).(*Forge)
	if _, err := f.GitAuth(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	before := calls(f)
	p, err := f.Pull(t.Context(), ref, n)
	if err != nil {
		t.Fatal(err)
	}
	var errs [4]error
	_, errs[0] = f.Commits(t.Context(), ref, p)
	_, errs[1] = f.Comments(t.Context(), ref, n)
	_, errs[2] = f.Reviews(t.Context(), ref, n)
	_, _, errs[3] = f.Pushes(t.Context(), ref, p)
	if errs != [4]error{} {
		t.Fatal(errs)
	}
	if got := calls(f) - before; got != 5 || before != 2 {
		t.Errorf("%d calls to get a token, %d to gather: %s", before, got, fmt.Sprint(f.Calls()))
	}
}
