package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"lockkeeper/cluster"
)

// drifted checks exactly what objs, as applied last, have become.
func drifted(t testing.TB, c *Cluster, r cluster.DriftRequest) *cluster.DriftReport {
	t.Helper()
	report, err := c.Drift(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// findingsOf prints the findings compactly.
func findingsOf(r *cluster.DriftReport) string {
	var lines []string
	for _, f := range r.Findings {
		line := fmt.Sprintf("%s %s/%s", f.Kind, f.Ref.Kind, f.Ref.Name)
		if f.Field.Path != "" {
			line += fmt.Sprintf(" %s %s %s -> %s", f.Field.Op, f.Field.Path, pretty(f.Field.Before), pretty(f.Field.After))
		}
		if len(f.Managers) > 0 {
			line += " by " + strings.Join(f.Managers, ", ")
		}
		if f.Kind != cluster.Remade && f.Kind != cluster.Orphan && len(f.Managers) > 0 == f.At.IsZero() {
			line += " without time"
		}
		lines = append(lines, line)
	}
	for _, p := range r.Problems {
		lines = append(lines, "problem: "+p.Message)
	}
	for _, p := range r.Pending {
		lines = append(lines, "pending: "+p.Kind+"/"+p.Name)
	}
	return strings.Join(lines, "\n")
}

// by patches an object as a manager, by a subresource if one is given.
func by(t testing.TB, c *Cluster, manager, resource, ns, name, patch string, sub ...string) {
	t.Helper()
	_, err := c.api.Resource(gvrOf(resource), ns).Patch(context.WithoutCancel(t.Context()), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: manager}, sub...)
	if err != nil {
		t.Fatal(err)
	}
}

const (
	deployments = "deployments.v1.apps"
	configMaps  = "configmaps.v1"
)

func TestEachKindOfDriftIsItsOwnFinding(t *testing.T) {
	for name, tc := range map[string]struct {
		docs   string
		mutate func(t *testing.T, c *Cluster, ns string)
		want   string
	}{
		"changed": {web, func(t *testing.T, c *Cluster, ns string) {
			by(t, c, "kubectl", deployments, ns, "web", `{"spec":{"replicas":5}}`, "scale")
		}, `changed Deployment/web set spec.replicas 2 -> 5 by kubectl without time`},
		"removed": {configMap, func(t *testing.T, c *Cluster, ns string) {
			by(t, c, "kubectl-edit", configMaps, ns, "settings", `{"data":{"size":null}}`)
		}, `removed ConfigMap/settings remove data.size "3" -> null`},
		"hand-added": {configMap, func(t *testing.T, c *Cluster, ns string) {
			by(t, c, "k9s", configMaps, ns, "settings", `{"data":{"extra":"x"},"metadata":{"labels":{"a.b/c":"d"}}}`)
		}, "hand-added ConfigMap/settings add data.extra null -> \"x\" by k9s\nhand-added ConfigMap/settings add metadata.labels[\"a.b/c\"] null -> \"d\" by k9s"},
		"hand-added item, whole": {web, func(t *testing.T, c *Cluster, ns string) {
			kubectl(t, "", "-n", ns, "set", "env", "deployment/web", "DEBUG=1")
		}, `hand-added Deployment/web add spec.template.spec.containers[name=web].env[name=DEBUG] null -> {"name":"DEBUG","value":"1"} by kubectl-set`},
		"hand-added over a default": {web, func(t *testing.T, c *Cluster, ns string) {
			by(t, c, "kubectl-patch", deployments, ns, "web", `{"spec":{"strategy":{"rollingUpdate":{"maxSurge":"50%"}}}}`)
		}, `hand-added Deployment/web add spec.strategy.rollingUpdate.maxSurge null -> "50%" by kubectl-patch`},
		"ownership": {configMap, func(t *testing.T, c *Cluster, ns string) {
			by(t, c, "kubectl-edit", configMaps, ns, "settings", `{"data":{"size":"4"}}`)
			by(t, c, "kubectl-edit", configMaps, ns, "settings", `{"data":{"size":"3"}}`)
		}, `ownership ConfigMap/settings set data.size "3" -> "3" by kubectl-edit`},
		"deleted": {configMap, func(t *testing.T, c *Cluster, ns string) {
			kubectl(t, "", "-n", ns, "delete", "configmap", "settings")
		}, `deleted ConfigMap/settings`},
		"remade": {configMap, func(t *testing.T, c *Cluster, ns string) {
			kubectl(t, "", "-n", ns, "delete", "configmap", "settings")
			kubectl(t, configMap, "-n", ns, "create", "-f", "-")
		}, `remade ConfigMap/settings by kubectl-create`},
		"under our own name": {configMap, func(t *testing.T, c *Cluster, ns string) {
			kubectl(t, changed(configMap, "red", "blue", `, size: "3"`, ", more: m"), "-n", ns, "apply", "--server-side", "--field-manager=lockkeeper", "-f", "-")
		}, "changed ConfigMap/settings set data.colour \"red\" -> \"blue\"\nhand-added ConfigMap/settings add data.more null -> \"m\"\nremoved ConfigMap/settings remove data.size \"3\" -> null"},
		"what the server assigns is not told": {service, func(t *testing.T, c *Cluster, ns string) {
			by(t, c, "kubectl-edit", "services.v1", ns, "web", `{"spec":{"type":"NodePort"}}`)
		}, "hand-added Service/web add spec.externalTrafficPolicy null -> \"Cluster\" by kubectl-edit\nhand-added Service/web add spec.type null -> \"NodePort\" by kubectl-edit"},
		"not valid together": {budget, func(t *testing.T, c *Cluster, ns string) {
			by(t, c, "kubectl-edit", "poddisruptionbudgets.v1.policy", ns, "web", `{"spec":{"minAvailable":null,"maxUnavailable":1}}`)
		}, "hand-added PodDisruptionBudget/web add spec.maxUnavailable null -> 1 by kubectl-edit\nremoved PodDisruptionBudget/web remove spec.minAvailable 1 -> null"},
		// Threat 7: values of Secrets are never told.
		"masked": {credentials, func(t *testing.T, c *Cluster, ns string) {
			by(t, c, "kubectl-edit", "secrets.v1", ns, "credentials", `{"stringData":{"token":"other-than-before"}}`)
		}, `changed Secret/credentials set data.token "(secret)" -> "(secret)" by kubectl-edit`},
	} {
		t.Run(name, func(t *testing.T) {
			c, ns := connected(t), shared.Get(t).Namespace(t)
			objs, target := objects(t, ns, tc.docs), targetIn(ns)
			synced(t, c, target, nil, objs)
			r := cluster.DriftRequest{Target: target, Objects: objs}
			if got := findingsOf(drifted(t, c, r)); got != "" {
				t.Fatalf("right after the apply: %s", got)
			}
			tc.mutate(t, c, ns)
			report := drifted(t, c, r)
			if got := findingsOf(report); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
			for _, f := range report.Findings {
				if f.Source != "test.yaml:1" || f.APIVersion == "" {
					t.Errorf("nobody can write it back: %+v", f)
				}
			}
			if got := suspectsOf(t, c, target); len(got) != 1 || got[0].Name != objs[0].Ref.Name {
				t.Errorf("a census takes it for clean: %v", got)
			}
			resets(t, c, target, objs, nil)
		})
	}
}

const budget = `
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
`

// resets brings a target back by a plan that takes back what people added, and
// looks whether nothing is left.
func resets(t testing.TB, c *Cluster, target cluster.Target, objs []cluster.Object, humans []string) *cluster.Plan {
	t.Helper()
	p, err := c.Plan(t.Context(), cluster.Request{Target: target, Base: objs, Merge: objs, Revision: "again", Reset: true, Humans: humans})
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range p.Problems {
		t.Errorf("reset: %s", problem.Message)
	}
	appliedExactly(t, c, p)
	if got := findingsOf(drifted(t, c, cluster.DriftRequest{Target: target, Objects: objs, Humans: humans})); got != "" {
		t.Errorf("left over after the reset:\n%s\nplanned\n%s", got, shape(p))
	}
	if got := suspectsOf(t, c, target); len(got) > 0 {
		t.Errorf("suspects after the reset: %v", got)
	}
	return p
}

func suspectsOf(t testing.TB, c *Cluster, target cluster.Target) []cluster.Ref {
	t.Helper()
	census, err := c.Census(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return census.Suspects[target.Owner()]
}

func TestWhatOthersMayDoIsNoDriftAndNoLongerSuspicious(t *testing.T) {
	for name, tc := range map[string]struct {
		docs   string
		mutate func(t *testing.T, c *Cluster, ns string)
	}{
		"an autoscaler scales what Git sets no scale for": {changed(web, "  replicas: 2\n", ""), func(t *testing.T, c *Cluster, ns string) {
			by(t, c, "kube-controller-manager", deployments, ns, "web", `{"spec":{"replicas":3}}`, "scale")
		}},
		"a controller writes annotations and a finalizer": {configMap, func(t *testing.T, c *Cluster, ns string) {
			by(t, c, "some-controller", configMaps, ns, "settings", `{"metadata":{"annotations":{"a":"b"},"finalizers":["example.org/hold"]}}`)
			t.Cleanup(func() {
				by(t, c, "some-controller", configMaps, ns, "settings", `{"metadata":{"finalizers":null}}`)
			})
		}},
		"kubectl apply notes what it applied": {configMap, func(t *testing.T, c *Cluster, ns string) {
			kubectl(t, configMap, "-n", ns, "apply", "-f", "-")
		}},
		"pods are restarted": {web, func(t *testing.T, c *Cluster, ns string) {
			kubectl(t, "", "-n", ns, "rollout", "restart", "deployment/web")
		}},
		"managedFields are reset": {configMap, func(t *testing.T, c *Cluster, ns string) {
			by(t, c, "anybody", configMaps, ns, "settings", `{"metadata":{"managedFields":[{}]}}`)
		}},
		"there and back": {web, func(t *testing.T, c *Cluster, ns string) {
			by(t, c, "some-tool", deployments, ns, "web", `{"spec":{"paused":true}}`)
			by(t, c, "some-tool", deployments, ns, "web", `{"spec":{"paused":null}}`)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c, ns := connected(t), shared.Get(t).Namespace(t)
			objs, target := objects(t, ns, tc.docs), targetIn(ns)
			synced(t, c, target, nil, objs)
			tc.mutate(t, c, ns)
			if got := findingsOf(drifted(t, c, cluster.DriftRequest{Target: target, Objects: objs})); got != "" {
				t.Errorf("%s", got)
			}
			if got := suspectsOf(t, c, target); len(got) > 0 {
				t.Errorf("still suspicious after the exact check: %v", got)
			}
		})
	}
}

func TestManagersOfPeopleCanBeNamed(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	objs, target := objects(t, ns, configMap), targetIn(ns)
	synced(t, c, target, nil, objs)
	by(t, c, "OurConsole-7", configMaps, ns, "settings", `{"data":{"extra":"x"}}`)
	humans := []string{"ourconsole*"}
	r := cluster.DriftRequest{Target: target, Objects: objs, Humans: humans}
	if got := findingsOf(drifted(t, c, r)); got != `hand-added ConfigMap/settings add data.extra null -> "x" by OurConsole-7` {
		t.Errorf("%s", got)
	}
	p := resets(t, c, target, objs, humans)
	if got := shape(p); !strings.Contains(got, `remove data.extra "x" -> null`) || !strings.Contains(got, "migrates OurConsole-7") {
		t.Errorf("the reset does not say what it takes from whom: %s", got)
	}
}

func TestAResetShowsTakeoversAndLeavesControllersTheirOwn(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	objs, target := objects(t, ns, web), targetIn(ns)
	synced(t, c, target, nil, objs)
	by(t, c, "kubectl-edit", deployments, ns, "web", `{"spec":{"replicas":4},"metadata":{"annotations":{"mine":"x"}}}`)
	by(t, c, "some-controller", deployments, ns, "web", `{"metadata":{"annotations":{"theirs":"y"}}}`)
	p := resets(t, c, target, objs, nil)
	got := shape(p)
	for _, want := range []string{"set spec.replicas 4 -> 2", "remove metadata.annotations.mine", "takes spec.replicas from kubectl-edit", "migrates kubectl-edit"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if live := liveOf(t, c, deployments, ns, "web"); live.GetAnnotations()["theirs"] != "y" || live.GetAnnotations()["mine"] != "" {
		t.Errorf("annotations %v", live.GetAnnotations())
	}
}

// A person's field that a later apply leaves is drift still: the new baseline
// must not pass for clean.
func TestAHandAddedFieldOutlivesAnApplyAsAFinding(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	objs, target := objects(t, ns, configMap), targetIn(ns)
	synced(t, c, target, nil, objs)
	by(t, c, "kubectl-edit", configMaps, ns, "settings", `{"data":{"extra":"x"}}`)
	next := objects(t, ns, changed(configMap, "red", "blue"))
	synced(t, c, target, objs, next)
	if got := suspectsOf(t, c, target); len(got) != 1 {
		t.Errorf("suspects %v", got)
	}
	if got := findingsOf(drifted(t, c, cluster.DriftRequest{Target: target, Objects: next})); !strings.HasPrefix(got, "hand-added ConfigMap/settings add data.extra") {
		t.Errorf("%s", got)
	}
	resets(t, c, target, next, nil)
}

func TestPendingIsNeverDriftAndOrphansAreTold(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	target, was := targetIn(ns), objects(t, ns, configMap, service)
	synced(t, c, target, nil, was)
	by(t, c, "kubectl-edit", configMaps, ns, "settings", `{"data":{"size":"9"}}`)
	now := objects(t, ns, changed(configMap, "red", "blue"))
	for what, tc := range map[string]struct {
		objects, applied []cluster.Object
		want             string
	}{
		"merged, and nobody knows what was before":   {now, nil, "pending: Service/web\npending: ConfigMap/settings"},
		"what was applied is at hand":                {now, was, `changed ConfigMap/settings set data.size "3" -> "9" by kubectl-edit`},
		"neither has it":                             {was[:1], was[:1], "changed ConfigMap/settings set data.size \"3\" -> \"9\" by kubectl-edit\norphan Service/web"},
		"a new object is not applied yet":            {append(objects(t, ns, changed(configMap, "settings", "new")), was...), nil, "changed ConfigMap/settings set data.size \"3\" -> \"9\" by kubectl-edit\npending: ConfigMap/new"},
		"no object of the repository, nor was there": {nil, []cluster.Object{}, "orphan Service/web\norphan ConfigMap/settings"},
	} {
		got := strings.Split(findingsOf(drifted(t, c, cluster.DriftRequest{Target: target, Objects: tc.objects, Applied: tc.applied})), "\n")
		want := strings.Split(tc.want, "\n")
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	only := cluster.DriftRequest{Target: target, Objects: was, Only: []cluster.Ref{{Kind: "Service", Namespace: ns, Name: "web"}}}
	if r := drifted(t, c, only); findingsOf(r) != "" || r.Checked != 1 {
		t.Errorf("limited to the service: %d checked, %s", r.Checked, findingsOf(r))
	}
}

func TestAnIgnoredFindingIsNoFindingAndNoSuspect(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	objs, target := objects(t, ns, web), targetIn(ns)
	synced(t, c, target, nil, objs)
	by(t, c, "kubectl", deployments, ns, "web", `{"spec":{"replicas":5}}`, "scale")
	r := cluster.DriftRequest{Target: target, Objects: objs, Ignore: []cluster.IgnoreRule{{Kinds: []string{"StatefulSet.apps"}, Fields: []string{"spec.replicas"}}}}
	if got := findingsOf(drifted(t, c, r)); !strings.HasPrefix(got, "changed") {
		t.Errorf("a rule for another kind drops it: %s", got)
	}
	r.Ignore[0].Kinds = []string{"Deployment.*"}
	if got := findingsOf(drifted(t, c, r)); got != "" {
		t.Errorf("%s", got)
	}
	if got := suspectsOf(t, c, target); len(got) > 0 {
		t.Errorf("suspects %v", got)
	}
	r.Ignore = nil
	if got := findingsOf(drifted(t, c, r)); !strings.HasPrefix(got, "changed") {
		t.Errorf("it is ignored no longer, and the check of everything finds %q", got)
	}
}

// What cannot be looked at is a problem: it is neither clean nor drifted.
func TestWhatCannotBeLookedAtIsAProblem(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	objs, target := objects(t, ns, configMap, service), targetIn(ns)
	synced(t, c, target, nil, objs)
	by(t, c, "kubectl-edit", configMaps, ns, "settings", `{"metadata":{"finalizers":["example.org/hold"]}}`)
	by(t, c, "kubectl-edit", "services.v1", ns, "web", `{"metadata":{"labels":{"touched":"yes"}}}`)
	kubectl(t, "", "-n", ns, "delete", "configmap", "settings", "--wait=false")
	t.Cleanup(func() {
		by(t, c, "kubectl-edit", configMaps, ns, "settings", `{"metadata":{"finalizers":null}}`)
	})
	r := cluster.DriftRequest{Target: target, Objects: objs}
	if got := findingsOf(drifted(t, c, r)); !strings.Contains(got, "settings: is being deleted (it waits for example.org/hold)") {
		t.Errorf("%s", got)
	}
	failing := through(t, func(req *http.Request) (*http.Response, error) {
		if strings.HasSuffix(req.URL.Path, "/services/web") && req.Method == http.MethodPatch {
			return &http.Response{StatusCode: 500, Body: http.NoBody, Header: http.Header{}, Request: req}, nil
		}
		return nil, nil
	})
	if got := findingsOf(drifted(t, failing, r)); !strings.Contains(got, "problem: Service "+ns+"/web") || strings.Contains(got, "hand-added") {
		t.Errorf("%s", got)
	}
	away := through(t, func(req *http.Request) (*http.Response, error) {
		if strings.Contains(req.URL.Path, "/services/") {
			return nil, errors.New("connection refused")
		}
		return nil, nil
	})
	if report, err := away.Drift(t.Context(), r); err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("a cluster that is away: %v %+v", err, report)
	}
}

// Threat 30: live values outside the fence are not even read.
func TestNothingOutsideTheFenceIsRead(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	objs, target := objects(t, ns, configMap), targetIn(ns)
	synced(t, c, target, nil, objs)
	by(t, c, "kubectl-edit", configMaps, ns, "settings", `{"data":{"size":"9"}}`)
	watched := through(t, func(req *http.Request) (*http.Response, error) {
		if strings.Contains(req.URL.Path, "/namespaces/"+ns+"/") {
			t.Errorf("%s %s", req.Method, req.URL.Path)
		}
		return nil, nil
	})
	target.Fence.Namespaces = []string{"other"}
	if got := findingsOf(drifted(t, watched, cluster.DriftRequest{Target: target, Objects: objs})); !strings.HasPrefix(got, "problem: ConfigMap "+ns+"/settings: it is not looked at") {
		t.Errorf("%s", got)
	}
}

// What nobody wrote costs one GET; the dry-run is for the others.
func TestAnUntouchedObjectNeedsNoDryRun(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	objs, target := objects(t, ns, configMap, service), targetIn(ns)
	synced(t, c, target, nil, objs)
	by(t, c, "some-controller", "services.v1", ns, "web", `{"metadata":{"annotations":{"a":"b"}}}`)
	var asked []string
	watched := through(t, func(req *http.Request) (*http.Response, error) {
		if strings.Contains(req.URL.Path, "/namespaces/"+ns+"/") {
			asked = append(asked, req.Method+" "+req.URL.Path[strings.LastIndex(req.URL.Path, "/")+1:])
		}
		return nil, nil
	})
	if got := findingsOf(drifted(t, watched, cluster.DriftRequest{Target: target, Objects: objs})); got != "" {
		t.Errorf("%s", got)
	}
	slices.Sort(asked)
	if !slices.Equal(asked, []string{"GET settings", "GET web", "PATCH web"}) {
		t.Errorf("asked %q", asked)
	}
}

// through is a client of the shared cluster whose requests pass a hook, which
// may answer in the server's place.
func through(t testing.TB, hook func(*http.Request) (*http.Response, error)) *Cluster {
	t.Helper()
	rc := shared.Get(t).RESTConfig()
	rc.Wrap(func(next http.RoundTripper) http.RoundTripper { return hooked{next, hook} })
	c, err := New(Config{Name: "test", REST: rc, Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type hooked struct {
	next http.RoundTripper
	hook func(*http.Request) (*http.Response, error)
}

func (h hooked) RoundTrip(r *http.Request) (*http.Response, error) {
	if answer, err := h.hook(r); answer != nil || err != nil {
		return answer, err
	}
	return h.next.RoundTrip(r)
}

// A field that a person added may have been the last in a map without a schema:
// the map goes with it, where a null would not be valid.
func TestAResetLeavesNoEmptyMapBehind(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	kubectl(t, strings.ReplaceAll(widgets, "%NS%", ns), "apply", "-f", "-")
	kubectl(t, "", "wait", "--for=condition=Established", "crd/widgets."+ns+".example.org")
	objs, target := objects(t, ns, "apiVersion: "+ns+".example.org/v1\nkind: Widget\nmetadata: {name: w}\nspec: {wheels: 3}\n"), targetIn(ns)
	synced(t, c, target, nil, objs)
	kind := "widgets.v1." + ns + ".example.org"
	by(t, c, "some-operator", kind, ns, "w", `{"spec":{"free":{"a":1}}}`)
	by(t, c, "kubectl-patch", kind, ns, "w", `{"spec":{"free":{"b":false}}}`)
	by(t, c, "some-operator", kind, ns, "w", `{"spec":{"free":{"a":null}}}`)
	resets(t, c, target, objs, nil)
	by(t, c, "kubectl-patch", kind, ns, "w", `{"spec":{"free":{"b":false}}}`)
	resets(t, c, target, objs, nil)
}
