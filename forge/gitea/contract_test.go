package gitea_test

import (
	"net/http"
	"testing"

	"lockkeeper/forge"
	"lockkeeper/forge/contract"
	"lockkeeper/forge/gitea"
	people "lockkeeper/forge/people/gitea"
)

// traits are what Gitea can tell and do.
var traits = contract.Traits{
	Committers: true, Pushers: true, Reregister: true, Outside: true, RequestTeams: true, ManyReviewers: true, ReviewNotes: true,
	NamedChecks: true, RequiredReviews: true, BlockingReviews: true, Page: 50,
	Methods: []forge.MergeMethod{forge.MethodMerge, forge.MethodSquash, forge.MethodRebase},
}

// The suite runs on a real Gitea.
func TestContract(t *testing.T) {
	contract.Run(t, func(t *testing.T) *contract.Fixture { return newWorld(t).Fixture })
}

// world is a bot of its own on the one server of this process.
type world struct {
	*contract.Fixture
	people *people.Forge
}

func newWorld(t *testing.T) *world {
	t.Helper()
	server, err := people.Shared()
	if err != nil {
		t.Fatal(err)
	}
	p, err := people.On(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	driver := func(t *testing.T, wrap func(http.RoundTripper) http.RoundTripper) forge.Forge {
		t.Helper()
		access := p.Access()
		c := gitea.Config{URL: access.APIURL, Token: access.Token}
		if wrap != nil {
			c.HTTPClient = &http.Client{Transport: wrap(http.DefaultTransport)}
		}
		f, err := gitea.New(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	return &world{people: p, Fixture: contract.On(t, p, driver, traits)}
}
