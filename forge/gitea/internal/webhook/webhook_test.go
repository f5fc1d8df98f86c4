package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"lockkeeper/forge"
)

func sign(secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

func headers(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

// Threats 13 and 14.
func TestUnsignedWebhookIsRefused(t *testing.T) {
	body := `{"a":1}`
	good := sign("secret", body)
	for what, c := range map[string]struct {
		header  http.Header
		secrets []string
		want    string
	}{
		"Gitea":                 {headers("X-Gitea-Signature", good), []string{"secret"}, ""},
		"Forgejo":               {headers("X-Forgejo-Signature", good, "X-Gitea-Signature", good), []string{"secret"}, ""},
		"the second secret":     {headers("X-Gitea-Signature", good), []string{"old", "secret"}, ""},
		"the first of two":      {headers("X-Gitea-Signature", good), []string{"secret", "new"}, ""},
		"no signature":          {headers(), []string{"secret"}, "not signed"},
		"GitHub's header":       {headers("X-Hub-Signature-256", "sha256="+good), []string{"secret"}, "not signed"},
		"another secret":        {headers("X-Gitea-Signature", sign("other", body)), []string{"secret"}, "does not fit"},
		"another body":          {headers("X-Gitea-Signature", sign("secret", body+" ")), []string{"secret"}, "does not fit"},
		"SHA-1":                 {headers("X-Gitea-Signature", good[:40]), []string{"secret"}, "not an HMAC"},
		"no hex":                {headers("X-Gitea-Signature", strings.Repeat("z", 64)), []string{"secret"}, "not an HMAC"},
		"no secret configured":  {headers("X-Gitea-Signature", sign("", body)), nil, "no secret"},
		"empty secret":          {headers("X-Gitea-Signature", sign("", body)), []string{""}, "empty"},
		"empty among others":    {headers("X-Gitea-Signature", good), []string{"secret", ""}, "empty"},
		"Forgejo's, made wrong": {headers("X-Forgejo-Signature", sign("x", body), "X-Gitea-Signature", good), []string{"secret"}, "does not fit"},
	} {
		var secrets [][]byte
		for _, s := range c.secrets {
			secrets = append(secrets, []byte(s))
		}
		err := Verify(c.header, []byte(body), secrets)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), good) {
			t.Errorf("%s: the error tells the signature: %v", what, err)
		}
	}
}

const shop = `"repository":{"id":5,"name":"shop","owner":{"id":3,"login":"acme"},"full_name":"acme/shop"},"sender":{"id":9,"login":"alice"}`

func TestEventsAmountToALook(t *testing.T) {
	sha := strings.Repeat("a", 40)
	base := forge.Event{Delivery: "d1", Repo: forge.RepoRef{ID: 5, Owner: "acme", Name: "shop"}, Sender: 9}
	for what, c := range map[string]struct {
		event, kind, body string
		want              func(*forge.Event)
	}{
		"opened":              {"pull_request", "pull_request", `{"action":"opened","number":7,"pull_request":{"number":7},` + shop + `}`, func(e *forge.Event) { e.Pull = 7 }},
		"pushed to":           {"pull_request", "pull_request_sync", `{"action":"synchronized","number":7,"pull_request":{"number":7},` + shop + `}`, func(e *forge.Event) { e.Pull = 7 }},
		"asked for a review":  {"pull_request", "pull_request_review_request", `{"action":"review_requested","number":7,"pull_request":{"number":7},` + shop + `}`, func(e *forge.Event) { e.Pull = 7 }},
		"approved":            {"pull_request_approved", "pull_request_review_approved", `{"action":"reviewed","number":7,"pull_request":{"number":7},"review":{"type":"pull_request_review_approved"},` + shop + `}`, func(e *forge.Event) { e.Pull = 7 }},
		"rejected":            {"pull_request_rejected", "pull_request_review_rejected", `{"action":"reviewed","number":7,"pull_request":{"number":7},` + shop + `}`, func(e *forge.Event) { e.Pull = 7 }},
		"comment on a pull":   {"issue_comment", "pull_request_comment", `{"action":"created","is_pull":true,"issue":{"number":7,"pull_request":{"merged":false}},"comment":{"id":1,"body":"/plan"},` + shop + `}`, func(e *forge.Event) { e.Pull = 7 }},
		"older comment":       {"issue_comment", "", `{"action":"created","issue":{"number":7,"pull_request":{}},` + shop + `}`, func(e *forge.Event) { e.Pull = 7 }},
		"comment on an issue": {"issue_comment", "issue_comment", `{"action":"created","is_pull":false,"issue":{"number":7,"pull_request":null},` + shop + `}`, func(*forge.Event) {}},
		"push":                {"push", "push", `{"ref":"refs/heads/größe/x",` + shop + `}`, func(e *forge.Event) { e.Branch = "größe/x" }},
		"tag":                 {"push", "push", `{"ref":"refs/tags/v1",` + shop + `}`, func(*forge.Event) {}},
		"status":              {"status", "status", `{"sha":"` + sha + `","state":"success","context":"ci",` + shop + `}`, func(e *forge.Event) { e.Commit = sha }},
		"status of a name":    {"status", "status", `{"sha":"main",` + shop + `}`, func(*forge.Event) {}},
		"repository gone":     {"repository", "repository", `{"action":"deleted",` + shop + `}`, func(e *forge.Event) { e.Installation = true }},
		"unwanted":            {"wiki", "wiki", `{"action":"created",` + shop + `}`, func(*forge.Event) {}},
		"from tomorrow":       {"teleport", "teleport", `{"pull_request":[1],` + shop + `}`, func(*forge.Event) {}},
	} {
		for _, maker := range []string{"Gitea", "Forgejo"} {
			h := headers("Content-Type", "application/json", "X-"+maker+"-Event", c.event, "X-"+maker+"-Delivery", "d1", "X-"+maker+"-Event-Type", c.kind)
			want := base
			if want.Type = c.kind; c.kind == "" {
				want.Type = c.event
			}
			c.want(&want)
			if got, err := ParseEvent(h, []byte(c.body)); err != nil || got != want {
				t.Errorf("%s from %s: %+v, %v; want %+v", what, maker, got, err, want)
			}
		}
	}
}

func TestMalformedDeliveriesAreErrors(t *testing.T) {
	full := headers("X-Gitea-Event", "pull_request", "X-Gitea-Delivery", "d1")
	for what, c := range map[string]struct {
		header http.Header
		body   string
	}{
		"no headers":    {headers(), `{}`},
		"no delivery":   {headers("X-Gitea-Event", "push"), `{}`},
		"GitHub's":      {headers("X-GitHub-Event", "push", "X-GitHub-Delivery", "d1"), `{}`},
		"no JSON":       {full, `payload=%7B%7D`},
		"null":          {full, `null`},
		"cut":           {full, `{"number":7`},
		"no pull":       {full, `{"action":"opened"}`},
		"negative pull": {full, `{"number":-7}`},
		"wrong type":    {full, `{"number":"seven"}`},
		"form":          {headers("X-Gitea-Event", "push", "X-Gitea-Delivery", "d1", "Content-Type", "application/x-www-form-urlencoded"), `payload={}`},
		"no issue":      {headers("X-Gitea-Event", "issue_comment", "X-Gitea-Delivery", "d1"), `{"is_pull":true}`},
	} {
		if ev, err := ParseEvent(c.header, []byte(c.body)); err == nil {
			t.Errorf("%s: %+v", what, ev)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	for _, event := range []string{"pull_request", "issue_comment", "push", "status", "repository", "pull_request_approved", "x"} {
		f.Add(event, `{"number":7,"pull_request":{"number":7},"issue":{"number":7},"ref":"refs/heads/x","sha":"`+strings.Repeat("a", 40)+`",`+shop+`}`)
	}
	f.Fuzz(func(t *testing.T, event, body string) {
		ev, err := ParseEvent(headers("X-Gitea-Event", event, "X-Gitea-Delivery", "d1"), []byte(body))
		if err != nil && ev != (forge.Event{}) {
			t.Errorf("an error comes with an event: %+v", ev)
		}
		if ev.Pull < 0 || ev.Commit != "" && len(ev.Commit) != 40 {
			t.Errorf("%+v", ev)
		}
	})
}
