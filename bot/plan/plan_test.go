package plan_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"lockkeeper/bot/config"
	"lockkeeper/bot/plan"
	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest"
)

var renderer *manifest.Renderer

func TestMain(m *testing.M) {
	manifest.Child()
	renderer = manifest.New(manifest.Limits{})
	code := m.Run()
	renderer.Close()
	os.Exit(code)
}

// fake is a cluster that knows whose its objects are, and predicts by
// comparing whole objects.
type fake struct {
	mu       sync.Mutex
	live     map[cluster.Ref]string // JSON
	owner    map[cluster.Ref]string // target
	requests []cluster.Request
	err      error
}

func newFake() *fake {
	return &fake{live: map[cluster.Ref]string{}, owner: map[cluster.Ref]string{}}
}

func (f *fake) Warm(context.Context) {}

func (f *fake) Bootstrap(context.Context) error { return errors.New("a plan must not write") }

func (f *fake) Apply(context.Context, *cluster.Plan, func(cluster.Step)) (*cluster.Result, error) {
	return nil, errors.New("a plan must not write")
}

func (f *fake) Applied(context.Context) (map[cluster.Owner]cluster.AppliedTarget, error) {
	return nil, nil
}

func (f *fake) Health(context.Context, cluster.Owner) ([]cluster.Problem, error) {
	return nil, errors.New("a plan does not ask for health")
}

func (f *fake) Drift(context.Context, cluster.DriftRequest) (*cluster.DriftReport, error) {
	return nil, errors.New("a plan does not check for drift")
}

func (f *fake) Census(context.Context) (*cluster.Census, error) {
	return nil, errors.New("a plan does not ask for a census")
}

func (f *fake) Watch(context.Context, func()) error {
	return errors.New("a plan does not watch")
}

// seed makes what targets hold live.
func (f *fake) seed(t *testing.T, tree fs.FS) *fake {
	t.Helper()
	_, targets, err := plan.Load(tree, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range targets {
		r, err := renderer.Render(t.Context(), tree, target.Path)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range r.Objects {
			f.live[o.Ref], f.owner[o.Ref] = content(o), target.Name
		}
	}
	return f
}

func content(o cluster.Object) string {
	b, err := json.Marshal(o.Content)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (f *fake) Plan(_ context.Context, r cluster.Request) (*cluster.Plan, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, r)
	if f.err != nil {
		return nil, f.err
	}
	p := &cluster.Plan{Target: r.Target, Revision: r.Revision, Objects: len(r.Merge)}
	want := map[cluster.Ref]bool{}
	for _, o := range r.Merge {
		want[o.Ref] = true
		p.Changes = append(p.Changes, f.change(r, o)...)
		if other, ok := r.Claims[o.Ref]; ok {
			p.Problems = append(p.Problems, cluster.Problem{Ref: &o.Ref, Source: o.Source, Message: "belongs to target " + other})
		}
	}
	for ref, owner := range f.owner {
		if _, moves := r.Claims[ref]; owner == r.Target.Name && !want[ref] && !moves {
			p.Changes = append(p.Changes, cluster.Change{Ref: ref, Action: cluster.Delete})
		}
	}
	slices.SortFunc(p.Changes, func(a, b cluster.Change) int { return a.Ref.Compare(b.Ref) })
	for i := range p.Changes {
		p.Changes[i].Digest = fmt.Sprint(p.Changes[i])
	}
	var err error
	p.Digest, err = cluster.DigestPlan(p)
	return p, err
}

func (f *fake) change(r cluster.Request, o cluster.Object) []cluster.Change {
	c := cluster.Change{Ref: o.Ref, Source: o.Source, Action: cluster.Update}
	switch live, ok := f.live[o.Ref]; {
	case !ok:
		c.Action = cluster.Create
	case f.owner[o.Ref] != r.Target.Name:
		c.Action, c.From = cluster.Transfer, r.Releases[o.Ref]
	case live == content(o):
		return nil
	}
	return []cluster.Change{c}
}

// files is a tree.
func files(pairs ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return m
}

// with is a tree with some files changed; a file that becomes "" is gone.
func with(tree fstest.MapFS, pairs ...string) fstest.MapFS {
	out := maps.Clone(tree)
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
		if pairs[i+1] == "" {
			delete(out, pairs[i])
		}
	}
	return out
}

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: shop}\ndata: {key: %s}\n", name, value)
}

const twoTargets = `targets:
  - {name: web, path: web, cluster: main, environment: production}
  - {name: db, path: db, cluster: main, environment: staging}
`

func shop() fstest.MapFS {
	return files(config.RepoFile, twoTargets, "web/a.yaml", configMap("a", "one"), "db/b.yaml", configMap("b", "one"))
}

// world plans on fakes by name.
type world map[string]*fake

func (w world) run(t *testing.T, in plan.Input) *plan.Output {
	t.Helper()
	out, err := w.planner().Run(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (w world) planner() *plan.Planner {
	return &plan.Planner{Renderer: renderer, MaxDeletes: 2, Clusters: func(name string) (cluster.Cluster, error) {
		if w[name] == nil {
			return nil, fmt.Errorf("there is no cluster %q", name)
		}
		return w[name], nil
	}}
}

// summary is a plan in short: "web[note]: update ConfigMap shop/a; problem".
func summary(out *plan.Output) []string {
	lines := slices.Clone(out.Problems)
	for _, t := range out.Targets {
		name := t.Plan.Target.Name + "@" + t.Plan.Target.Cluster
		if t.Note != "" {
			name += " [" + t.Note + "]"
		}
		var parts []string
		for _, c := range t.Plan.Changes {
			parts = append(parts, string(c.Action)+" "+c.Ref.Name)
		}
		for _, p := range t.Plan.Problems {
			parts = append(parts, "problem: "+strings.TrimPrefix(p.Source+": ", ": ")+p.Message)
		}
		for _, e := range t.Also {
			parts = append(parts, "also "+e)
		}
		lines = append(lines, name+": "+strings.Join(parts, ", "))
	}
	return lines
}

func TestPlansOfTwoTrees(t *testing.T) {
	base := shop()
	tests := []struct {
		name  string
		base  fs.FS // shop() if nil
		merge fs.FS
		only  []string
		want  []string
		rest  int // unaffected
	}{
		{name: "no change", merge: base, rest: 2},
		{name: "one changed", merge: with(base, "web/a.yaml", configMap("a", "two")), want: []string{"web@main: update a"}, rest: 1},
		{name: "comments change nothing", merge: with(base, "web/a.yaml", "# hello\n"+configMap("a", "one")), rest: 2},
		{name: "a file that is in no target", merge: with(base, "README.md", "hello"), rest: 2},
		{name: "object removed", merge: with(base, "web/a.yaml", configMap("c", "one")), want: []string{"web@main: delete a, create c"}, rest: 1},
		{name: "target added", merge: with(base, config.RepoFile, twoTargets+"  - {name: new, path: new, cluster: main, environment: staging}\n", "new/c.yaml", configMap("c", "one")),
			want: []string{"new@main [added]: create c"}, rest: 2},
		{name: "target removed", merge: with(base, config.RepoFile, strings.SplitAfter(twoTargets, "production}\n")[0]),
			want: []string{"db@main [removed]: delete b"}, rest: 1},
		{name: "target directory renamed", // threat 31
			merge: with(base, config.RepoFile, strings.Replace(twoTargets, "path: web", "path: site", 1), "web/a.yaml", "", "site/a.yaml", configMap("a", "one")), rest: 2},
		{name: "target directory renamed and changed",
			merge: with(base, config.RepoFile, strings.Replace(twoTargets, "path: web", "path: site", 1), "web/a.yaml", "", "site/a.yaml", configMap("a", "two")),
			want:  []string{"web@main [moved from web]: update a"}, rest: 1},
		{name: "target renamed", // threat 31: transferred, nothing deleted
			merge: with(base, config.RepoFile, strings.Replace(twoTargets, "name: web", "name: site", 1)),
			want:  []string{"site@main [added]: transfer a", "web@main [removed]: "}, rest: 1},
		{name: "object moved between targets", // threat 31, and the policy of both
			merge: with(base, "web/a.yaml", configMap("c", "one"), "db/a.yaml", configMap("a", "one")),
			want:  []string{"db@main: transfer a, also production", "web@main: create c"}},
		{name: "production called staging",
			merge: with(base, config.RepoFile, strings.Replace(twoTargets, "production", "staging", 1), "web/a.yaml", configMap("a", "evil")),
			want:  []string{"web@main [was production, becomes staging]: update a, also production"}, rest: 1},
		{name: "production renamed to a target of staging",
			merge: with(base, config.RepoFile, strings.Replace(twoTargets, "name: web, path: web, cluster: main, environment: production", "name: x, path: web, cluster: main, environment: staging", 1)),
			want:  []string{"web@main [removed]: ", "x@main [added]: transfer a, also production"}, rest: 1},
		{name: "moved to another cluster", merge: with(base, config.RepoFile, strings.Replace(twoTargets, "cluster: main", "cluster: other", 1)),
			want: []string{"web@main [removed]: delete a", "web@other [added]: create a"}, rest: 1},
		{name: "two targets claim one object", // threat 31
			merge: with(base, "db/a.yaml", configMap("a", "mine")),
			want:  []string{"db@main: transfer a, problem: db/a.yaml:1: belongs to target web"}, rest: 1},
		{name: "a broken manifest", merge: with(base, "web/a.yaml", "kind: [\n"),
			want: []string{"web@main: problem: web/a.yaml:1: invalid YAML: did not find expected node content"}, rest: 1},
		{name: "a broken target still has its objects",
			merge: with(base, "web/a.yaml", "kind: [\n", "db/a.yaml", configMap("a", "stolen")), only: []string{"db"},
			want: []string{"db@main: transfer a, problem: db/a.yaml:1: belongs to target web"}, rest: 1},
		{name: "unknown cluster", merge: with(base, config.RepoFile, strings.Replace(twoTargets, "cluster: main", "cluster: moon", 1)),
			want: []string{"web@main [removed]: delete a", `web@moon [added]: problem: there is no cluster "moon"`}, rest: 1},
		{name: "unknown target", merge: with(base, "web/a.yaml", configMap("a", "two")), only: []string{"wbe"}, want: []string{`there is no target "wbe"`}, rest: 2},
		{name: "only one of two", merge: with(base, "web/a.yaml", configMap("a", "two"), "db/b.yaml", configMap("b", "two")), only: []string{"db"},
			want: []string{"db@main: update b"}, rest: 1},
		{name: "a file that cannot be read removes nothing", merge: with(base, config.RepoFile, "targets: {\n"),
			want: []string{".lockkeeper.yaml:1: did not find expected node content"}},
		{name: "a target that does not resolve is not removed", merge: with(base, "db/b.yaml", "", "web/a.yaml", configMap("a", "two")),
			want: []string{".lockkeeper.yaml:3: targets[1]: the directory db does not exist", "web@main: update a"}},
		{name: "the file is gone on purpose", merge: with(base, config.RepoFile, ""),
			want: []string{"db@main [removed]: delete b", "web@main [removed]: delete a"}},
		{name: "no file before", base: with(base, config.RepoFile, ""), merge: base, want: []string{"db@main [added]: ", "web@main [added]: "}},
		{name: "a broken file before", base: with(base, config.RepoFile, "targets: {\n"), merge: base, want: []string{"db@main [added]: ", "web@main [added]: "}},
		{name: "no file at all", base: files(), merge: files("web/a.yaml", configMap("a", "one"))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := fs.FS(base)
			if tt.base != nil {
				before = tt.base
			}
			w := world{"main": newFake().seed(t, base), "other": newFake()}
			out := w.run(t, plan.Input{Base: before, Merge: tt.merge, MergeRevision: "rev", Only: tt.only})
			if got := summary(out); !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			if out.Unaffected != tt.rest {
				t.Errorf("%d unaffected, want %d", out.Unaffected, tt.rest)
			}
			for _, x := range out.Targets {
				if x.Plan.Digest == "" || x.Plan.Revision != "rev" {
					t.Errorf("%s has digest %q, revision %q", x.Plan.Target.Name, x.Plan.Digest, x.Plan.Revision)
				}
			}
		})
	}
}

func TestMassDeletionIsRefused(t *testing.T) { // threat 23
	base := shop()
	for _, name := range []string{"c", "d"} {
		base["web/"+name+".yaml"] = &fstest.MapFile{Data: []byte(configMap(name, "one"))}
	}
	empty := with(base, "web/a.yaml", "", "web/c.yaml", "", "web/d.yaml", "", "web/readme.txt", "nothing here")
	w := world{"main": newFake().seed(t, base)}
	out := w.run(t, plan.Input{Base: base, Merge: empty})
	got := strings.Join(summary(out), "\n")
	if !strings.Contains(got, "would delete 3 objects, more than the 2 that the operator allows") {
		t.Errorf("got %s", got)
	}
	p := w.planner()
	p.MaxDeletes = 3
	out, err := p.Run(t.Context(), plan.Input{Base: base, Merge: empty})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(out.Targets[0].Plan.Problems); n != 0 {
		t.Errorf("three deletions of three allowed are refused: %v", summary(out))
	}
}

func TestOperatorsFencesReachTheCluster(t *testing.T) { // threats 18, 30
	r := &config.Repository{ID: 42, Name: "acme/shop", Allow: []config.Allowance{
		{Paths: []string{"web"}, Clusters: []string{"main"}, Environments: []string{"production"}, Namespaces: []string{"shop"}},
	}}
	w := world{"main": newFake()}
	out := w.run(t, plan.Input{Base: files(), Merge: shop(), Repository: r})
	want := []string{
		`.lockkeeper.yaml:3: targets[1]: the operator does not allow db to use cluster "main" as environment "staging"; ask for it in the server file (repositories[acme/shop].allow)`,
		"web@main [added]: create a",
	}
	if got := summary(out); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if req := w["main"].requests; len(req) != 1 || !reflect.DeepEqual(req[0].Target.Fence, r.Allow[0].Fence()) || req[0].Target.RepoID != 42 {
		t.Errorf("the cluster was asked %+v", req)
	}
}

func TestClaimsNameObjectsWithoutANamespaceBothWays(t *testing.T) {
	text := "targets:\n  - {name: web, path: web, cluster: main, environment: e, namespace: shop}\n  - {name: db, path: db, cluster: main, environment: e}\n"
	merge := files(config.RepoFile, text, "web/a.yaml", strings.Replace(configMap("a", "one"), ", namespace: shop", "", 1), "db/b.yaml", configMap("b", "one"))
	w := world{"main": newFake()}
	w.run(t, plan.Input{Base: files(), Merge: merge})
	for _, r := range w["main"].requests {
		if r.Target.Name != "db" {
			continue
		}
		want := map[cluster.Ref]string{{Kind: "ConfigMap", Name: "a"}: "web", {Kind: "ConfigMap", Namespace: "shop", Name: "a"}: "web"}
		if !reflect.DeepEqual(r.Claims, want) {
			t.Errorf("claims of others: %v", r.Claims)
		}
	}
}

func TestEverythingPlansUnaffectedTargetsToo(t *testing.T) {
	w := world{"main": newFake()}
	out := w.run(t, plan.Input{Base: shop(), Merge: shop(), Only: []string{"db"}, Everything: true})
	if got := summary(out); !slices.Equal(got, []string{"db@main: create b"}) {
		t.Errorf("got %q", got)
	}
	if !w["main"].requests[0].Everything {
		t.Error("the cluster was not asked to examine everything")
	}
}

func TestClusterThatFailsIsNeverNoChange(t *testing.T) {
	w := world{"main": newFake()}
	w["main"].err = errors.New("connection refused; is the API server up?")
	out := w.run(t, plan.Input{Base: shop(), Merge: with(shop(), "web/a.yaml", configMap("a", "two"))})
	if got := summary(out); !slices.Equal(got, []string{"web@main: problem: connection refused; is the API server up?"}) {
		t.Errorf("got %q", got)
	}
}

// ending renders until the context it was made for ends.
type ending struct{ cancel context.CancelCauseFunc }

func (e ending) Render(ctx context.Context, _ fs.FS, _ string) (*manifest.Rendering, error) {
	e.cancel(errors.New("the bot is stopping"))
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestEndOfTheContextIsAnErrorAndNoPlan(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	p := world{"main": newFake()}.planner()
	p.Renderer = ending{cancel}
	out, err := p.Run(ctx, plan.Input{Base: shop(), Merge: shop()})
	if err == nil || out != nil || !strings.Contains(err.Error(), "the bot is stopping") {
		t.Errorf("got %v, %v", out, err)
	}
}

func TestThousandTargetsArePlannedQuickly(t *testing.T) {
	if testing.Short() {
		t.Skip("renders 1,000 targets")
	}
	base, text := files(), "targets:\n"
	for i := range 1000 {
		text += fmt.Sprintf("  - {path: t/%d, cluster: main, environment: e}\n", i)
		base[fmt.Sprintf("t/%d/a.yaml", i)] = &fstest.MapFile{Data: []byte(configMap(fmt.Sprintf("a%d", i), "one"))}
	}
	base[config.RepoFile] = &fstest.MapFile{Data: []byte(text)}
	w := world{"main": newFake().seed(t, base)}
	start := time.Now()
	out := w.run(t, plan.Input{Base: base, Merge: with(base, "t/7/a.yaml", configMap("a7", "two"))})
	if got := summary(out); !slices.Equal(got, []string{"t/7@main: update a7"}) || out.Unaffected != 999 {
		t.Errorf("got %q, %d unaffected", got, out.Unaffected)
	}
	t.Logf("took %v", time.Since(start))
}
