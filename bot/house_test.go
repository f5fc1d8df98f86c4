package bot_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"lockkeeper/bot"
	"lockkeeper/bot/audit"
	"lockkeeper/bot/config"
	"lockkeeper/bot/secret"
	"lockkeeper/bot/store"
	"lockkeeper/bot/web"
	"lockkeeper/cluster"
	"lockkeeper/cluster/clustertest"
	"lockkeeper/cluster/kube"
	"lockkeeper/cluster/manifest"
	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/git"
	"lockkeeper/forge/github"
)

var plane = clustertest.Shared{Options: clustertest.Options{Nodes: 1}}

// renderer is shared by the stories: starting its children under the race
// detector would take longer than most of what they render. They end with this
// process.
var renderer = manifest.New(manifest.Limits{})

func TestMain(m *testing.M) {
	manifest.Child()
	plane.Main(m)
}

// The people of every story. The opener and the applier have write access,
// eve has none.
const (
	opener   = "ann"
	reviewer = "bob"
	second   = "cho"
	outsider = "eve"
)

const shop = "acme/shop"

// house is a whole lockkeeper, from the webhook to the cluster: the look-alike
// of the forge, the driver, the bot, its store and a real API server.
type house struct {
	t        *testing.T
	forge    *forgetest.Server
	app      *forgetest.App
	store    *store.Store
	bot      *bot.Bot
	clusters map[string]cluster.Cluster
	server   *config.Server
	kube     kubernetes.Interface
	plane    *clustertest.ControlPlane
	// ns is the namespace of this story, and the name of its target.
	ns     string
	github *github.Forge
	dir    string
	cancel context.CancelFunc
	ran    chan error
	log    *slog.Logger
	// What leak_test.go looks at when the story is over. leaky is a story in
	// which something gets out on purpose.
	ears    *ears
	said    *record
	metrics *web.Metrics
	page    http.Handler
	leaky   bool
	// programs are bots in processes of their own.
	programs []process
	// at, if a story sets it, is called at every step.
	at atomic.Pointer[func(bot.Step)]
}

// build is what a story may want otherwise.
type build struct {
	// Files of the repository, beside .lockkeeper.yaml. NS stands for the
	// story's namespace.
	Files map[string]string
	// Config replaces .lockkeeper.yaml.
	Config string
	// Server changes the operator's file.
	Server func(*config.Server)
	// RealTime lets the forge's clock follow the machine's, for a bot that runs
	// in a process of its own.
	RealTime bool
	// Lazy makes the forge compute whether a pull can be merged only once asked.
	Lazy bool
	// Protect are the rules of main.
	Protect forgetest.Protection
}

const plainConfig = `targets:
  - name: NS
    path: deploy
    cluster: main
    environment: production
environments:
  production:
    approvals:
      required: 1
`

// configMap is the smallest object there is to change.
func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\n  namespace: NS\ndata:\n  key: %s\n", name, value)
}

// newHouse begins a story. Stories run beside each other, as many as
// `go test -parallel` says: what they share is the control plane, on which each
// has a namespace, a target and a node label of its own.
func newHouse(t *testing.T, b build) *house {
	t.Helper()
	t.Parallel()
	h := &house{t: t, plane: plane.Get(t), dir: t.TempDir(), ears: &ears{}, said: &record{}, metrics: web.NewMetrics()}
	h.log = slog.New(slog.NewTextHandler(h.said, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.ns = h.plane.Namespace(t)
	h.kube = kubernetes.NewForConfigOrDie(h.plane.RESTConfig())
	h.seed(b)
	h.configure(b)
	h.start()
	t.Cleanup(h.tell)
	t.Cleanup(h.stop)
	return h
}

// in fills in the story's namespace.
func (h *house) in(s string) string { return strings.ReplaceAll(s, "NS", h.ns) }

func (h *house) seed(b build) {
	h.t.Helper()
	var err error
	h.forge, err = forgetest.New(forgetest.Options{RealTime: b.RealTime, LazyMergeable: b.Lazy, Validate: func(v string) { h.t.Errorf("the look-alike broke GitHub's schema: %s", v) }})
	h.must(err)
	h.t.Cleanup(func() { h.must(h.forge.Close()) })
	for _, u := range []string{"owner", opener, reviewer, second, outsider} {
		h.forge.AddUser(u)
	}
	h.forge.AddOrg("acme", "owner")
	h.forge.AddTeam("acme", "platform", "", reviewer)
	files := map[string]string{config.RepoFile: h.in(plainConfig), "deploy/a.yaml": h.in(configMap("a", "one"))}
	if b.Config != "" {
		files[config.RepoFile] = h.in(b.Config)
	}
	for path, text := range b.Files {
		files[h.in(path)] = h.in(text)
	}
	_, err = h.forge.AddRepo(h.t.Context(), forgetest.NewRepo{Owner: "acme", Name: "shop", Files: files})
	h.must(err)
	for _, u := range []string{opener, reviewer, second} {
		h.forge.AddMember("acme", u)
		h.forge.Grant(shop, u, "write")
	}
	h.forge.Protect(shop, "main", b.Protect)
	m, err := github.Manifest("http://127.0.0.1", "http://127.0.0.1/done", "lockkeeper")
	h.must(err)
	h.app, err = h.forge.AddApp("acme", "lockkeeper", m.DefaultPermissions, m.DefaultEvents...)
	h.must(err)
	h.forge.Install(h.app, "acme", shop)
}

func (h *house) configure(b build) {
	h.server = &config.Server{
		Clusters: map[string]config.Cluster{"main": {Kubeconfig: h.plane.Kubeconfig}},
		Forges:   config.Forges{GitHub: &config.GitHub{Dealings: config.Dealings{ServiceAccounts: []int64{config.GitHubWebFlow}}}},
		Repositories: []config.Repository{{
			ID: h.forge.RepoID(shop), Name: shop, Apply: config.ApplyOnComment, Merge: "squash",
			Allow: []config.Allowance{{
				Paths: []string{"**"}, Clusters: []string{"main"}, Environments: []string{"production", "staging"},
				Namespaces: []string{h.ns}, ClusterKinds: []string{"Namespace"},
			}},
		}},
		MaxDeletes: 25, Sweep: config.Duration(time.Hour),
	}
	if b.Server != nil {
		b.Server(h.server)
	}
	h.clusters = map[string]cluster.Cluster{}
	for name, c := range h.server.Clusters {
		k, err := kube.New(kube.Config{Name: name, Kubeconfig: c.Kubeconfig, Context: c.Context})
		h.must(err)
		h.clusters[name] = k
	}
}

// start starts a bot on the house's store, as after a (re)start of the process.
func (h *house) start() {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(h.t.Context()))
	h.cancel = cancel
	var err error
	h.store, err = store.Open(ctx, h.dir+"/lockkeeper.db", store.Options{Now: h.forge.Now, Logger: h.log, Drain: time.Millisecond})
	h.must(err)
	mirrors, err := git.OpenCache(ctx, h.dir+"/mirrors", git.Options{})
	h.must(err)
	h.github, err = github.New(ctx, github.Config{APIURL: h.forge.URL + "/api/v3", AppID: h.app.ID, PrivateKey: []byte(h.app.Key), UserAgent: "lockkeeper-test", HTTPClient: &http.Client{Transport: h.ears}, Now: h.forge.Now})
	h.must(err)
	h.bot, err = bot.New(ctx, bot.Config{
		Server: h.server, Forge: h.github, Store: h.store, Mirrors: mirrors, Renderer: renderer,
		Clusters: h.clusters, Log: h.log, Now: h.forge.Now, Version: "test", Progress: time.Nanosecond,
		Step: func(ctx context.Context, at bot.Step) {
			h.log.DebugContext(ctx, "step", "key", at.Key, "step", at.Name, "done", at.Done)
			h.metrics.Step(at.Name)
			if told := h.at.Load(); told != nil {
				(*told)(at)
			}
		},
	})
	h.must(err)
	h.bot.Bootstrap(ctx)
	door, err := web.New(web.Config{
		Forge: "github", Secrets: []secret.Secret{hookSecret}, Logger: h.log, Metrics: h.metrics,
		Verify: github.Verify,
		Parse:  github.ParseEvent, Wants: h.bot.Wants, Deliver: h.store.AddDelivery,
	})
	h.must(err)
	h.page = door
	hooks := httptest.NewServer(door)
	h.forge.SetWebhook(h.app, hooks.URL+"/webhook", hookSecret)
	h.ran = make(chan error, 1)
	go func() {
		err := h.store.Run(ctx, 4, h.bot.Handle)
		hooks.Close()
		_ = mirrors.Close()
		h.ran <- err
	}()
}

// stop ends the bot as SIGTERM would.
func (h *house) stop() {
	if h.cancel == nil {
		return
	}
	h.cancel()
	h.cancel = nil
	if err := <-h.ran; err != nil {
		h.t.Errorf("run: %v", err)
	}
	h.must(h.store.Close())
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// settle waits until every webhook is delivered and everything they led to is
// done.
func (h *house) settle() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 5*time.Minute)
	defer cancel()
	for {
		before := len(h.forge.Deliveries())
		h.must(h.forge.Flush(ctx))
		h.must(h.store.Idle(ctx))
		if len(h.forge.Deliveries()) == before {
			return
		}
	}
}

func (h *house) as(login string) *forgetest.Client { return h.forge.As(login) }

// push commits files on a branch of the repository, made from main if new.
func (h *house) push(login, branch string, files map[string]string) string {
	h.t.Helper()
	filled := map[string]string{}
	for path, text := range files {
		filled[h.in(path)] = h.in(text)
	}
	sha, err := h.as(login).Push(h.t.Context(), shop, branch, "main", forgetest.Commit{Message: "change " + branch, Files: forgetest.Text(filled)})
	h.must(err)
	return sha
}

// open pushes files and opens a pull from them.
func (h *house) open(login, branch string, files map[string]string) int {
	h.t.Helper()
	h.push(login, branch, files)
	n, err := h.as(login).OpenPull(h.t.Context(), shop, "main", branch, "Change "+branch, "")
	h.must(err)
	h.settle()
	return n
}

// say comments and returns what the bot replied to it.
func (h *house) say(login string, number int, body string) string {
	h.t.Helper()
	id, err := h.as(login).Comment(h.t.Context(), shop, number, body)
	h.must(err)
	h.settle()
	return h.replyTo(number, id)
}

func (h *house) replyTo(number int, id int64) string {
	h.t.Helper()
	var replies []string
	for _, c := range h.comments(number) {
		if strings.HasPrefix(c.Body, fmt.Sprintf("<!-- lockkeeper:reply/%d/", id)) {
			replies = append(replies, c.Body)
		}
	}
	return strings.Join(replies, "\n")
}

type comment struct {
	ID   int64
	Body string
	User struct{ Login string }
}

func (h *house) comments(number int) []comment {
	h.t.Helper()
	var out []comment
	h.must(h.as(opener).Do(h.t.Context(), "GET", fmt.Sprintf("/repos/%s/issues/%d/comments?per_page=100", shop, number), nil, &out))
	return out
}

// sticky is the report: there must be one.
func (h *house) sticky(number int) string {
	h.t.Helper()
	var found []string
	for _, c := range h.comments(number) {
		if strings.HasPrefix(c.Body, fmt.Sprintf("<!-- lockkeeper:pull/%d/%d part=1 -->", h.server.Repositories[0].ID, number)) {
			found = append(found, c.Body)
		}
	}
	if len(found) != 1 {
		h.t.Fatalf("%d reports on #%d, want one", len(found), number)
	}
	return found[0]
}

type pull struct {
	State  string
	Merged bool
	Head   struct{ SHA string }
}

func (h *house) pull(number int) pull {
	h.t.Helper()
	var p pull
	h.must(h.as(opener).Do(h.t.Context(), "GET", fmt.Sprintf("/repos/%s/pulls/%d", shop, number), nil, &p))
	return p
}

// check is the conclusion of our check on a commit, "" while it has none.
func (h *house) check(sha string) string {
	h.t.Helper()
	var out struct {
		CheckRuns []struct{ Name, Conclusion string } `json:"check_runs"`
	}
	h.must(h.as(opener).Do(h.t.Context(), "GET", fmt.Sprintf("/repos/%s/commits/%s/check-runs", shop, sha), nil, &out))
	for _, r := range out.CheckRuns {
		if r.Name == "lockkeeper" {
			return r.Conclusion
		}
	}
	return "missing"
}

// value is what the live ConfigMap says, "" if there is none.
func (h *house) value(name string) string {
	h.t.Helper()
	cm, err := h.kube.CoreV1().ConfigMaps(h.ns).Get(h.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	return cm.Data["key"]
}

// seedLive applies the base branch as a whole, so that the story starts from a
// cluster that is as Git says.
func (h *house) seedLive() {
	h.t.Helper()
	n := h.open(opener, "seed", map[string]string{"README.md": "seed\n"})
	h.say(second, n, "/sync "+h.ns)
	h.say(reviewer, n, "/approve")
	got := h.say(second, n, "/apply")
	mustContain(h.t, got, "🚀")
	h.must(h.as(opener).Close(h.t.Context(), shop, n))
	h.settle()
}

func (h *house) records(kind audit.Type) []audit.Record {
	h.t.Helper()
	all, err := h.store.Records(h.t.Context(), store.Filter{})
	h.must(err)
	var out []audit.Record
	for _, r := range all {
		if r.Type == kind {
			out = append(out, r)
		}
	}
	return out
}

func mustContain(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, w := range wants {
		if !strings.Contains(text, w) {
			t.Fatalf("does not say %q:\n%s", w, text)
		}
	}
}

func mustNotContain(t *testing.T, text string, unwanted ...string) {
	t.Helper()
	for _, w := range unwanted {
		if strings.Contains(text, w) {
			t.Fatalf("says %q:\n%s", w, text)
		}
	}
}

// kubectl is somebody at a terminal, behind Git's back.
func (h *house) kubectl(args ...string) string {
	h.t.Helper()
	out, err := h.plane.Kubectl(h.t.Context(), args...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// freeNodes lets the story's Deployment z onto the nodes, and waits until it
// runs.
func (h *house) freeNodes() {
	h.t.Helper()
	h.kubectl("label", "nodes", "--all", h.ns+"=yes")
	h.kubectl("-n", h.ns, "wait", "--for=condition=Available", "deployment/z", "--timeout=90s")
}
