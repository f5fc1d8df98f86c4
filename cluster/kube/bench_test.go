package kube

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"lockkeeper/cluster"
	"lockkeeper/cluster/clustertest"
)

// make bench collects the figures of all packages in one file.
var figures = flag.String("figures", "", "file to append one JSON line a figure to")

// figure is one measured value. Want is the bound it is held to, if any:
// at least Want, or at most where AtMost is set.
type figure struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Want   float64 `json:"want,omitempty"`
	AtMost bool    `json:"atMost,omitempty"`
}

func report(b *testing.B, f figure) {
	b.Helper()
	b.ReportMetric(f.Value, f.Unit)
	b.Logf("%s: %.3g %s", f.Name, f.Value, f.Unit)
	if f.Want != 0 && (f.Value > f.Want) == f.AtMost && f.Value != f.Want {
		b.Errorf("%s is %.3g %s, want %.3g", f.Name, f.Value, f.Unit, f.Want)
	}
	if *figures == "" {
		return
	}
	out, err := os.OpenFile(*figures, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	if err := json.NewEncoder(out).Encode(f); err != nil {
		b.Fatal(err)
	}
}

const benchObjects = 3000

// benchState is benchObjects objects of four kinds; the first changed of them
// differ from those of benchState(ns, 0).
func benchState(ns string, changed int) []cluster.Object {
	w := newWorld(1, "example.org", ns)
	var out []cluster.Object
	for i := range benchObjects {
		kinds := []string{"ConfigMap", "Service", "Role", "Deployment"}
		o := speciesOf(kinds[i%len(kinds)]).birth(w)
		o["metadata"] = m{"name": fmt.Sprintf("object-%d", i), "namespace": ns, "labels": m{"app": "bench"}}
		if spec, ok := o["spec"].(m); ok && o["kind"] == "Deployment" {
			spec["replicas"] = int64(0)
		}
		if i < changed {
			o["metadata"].(m)["labels"].(m)["app"] = "changed"
		}
		b, err := json.Marshal(o)
		if err != nil {
			panic(err) // a world is made of JSON values
		}
		var content m
		if err := yaml.Unmarshal(b, &content); err != nil {
			panic(err)
		}
		out = append(out, cluster.Object{
			Ref:        cluster.Ref{Group: groupOf(o["apiVersion"].(string)), Kind: o["kind"].(string), Namespace: ns, Name: fmt.Sprintf("object-%d", i)},
			APIVersion: o["apiVersion"].(string), Content: content, Source: "bench.yaml",
		})
	}
	return out
}

func groupOf(apiVersion string) string {
	if dir := filepath.Dir(apiVersion); dir != "." {
		return dir
	}
	return ""
}

// BenchmarkPlan compares a cold plan (new client, discovery, inventory) of 3
// changed objects among 3,000 live ones with kubectl diff --server-side over
// the same objects and server.
func BenchmarkPlan(b *testing.B) {
	cp := shared.Get(b)
	ns := cp.Namespace(b)
	base, merge := benchState(ns, 0), benchState(ns, 3)
	began := time.Now()
	synced(b, connected(b), targetIn(ns), nil, base)
	b.Logf("%d objects applied in %s", benchObjects, time.Since(began).Round(time.Millisecond))
	dir := b.TempDir()
	for i, o := range merge {
		doc, err := yaml.Marshal(o.Content)
		if err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.yaml", i)), doc, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for _, road := range []struct {
		rtt   time.Duration
		ratio float64
	}{{0, 20}, {30 * time.Millisecond, 300}} {
		b.Run(fmt.Sprint("rtt=", road.rtt), func(b *testing.B) {
			link, err := cp.Delay(road.rtt)
			if err != nil {
				b.Fatal(err)
			}
			defer link.Close()
			var plan *cluster.Plan
			for b.Loop() {
				plan = coldPlan(b, link.Access, ns, base, merge)
			}
			took := b.Elapsed() / time.Duration(b.N)
			b.StopTimer()
			diff := kubectlDiff(b, link.Access, dir)
			at := fmt.Sprintf("plan of 3 changes in %d objects, %s round trip: ", benchObjects, road.rtt)
			report(b, figure{Name: at + "lockkeeper", Value: took.Seconds(), Unit: "s"})
			report(b, figure{Name: at + "kubectl diff --server-side", Value: diff.Seconds(), Unit: "kubectl-s"})
			report(b, figure{Name: at + "times faster", Value: diff.Seconds() / took.Seconds(), Unit: "times", Want: road.ratio})
			report(b, figure{Name: at + "requests", Value: float64(plan.Stats.Requests), Unit: "requests", Want: 30, AtMost: true})
			report(b, figure{Name: at + "response bodies", Value: float64(plan.Stats.Bytes), Unit: "bytes"})
		})
	}
}

func coldPlan(b *testing.B, access *clustertest.Access, ns string, base, merge []cluster.Object) *cluster.Plan {
	c, err := New(Config{Name: "test", REST: access.RESTConfig()})
	if err != nil {
		b.Fatal(err)
	}
	p := planned(b, c, targetIn(ns), base, merge)
	if len(p.Changes) != 3 {
		b.Fatalf("%d changes, want 3", len(p.Changes))
	}
	return p
}

// kubectlDiff runs once: it takes long enough to be measured.
func kubectlDiff(b *testing.B, access *clustertest.Access, dir string) time.Duration {
	began := time.Now()
	cmd := access.Kubectl(context.WithoutCancel(b.Context()), "diff", "--server-side", "--field-manager", Manager, "-f", dir)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || len(out) == 0 {
		b.Fatalf("kubectl diff: %v, want exit code 1 for differences", err)
	}
	return time.Since(began)
}
