package github

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // to show that it is refused
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lockkeeper/forge"
)

func sign(body, key string) string {
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(m.Sum(nil))
}

func signSHA1(body, key string) string {
	m := hmac.New(sha1.New, []byte(key))
	m.Write([]byte(body))
	return "sha1=" + hex.EncodeToString(m.Sum(nil))
}

// Threat 13.
func TestOnlyASignedWebhookIsAccepted(t *testing.T) {
	const body = `{"zen":"Keep it logically awesome."}`
	one, two, none := []byte("first"), []byte("second"), [][]byte(nil)
	for name, c := range map[string]struct {
		signature string
		secrets   [][]byte
		ok        bool
	}{
		"signed":                      {sign(body, "first"), [][]byte{one}, true},
		"signed with the second":      {sign(body, "second"), [][]byte{one, two}, true},
		"unsigned":                    {"", [][]byte{one}, false},
		"signed with another secret":  {sign(body, "third"), [][]byte{one, two}, false},
		"signature of another body":   {sign(body+" ", "first"), [][]byte{one}, false},
		"SHA-1 only":                  {signSHA1(body, "first"), [][]byte{one}, false},
		"SHA-1 digest under SHA-256":  {strings.Replace(signSHA1(body, "first"), "sha1=", "sha256=", 1), [][]byte{one}, false},
		"no secret configured":        {sign(body, ""), none, false},
		"unsigned and no secret":      {"", none, false},
		"empty secret":                {sign(body, ""), [][]byte{{}}, false},
		"empty secret beside another": {sign(body, ""), [][]byte{one, {}}, false},
		"cut short":                   {sign(body, "first")[:40], [][]byte{one}, false},
		"no hex":                      {"sha256=" + strings.Repeat("zz", 32), [][]byte{one}, false},
		"bare digest":                 {strings.TrimPrefix(sign(body, "first"), "sha256="), [][]byte{one}, false},
		"upper-case hex":              {"sha256=" + strings.ToUpper(sign(body, "first")[7:]), [][]byte{one}, true},
		"two signatures":              {sign(body, "first") + "," + sign(body, "first"), [][]byte{one}, false},
	} {
		err := Verify(http.Header{SignatureHeader: {c.signature}}, []byte(body), c.secrets)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && (strings.Contains(err.Error(), "first") || strings.Contains(err.Error(), sign(body, "first")[7:])) {
			t.Errorf("%s: the error gives the secret or the right signature away: %v", name, err)
		}
	}
}

func headers(event string) http.Header {
	h := http.Header{}
	h.Set("X-GitHub-Event", event)
	h.Set("X-GitHub-Delivery", "d-1")
	h.Set("Content-Type", "application/json")
	return h
}

func TestEventsBecomeHints(t *testing.T) {
	const repo = `"repository":{"id":7,"name":"shop","owner":{"login":"acme"}}`
	base := forge.Event{Delivery: "d-1", Repo: shop}
	with := func(typ string, f func(*forge.Event)) forge.Event {
		e := base
		e.Type = typ
		f(&e)
		return e
	}
	pull := func(e *forge.Event) { e.Pull = 3 }
	commit := func(e *forge.Event) { e.Commit = shaHead }
	none := func(*forge.Event) {}
	for _, c := range []struct {
		event, body string
		want        func(*forge.Event)
	}{
		{"pull_request", `{"action":"opened","number":3,"pull_request":{"number":3},` + repo + `}`, pull},
		{"pull_request", `{"action":"some_new_action","number":3,"pull_request":{"number":3},` + repo + `}`, pull},
		{"pull_request_review", `{"action":"dismissed","pull_request":{"number":3},` + repo + `}`, pull},
		{"pull_request_review_comment", `{"action":"created","pull_request":{"number":3},` + repo + `}`, none},
		{"issue_comment", `{"action":"created","issue":{"number":3,"pull_request":{"url":"x"}},` + repo + `}`, pull},
		{"issue_comment", `{"action":"deleted","issue":{"number":3,"pull_request":{}},` + repo + `}`, pull},
		{"issue_comment", `{"action":"created","issue":{"number":3},` + repo + `}`, none},
		{"push", `{"ref":"refs/heads/feature/x",` + repo + `}`, func(e *forge.Event) { e.Branch = "feature/x" }},
		{"push", `{"ref":"refs/tags/v1",` + repo + `}`, none},
		{"check_run", `{"action":"rerequested","check_run":{"pull_requests":[{"number":3}]},` + repo + `}`, pull},
		{"check_run", `{"action":"completed","check_run":{"pull_requests":[{"number":3}]},` + repo + `}`, pull},
		{"check_run", `{"action":"created","check_run":{"head_sha":"` + shaHead + `","pull_requests":[{"number":3}]},` + repo + `}`, none},
		{"check_run", `{"action":"created","check_run":{"status":"completed","head_sha":"` + shaHead + `","pull_requests":[]},` + repo + `}`, commit},
		// A fork's pull is not named, and of two pulls with one head neither.
		{"check_run", `{"action":"completed","check_run":{"head_sha":"` + shaHead + `","pull_requests":[]},` + repo + `}`, commit},
		{"check_run", `{"action":"rerequested","check_run":{"head_sha":"` + shaHead + `","pull_requests":[{"number":3},{"number":4}]},` + repo + `}`, commit},
		{"check_suite", `{"action":"completed","check_suite":{"head_sha":"` + shaHead + `","pull_requests":[{"number":3}]},` + repo + `}`, none},
		{"status", `{"sha":"` + shaHead + `","state":"success","context":"ci",` + repo + `}`, commit},
		{"status", `{"sha":"main","state":"success","context":"ci",` + repo + `}`, none},
		{"check_suite", `{"action":"rerequested","check_suite":{"pull_requests":[{"number":3}]},` + repo + `}`, pull},
		{"check_suite", `{"action":"rerequested","check_suite":{"pull_requests":[]},` + repo + `}`, none},
		{"merge_group", `{"action":"checks_requested","merge_group":{"head_sha":"` + shaHead + `","base_ref":"refs/heads/main"},` + repo + `}`,
			func(e *forge.Event) { e.Branch, e.HeadSHA = "main", shaHead }},
		{"merge_group", `{"action":"destroyed","merge_group":{"head_sha":"` + shaHead + `","base_ref":"refs/heads/main"},` + repo + `}`, none},
		{"installation_repositories", `{"action":"added",` + repo + `}`, func(e *forge.Event) { e.Installation = true }},
		{"repository", `{"action":"renamed",` + repo + `}`, func(e *forge.Event) { e.Installation = true }},
		{"repository", `{"action":"unarchived",` + repo + `}`, func(e *forge.Event) { e.Installation = true }},
		{"repository", `{"action":"edited","changes":{"default_branch":{"from":"x"}},` + repo + `}`, func(e *forge.Event) { e.Installation = true }},
		{"repository", `{"action":"edited","changes":{"description":{"from":"x"}},` + repo + `}`, func(*forge.Event) {}},
		{"ping", `{"zen":"x",` + repo + `}`, none},
		{"an_event_of_tomorrow", `{"pull_request":"not even an object",` + repo + `}`, none},
	} {
		got, err := ParseEvent(headers(c.event), []byte(c.body))
		if want := with(c.event, c.want); err != nil || got != want {
			t.Errorf("%s %s\n got %+v, %v\nwant %+v", c.event, c.body, got, err, want)
		}
	}
}

func TestBrokenPayloadIsAnError(t *testing.T) {
	for event, body := range map[string]string{
		"pull_request":        `{"pull_request":{"number":"3"}}`,
		"pull_request_review": `{}`,
		"issue_comment":       `{"issue":{"pull_request":{}}}`,
		"push":                `{"ref":7}`,
		"merge_group":         `{"merge_group":[]}`,
		"check_run":           `{"check_run":{"pull_requests":{}}}`,
		"status":              `{"sha":{}}`,
		"ping":                `{"zen":`,
		"star":                `null`,
		"installation":        `[]`,
		"fork":                ``,
	} {
		if ev, err := ParseEvent(headers(event), []byte(body)); err == nil {
			t.Errorf("%s %s gave %+v", event, body, ev)
		}
	}
	form := headers("ping")
	form.Set("Content-Type", "application/x-www-form-urlencoded")
	if _, err := ParseEvent(form, []byte(`{}`)); err == nil || !strings.Contains(err.Error(), "application/json") {
		t.Errorf("a form-encoded payload: %v", err)
	}
	if _, err := ParseEvent(http.Header{}, []byte(`{}`)); err == nil {
		t.Error("a request without GitHub's headers was accepted")
	}
}

type example struct {
	Name     string            `json:"name"`
	Examples []json.RawMessage `json:"examples"`
}

// published reads GitHub's example payloads, fetching them when they are not
// there: they are a development dependency with a lock file.
func published(t *testing.T) map[string][]example {
	t.Helper()
	dir := filepath.Join("..", "..", "testdata", "npm")
	pattern := filepath.Join(dir, "node_modules", "@octokit", "webhooks-examples", "*", "index.json")
	files, _ := filepath.Glob(pattern)
	if len(files) == 0 {
		fmt.Println("forge/github: GitHub's example payloads are missing; running npm ci in testdata/npm")
		cmd := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("npm ci in testdata/npm: %v\n%s", err, out)
		}
		files, _ = filepath.Glob(pattern)
	}
	all := map[string][]example{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var list []example
		if err := json.Unmarshal(b, &list); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[filepath.Base(filepath.Dir(file))] = list
	}
	return all
}

func TestEveryPublishedPayloadParses(t *testing.T) {
	n, pulls := 0, map[string]int{}
	for from, list := range published(t) {
		for _, ex := range list {
			for i, body := range ex.Examples {
				ev, err := ParseEvent(headers(ex.Name), body)
				if err != nil {
					t.Errorf("%s %s #%d: %v", from, ex.Name, i, err)
				}
				n++
				if ev.Pull != 0 {
					pulls[ex.Name]++
				}
				if ex.Name == "pull_request" && (ev.Pull == 0 || ev.Repo.ID == 0 || ev.Repo.Owner == "") {
					t.Errorf("%s %s #%d: %+v", from, ex.Name, i, ev)
				}
			}
		}
	}
	t.Logf("%d payloads, of which name a pull: %v", n, pulls)
	if n < 300 || pulls["pull_request"] == 0 || pulls["pull_request_review"] == 0 {
		t.Errorf("only %d payloads; pulls: %v", n, pulls)
	}
}

func FuzzVerify(f *testing.F) {
	f.Add([]byte("body"), sign("body", "key"), []byte("key"))
	f.Add([]byte(""), "sha256=", []byte(""))
	f.Add([]byte("x"), "sha1=00", []byte("k"))
	f.Fuzz(func(t *testing.T, body []byte, signature string, key []byte) {
		want := len(key) > 0 && strings.EqualFold(signature, sign(string(body), string(key))) && strings.HasPrefix(signature, "sha256=")
		if err := Verify(http.Header{SignatureHeader: {signature}}, body, [][]byte{key}); (err == nil) != want {
			t.Errorf("Verify(%q, %q, %q) = %v", body, signature, key, err)
		}
	})
}

func FuzzParseEvent(f *testing.F) {
	f.Add("pull_request", []byte(`{"pull_request":{"number":3},"repository":{"id":7}}`))
	f.Add("issue_comment", []byte(`{"issue":{"number":3,"pull_request":{}}}`))
	f.Add("check_run", []byte(`{"action":"rerequested","check_run":{"pull_requests":[{"number":-1}]}}`))
	f.Add("merge_group", []byte(`{"merge_group":null}`))
	f.Add("push", []byte(`{"ref":"refs/heads/"}`))
	f.Fuzz(func(t *testing.T, event string, body []byte) {
		ev, err := ParseEvent(headers(event), body)
		if err != nil && ev != (forge.Event{}) {
			t.Errorf("an error with an event: %+v, %v", ev, err)
		}
		if err == nil && (!json.Valid(body) || ev.Pull < 0) {
			t.Errorf("accepted %q as %+v", body, ev)
		}
	})
}
