package wire

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestCacheStaysSmall(t *testing.T) {
	var c etagCache
	body := make([]byte, cacheBytes/10)
	for i := range 100 {
		c.keep(&cached{key: fmt.Sprint(i), body: body})
	}
	if len(c.entries) != 10 || c.order.Len() != 10 || c.size > cacheBytes {
		t.Errorf("%d entries, %d in order, %d bytes", len(c.entries), c.order.Len(), c.size)
	}
}

func TestCountersCarryNoNames(t *testing.T) {
	api, err := url.Parse("https://ghe.example/api/v3/")
	if err != nil {
		t.Fatal(err)
	}
	w := New(nil, api, api, time.Now)
	for path, want := range map[string]string{
		"/api/v3/repos/acme/shop/pulls/7":                                           "/repos/{name}/{name}/pulls/{id}",
		"/api/v3/repos/pulls/issues/commits/" + strings.Repeat("2", 40) + "/status": "/repos/{name}/{name}/commits/{sha}/status",
		"/api/v3/orgs/acme/teams/ops/members":                                       "/orgs/{name}/teams/{name}/members",
		"/api/v3/repos/a/b/rules/branches/feature%2Fx":                              "/repos/{name}/{name}/rules/branches/{name}",
		"/api/v3/apps/some-ci":                                                      "/apps/{name}",
		"/api/graphql":                                                              "/api/graphql",
	} {
		u, err := url.Parse("https://ghe.example" + path)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.route(u); got != want {
			t.Errorf("route(%s) = %s, want %s", path, got, want)
		}
	}
}
