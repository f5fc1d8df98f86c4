package kube

import (
	"context"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"lockkeeper/cluster"
)

// Interrupted at any point, an apply reports truthfully, and the next one
// finishes the work.
func TestInterruptedApplyIsContinued(t *testing.T) {
	c := connected(t)
	for _, after := range []int{0, 1, 3, 7, 12, 20} {
		t.Run(fmt.Sprint("after step ", after), func(t *testing.T) {
			ns := shared.Get(t).Namespace(t)
			target := targetIn(ns)
			base := objects(t, ns, configMap, inFile(configMap, "settings", "old"))
			synced(t, c, target, nil, base)
			merge := objects(t, ns, strings.Replace(configMap, "red", "blue", 1), service, deployment, inFile(service, "web", "web2"))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			begun := 0
			r, err := c.Apply(ctx, planned(t, c, target, base, merge), func(s cluster.Step) {
				if s.State == cluster.Waiting {
					return
				}
				if begun++; begun > after {
					cancel()
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			assertTruth(t, c, ns, r)
			synced(t, c, target, base, merge)
			settled(t, c, target, merge)
		})
	}
}

// assertTruth compares what the steps claim with what is there.
func assertTruth(t *testing.T, c *Cluster, ns string, r *cluster.Result) {
	t.Helper()
	resources := map[string]string{"ConfigMap": "configmaps.v1", "Service": "services.v1", "Deployment": "deployments.v1.apps"}
	for _, s := range r.Steps {
		live := liveOf(t, c, resources[s.Ref.Kind], ns, s.Ref.Name)
		done := s.State == cluster.Healthy || s.State == cluster.Applied
		switch {
		case !done && s.State != cluster.Skipped:
			t.Errorf("%s %s ended as %s: %s", s.Action, s.Ref, s.State, s.Message)
		case s.Action == cluster.Create && done != (live != nil), s.Action == cluster.Delete && done != (live == nil):
			t.Errorf("%s %s is said to be %s, but live is %v", s.Action, s.Ref, s.State, live != nil)
		case s.Action == cluster.Update && done != strings.Contains(fmt.Sprint(live.Object["data"]), "blue"):
			t.Errorf("%s %s is said to be %s, but live is %v", s.Action, s.Ref, s.State, live.Object["data"])
		}
	}
}

func TestWaitingOutlivesALostConnection(t *testing.T) {
	cp := shared.Get(t)
	link, err := cp.Delay(0)
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	c, direct, ns := connectedTo(t, link.Access), connected(t), cp.Namespace(t)
	p := planned(t, c, targetIn(ns), nil, objects(t, ns, stuckDeployment))
	r, err := c.Apply(t.Context(), p, func(s cluster.Step) {
		if s.State != cluster.Applied {
			return
		}
		go func() {
			_ = link.Cut()
			// While nobody watches, the Deployment becomes able to run.
			_, err := direct.api.Resource(gvrOf("deployments.v1.apps"), ns).Patch(context.WithoutCancel(t.Context()), "stuck", types.MergePatchType,
				[]byte(`{"spec":{"template":{"spec":{"nodeSelector":null}}}}`), metav1.PatchOptions{FieldManager: "kubectl-edit"})
			if err != nil {
				t.Error(err)
			}
			if err := link.Restore(); err != nil {
				t.Error(err)
			}
		}()
	})
	if err != nil || !r.OK() {
		t.Errorf("%v %+v", err, r)
	}
}
