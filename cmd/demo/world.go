package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"

	"lockkeeper/cluster/clustertest"
	"lockkeeper/cmd/internal/child"
	"lockkeeper/forge"
	"lockkeeper/forge/people"
)

// The names of the demo's world.
const (
	owner      = "acme"
	shop       = "acme/shop"
	staging    = "staging"
	production = "production"
	platform   = "platform" // a team, and a target of the production cluster
	namespace  = "shop"
)

// The people. All but eve may write to the repository.
const (
	olga = "olga" // owns the organisation, and is in the team acme/platform
	ann  = "ann"  // develops the shop
	bob  = "bob"  // is in the team acme/platform
	cho  = "cho"  // develops the shop
	eve  = "eve"  // is nobody here
)

// world is everything that runs: two clusters, a forge and the bot.
type world struct {
	root     string // of the clone
	dir      string // temporary: the operator's file, secrets, store, log
	clusters map[string]*liveCluster
	venue    venue
	forge    people.Forge
	repo     forge.RepoRef
	binary   string // lockkeeper
	serve    *child.Process

	mu         sync.Mutex
	violations []string // what the look-alike said that its model would not
}

// bot is the login of lockkeeper's account.
func (w *world) bot() string { return w.forge.Access().Login }

// liveCluster is a control plane with a client that looks at it.
type liveCluster struct {
	*clustertest.ControlPlane
	kubernetes.Interface
}

// newWorld starts everything. The world it returns is to be stopped even when
// there is an error.
func newWorld(ctx context.Context, t terminal, v venue) (*world, error) {
	w := &world{venue: v, clusters: map[string]*liveCluster{}}
	begin := func(what string, f func(context.Context) error) error {
		start := time.Now()
		t.printf("%s %s ", t.style(faint, "·"), what)
		if err := f(ctx); err != nil {
			_, details, _ := strings.Cut(err.Error(), "\n") // its first line is what the demo ends with
			t.printf("%s\n%s\n", t.style(red, "failed"), details)
			return err
		}
		t.printf("%s\n", t.style(faint, took(start)))
		return nil
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"building lockkeeper and what it needs", w.build},
		{"starting two Kubernetes control planes, staging and production", w.startClusters},
		{"starting " + v.what + " with " + shop, w.startForge},
		{"starting lockkeeper serve", w.startBot},
	} {
		if err := begin(step.what, step.do); err != nil {
			return w, err
		}
	}
	return w, nil
}

// aside tells what takes so long in the midst of a line that is to end with how
// long it took.
type aside struct{}

// Write gives a line of its own to one that is told.
func (aside) Write(line []byte) (int, error) {
	_, err := fmt.Fprintf(os.Stderr, "\n  %s ", bytes.TrimSpace(line))
	return len(line), err
}

func (w *world) build(ctx context.Context) error {
	bin, err := clustertest.Binaries(ctx, aside{})
	if err != nil {
		return err
	}
	w.root = filepath.Dir(bin)
	w.binary, err = child.Build(ctx, bin)
	return err
}

func (w *world) startClusters(ctx context.Context) error {
	var mu sync.Mutex
	var g errgroup.Group
	for name, nodes := range map[string]int{staging: 1, production: 3} {
		g.Go(func() error {
			cp, err := clustertest.Start(ctx, clustertest.Options{Nodes: nodes, Context: name})
			if err != nil {
				return fmt.Errorf("cluster %s: %w", name, err)
			}
			client, err := kubernetes.NewForConfig(cp.RESTConfig())
			mu.Lock()
			defer mu.Unlock()
			w.clusters[name] = &liveCluster{cp, client}
			return err
		})
	}
	return g.Wait()
}

func (w *world) startForge(ctx context.Context) error {
	var err error
	if w.forge, err = w.venue.start(ctx, w); err != nil {
		return err
	}
	return w.settle(ctx)
}

// settle brings the company to the forge, with its one repository.
func (w *world) settle(ctx context.Context) error {
	files, err := readSeed(w.seed())
	if err != nil {
		return err
	}
	for _, login := range []string{ann, bob, cho, eve, olga} {
		if _, err := w.forge.AddPerson(ctx, login, login+"@acme.example"); err != nil {
			return err
		}
	}
	if err := w.forge.AddOrg(ctx, owner, olga); err != nil {
		return err
	}
	if err := w.forge.AddTeam(ctx, owner, platform, "", bob, olga); err != nil {
		return err
	}
	if w.repo, err = w.forge.AddRepo(ctx, people.NewRepo{Owner: owner, Name: "shop", Files: files}); err != nil {
		return err
	}
	for _, login := range []string{ann, bob, cho} {
		if err := w.forge.AddMember(ctx, owner, login); err != nil {
			return err
		}
		if err := w.forge.Grant(ctx, shop, login, forge.Write); err != nil {
			return err
		}
	}
	if err := w.forge.GrantTeam(ctx, shop, platform); err != nil {
		return err
	}
	if err := w.forge.Admit(ctx, shop); err != nil {
		return err
	}
	return w.forge.Protect(ctx, shop, "main", people.Protection{Checks: []string{"lockkeeper"}})
}

// readSeed reads the repository that the shop begins with.
func readSeed(dir string) (map[string]string, error) {
	files := map[string]string{}
	root := os.DirFS(dir)
	err := fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(root, path)
		files[path] = string(content)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the seed repository: %w", err)
	}
	return files, nil
}

// operatorFile is what an operator writes for `lockkeeper serve`. Paths in it
// are relative to where it stands.
const operatorFile = `listen: 127.0.0.1:0
store: lockkeeper.db
cache: mirrors
%s
  webhookSecretFiles: [webhook-secret]
clusters:
  staging: {kubeconfig: %q}
  production: {kubeconfig: %q}
repositories:
  - id: %d
    name: acme/shop
    allow: # which directories may go where, and what they may touch there
      - {paths: [overlays/staging], clusters: [staging], environments: [staging], namespaces: [shop], clusterKinds: [Namespace]}
      - {paths: [overlays/production], clusters: [production], environments: [production], namespaces: [shop], clusterKinds: [Namespace]}
      - paths: [platform]
        clusters: [production]
        environments: [production]
        namespaces: []
        clusterKinds: [ClusterRole.rbac.authorization.k8s.io, ClusterRoleBinding.rbac.authorization.k8s.io]
floors:
  environments:
    production: {approvals: {required: 1, from: {teams: [acme/platform]}}}
`

func (w *world) startBot(ctx context.Context) error {
	var err error
	if w.dir, err = os.MkdirTemp("", "lockkeeper-demo-"); err != nil {
		return err
	}
	secret, access := rand.Text(), w.forge.Access()
	config := fmt.Sprintf(operatorFile, w.venue.forgeSection(access.APIURL, access.AppID), w.clusters[staging].Kubeconfig, w.clusters[production].Kubeconfig, w.repo.ID)
	for name, content := range map[string]string{"server.yaml": config, "app.pem": access.Key, "token": access.Token, "webhook-secret": secret} {
		if content == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	w.serve, err = child.Serve(w.binary, filepath.Join(w.dir, "server.yaml"), filepath.Join(w.dir, "lockkeeper.log"))
	if err != nil {
		return err
	}
	address, err := w.serve.Address(ctx)
	if err != nil {
		return err
	}
	return w.forge.Hook(ctx, "http://"+address+"/webhook", secret)
}

// stop ends everything in order: first the bot, then what it talks to.
func (w *world) stop() error {
	errs := []error{w.serve.Stop()}
	if w.forge != nil {
		errs = append(errs, w.forge.Close())
	}
	for _, c := range w.clusters {
		errs = append(errs, c.Stop())
	}
	if w.dir != "" {
		errs = append(errs, os.RemoveAll(w.dir))
	}
	return errors.Join(errs...)
}

// took is how long something took, for people.
func took(start time.Time) string { return seconds(time.Since(start)) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
