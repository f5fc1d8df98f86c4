package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lockkeeper/bot/config"
	"lockkeeper/bot/store"
	"lockkeeper/cmd/internal/child"
	"lockkeeper/forge"
	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/forgetest/gitlab"
	"lockkeeper/forge/github"
	"lockkeeper/forge/people"
	ongitea "lockkeeper/forge/people/gitea"
	ongithub "lockkeeper/forge/people/github"
	ongitlab "lockkeeper/forge/people/gitlab"
)

// hosted is the real program, with a forge behind HTTPS that only its owner's
// authority vouches for.
type hosted struct {
	people.Forge
	t     *testing.T
	owner string
	repo  forge.RepoRef
	ns    string
	dir   string
	store *store.Store
	bot   *child.Process
}

// enterpriseGitHub is the look-alike of an Enterprise Server.
func enterpriseGitHub(t *testing.T, token bool) (people.Forge, error) {
	m, err := github.Manifest("http://127.0.0.1", "http://127.0.0.1/done", "lockkeeper")
	if err != nil {
		return nil, err
	}
	return ongithub.New(ongithub.Options{
		Options: forgetest.Options{RealTime: true, RateLimit: 1_000_000, Validate: func(v string) { t.Errorf("the look-alike broke GitHub's schema: %s", v) }},
		Token:   token, Permissions: m.DefaultPermissions, Events: m.DefaultEvents,
	})
}

// hostings are all that serve can be told to work with.
var hostings = []struct {
	name, section string
	start         func(*testing.T) (people.Forge, error)
	nested        bool // groups nest
}{
	{"GitHub Enterprise Server as an App", "github:\n  apiURL: %s/api/v3\n  app: {id: %d, privateKeyFile: key}", func(t *testing.T) (people.Forge, error) {
		return enterpriseGitHub(t, false)
	}, false},
	{"GitHub Enterprise Server with a token", "github:\n  apiURL: %s/api/v3\n  tokenFile: token", func(t *testing.T) (people.Forge, error) {
		return enterpriseGitHub(t, true)
	}, false},
	{"GitLab", "gitlab:\n  url: %s\n  tokenFile: token", func(*testing.T) (people.Forge, error) {
		return ongitlab.New(gitlab.Options{RealTime: true, RateLimit: 1_000_000})
	}, true},
	{"Gitea", "gitea:\n  url: %s\n  tokenFile: token", func(t *testing.T) (people.Forge, error) {
		s, err := ongitea.Shared()
		if err != nil {
			return nil, err
		}
		return ongitea.On(t.Context(), s)
	}, false},
}

const oneApproval = `targets:
  - {name: shop, path: deploy, cluster: main, environment: production, namespace: %s}
environments:
  production:
    approvals: {required: 1}
`

func newHosted(t *testing.T, world people.Forge, section string, nested bool) *hosted {
	t.Helper()
	ctx, cp := t.Context(), controlPlane(t)
	h := &hosted{Forge: world, t: t, ns: cp.Namespace(t), dir: t.TempDir(), owner: "acme-" + strings.ToLower(rand.Text()[:6])}
	for _, login := range []string{"owner", "ann", "bob", "cho"} {
		_, err := world.AddPerson(ctx, login)
		h.must(err)
	}
	h.must(world.AddOrg(ctx, h.owner, "owner"))
	if nested {
		h.owner += "/platform"
		h.must(world.AddOrg(ctx, h.owner, "owner"))
	}
	var err error
	h.repo, err = world.AddRepo(ctx, people.NewRepo{Owner: h.owner, Name: "shop", Private: true, Files: map[string]string{
		".lockkeeper.yaml": fmt.Sprintf(oneApproval, h.ns),
		"deploy/a.yaml":    aConfigMap("a", "one"),
	}})
	h.must(err)
	for _, login := range []string{"ann", "bob", "cho"} {
		h.must(world.AddMember(ctx, h.owner, login))
		h.must(world.Grant(ctx, h.repo.String(), login, forge.Write))
	}
	h.must(world.Admit(ctx, h.repo.String()))
	address, authority := enterprise(t, world.URL())
	access := world.Access()
	section = strings.Replace(section, "%s", address, 1)
	section = strings.Replace(section, "%d", fmt.Sprint(access.AppID), 1)
	for name, text := range map[string]string{
		"key": access.Key, "token": access.Token, "hook": "secret-of-the-webhook",
		"server.yaml": fmt.Sprintf(`listen: 127.0.0.1:0
store: lockkeeper.db
cache: mirrors
%s
  caFile: %s
  webhookSecretFiles: [hook]
clusters: {main: {kubeconfig: %q}}
repositories:
  - id: %d
    name: %s
    allow: [{paths: ["**"], clusters: [main], environments: [production], namespaces: [%s]}]
`, section, authority, cp.Kubeconfig, h.repo.ID, h.repo, h.ns),
	} {
		write(t, filepath.Join(h.dir, name), text)
	}
	h.bot, err = child.Serve(program(t), filepath.Join(h.dir, "server.yaml"), filepath.Join(h.dir, "log"))
	h.must(err)
	t.Cleanup(h.end)
	at, err := h.bot.Address(ctx)
	h.must(err)
	h.must(world.Hook(ctx, "http://"+at+"/webhook", "secret-of-the-webhook"))
	h.store, err = store.Open(ctx, filepath.Join(h.dir, "lockkeeper.db"), store.Options{})
	h.must(err)
	return h
}

func aConfigMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {key: %q}\n", name, value)
}

// end stops what runs, bot first. Nothing that it said holds a secret (threat 8).
func (h *hosted) end() {
	errs := []error{h.bot.Stop()}
	if h.store != nil {
		errs = append(errs, h.store.Close())
	}
	errs = append(errs, h.Close())
	for _, err := range errs {
		if err != nil {
			h.t.Error(err)
		}
	}
	if h.t.Failed() {
		h.t.Logf("the log ends with\n%s", h.bot.LastLines(40))
	}
	log, err := os.ReadFile(h.bot.Log)
	if err != nil {
		h.t.Error(err)
	}
	for _, secret := range []string{"secret-of-the-webhook", "another-secret", "no-such-token", h.Access().Token} {
		if secret != "" && bytes.Contains(log, []byte(secret)) {
			h.t.Errorf("%s is in the log", secret)
		}
	}
}

func (h *hosted) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// settle waits until every webhook is answered and what they led to is done. On a
// forge that counts whole seconds another one begins then: what people do next is
// later than what they saw.
func (h *hosted) settle() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 2*time.Minute)
	defer cancel()
	for {
		before := h.Delivered()
		h.must(h.Settle(ctx))
		for {
			n, err := h.store.Waiting(ctx)
			h.must(err)
			if n == 0 {
				break
			}
			h.must(h.bot.Ended())
			h.pause(ctx)
		}
		if h.Delivered() == before {
			break
		}
	}
	for second := h.Now().Unix(); h.Kind() == config.OnGitea && h.Now().Unix() == second; {
		h.pause(ctx)
	}
}

// pause is between two looks at what nobody tells us about.
func (h *hosted) pause(ctx context.Context) {
	h.t.Helper()
	select {
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
		h.t.Fatalf("waited in vain; the log ends with\n%s", h.bot.LastLines(20))
	}
}

// reload exchanges a file, has the program read all of them, and returns what it
// says of that.
func (h *hosted) reload(name, text string) map[string]any {
	h.t.Helper()
	write(h.t, filepath.Join(h.dir, name), text)
	before := len(h.reloads())
	h.must(h.bot.Signal(syscall.SIGHUP))
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	for len(h.reloads()) == before {
		h.pause(ctx)
	}
	return h.reloads()[before]
}

// reloads are the records of the log about the operator's file.
func (h *hosted) reloads() []map[string]any {
	h.t.Helper()
	data, err := os.ReadFile(h.bot.Log)
	h.must(err)
	var out []map[string]any
	for line := range bytes.Lines(data) {
		record := map[string]any{}
		if json.Unmarshal(line, &record) == nil && slices.Contains([]any{reloaded, halfway, notReloaded}, record["msg"]) {
			out = append(out, record)
		}
	}
	return out
}

// said is everything that the bot wrote under a pull.
func (h *hosted) said(n int) string {
	h.t.Helper()
	comments, err := h.As("ann").Comments(h.t.Context(), h.repo.String(), n)
	h.must(err)
	var own []string
	for _, c := range comments {
		if c.Author == h.Access().Login {
			own = append(own, c.Body)
		}
	}
	return strings.Join(own, "\n")
}

// say comments and waits for what comes of it.
func (h *hosted) say(who string, n int, body string) {
	h.t.Helper()
	_, err := h.As(who).Comment(h.t.Context(), h.repo.String(), n, body)
	h.must(err)
	h.settle()
}

// A pull is planned, approved, applied and merged by the real program on every
// forge, which has a certificate of its owner's own authority, for Git too; and
// the operator exchanges what can be exchanged meanwhile.
func TestServeOnEveryForge(t *testing.T) {
	for _, on := range hostings {
		t.Run(on.name, func(t *testing.T) {
			world, err := on.start(t)
			if err != nil {
				t.Fatal(err)
			}
			newHosted(t, world, on.section, on.nested).story()
		})
	}
}

func (h *hosted) story() {
	ctx, t := h.t.Context(), h.t
	repo := h.repo.String()
	head, err := h.As("ann").Push(ctx, repo, "change", "main", people.Commit{Message: "Two", Files: map[string]string{"deploy/a.yaml": aConfigMap("a", "two")}})
	h.must(err)
	n, err := h.As("ann").OpenPull(ctx, repo, "main", "change", "Two", "")
	h.must(err)
	h.settle()
	if said := h.said(n); !strings.Contains(said, "<!-- lockkeeper:pull/") || !strings.Contains(said, "ConfigMap") || !strings.Contains(said, "apply") {
		t.Fatalf("no plan:\n%s", said)
	}
	h.shown(head, false)

	h.exchange()

	h.say("bob", n, "/lockkeeper approve")
	h.say("cho", n, "/apply")
	p, err := h.As("ann").Pull(ctx, repo, n)
	h.must(err)
	if !p.Merged {
		t.Fatalf("not merged:\n%s", h.said(n))
	}
	h.shown(head, true)
	got := mustKubectl(t, controlPlane(t).Access, "", "-n", h.ns, "get", "configmap", "a", "-o", "jsonpath={.data.key}")
	if got != "two" {
		t.Errorf("the cluster has %q", got)
	}
}

// shown looks at the check: an App writes a check run with its summary, and all
// others a commit status.
func (h *hosted) shown(sha string, good bool) {
	h.t.Helper()
	checks, err := h.As("ann").Checks(h.t.Context(), h.repo.String(), sha)
	h.must(err)
	i := slices.IndexFunc(checks, func(c people.Shown) bool { return strings.HasPrefix(c.Name, "lockkeeper") })
	if i < 0 {
		h.t.Fatalf("no check of ours among %+v", checks)
	}
	c := checks[i]
	if c.Title == "" || (c.State == forge.Success) != good || (c.Summary != "") != (h.Access().AppID != 0) {
		h.t.Errorf("the check shows %+v", c)
	}
}

// exchange reloads: secrets and what cannot be exchanged, good ones and bad ones.
func (h *hosted) exchange() {
	h.t.Helper()
	file, err := os.ReadFile(filepath.Join(h.dir, "server.yaml"))
	h.must(err)
	server, err := config.ParseServer("server.yaml", file)
	h.must(err)
	if h.Access().Token != "" {
		if r := h.reload("token", "no-such-token"); r["msg"] != notReloaded || !strings.Contains(fmt.Sprint(r["error"]), "the forge refuses the credentials") {
			h.t.Errorf("a token that the forge does not know: %v", r)
		}
		write(h.t, filepath.Join(h.dir, "token"), h.Access().Token)
	}
	if r := h.reload("hook", "another-secret"); r["msg"] != reloaded {
		h.t.Errorf("another secret: %v", r)
	}
	h.must(h.Hook(h.t.Context(), h.hookURL(), "another-secret"))
	moved := strings.Replace(string(file), "https://127.0.0.1:", "https://localhost:", 1)
	want := map[string]string{config.OnGitHub: "[github.apiURL]"}[server.Kind()]
	if want == "" {
		want = "[" + server.Kind() + ".url]"
	}
	if r := h.reload("server.yaml", moved); r["msg"] != halfway || fmt.Sprint(r["restart"]) != want {
		h.t.Errorf("another address: %v, want %s", r, want)
	}
	if r := h.reload("server.yaml", string(file)); r["msg"] != reloaded {
		h.t.Errorf("the file as it was: %v", r)
	}
	h.settle()
}

func (h *hosted) hookURL() string {
	at, err := h.bot.Address(h.t.Context())
	h.must(err)
	return "http://" + at + "/webhook"
}
