package bot_test

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/store"
	"lockkeeper/bot/store/pgtest"
	"lockkeeper/forge"
)

// replicas are real programs that share a PostgreSQL and stand behind one
// address, where webhooks go to any of them.
type replicas struct {
	*house
	program, url string
	started      int

	mu  sync.Mutex
	all []*replica
}

// replica is one of them.
type replica struct {
	h       *house
	name    string // in the store
	dir     string
	process *os.Process
	address string
	ended   chan struct{}
}

// newReplicas begins a story in which the bot is as many programs as it starts.
func newReplicas(t *testing.T, b build) *replicas {
	t.Helper()
	b.RealTime = true
	server, err := pgtest.Shared()
	if err != nil {
		t.Fatal(err)
	}
	r := &replicas{house: newHouse(t, b)}
	r.seedLive()
	r.stop()
	r.url, err = server.Database(t.Context())
	r.must(err)
	r.store, err = store.Open(t.Context(), r.url, store.Options{})
	r.must(err)
	t.Cleanup(func() { r.must(r.store.Close()) })
	r.program = filepath.Join(r.dir, "lockkeeper")
	if out, err := exec.Command("go", "build", "-o", r.program, "lockkeeper/cmd/lockkeeper").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	front := httptest.NewServer(http.HandlerFunc(r.balance))
	t.Cleanup(front.Close)
	r.must(r.forge.Hook(t.Context(), front.URL+"/webhook", hookSecret))
	return r
}

// start adds a replica.
func (r *replicas) start() *replica {
	r.t.Helper()
	before, err := r.store.Replicas(r.t.Context())
	r.must(err)
	r.started++
	p := &replica{h: r.house, dir: filepath.Join(r.dir, fmt.Sprint("replica-", r.started)), ended: make(chan struct{})}
	r.must(os.Mkdir(p.dir, 0o700))
	cmd, address := r.serveOn(r.program, p.dir, r.url)
	p.process, p.address = cmd.Process, address
	r.until("the replica works", func() bool {
		now, err := r.store.Replicas(r.t.Context())
		r.must(err)
		for _, x := range now {
			if !slices.ContainsFunc(before, func(old store.Replica) bool { return old.Name == x.Name }) {
				p.name = x.Name
			}
		}
		return p.name != ""
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, p)
	return p
}

// balance passes a webhook on to a replica, and to the next if one does not
// answer, as a load balancer does.
func (r *replicas) balance(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	if len(r.all) > 1 {
		r.all = append(r.all[1:], r.all[0])
	}
	all := slices.Clone(r.all)
	r.mu.Unlock()
	client := &http.Client{Timeout: 2 * time.Second}
	for _, p := range all {
		next, err := http.NewRequestWithContext(req.Context(), req.Method, "http://"+p.address+req.URL.Path, bytes.NewReader(body))
		if err != nil {
			continue
		}
		next.Header = req.Header.Clone()
		res, err := client.Do(next)
		if err != nil {
			continue
		}
		_ = res.Body.Close()
		if res.StatusCode < http.StatusInternalServerError {
			w.WriteHeader(res.StatusCode)
			return
		}
	}
	http.Error(w, "no replica answers", http.StatusBadGateway)
}

// log is what the replica has written.
func (p *replica) log() string {
	text, err := os.ReadFile(filepath.Join(p.dir, "serve.log"))
	p.h.must(err)
	return string(text)
}

// leave ends the replica as an upgrade does, and waits until it has.
func (r *replicas) leave(p *replica) {
	r.t.Helper()
	r.must(p.process.Signal(syscall.SIGTERM))
	r.until("the replica ended", func() bool { return strings.Contains(p.log(), `"msg":"ended"`) })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = slices.DeleteFunc(r.all, func(x *replica) bool { return x == p })
}

// versions are of all that the story's namespace and lockkeeper's own have, by version.
func (h *house) versions() string {
	h.t.Helper()
	var all []string
	maps, err := h.kube.CoreV1().ConfigMaps(h.ns).List(h.t.Context(), metav1.ListOptions{})
	h.must(err)
	for _, o := range maps.Items {
		all = append(all, "ConfigMap "+o.Name+" "+o.ResourceVersion)
	}
	secrets, err := h.kube.CoreV1().Secrets("lockkeeper-system").List(h.t.Context(), metav1.ListOptions{})
	h.must(err)
	for _, o := range secrets.Items {
		if strings.Contains(fmt.Sprint(o.Labels, o.Annotations, o.Name), h.ns) {
			all = append(all, "Secret "+o.Name+" "+o.ResourceVersion)
		}
	}
	return strings.Join(all, "\n")
}

// TestStoppedReplicaDoesNoHarm stops a replica in the middle of an apply. The
// other one takes the work over, and the watch of the cluster; the stopped one
// wakes up when all is done, and changes nothing (threat 28). It waits as long
// as the program does until it takes another for dead, 30 s.
func TestStoppedReplicaDoesNoHarm(t *testing.T) {
	r := newReplicas(t, build{Files: map[string]string{"deploy/b.yaml": configMap("b", "one")}})
	a := r.start()
	n := r.openAgainst("change", map[string]string{"deploy/a.yaml": configMap("a", "two"), "deploy/z.yaml": stuckFor, "deploy/b.yaml": ""})
	_, err := r.as(reviewer).Review(t.Context(), shop, n, forge.Approved, "")
	r.must(err)
	r.until("the plan may be applied", func() bool { return strings.Contains(r.sticky(n), "ready for `/apply`") })
	id, err := r.as(second).Comment(t.Context(), shop, n, "/apply")
	r.must(err)
	r.until("the Deployment is there", func() bool {
		return r.plane.Kubectl(t.Context(), "-n", r.ns, "get", "deployment", "z").Run() == nil
	})
	r.keeps(a)
	b := r.start()
	r.must(a.process.Signal(syscall.SIGSTOP))
	stopped := time.Now()
	r.freeNodes()
	r.until("the command is answered", func() bool { return r.replyTo(n, id) != "" })
	t.Logf("taken over and finished %s after the stop", time.Since(stopped).Round(time.Second))
	r.until("the report tells it", func() bool { return strings.Contains(r.sticky(n), "Applied and merged") })
	r.keeps(b)
	r.must(r.store.Idle(t.Context()))
	comments, live := r.comments(n), r.versions()
	records := r.records(audit.ApplyEnd)

	r.must(a.process.Signal(syscall.SIGCONT))
	r.until("the stopped one knows", func() bool { return strings.Contains(a.log(), "taken for dead") })
	r.until("its run is over", func() bool { return strings.Contains(a.log(), "whose work is another's") })
	r.until("it is one of the replicas again", func() bool {
		now, err := r.store.Replicas(t.Context())
		r.must(err)
		return len(now) == 2
	})
	r.must(r.store.Idle(t.Context()))
	if now := r.comments(n); !slices.Equal(now, comments) {
		t.Errorf("the one that woke up changed the conversation from\n%+v\nto\n%+v", comments, now)
	}
	if now := r.versions(); now != live {
		t.Errorf("the one that woke up changed the cluster from\n%s\nto\n%s", live, now)
	}
	if now := r.records(audit.ApplyEnd); len(now) != len(records) {
		t.Errorf("%d records of an apply's end, before %d", len(now), len(records))
	}
	r.appliedOnce(n, id)
	if r.value("b") != "" {
		t.Error("what the pull took away is still there")
	}

	// It works again, alone, and follows the cluster.
	r.leave(b)
	r.keeps(a)
	m := r.openAgainst("later", map[string]string{"deploy/a.yaml": configMap("a", "three")})
	r.until("the plan is there", func() bool { return strings.Contains(r.sticky(m), "three") })
	r.leave(a)
}

// keeps waits until a replica follows the cluster.
func (r *replicas) keeps(p *replica) {
	r.t.Helper()
	r.until("a replica follows the cluster", func() bool {
		lease, err := r.store.Lease(r.t.Context(), "watch/main")
		return err == nil && strings.HasSuffix(lease.Holder, "/"+p.name)
	})
}

// TestRollingUpgradeLosesNothing exchanges three replicas one by one while people
// open pulls and comment.
func TestRollingUpgradeLosesNothing(t *testing.T) {
	r := newReplicas(t, build{})
	old := []*replica{r.start(), r.start(), r.start()}
	const pulls = 6
	asked := map[int][]int64{}
	var numbers []int
	act := func() {
		branch := fmt.Sprint("change-", len(numbers))
		r.push(opener, branch, map[string]string{fmt.Sprintf("deploy/c%d.yaml", len(numbers)): configMap(branch, "two")})
		n, err := r.as(opener).OpenPull(t.Context(), shop, "main", branch, "Change "+branch, "")
		r.must(err)
		numbers = append(numbers, n)
		for _, m := range numbers {
			id, err := r.as(second).Comment(t.Context(), shop, m, "/plan")
			r.must(err)
			asked[m] = append(asked[m], id)
		}
	}
	for i := range pulls {
		act()
		if i%2 == 1 {
			r.leave(old[i/2]) // while its work is under way
			r.start()
		}
	}
	r.must(r.forge.Settle(t.Context()))
	for _, n := range numbers {
		for _, id := range asked[n] {
			r.until("every command is answered", func() bool { return r.replyTo(n, id) != "" })
		}
	}
	r.must(r.store.Idle(t.Context()))
	took, worked := 0, 0
	for _, p := range append(old, r.all...) {
		log := p.log()
		if strings.Contains(log, `"step":"webhook"`) {
			took++
		}
		if strings.Contains(log, `"key":"pull/`) {
			worked++
		}
	}
	if took < 3 || worked < 3 {
		t.Errorf("of 6 replicas %d took webhooks and %d worked on pulls, want half of them at least", took, worked)
	}
	for _, n := range numbers {
		r.sticky(n) // one, or it fails
		for _, id := range asked[n] {
			if got := strings.Count(r.replyTo(n, id), "<!-- lockkeeper:reply/"); got != 1 {
				t.Errorf("%d replies to command %d of pull %d", got, id, n)
			}
		}
	}
	all, err := r.store.Records(t.Context(), store.Filter{})
	r.must(err)
	if _, err := audit.Verify(audit.Genesis, all); err != nil {
		t.Errorf("the audit trail is broken: %v", err)
	}
	for _, d := range r.hub(bent).Deliveries() {
		if status := cmp.Or(d.Status, 200); status >= 300 {
			t.Errorf("a webhook was answered with %d", status)
		}
	}
	for _, p := range slices.Clone(r.all) {
		r.leave(p)
	}
}

// TestReplicasApplyToATargetOneAtATime has people apply pulls of one target at
// once, over and over, at two replicas.
func TestReplicasApplyToATargetOneAtATime(t *testing.T) {
	r := newReplicas(t, build{})
	r.start()
	r.start()
	var numbers []int
	for i := range 3 {
		n := r.openAgainst(fmt.Sprint("change-", i), map[string]string{fmt.Sprintf("deploy/c%d.yaml", i): configMap(fmt.Sprint("c", i), "two")})
		_, err := r.as(reviewer).Review(t.Context(), shop, n, forge.Approved, "")
		r.must(err)
		numbers = append(numbers, n)
	}
	open := numbers
	for round := 0; len(open) > 0 && round < 10; round++ {
		asked := map[int]int64{}
		for _, n := range open {
			r.until("the plan may be applied", func() bool { return strings.Contains(r.sticky(n), "ready for `/apply`") })
		}
		for _, n := range open {
			id, err := r.as(second).Comment(t.Context(), shop, n, "/apply")
			r.must(err)
			asked[n] = id
		}
		for n, id := range asked {
			r.until("the command is answered", func() bool { return r.replyTo(n, id) != "" })
		}
		open = slices.DeleteFunc(slices.Clone(open), func(n int) bool { return r.pull(n).Merged })
	}
	if len(open) > 0 {
		t.Errorf("pulls %v are not merged", open)
	}
	r.must(r.store.Idle(t.Context()))
	var ops []store.Operation
	for i, n := range numbers {
		of, err := r.store.Operations(t.Context(), r.server.Repositories[0].ID, n)
		r.must(err)
		ops = append(ops, of...)
		if got := r.value(fmt.Sprint("c", i)); got != "two" {
			t.Errorf("c%d is %q", i, got)
		}
	}
	slices.SortFunc(ops, func(a, b store.Operation) int { return a.Started.Compare(b.Started) })
	for i, op := range ops[1:] {
		if before := ops[i]; op.Started.Before(before.Finished) {
			t.Errorf("operation %s began at %s, while %s went on until %s", op.ID, op.Started, before.ID, before.Finished)
		}
	}
	if ends := r.records(audit.ApplyEnd); len(ends) != len(ops) || len(ops) < len(numbers) {
		t.Errorf("%d operations with %d records of their end, for %d pulls", len(ops), len(ends), len(numbers))
	}
	for _, p := range slices.Clone(r.all) {
		r.leave(p)
	}
}
