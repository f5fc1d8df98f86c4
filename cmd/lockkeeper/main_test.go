package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"lockkeeper/bot/plan"
	"lockkeeper/cluster"
	"lockkeeper/cluster/clustertest"
	"lockkeeper/cluster/kube"
	"lockkeeper/cluster/manifest"
	"lockkeeper/forge/git"
)

// suite runs the tests, and stops the control plane if one of them started it.
type suite struct{ m *testing.M }

func (s suite) Run() int {
	code := s.m.Run()
	if plane.cp != nil {
		if err := plane.cp.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the control plane:", err)
			code = 1
		}
	}
	return code
}

// TestMain lets scripts run the real command: this binary is it.
func TestMain(m *testing.M) {
	manifest.Child()
	crashing()
	testscript.Main(suite{m}, map[string]func(){"lockkeeper": main})
}

// plane is one API server for all tests, started by the first that needs it.
var plane struct {
	once sync.Once
	cp   *clustertest.ControlPlane
	err  error
}

func controlPlane(t *testing.T) *clustertest.ControlPlane {
	t.Helper()
	plane.once.Do(func() {
		plane.cp, plane.err = clustertest.Start(context.WithoutCancel(t.Context()), clustertest.Options{})
	})
	if plane.err != nil {
		t.Fatal(plane.err)
	}
	return plane.cp
}

// environment gives scripts Git without anybody's configuration, and the seed
// repository as $WORK/shop.
func environment(env *testscript.Env) error {
	for _, v := range []string{
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "KUBECONFIG=",
		"GIT_AUTHOR_NAME=ann", "GIT_AUTHOR_EMAIL=ann@example.com", "GIT_COMMITTER_NAME=ann", "GIT_COMMITTER_EMAIL=ann@example.com",
	} {
		name, value, _ := strings.Cut(v, "=")
		env.Setenv(name, value)
	}
	seed, err := filepath.Abs("../../testdata/shop")
	if err != nil {
		return err
	}
	return os.CopyFS(filepath.Join(env.WorkDir, "shop"), os.DirFS(seed))
}

// commands are what scripts can do beside the standard set.
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		// code N COMMAND...: the command ends with exactly this exit code.
		"code": func(ts *testscript.TestScript, _ bool, args []string) {
			err := ts.Exec(args[1], args[2:]...)
			got := "0"
			if err != nil {
				got = strings.TrimPrefix(err.Error(), "exit status ")
			}
			if got != args[0] {
				ts.Fatalf("exit code %s, want %s", got, args[0])
			}
		},
		// expand FILE...: environment variables in the files are filled in.
		"expand": func(ts *testscript.TestScript, _ bool, args []string) {
			for _, name := range args {
				text := os.Expand(ts.ReadFile(name), ts.Getenv)
				ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
			}
		},
		// keys FILE OUT: the paths of all values in a JSON file, with their types.
		"keys": func(ts *testscript.TestScript, _ bool, args []string) {
			var v any
			ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
			paths := map[string]bool{}
			shape("", v, paths)
			text := strings.Join(slices.Sorted(maps.Keys(paths)), "\n") + "\n"
			ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
		},
	}
}

// shape collects the paths of a JSON value: ".targets[].plan.digest string".
func shape(path string, v any, into map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			shape(path+"."+k, x, into)
		}
	case []any:
		into[path+" list"] = true
		for _, x := range v {
			shape(path+"[]", x, into)
		}
	case nil:
		into[path+" null"] = true
	default:
		into[path+" "+map[reflect.Kind]string{reflect.String: "string", reflect.Float64: "number", reflect.Bool: "bool"}[reflect.TypeOf(v).Kind()]] = true
	}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Setup: environment, Cmds: commands(), RequireExplicitExec: true})
}

// TestScriptsOnACluster has a namespace $NS for each script, and $KUBE, a
// kubeconfig of the administrator; $EXPIRED is one that the server refuses.
func TestScriptsOnACluster(t *testing.T) {
	cp := controlPlane(t)
	c, err := kube.New(kube.Config{Name: "main", REST: cp.RESTConfig()})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Bootstrap(t.Context()); err != nil { // as after a first apply
		t.Fatal(err)
	}
	expired, err := cp.Login("expired", "a-token-that-has-expired")
	if err != nil {
		t.Fatal(err)
	}
	cmds := commands()
	// apply DIR: brings the targets of a clone's HEAD to the cluster.
	cmds["apply"] = func(ts *testscript.TestScript, _ bool, args []string) {
		ts.Check(applyHead(t.Context(), c, ts.MkAbs(args[0])))
	}
	// kubectl ARGS...: somebody changes the cluster by hand.
	cmds["kubectl"] = func(ts *testscript.TestScript, _ bool, args []string) {
		out, err := cp.Kubectl(t.Context(), args...).CombinedOutput()
		ts.Logf("%s", out)
		ts.Check(err)
	}
	testscript.Run(t, testscript.Params{Dir: "testdata/cluster", Cmds: cmds, RequireExplicitExec: true, Setup: func(env *testscript.Env) error {
		env.Setenv("KUBE", cp.Kubeconfig)
		env.Setenv("EXPIRED", expired.Kubeconfig)
		env.Setenv("NS", cp.Namespace(t))
		return environment(env)
	}})
}

// applyHead applies all targets of a clone's HEAD, as the bot would.
func applyHead(ctx context.Context, c *kube.Cluster, dir string) error {
	repo, err := git.Open(ctx, dir, git.Options{})
	if err != nil {
		return err
	}
	defer repo.Close()
	commit, err := repo.ResolveCommit(ctx, "HEAD")
	if err != nil {
		return err
	}
	sha, err := repo.TreeOf(ctx, commit)
	if err != nil {
		return err
	}
	tree, err := repo.Tree(ctx, sha)
	if err != nil {
		return err
	}
	renderer := manifest.New(manifest.Limits{})
	defer renderer.Close()
	p := plan.Planner{Renderer: renderer, Clusters: func(string) (cluster.Cluster, error) { return c, nil }}
	_, targets, err := plan.Load(tree, nil)
	if err != nil {
		return err
	}
	in := plan.Input{Base: tree, Merge: tree, MergeRevision: commit, Everything: true}
	for _, t := range targets {
		in.Only = append(in.Only, t.Name)
	}
	out, err := p.Run(ctx, in)
	if err != nil {
		return err
	}
	for _, t := range out.Targets {
		result, err := c.Apply(ctx, t.Plan, nil)
		if err != nil || !result.OK() {
			return errors.Join(err, fmt.Errorf("%v %v", t.Plan.Problems, result))
		}
	}
	return nil
}
