package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // how databases that replicas share are reached
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"lockkeeper/bot/store"
	"lockkeeper/cluster/clustertest"
	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/github"
	"lockkeeper/forge/people"
	ongithub "lockkeeper/forge/people/github"
)

const shop = "acme/shop"

// The townsfolk: ann opens, bob approves, cho applies, dan may override, eve may
// nothing.
var townsfolk = []string{"owner", "ann", "bob", "cho", "dan", "eve"}

// crashHouse is a lockkeeper that dies again and again, between a look-alike of
// the forge and a real API server, both of which live on.
type crashHouse struct {
	t       *testing.T
	dir, ns string
	address string
	world   *ongithub.Forge
	forge   *forgetest.Server
	repo    int64
	plane   *clustertest.ControlPlane
	kube    kubernetes.Interface
	store   *store.Store // the bot's, read beside it

	mu       sync.Mutex
	cmd      *exec.Cmd
	gone     chan struct{} // closed when cmd has ended
	lives    int           // how often the bot was started
	swept    int           // the life that was asked to look at everything
	stopping bool
	failure  error
	between  func()        // done once, while nobody lives
	shared   *sql.DB       // a database that replicas share; nil for a file
	spent    time.Duration // of CPU, by all that lived
}

// crashStory says what to build.
type crashStory struct {
	Config string // .lockkeeper.yaml; NS stands for the story's namespace
	Files  map[string]string
	Apply  string // "" or merge
	// Store is the server file's; "" is a file.
	Store string
}

var houses atomic.Int64

func newCrashHouse(t *testing.T, s crashStory) *crashHouse {
	t.Helper()
	h := &crashHouse{t: t, dir: t.TempDir(), plane: controlPlane(t)}
	h.ns = h.plane.Namespace(t)
	h.kube = kubernetes.NewForConfigOrDie(h.plane.RESTConfig())
	h.seed(s)
	h.configure(s)
	if s.Store != "" {
		var err error
		h.shared, err = sql.Open("pgx", s.Store)
		h.must(err)
		t.Cleanup(func() { h.must(h.shared.Close()) })
	}
	h.start()
	t.Cleanup(h.close)
	var err error
	url := s.Store
	if url == "" {
		url = filepath.Join(h.dir, "lockkeeper.db")
	}
	h.until("the bot listens", h.listens)
	h.store, err = store.Open(t.Context(), url, store.Options{})
	h.must(err)
	h.must(h.world.Hook(h.t.Context(), "http://"+h.address+"/webhook", "webhook-secret"))
	h.settle()
	return h
}

func (h *crashHouse) in(s string) string { return strings.ReplaceAll(s, "NS", h.ns) }

func (h *crashHouse) seed(s crashStory) {
	h.t.Helper()
	m, err := github.Manifest("http://127.0.0.1", "http://127.0.0.1/done", "lockkeeper")
	h.must(err)
	h.world, err = ongithub.New(ongithub.Options{
		Options:     forgetest.Options{RealTime: true, Validate: func(v string) { h.t.Errorf("the look-alike broke GitHub's schema: %s", v) }},
		Permissions: m.DefaultPermissions, Events: m.DefaultEvents,
	})
	h.must(err)
	h.forge = h.world.Server
	h.t.Cleanup(func() { h.must(h.world.Close()) })
	// Stories share a cluster: no two have a repository of the same number.
	for i := range houses.Add(1) * 10 {
		h.forge.AddUser(fmt.Sprintf("passer-by-%d", i))
	}
	for _, u := range townsfolk {
		h.forge.AddUser(u)
	}
	h.forge.AddOrg("acme", "owner")
	files := map[string]string{".lockkeeper.yaml": h.in(s.Config)}
	for path, text := range s.Files {
		files[path] = h.in(text)
	}
	repo, err := h.world.AddRepo(h.t.Context(), people.NewRepo{Owner: "acme", Name: "shop", Files: files})
	h.must(err)
	h.repo = repo.ID
	for _, u := range townsfolk[1:5] {
		h.forge.AddMember("acme", u)
		h.forge.Grant(shop, u, "write")
	}
	h.must(h.world.Admit(h.t.Context(), shop))
}

func (h *crashHouse) configure(s crashStory) {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	h.must(err)
	h.address = l.Addr().String()
	h.must(l.Close())
	url := s.Store
	if url == "" {
		url = "lockkeeper.db"
	}
	apply := ""
	if s.Apply != "" {
		apply = "\n    apply: " + s.Apply
	}
	access := h.world.Access()
	for name, text := range map[string]string{
		"key.pem": access.Key, "webhook-secret": "webhook-secret", "server.yaml": h.in(fmt.Sprintf(`listen: %s
store: %q
cache: mirrors
github:
  apiURL: %s
  app: {id: %d, privateKeyFile: key.pem}
  webhookSecretFiles: [webhook-secret]
clusters:
  main: {kubeconfig: %s}
repositories:
  - id: %d
    name: %s%s
    allow:
      - {paths: ["**"], clusters: [main], environments: [production], namespaces: [NS], clusterKinds: [CustomResourceDefinition.apiextensions.k8s.io]}
`, h.address, url, access.APIURL, access.AppID, h.plane.Kubeconfig, h.repo, shop, apply)),
	} {
		h.must(os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o600))
	}
}

// start starts the bot, and again each time it is killed.
func (h *crashHouse) start() {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.must(h.live())
}

func (h *crashHouse) live() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(h.dir, "serve.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(self, "serve", "--debug", "--config", filepath.Join(h.dir, "server.yaml"))
	cmd.Env = append(os.Environ(), crashEnv+"="+h.dir)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	gone := make(chan struct{})
	h.cmd, h.gone = cmd, gone
	h.lives++
	go h.outlive(cmd, gone)
	return nil
}

// outlive waits for the bot's end and starts the next one, if it was killed.
func (h *crashHouse) outlive(cmd *exec.Cmd, gone chan struct{}) {
	_ = cmd.Wait() // its state says how it ended
	close(gone)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.spent += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if h.stopping {
		return
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		h.failure = fmt.Errorf("the bot ended by itself: %s", cmd.ProcessState)
		return
	}
	if h.shared != nil { // others wait for half a minute; they are not what is told here
		_, err := h.shared.Exec("UPDATE replicas SET seen = 0")
		h.failure = errors.Join(h.failure, err)
	}
	if do := h.between; do != nil {
		h.between = nil
		do()
	}
	h.failure = errors.Join(h.failure, h.live())
}

// kill ends the bot that lives now, at once.
func (h *crashHouse) kill() {
	h.mu.Lock()
	cmd, gone := h.cmd, h.gone
	h.mu.Unlock()
	_ = cmd.Process.Kill() // may have ended by itself
	<-gone
}

// close ends the story, and says what the bot logged if it failed.
func (h *crashHouse) close() {
	h.mu.Lock()
	h.stopping = true
	h.mu.Unlock()
	_ = h.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-h.gone:
	case <-time.After(10 * time.Second):
		h.t.Error("the bot does not end on SIGTERM")
		h.kill()
	}
	if h.store != nil {
		h.must(h.store.Close())
	}
	if h.t.Failed() {
		log, _ := os.ReadFile(filepath.Join(h.dir, "serve.log"))
		if keep := os.Getenv("LOCKKEEPER_TEST_LOG"); keep != "" {
			_ = os.WriteFile(keep, log, 0o600)
		}
		h.t.Logf("died at:\n%s\nthe end of the log:\n%s", strings.Join(h.met(), "\n"), log[max(0, len(log)-4000):])
	}
}

// logged counts records that the bot wrote, in all its lives.
func (h *crashHouse) logged(part string) int {
	log, err := os.ReadFile(filepath.Join(h.dir, "serve.log"))
	h.must(err)
	return bytes.Count(log, []byte(part))
}

func (h *crashHouse) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// until asks again and again until a condition of another process holds.
func (h *crashHouse) until(what string, ok func() bool) {
	h.t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		h.mu.Lock()
		failure := h.failure
		h.mu.Unlock()
		if failure != nil {
			h.t.Fatalf("while waiting until %s: %v", what, failure)
		}
		select {
		case <-deadline:
			h.t.Fatalf("timed out waiting until %s", what)
		case <-tick.C:
		}
	}
}

func (h *crashHouse) listens() bool {
	c, err := net.Dial("tcp", h.address)
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

func (h *crashHouse) life() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lives
}

// settle waits until webhooks are delivered (those for which nobody lived are
// lost), and everything that they or the start of a process led to is done.
func (h *crashHouse) settle() {
	h.t.Helper()
	for {
		life, sent := h.life(), len(h.forge.Deliveries())
		if h.swept != life {
			h.until("the bot listens", h.listens)
			h.must(h.store.Want(h.t.Context(), fmt.Sprintf("sweep/%d", h.repo)))
			h.swept = life
		}
		h.must(h.forge.Flush(h.t.Context()))
		h.until("all work is done", func() bool {
			n, err := h.store.Waiting(h.t.Context())
			h.must(err)
			return n == 0 || h.life() != life
		})
		if h.life() == life && len(h.forge.Deliveries()) == sent {
			return
		}
	}
}

// act has people do something, and the bot die before and after each of these
// steps that it comes to then, once; none means all steps.
func (h *crashHouse) act(name string, do func(), steps ...string) {
	h.t.Helper()
	h.must(os.WriteFile(filepath.Join(h.dir, actFile), []byte(strings.Join(append([]string{name}, steps...), "\n")), 0o600))
	do()
	h.settle()
	h.must(os.WriteFile(filepath.Join(h.dir, actFile), nil, 0o600))
	if slices.Contains(steps, outside) {
		return
	}
	for _, s := range steps {
		if !h.died(name, s) {
			h.t.Errorf("%s: the bot did not come to the step %q", name, s)
		}
	}
}

// outside is the step of an act in which the bot dies by another hand, or only
// before a step.
const outside = "outside"

// died reports whether the bot died before and after a step of an act.
func (h *crashHouse) died(act, step string) bool {
	met := h.met()
	return slices.Contains(met, act+": "+pointOf(step, false)) && slices.Contains(met, act+": "+pointOf(step, true))
}

// met are the points at which the bot died, with the act.
func (h *crashHouse) met() []string {
	return linesOf(h.dir, metFile)
}

var places = regexp.MustCompile(`[0-9a-f]{40}|\d+`)

// killAtWrites has the look-alike kill the bot when a write of it arrives, before
// it has its effect and after, once each for every kind of write.
func (h *crashHouse) killAtWrites() {
	h.forge.Fail(func(r *http.Request) *forgetest.Fault {
		path, ours := strings.CutPrefix(r.URL.Path, "/api/v3/")
		if !ours || r.Method == http.MethodGet || strings.HasSuffix(path, "access_tokens") || path == "graphql" && !mutates(r) {
			return nil
		}
		act := linesOf(h.dir, actFile)
		if len(act) == 0 {
			return nil
		}
		for _, after := range []bool{false, true} {
			here := act[0] + ": " + pointOf(r.Method+" "+places.ReplaceAllString(path, "N"), after)
			if slices.Contains(h.met(), here) {
				continue
			}
			h.must(appendLine(h.dir, metFile, here))
			h.kill()
			return &forgetest.Fault{Cut: true, After: after}
		}
		return nil
	})
}

// mutates reports whether a GraphQL request writes.
func mutates(r *http.Request) bool {
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	return err != nil || bytes.Contains(body, []byte("mutation"))
}

func (h *crashHouse) as(login string) people.Person { return h.world.As(login) }

// bot is the login of the bot.
func (h *crashHouse) bot() string { return h.world.Access().Login }

// push commits files on a branch, made from main if new; "" deletes a file.
func (h *crashHouse) push(login, branch string, files map[string]string) {
	h.t.Helper()
	filled := map[string]string{}
	for path, text := range files {
		filled[path] = h.in(text)
	}
	_, err := h.as(login).Push(h.t.Context(), shop, branch, "main", people.Commit{Message: "change " + branch, Files: filled})
	h.must(err)
}

func (h *crashHouse) open(branch string, files map[string]string) int {
	h.t.Helper()
	h.push("ann", branch, files)
	n, err := h.as("ann").OpenPull(h.t.Context(), shop, "main", branch, "Change "+branch, "")
	h.must(err)
	h.settle()
	return n
}

// say comments and returns what the bot replied.
func (h *crashHouse) say(login string, number int, body string) string {
	h.t.Helper()
	id, err := h.as(login).Comment(h.t.Context(), shop, number, body)
	h.must(err)
	h.settle()
	return h.replyTo(number, id)
}

func (h *crashHouse) replyTo(number int, id int64) string {
	h.t.Helper()
	var replies []string
	for _, c := range h.comments(number) {
		if strings.HasPrefix(c.Body, fmt.Sprintf("<!-- lockkeeper:reply/%d/", id)) {
			replies = append(replies, c.Body)
		}
	}
	return strings.Join(replies, "\n")
}

// says is say, and the reply must say all of this.
func (h *crashHouse) says(login string, number int, body string, wants ...string) {
	h.t.Helper()
	reply := h.say(login, number, body)
	for _, w := range wants {
		if !strings.Contains(reply, w) {
			h.t.Fatalf("%s of %s on #%d: the reply does not say %q:\n%s\nthe report:\n%s", body, login, number, w, reply, h.report(number))
		}
	}
}

// quietly brings the base branch to the cluster, and nobody dies.
func (h *crashHouse) seedLive() {
	h.t.Helper()
	n := h.open("seed", map[string]string{"README.md": "seed\n"})
	h.say("cho", n, "/sync "+h.ns)
	h.say("bob", n, "/approve")
	h.says("cho", n, "/apply", "🚀")
	h.must(h.as("ann").Close(h.t.Context(), shop, n))
	h.settle()
}

func (h *crashHouse) comments(number int) []people.Comment {
	h.t.Helper()
	all, err := h.as("ann").Comments(h.lasting(), shop, number)
	h.must(err)
	return all
}

func (h *crashHouse) report(number int) string {
	for _, c := range h.comments(number) {
		if strings.HasPrefix(c.Body, "<!-- lockkeeper:pull/") {
			return c.Body
		}
	}
	return ""
}

func (h *crashHouse) pull(number int) people.Pull {
	h.t.Helper()
	p, err := h.as("ann").Pull(h.lasting(), shop, number)
	h.must(err)
	return p
}

func (h *crashHouse) pulls() []people.Pull {
	h.t.Helper()
	all, err := h.as("ann").Pulls(h.lasting(), shop)
	h.must(err)
	return all
}

// lasting is a context for what is looked at when a story is over, too.
func (h *crashHouse) lasting() context.Context { return context.WithoutCancel(h.t.Context()) }

// value is what the live ConfigMap says, "" if there is none.
func (h *crashHouse) value(name string) string {
	cm, err := h.kube.CoreV1().ConfigMaps(h.ns).Get(context.WithoutCancel(h.t.Context()), name, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	return cm.Data["key"]
}

// byHand changes a ConfigMap as somebody at a terminal does.
func (h *crashHouse) byHand(name, value string) error {
	_, err := h.kube.CoreV1().ConfigMaps(h.ns).Patch(context.WithoutCancel(h.t.Context()), name, types.MergePatchType,
		fmt.Appendf(nil, `{"data":{"key":%q}}`, value), metav1.PatchOptions{FieldManager: "kubectl-patch"})
	return err
}

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\n  namespace: NS\ndata:\n  key: %s\n", name, value)
}
