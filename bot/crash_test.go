package bot_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/config"
	"lockkeeper/bot/store"
	"lockkeeper/forge"
)

// until asks again and again until a condition of another process holds.
func (h *house) until(what string, ok func() bool) {
	h.t.Helper()
	deadline := time.After(5 * time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			h.t.Fatalf("timed out waiting until %s", what)
		case <-tick.C:
		}
	}
	h.settled = time.Now()
}

// applying starts an apply that waits for a Deployment which no node takes, and
// returns once it waits.
func (h *house) applying() (number int, command int64) {
	h.t.Helper()
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two"), "deploy/z.yaml": stuckFor})
	h.say(reviewer, n, "/approve")
	id, err := h.as(second).Comment(h.t.Context(), shop, n, "/apply")
	h.must(err)
	h.until("the Deployment is there", func() bool {
		return h.plane.Kubectl(h.t.Context(), "-n", h.ns, "get", "deployment", "z").Run() == nil
	})
	return n, id
}

// stuckFor waits longer than stuck before Kubernetes gives up on it.
var stuckFor = strings.Replace(stuck, "progressDeadlineSeconds: 2", "progressDeadlineSeconds: 300", 1)

// appliedOnce checks that one operation was carried out, once, to its end.
func (h *house) appliedOnce(n int, command int64) {
	h.t.Helper()
	mustContain(h.t, h.replyTo(n, command), "Merged as")
	if got := strings.Count(h.replyTo(n, command), "<!-- lockkeeper:reply/"); got != 1 {
		h.t.Errorf("%d replies to one command", got)
	}
	if !h.pull(n).Merged || h.value("a") != "two" {
		h.t.Errorf("merged %t, a is %q", h.pull(n).Merged, h.value("a"))
	}
	ops, err := h.store.Operations(h.t.Context(), h.server.Repositories[0].ID, n)
	h.must(err)
	if len(ops) != 1 || ops[0].State != "succeeded" {
		h.t.Errorf("operations: %+v", ops)
	}
	if ends := h.records(audit.ApplyEnd); len(ends) != 1 {
		h.t.Errorf("%d records of the end of one apply", len(ends))
	}
	all, err := h.store.Records(h.t.Context(), store.Filter{})
	h.must(err)
	if _, err := audit.Verify(audit.Genesis, all); err != nil {
		h.t.Errorf("the audit trail is broken: %v", err)
	}
	leases, err := h.store.Leases(h.t.Context())
	h.must(err)
	// What a replica holds while it lives ends with it.
	leases = slices.DeleteFunc(leases, func(l store.Lease) bool { return strings.HasPrefix(l.Key, "watch/") })
	if len(leases) > 0 {
		h.t.Errorf("leases are left: %+v", leases)
	}
}

func TestApplyGoesOnAfterTheProcessWasToldToStop(t *testing.T) {
	h := newHouse(t, build{})
	n, command := h.applying()
	h.stop()
	h.start()
	h.freeNodes()
	h.settle()
	h.appliedOnce(n, command)
}

// TestApplyGoesOnAfterKill runs the real program and kills it, with no chance
// to clean up, in the middle of an apply (threat 28).
func TestApplyGoesOnAfterKill(t *testing.T) {
	h := newHouse(t, build{RealTime: true})
	h.stop()
	program := filepath.Join(h.dir, "lockkeeper")
	if out, err := exec.Command("go", "build", "-o", program, "lockkeeper/cmd/lockkeeper").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	serve := h.serve(program)
	kill := func() {
		h.must(serve.Process.Kill())
		_ = serve.Wait() // it was killed
	}
	n := h.openAgainst("change", map[string]string{"deploy/a.yaml": configMap("a", "two"), "deploy/z.yaml": stuckFor})
	_, err := h.as(reviewer).Review(t.Context(), shop, n, forge.Approved, "")
	h.must(err)
	h.until("the plan may be applied", func() bool { return strings.Contains(h.sticky(n), "ready for `/apply`") })
	id, err := h.as(second).Comment(t.Context(), shop, n, "/apply")
	h.must(err)
	h.until("the Deployment is there", func() bool {
		return h.plane.Kubectl(t.Context(), "-n", h.ns, "get", "deployment", "z").Run() == nil
	})
	kill()
	h.freeNodes()
	serve = h.serve(program)
	h.until("the command is answered", func() bool { return h.replyTo(n, id) != "" })
	h.until("the report tells it", func() bool { return strings.Contains(h.sticky(n), "Applied and merged") })
	kill()
	h.start()
	h.settle()
	h.appliedOnce(n, id)
}

// openAgainst opens a pull and waits for its report, written by a program that
// the test cannot ask whether it is idle.
func (h *house) openAgainst(branch string, files map[string]string) int {
	h.t.Helper()
	h.push(opener, branch, files)
	n, err := h.as(opener).OpenPull(h.t.Context(), shop, "main", branch, "Change "+branch, "")
	h.must(err)
	h.until("there is a report", func() bool {
		for _, c := range h.comments(n) {
			if strings.Contains(c.Body, "lockkeeper:pull/") {
				return true
			}
		}
		return false
	})
	return n
}

// serve starts the program on the house's store and cluster.
func (h *house) serve(program string) *exec.Cmd {
	h.t.Helper()
	cmd, address := h.serveOn(program, h.dir, "lockkeeper.db")
	h.must(h.forge.Hook(h.t.Context(), "http://"+address+"/webhook", hookSecret))
	return cmd
}

// serveOn starts the program in a folder of its own, on a store, and returns
// where it listens.
func (h *house) serveOn(program, dir, store string) (cmd *exec.Cmd, address string) {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	h.must(err)
	address = l.Addr().String()
	h.must(l.Close())
	write := func(name, text string) {
		h.must(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	write("key.pem", h.forge.Access().Key)
	write("token", h.forge.Access().Token)
	write("webhook-secret", hookSecret)
	section := fmt.Sprintf("  url: %s\n  tokenFile: token", h.forge.Access().APIURL)
	if h.forge.Kind() == config.OnGitHub {
		section = fmt.Sprintf("  apiURL: %s\n  app: {id: %d, privateKeyFile: key.pem}", h.forge.Access().APIURL, h.forge.Access().AppID)
	}
	write("server.yaml", h.in(fmt.Sprintf(`listen: %s
store: %s
cache: mirrors
%s:
%s
  webhookSecretFiles: [webhook-secret]
clusters:
  main: {kubeconfig: %s}
repositories:
  - id: %d
    name: %s
    allow:
      - {paths: ["**"], clusters: [main], environments: [production], namespaces: [NS]}
`, address, store, h.forge.Kind(), section, h.plane.Kubeconfig, h.server.Repositories[0].ID, shop)))
	cmd = exec.CommandContext(context.WithoutCancel(h.t.Context()), program, "serve", "--debug", "--config", filepath.Join(dir, "server.yaml"))
	log, err := os.OpenFile(filepath.Join(dir, "serve.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	h.must(err)
	cmd.Stdout, cmd.Stderr = log, log
	h.must(cmd.Start())
	h.programs = append(h.programs, process{log.Name(), store})
	h.must(log.Close())
	h.t.Cleanup(func() {
		_ = cmd.Process.Kill() // may have ended before
		_ = cmd.Wait()
		if h.t.Failed() {
			text, _ := os.ReadFile(filepath.Join(dir, "serve.log"))
			h.t.Logf("the program's log:\n%s", text)
		}
	})
	h.until("the program listens", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return cmd, address
}
