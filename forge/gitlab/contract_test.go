package gitlab

import (
	"net/http"
	"testing"

	"lockkeeper/forge"
	"lockkeeper/forge/contract"
	server "lockkeeper/forge/forgetest/gitlab"
	"lockkeeper/forge/people/gitlab"
)

// GitLab is held to the contract below a relative URL root, which everything that
// works at the root of a host has to survive.
func TestContract(t *testing.T) {
	world, err := gitlab.New(server.Options{Root: "/tools/gitlab", RateLimit: 1 << 20})
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
		c := Config{URL: world.Access().APIURL, Token: world.Access().Token}
		if wrap != nil {
			c.HTTPClient = &http.Client{Transport: wrap(http.DefaultTransport)}
		}
		f, err := New(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	contract.Run(t, func(t *testing.T) *contract.Fixture {
		return contract.On(t, world, driver, contract.Traits{
			Pushers: true, ChildTeams: true, Reregister: true, ManyReviewers: true, RequiredReviews: true, BlockingReviews: true,
			Methods: []forge.MergeMethod{forge.MethodMerge, forge.MethodSquash},
		})
	})
}
