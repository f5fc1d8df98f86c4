package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"lockkeeper/bot/config"
	"lockkeeper/bot/plan"
	"lockkeeper/cluster"
	"lockkeeper/cluster/clustertest"
	"lockkeeper/cluster/kube"
	"lockkeeper/cluster/manifest"
	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/git"
)

// repositoryFile of the benchmarks: every directory below targets/ is one.
const repositoryFile = `targets:
  - {path: "targets/*", cluster: main, environment: production}
`

// The objects of a plan's benchmark, one file each: what a shop's namespace is
// full of. Deployments are paused, because the cluster has no controllers.
var templates = []string{
	`{apiVersion: v1, kind: ConfigMap, metadata: {name: config-%[1]d, namespace: bench, labels: {app: "app-%[1]d"}}, data: {key: "%[2]s", more: "value of %[1]d"}}`,
	`{apiVersion: v1, kind: Service, metadata: {name: service-%[1]d, namespace: bench, labels: {app: "app-%[1]d", state: %[2]s}}, spec: {selector: {app: "app-%[1]d"}, ports: [{name: http, port: 80, targetPort: 8080}]}}`,
	`{apiVersion: apps/v1, kind: Deployment, metadata: {name: web-%[1]d, namespace: bench}, spec: {paused: true, selector: {matchLabels: {app: "app-%[1]d"}}, template: {metadata: {labels: {app: "app-%[1]d"}}, spec: {containers: [{name: web, image: "registry.example/web:%[2]s", ports: [{containerPort: 8080}], resources: {requests: {cpu: 100m, memory: 64Mi}}}]}}}}`,
	`{apiVersion: v1, kind: ServiceAccount, metadata: {name: account-%[1]d, namespace: bench, labels: {state: %[2]s}}}`,
	`{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: role-%[1]d, namespace: bench, labels: {state: %[2]s}}, rules: [{apiGroups: [""], resources: [configmaps], verbs: [get, list]}]}`,
}

// planRepository makes a repository whose main is n objects, and whose branch
// change differs in three of them. The files of the latter are also written to
// the directory files.
func planRepository(ctx context.Context, dir, files string, n int) (*bare.Repo, error) {
	repo, err := bare.Init(ctx, dir, "main")
	if err != nil {
		return nil, err
	}
	before := baseFiles(n)
	changed := []bare.File{object(0, "two"), object(n/3, "two"), object(n/2, "two")}
	if err := os.Mkdir(files, 0o755); err != nil {
		return nil, err
	}
	if err := writeFiles(files, slices.Concat(before, changed)); err != nil {
		return nil, err
	}
	main, err := commit(ctx, repo, "main", "", withConfig(before))
	if err != nil {
		return nil, err
	}
	if _, err := commit(ctx, repo, "change", main, changed); err != nil {
		return nil, err
	}
	_, err = repo.Git(ctx, nil, "", "repack", "-a", "-d", "-q") // as a clone is
	return repo, err
}

// object is the file of the ith object.
func object(i int, value string) bare.File {
	text := fmt.Sprintf(templates[i%len(templates)], i, value)
	return bare.File{Path: fmt.Sprintf("targets/bench/%04d.yaml", i), Content: []byte(text + "\n")}
}

// baseFiles are n objects, one of them the namespace of the others.
func baseFiles(n int) []bare.File {
	files := []bare.File{{Path: "targets/bench/namespace.yaml", Content: []byte("{apiVersion: v1, kind: Namespace, metadata: {name: bench}}\n")}}
	for i := range n - 1 {
		files = append(files, object(i, "one"))
	}
	return files
}

// writeFiles writes files to a directory, by their base names.
func writeFiles(dir string, files []bare.File) error {
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f.Path)), f.Content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// withConfig adds the repository's configuration.
func withConfig(files []bare.File) []bare.File {
	return append(slices.Clone(files), bare.File{Path: config.RepoFile, Content: []byte(repositoryFile)})
}

// commit puts files on top of a parent ("": none) and moves a branch there.
func commit(ctx context.Context, repo *bare.Repo, branch, parent string, files []bare.File) (string, error) {
	tree, err := repo.WriteTree(ctx, parent, filepath.Join(repo.Dir, "bench-index"), files)
	if err != nil {
		return "", err
	}
	who := bare.Person{Name: "Ann", Email: "ann@example.com", When: time.Now()}
	c := bare.Commit{Tree: tree, Author: who, Committer: who, Message: branch}
	if parent != "" {
		c.Parents = []string{parent}
	}
	sha, err := repo.CommitTree(ctx, c)
	if err != nil {
		return "", err
	}
	return sha, repo.SetRef(ctx, "refs/heads/"+branch, sha, "")
}

// plan compares `lockkeeper plan`, a process from cold, with kubectl diff over
// the same files and server.
func (b *bench) plan(ctx context.Context, n int) error {
	files := filepath.Join(b.dir, "files")
	repo, err := planRepository(ctx, filepath.Join(b.dir, "plan.git"), files, n)
	if err != nil {
		return err
	}
	if _, err := b.applyBase(ctx, repo); err != nil {
		return err
	}
	for _, road := range []struct {
		rtt   time.Duration
		ratio float64
	}{{0, 20}, {30 * time.Millisecond, 300}} {
		if err := b.comparePlans(ctx, repo.Dir, files, n, road.rtt, road.ratio); err != nil {
			return err
		}
	}
	return nil
}

// applyBase makes main's objects live, applied by the server and in the
// inventory, as an apply of the bot would. It returns what was applied.
func (b *bench) applyBase(ctx context.Context, bareRepo *bare.Repo) (cluster.Request, error) {
	r, err := renderMain(ctx, bareRepo)
	if err != nil {
		return r, err
	}
	c, err := kube.New(kube.Config{Name: "main", REST: b.plane.RESTConfig()})
	if err != nil {
		return r, err
	}
	if err := c.Bootstrap(ctx); err != nil {
		return r, err
	}
	p, err := c.Plan(ctx, r)
	if err != nil {
		return r, err
	}
	if len(p.Problems) > 0 {
		return r, fmt.Errorf("the base cannot be applied: %s", p.Problems[0].Message)
	}
	res, err := c.Apply(ctx, p, nil)
	if err == nil && !res.OK() {
		err = errors.New("applying the base failed")
		for _, s := range res.Steps {
			if s.State != cluster.Healthy {
				return r, fmt.Errorf("%w: %s %s: %s", err, s.Ref, s.State, s.Message)
			}
		}
	}
	return r, err
}

// renderMain renders the only target of main.
func renderMain(ctx context.Context, bareRepo *bare.Repo) (cluster.Request, error) {
	repo, err := git.Open(ctx, bareRepo.Dir, git.Options{})
	if err != nil {
		return cluster.Request{}, err
	}
	defer repo.Close()
	tree, err := treeOf(ctx, repo, "main")
	if err != nil {
		return cluster.Request{}, err
	}
	_, targets, err := plan.Load(tree, nil)
	if err != nil {
		return cluster.Request{}, err
	}
	renderer := manifest.New(manifest.Limits{})
	defer renderer.Close()
	r, err := renderer.Render(ctx, tree, targets[0].Path)
	if err != nil {
		return cluster.Request{}, err
	}
	return cluster.Request{Target: targets[0], Merge: r.Objects, Revision: "main"}, nil
}

func treeOf(ctx context.Context, repo *git.Repo, rev string) (*git.Tree, error) {
	sha, err := repo.ResolveCommit(ctx, rev)
	if err != nil {
		return nil, err
	}
	tree, err := repo.TreeOf(ctx, sha)
	if err != nil {
		return nil, err
	}
	return repo.Tree(ctx, tree)
}

// runs is how often what takes less than a second is measured.
const runs = 5

func (b *bench) comparePlans(ctx context.Context, repo, files string, n int, rtt time.Duration, ratio float64) error {
	link, err := b.plane.Delay(rtt)
	if err != nil {
		return err
	}
	defer link.Close()
	var took []time.Duration
	var out *plan.Output
	for range runs {
		start := time.Now()
		if out, err = b.runPlan(ctx, repo, link.Access); err != nil {
			return err
		}
		took = append(took, time.Since(start))
	}
	ours := median(took)
	theirs, err := kubectlDiff(ctx, link.Access, files)
	if err != nil {
		return err
	}
	stats := out.Targets[0].Plan.Stats
	name := func(what string) string {
		return fmt.Sprintf("3 of %d objects changed, %s added round trip: %s", n, rtt, what)
	}
	b.report.add(figure{Name: name("lockkeeper plan"), Value: ours, Unit: "s"})
	b.report.add(figure{Name: name("kubectl diff --server-side"), Value: theirs.Seconds(), Unit: "s"})
	b.report.add(figure{Name: name("times faster"), Value: theirs.Seconds() / ours, Unit: "times", Want: ratio})
	b.report.add(figure{Name: name("cluster requests"), Value: float64(stats.Requests), Unit: "requests", Want: 30, AtMost: true})
	b.report.add(figure{Name: name("response bodies"), Value: float64(stats.Bytes), Unit: "bytes"})
	return nil
}

// runPlan runs the command as a person would.
func (b *bench) runPlan(ctx context.Context, repo string, access *clustertest.Access) (*plan.Output, error) {
	cmd := exec.CommandContext(ctx, b.binary, "plan", "--repo", repo, "--base", "main", "--head", "change",
		"--kubeconfig", access.Kubeconfig, "-o", "json")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 {
		return nil, fmt.Errorf("lockkeeper plan: %w, want exit code 2 for changes\n%s%s", err, stderr.String(), stdout.String())
	}
	var out plan.Output
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
		return nil, fmt.Errorf("lockkeeper plan -o json: %w", err)
	}
	if len(out.Targets) != 1 || len(out.Targets[0].Plan.Changes) != 3 {
		return nil, fmt.Errorf("lockkeeper plan: want 3 changes of one target, got\n%s", stdout.String())
	}
	return &out, nil
}

// kubectlDiff runs once: it takes long enough to be measured.
func kubectlDiff(ctx context.Context, access *clustertest.Access, files string) (time.Duration, error) {
	start := time.Now()
	cmd := access.Kubectl(ctx, "diff", "--server-side", "--field-manager", kube.Manager, "-f", files)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || len(out) == 0 {
		return 0, fmt.Errorf("kubectl diff: %w, want exit code 1 for differences", err)
	}
	return time.Since(start), nil
}
