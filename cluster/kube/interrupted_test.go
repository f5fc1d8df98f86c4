package kube

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
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

// A broken connection during a write leaves its outcome open; it must not be
// told as success, and the inventory must be written for what is known.
func TestWriteWithoutAnswerIsNotSuccess(t *testing.T) {
	cfg, ns := shared.Get(t).RESTConfig(), shared.Get(t).Namespace(t)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return forgetful{next} })
	c, err := New(Config{Name: "test", REST: cfg})
	if err != nil {
		t.Fatal(err)
	}
	target := targetIn(ns)
	merge := objects(t, ns, inFile(configMap, "settings", "unheard"), inFile(configMap, "settings", "heard"))
	r, err := c.Apply(t.Context(), planned(t, c, target, nil, merge), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s := stepOf(t, r, "ConfigMap", "unheard"); s.State != cluster.Failed || !strings.Contains(s.Message, "whether it was carried out is not known") {
		t.Errorf("got %+v", s)
	}
	if s := stepOf(t, r, "ConfigMap", "heard"); s.State != cluster.Healthy {
		t.Errorf("got %+v", s)
	}
	// The next apply finds out what happened and finishes.
	good := connected(t)
	synced(t, good, target, nil, merge)
	settled(t, good, target, merge)
}

// forgetful carries writes to the object "unheard" out and loses the answer.
type forgetful struct{ next http.RoundTripper }

func (f forgetful) RoundTrip(q *http.Request) (*http.Response, error) {
	resp, err := f.next.RoundTrip(q)
	if err == nil && q.Method == http.MethodPatch && strings.HasSuffix(q.URL.Path, "/unheard") && q.URL.Query().Get("dryRun") == "" {
		var lost bytes.Buffer
		_, _ = io.Copy(&lost, resp.Body)
		resp.Body.Close()
		return nil, fmt.Errorf("connection reset after %d bytes", lost.Len())
	}
	return resp, err
}
