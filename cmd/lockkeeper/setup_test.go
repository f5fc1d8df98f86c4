package main

import (
	"bytes"
	"context"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"lockkeeper/bot/config"
	"lockkeeper/forge/forgetest"
)

// output is what a running command printed so far; line waits for the first.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	first chan string
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.text.Len() == 0 {
		o.first <- string(p)
	}
	return o.text.Write(p)
}

// page reads a page, or a form's answer, without following redirects.
func page(t *testing.T, send func(*http.Client) (*http.Response, error)) (*http.Response, string) {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := send(client)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func get(t *testing.T, address string) (*http.Response, string) {
	t.Helper()
	return page(t, func(c *http.Client) (*http.Response, error) { return c.Get(address) })
}

func field(t *testing.T, body, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("no %s in\n%s", pattern, body)
	}
	return html.UnescapeString(m[1])
}

func TestSetupCreatesTheAppAndStoresItsCredentials(t *testing.T) {
	forge, err := forgetest.New(forgetest.Options{Validate: func(v string) { t.Errorf("the look-alike broke GitHub's schema: %s", v) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := forge.Close(); err != nil {
			t.Error(err)
		}
	})
	forge.AddUser("olga")
	forge.AddOrg("acme", "olga")
	// An Enterprise Server with an authority of its own; people reach its pages at
	// another address.
	server, authority := enterprise(t, forge.URL)
	dir := filepath.Join(t.TempDir(), "credentials")
	args := []string{"setup", "--url", "https://lockkeeper.example.com", "--out", dir, "--org", "acme", "--web", forge.URL, "--api", server + "/api/v3", "--ca", authority}

	out, errs := &output{first: make(chan string, 1)}, &bytes.Buffer{}
	ended := make(chan int, 1)
	go func() { ended <- run(t.Context(), args, strings.NewReader(""), out, errs) }()
	var here string
	select {
	case line := <-out.first:
		here = field(t, line, `open (http://127\.0\.0\.1:\d+) in`)
	case code := <-ended:
		t.Fatalf("setup ended with %d: %s", code, errs)
	}

	_, body := get(t, here)
	for _, want := range []string{"checks: write", "contents: write", "members: read"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not tell the permission %s", want)
		}
	}
	action, manifest := field(t, body, `action="([^"]+)"`), field(t, body, `name="manifest" value="([^"]+)"`)
	if !strings.Contains(manifest, `"https://lockkeeper.example.com/webhook"`) {
		t.Errorf("the manifest has no webhook: %s", manifest)
	}
	res, body := page(t, func(c *http.Client) (*http.Response, error) {
		return c.PostForm(action, url.Values{"manifest": {manifest}})
	})
	back, err := url.Parse(res.Header.Get("Location"))
	if err != nil || back.Host != strings.TrimPrefix(here, "http://") {
		t.Fatalf("the forge sent %s back to %q: %s", res.Status, back, body)
	}

	// Somebody else's code must not become this lockkeeper's App.
	forged := *back
	forged.RawQuery = url.Values{"code": {back.Query().Get("code")}, "state": {"guess"}}.Encode()
	if res, body := get(t, forged.String()); res.StatusCode != http.StatusForbidden || !strings.Contains(body, "does not belong to this run") {
		t.Errorf("a wrong state: %s %s", res.Status, body)
	}
	// Nor may a page whose name was pointed at this machine look in.
	if res, body := page(t, func(c *http.Client) (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, here, nil)
		if err != nil {
			return nil, err
		}
		req.Host = "evil.example.com"
		return c.Do(req)
	}); res.StatusCode != http.StatusMisdirectedRequest || strings.Contains(body, "state=") {
		t.Errorf("a foreign host name: %s %s", res.Status, body)
	}

	if res, body := get(t, back.String()); res.StatusCode != http.StatusOK || !strings.Contains(body, "install the App") {
		t.Errorf("the way back: %s %s", res.Status, body)
	}
	if code := <-ended; code != 0 {
		t.Fatalf("setup ended with %d: %s", code, errs)
	}
	stored(t, dir, out.text.String())
	for _, want := range []string{"\n  apiURL: " + server + "/api/v3\n", "\n  caFile: " + authority + "\n"} {
		if !strings.Contains(out.text.String(), want) {
			t.Errorf("the advice lacks %s:\n%s", want, out.text.String())
		}
	}

	// Credentials that are there are not written over.
	code, _, told := lockkeeper(t.Context(), args...)
	if code != 1 || !strings.Contains(told, "is there already") {
		t.Errorf("a second run: %d %s", code, told)
	}
}

// stored looks at the files, and at the advice: it must be valid configuration
// and hold no secret.
func stored(t *testing.T, dir, told string) {
	t.Helper()
	for name, want := range map[string]string{keyFile: "PRIVATE KEY", secretFileName: ""} {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 || len(text) == 0 || !strings.Contains(string(text), want) {
			t.Errorf("%s has mode %v and %d bytes", name, info.Mode(), len(text))
		}
		if strings.Contains(told, string(text)) {
			t.Errorf("%s was printed", name)
		}
	}
	_, advice, ok := strings.Cut(told, "into the server file:\n\n")
	if !ok {
		t.Fatalf("no advice in\n%s", told)
	}
	rest := "store: s\ncache: c\nclusters: {main: {}}\nrepositories: [{id: 1, name: a/b, allow: [{paths: ['**'], clusters: [main], environments: [e], namespaces: []}]}]\n"
	if _, err := config.ParseServer("advice.yaml", []byte(rest+advice)); err != nil {
		t.Errorf("the advice is no configuration: %v\n%s", err, advice)
	}
}

func TestSetupRefusesWhatItCannotFinish(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"setup"}, "--url and --out are needed"},
		{[]string{"setup", "--url", "ftp://x", "--out", t.TempDir()}, "is not an http(s) address"},
		{[]string{"setup", "--url", "https://x.example.com", "--out", t.TempDir(), "--name", strings.Repeat("x", 40)}, "GitHub takes 1 to 34"},
		{[]string{"setup", "--url", "https://x.example.com", "--out", t.TempDir(), "--api", "x.example.com"}, "is not an address such as"},
		{[]string{"setup", "--url", "https://x.example.com", "--out", t.TempDir(), "--ca", "no-such-file"}, "no-such-file"},
		{[]string{"setup", "--url", "https://x.example.com", "--out", t.TempDir(), "--ca", readmePath}, "holds none in PEM form"},
		{[]string{"setup", "--url", "https://x.example.com", "--out", t.TempDir()}, "stopped before the App was created"},
	} {
		if code, _, errs := lockkeeper(ctx, tt.args...); code != 1 || !strings.Contains(errs, tt.want) {
			t.Errorf("%v: %d %s, want %q", tt.args, code, errs, tt.want)
		}
	}
}
