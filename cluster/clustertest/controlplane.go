package clustertest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"lockkeeper/testdata/pinned"
)

// startTimeout bounds Start and StartAPIServer, on a machine that is busy
// with other tests too. Alone, they take two to six seconds.
const startTimeout = 3 * time.Minute

// Options say what to start. The zero value is an API server with etcd.
type Options struct {
	// Nodes is how many fake nodes there are. With 0, there are no controllers
	// either: objects can be written, but nothing acts on them.
	Nodes int
	// Context names the context in the kubeconfig; "" is "lockkeeper-test".
	Context string
	// APIServerFlags are added after our own, and so win over them.
	APIServerFlags []string
	// Progress hears of slow steps, such as the first build; nil is stderr.
	Progress io.Writer
}

// ControlPlane is a running cluster. Its Access is that of an administrator.
// Access, Delay, Sick, Login and Namespace may be used by several goroutines at
// once; starting and stopping is for one.
type ControlPlane struct {
	*Access

	options   Options
	dir       string // temporary, holds everything
	ca        []byte // PEM
	port      int    // of the API server
	processes map[string]*pinned.Process

	mu    sync.Mutex
	links []*Link
	sicks []*Sick
}

// Start builds the programs if need be, starts a control plane and returns
// when it is ready: the API server serves and, with nodes, every node takes
// pods. ctx bounds the start only; the control plane runs until Stop.
func Start(ctx context.Context, options Options) (*ControlPlane, error) {
	if options.Context == "" {
		options.Context = "lockkeeper-test"
	}
	if options.Progress == nil {
		options.Progress = os.Stderr
	}
	bin, err := Binaries(ctx, options.Progress)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "lockkeeper-cluster-")
	if err != nil {
		return nil, err
	}
	c := &ControlPlane{Access: &Access{bin: bin}, options: options, dir: dir, processes: map[string]*pinned.Process{}}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start a control plane: %w", err), c.Stop())
	}
	return c, nil
}

func (c *ControlPlane) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not ready after %s", startTimeout))
	defer cancel()
	token, err := c.prepare()
	if err != nil {
		return err
	}
	if err := c.startEtcd(); err != nil {
		return err
	}
	if err := c.startOnFreePort(ctx, token); err != nil {
		return err
	}
	if c.options.Nodes == 0 {
		return nil
	}
	return c.startNodes(ctx)
}

// prepare lays out the directory and returns the administrator's token.
func (c *ControlPlane) prepare() (token string, err error) {
	for _, sub := range []string{"logs", "keys"} {
		if err := os.Mkdir(filepath.Join(c.dir, sub), 0o700); err != nil {
			return "", err
		}
	}
	if err := writeKeys(filepath.Join(c.dir, "keys")); err != nil {
		return "", err
	}
	if c.ca, err = os.ReadFile(c.key("ca.crt")); err != nil {
		return "", err
	}
	token = rand.Text()
	line := token + `,test-admin,test-admin,"system:masters"` + "\n"
	return token, os.WriteFile(c.key("tokens.csv"), []byte(line), 0o600)
}

func (c *ControlPlane) key(name string) string { return filepath.Join(c.dir, "keys", name) }

func (c *ControlPlane) url() string { return fmt.Sprintf("https://127.0.0.1:%d", c.port) }

func (c *ControlPlane) run(name string, args []string, env ...string) error {
	binary := filepath.Join(c.bin, "controlplane")
	if name == "kwok" {
		binary = filepath.Join(c.bin, "kwok")
	} else {
		args = append([]string{name}, args...)
	}
	p, err := pinned.Start(c.dir, name, binary, args, append(env, "CONTROLPLANE_LIFELINE=1")...)
	if err != nil {
		return err
	}
	c.processes[name] = p
	return nil
}

// startEtcd listens on sockets in the directory: no port to clash over, and
// no open database on loopback. It need not be ready for the API server to
// start, which waits for it.
func (c *ControlPlane) startEtcd() error {
	return c.run("etcd", []string{
		"--data-dir=" + filepath.Join(c.dir, "etcd"),
		"--listen-client-urls=" + c.socket("etcd"), "--advertise-client-urls=" + c.socket("etcd"),
		"--listen-peer-urls=" + c.socket("peer"), "--initial-advertise-peer-urls=" + c.socket("peer"),
		"--initial-cluster=default=" + c.socket("peer"),
		"--unsafe-no-fsync", "--log-level=warn", "--quota-backend-bytes=4294967296",
	}, "CONTROLPLANE_REMOVE="+c.dir)
}

func (c *ControlPlane) socket(name string) string {
	return "unix://" + filepath.Join(c.dir, name+".sock")
}

// startOnFreePort tries ports until one is not taken by somebody else between
// our look and the API server's: it cannot listen on port 0 itself.
func (c *ControlPlane) startOnFreePort(ctx context.Context, token string) error {
	for attempt := 1; ; attempt++ {
		var err error
		if c.port, err = pinned.FreePort(); err != nil {
			return err
		}
		if c.Access, err = c.newAccess("kubeconfig", c.options.Context, c.url(), token); err != nil {
			return err
		}
		err = c.StartAPIServer(ctx)
		if err == nil || attempt == 5 || c.processes["kube-apiserver"] == nil || !c.processes["kube-apiserver"].PortWasTaken() {
			return err
		}
	}
}

// StartAPIServer starts the API server again after StopAPIServer, on the same
// port and data, and waits until it is ready.
func (c *ControlPlane) StartAPIServer(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("kube-apiserver: not ready after %s", startTimeout))
	defer cancel()
	if p := c.processes["kube-apiserver"]; p != nil && p.Running() {
		return errors.New("kube-apiserver is running already: call StopAPIServer first")
	}
	args := []string{
		"--etcd-servers=" + c.socket("etcd"),
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", c.port),
		"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
		"--tls-cert-file=" + c.key("serving.crt"), "--tls-private-key-file=" + c.key("serving.key"),
		"--token-auth-file=" + c.key("tokens.csv"), "--client-ca-file=" + c.key("ca.crt"), "--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.key("service-accounts.key"),
		"--service-account-signing-key-file=" + c.key("service-accounts.key"),
		"--service-cluster-ip-range=10.96.0.0/16", "--allow-privileged=true",
		"--max-requests-inflight=4000", "--max-mutating-requests-inflight=2000",
		"--profiling=false",
	}
	if err := c.run("kube-apiserver", append(args, c.options.APIServerFlags...)); err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(c.config)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	return c.waitUntil(ctx, "kube-apiserver", func(ctx context.Context) error {
		return checkReady(ctx, client, c.url()+"/readyz")
	})
}

func checkReady(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", url, response.Status, pinned.LastLines(string(body), 40))
	}
	return nil
}

// waitUntil repeats check until it succeeds, ctx ends, or one of the
// processes that should be running is not.
func (c *ControlPlane) waitUntil(ctx context.Context, what string, check func(context.Context) error) error {
	ticker := time.NewTicker(25 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		for _, p := range c.processes {
			if !p.Running() {
				return p.Ended()
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; last answer: %w", what, context.Cause(ctx), err)
		case <-ticker.C:
		}
	}
}

// StopAPIServer kills the API server, as a crash would. Data stays in etcd.
func (c *ControlPlane) StopAPIServer() error {
	err := c.processes["kube-apiserver"].Kill()
	delete(c.processes, "kube-apiserver")
	return err
}

// Stop ends all processes and roads and removes every file. It may be called
// more than once.
func (c *ControlPlane) Stop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, link := range c.links {
		errs = append(errs, link.Close())
	}
	for _, sick := range c.sicks {
		errs = append(errs, sick.Close())
	}
	for _, name := range []string{"kwok", "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"} {
		errs = append(errs, c.processes[name].Kill())
		delete(c.processes, name)
	}
	c.links, c.sicks = nil, nil
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}
