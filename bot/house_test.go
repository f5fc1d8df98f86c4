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
	"lockkeeper/forge"
	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/git"
	"lockkeeper/forge/people"
	lookalike "lockkeeper/forge/people/github"
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

// house is a whole lockkeeper, from the webhook to the cluster: a forge with its
// people, the driver, the bot, its store and a real API server.
type house struct {
	t        *testing.T
	venue    venue
	forge    people.Forge
	login    string        // the bot's
	repo     forge.RepoRef // acme/shop
	store    *store.Store
	bot      *bot.Bot
	clusters map[string]cluster.Cluster
	server   *config.Server
	kube     kubernetes.Interface
	plane    *clustertest.ControlPlane
	// ns is the namespace of this story, and the name of its target.
	ns string
	// settled is when the story last waited for everybody.
	settled time.Time
	driver  *intent
	dir     string
	cancel  context.CancelFunc
	ran     chan error
	log     *slog.Logger
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
	Protect people.Protection
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
	h := &house{t: t, venue: venues[stage(t)], plane: plane.Get(t), dir: t.TempDir(), ears: &ears{}, said: &record{}, metrics: web.NewMetrics()}
	h.log = slog.New(slog.NewTextHandler(h.said, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.ns = h.plane.Namespace(t)
	h.kube = kubernetes.NewForConfigOrDie(h.plane.RESTConfig())
	h.seed(b)
	h.configure(b)
	h.start()
	t.Cleanup(h.tell)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("lockkeeper warned of this:\n%s", h.said.warnings())
		}
	})
	t.Cleanup(h.stop)
	return h
}

// in fills in the story's namespace.
func (h *house) in(s string) string { return strings.ReplaceAll(s, "NS", h.ns) }

func (h *house) seed(b build) {
	h.t.Helper()
	ctx := h.t.Context()
	var err error
	h.forge, err = h.venue.open(h.t, b)
	h.must(err)
	h.t.Cleanup(func() { h.must(h.forge.Close()) })
	h.login = h.forge.Access().Login
	for _, u := range []string{"owner", opener, reviewer, second, outsider} {
		h.person(u)
	}
	h.must(h.forge.AddOrg(ctx, "acme", "owner"))
	h.team("platform", reviewer)
	files := map[string]string{config.RepoFile: h.in(plainConfig), "deploy/a.yaml": h.in(configMap("a", "one"))}
	if b.Config != "" {
		files[config.RepoFile] = h.in(b.Config)
	}
	for path, text := range b.Files {
		files[h.in(path)] = h.in(text)
	}
	h.repo, err = h.forge.AddRepo(ctx, people.NewRepo{Owner: "acme", Name: "shop", Files: files})
	h.must(err)
	for _, u := range []string{opener, reviewer, second} {
		h.member(u)
		h.grant(u, forge.Write)
	}
	if l, is := h.forge.(*lookalike.Forge); is { // administrators may pass by these
		l.Server.Protect(shop, "main", forgetest.Protection{Checks: b.Protect.Checks, Reviews: b.Protect.Reviews})
	} else if b.Protect.Reviews > 0 || len(b.Protect.Checks) > 0 {
		h.must(h.forge.Protect(ctx, shop, "main", b.Protect))
	}
	h.must(h.forge.Admit(ctx, shop))
}

func (h *house) configure(b build) {
	h.server = &config.Server{
		Clusters: map[string]config.Cluster{"main": {Kubeconfig: h.plane.Kubeconfig}},
		Forges:   h.venue.section(h.forge.Access()),
		Repositories: []config.Repository{{
			ID: h.repo.ID, Name: shop, Apply: config.ApplyOnComment, Merge: "squash",
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
	driver, err := h.venue.driver(ctx, h.forge.Access(), &http.Client{Transport: h.ears}, h.forge.Now)
	h.must(err)
	h.driver = &intent{Forge: driver}
	h.bot, err = bot.New(ctx, bot.Config{
		Server: h.server, Forge: h.driver, Store: h.store, Mirrors: mirrors, Renderer: renderer,
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
		Forge: h.forge.Kind(), Secrets: []secret.Secret{hookSecret}, Logger: h.log, Metrics: h.metrics,
		Verify: h.venue.verify, Parse: h.venue.parse, Wants: h.bot.Wants, Deliver: h.store.AddDelivery,
	})
	h.must(err)
	h.page = door
	hooks := httptest.NewServer(door)
	h.must(h.forge.Hook(ctx, hooks.URL+"/webhook", hookSecret))
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
	for answered := -1; ; {
		h.must(h.forge.Settle(ctx))
		if answered == h.forge.Delivered() {
			break
		}
		answered = h.forge.Delivered()
		h.must(h.store.Idle(ctx))
	}
	h.settled = time.Now()
}

// as is somebody at work. On a forge that tells whole seconds of the machine's
// clock, nobody acts within the second in which the bot did: approvals of the
// second of the report's publication do not count.
func (h *house) as(login string) people.Person {
	if _, virtual := h.forge.(interface{ Advance(time.Duration) }); !virtual {
		time.Sleep(time.Until(h.settled.Truncate(time.Second).Add(time.Second)))
	}
	return worker{h.forge.As(login), h.driver.Limits().Reserved}
}

// push commits files on a branch of the repository, made from main if new.
func (h *house) push(login, branch string, files map[string]string) string {
	h.t.Helper()
	filled := map[string]string{}
	for path, text := range files {
		filled[h.in(path)] = h.in(text)
	}
	sha, err := h.as(login).Push(h.t.Context(), shop, branch, "main", people.Commit{Message: "change " + branch, Files: filled})
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

func (h *house) comments(number int) []people.Comment {
	h.t.Helper()
	all, err := h.forge.As(opener).Comments(h.t.Context(), shop, number)
	h.must(err)
	for i := range all {
		all[i].Body = h.plainly(all[i].Body)
	}
	return all
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
	Number             int
	Title, Body, State string
	Merged             bool
	Head               struct{ Ref, SHA string }
}

func pullOf(p people.Pull) pull {
	return pull{Number: p.Number, Title: p.Title, Body: p.Body, State: string(p.State), Merged: p.Merged, Head: struct{ Ref, SHA string }{p.Head, p.HeadSHA}}
}

func (h *house) pull(number int) pull {
	h.t.Helper()
	p, err := h.forge.As(opener).Pull(h.t.Context(), shop, number)
	h.must(err)
	return pullOf(p)
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
