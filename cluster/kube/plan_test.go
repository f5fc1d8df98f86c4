package kube

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/client"
	"lockkeeper/cluster/kube/fields"
	"lockkeeper/cluster/kube/inventory"
	"lockkeeper/cluster/kube/kinds"
	"lockkeeper/cluster/kube/secret"

	"k8s.io/client-go/rest"
)

// shape prints a plan's changes compactly.
func shape(p *cluster.Plan) string {
	var b strings.Builder
	for _, c := range p.Changes {
		fmt.Fprintf(&b, "%s %s", c.Action, c.Ref)
		for _, f := range c.Fields {
			before, _ := json.Marshal(f.Before)
			after, _ := json.Marshal(f.After)
			fmt.Fprintf(&b, "\n  %s %s %s -> %s", f.Op, f.Path, before, after)
			if f.Server {
				b.WriteString(" (server)")
			}
		}
		for _, o := range c.Takeovers {
			fmt.Fprintf(&b, "\n  takes %s from %s", o.Path, o.Manager)
		}
		for _, o := range c.Stays {
			fmt.Fprintf(&b, "\n  stays %s by %s", o.Path, o.Manager)
		}
		for _, m := range c.Managers {
			fmt.Fprintf(&b, "\n  migrates %s", m)
		}
		if c.Pending {
			b.WriteString("\n  pending")
		}
		if c.From != "" {
			b.WriteString("\n  from " + c.From)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func changeOf(t testing.TB, p *cluster.Plan, kind, name string) cluster.Change {
	t.Helper()
	for _, c := range p.Changes {
		if c.Ref.Kind == kind && c.Ref.Name == name {
			return c
		}
	}
	t.Fatalf("no change for %s %s in:\n%s", kind, name, shape(p))
	return cluster.Change{}
}

func fieldOf(c cluster.Change, path string) *cluster.FieldChange {
	for i := range c.Fields {
		if c.Fields[i].Path == path {
			return &c.Fields[i]
		}
	}
	return nil
}

// appliedExactly applies a plan and fails where a live object changed by
// anything else than the plan said.
func appliedExactly(t testing.TB, c *Cluster, p *cluster.Plan) {
	t.Helper()
	pr := p.Prepared.(*prepared)
	applied(t, c, p)
	for _, it := range pr.items {
		if it.change.Action == cluster.Delete || it.change.Unverified != "" {
			continue
		}
		after, err := c.api.Get(t.Context(), it.gvr, it.change.Ref.Namespace, it.change.Ref.Name)
		if err != nil {
			t.Fatal(err)
		}
		lk := fields.KeysOf(fields.All(it.live, after)...)
		if it.live == nil {
			there := fields.Flatten(fields.Shown(secret.Masked(it.change.Ref, after.Object, pr.inv.MAC)), lk)
			for _, f := range it.change.Fields {
				v, ok := there[f.Path]
				if !f.Server && !f.Masked && (!ok || !reflect.DeepEqual(fields.Project(v, f.After, lk), f.After)) {
					t.Errorf("%s: predicted %s = %v, got %v", it.change.Ref, f.Path, f.After, v)
				}
			}
			continue
		}
		got := fields.Diff(fields.Shown(secret.Masked(it.change.Ref, it.live.Object, pr.inv.MAC)), fields.Shown(secret.Masked(it.change.Ref, after.Object, pr.inv.MAC)), lk)
		secret.Unmask(got)
		want := slices.DeleteFunc(slices.Clone(it.change.Fields), func(f cluster.FieldChange) bool { return f.Server })
		got = slices.DeleteFunc(got, func(f cluster.FieldChange) bool {
			return f.Path == `metadata.annotations["deployment.kubernetes.io/revision"]`
		})
		if len(want)+len(got) > 0 && !reflect.DeepEqual(want, got) {
			t.Errorf("%s:\npredicted %+v\nobserved  %+v", it.change.Ref, want, got)
		}
	}
}

const web = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app.kubernetes.io/name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: example.org/web:1
        args: [--port, "80"]
        env:
        - {name: COLOUR, value: red}
        - {name: SIZE, value: "3"}
        ports: [{containerPort: 80}]
        resources: {requests: {cpu: "0.5"}}
`

func changed(doc string, pairs ...string) string { return strings.NewReplacer(pairs...).Replace(doc) }

func TestCreateShowsWhatGitSetsWithTheServersValues(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	p := planned(t, c, targetIn(ns), nil, objects(t, ns, web, service))
	dep := changeOf(t, p, "Deployment", "web")
	spec, _ := fieldOf(dep, "spec").After.(map[string]any)
	if spec == nil || spec["strategy"] != nil {
		t.Errorf("defaults are shown: %v", spec)
	}
	cpu := fields.Flatten(map[string]any{"spec": spec}, fields.Keys{})["spec.template.spec.containers[name=web].resources.requests.cpu"]
	if cpu != "500m" {
		t.Errorf("cpu is %v, want what the server makes of it", cpu)
	}
	ip := fieldOf(changeOf(t, p, "Service", "web"), "spec.clusterIP")
	if ip == nil || !ip.Server {
		t.Errorf("clusterIP is not labelled as assigned by the server: %+v", ip)
	}
	appliedExactly(t, c, p)
	settled(t, c, targetIn(ns), objects(t, ns, web, service))
}

func TestUpdateNamesEveryFieldByItsKeys(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	base := objects(t, ns, web)
	synced(t, c, targetIn(ns), nil, base)
	merge := objects(t, ns, changed(web, "web:1", "web:2", "value: red", "value: blue", "- {name: SIZE, value: \"3\"}", "- {name: SHAPE, value: round}",
		"--port, \"80\"", "--port, \"81\"", "labels: {app.kubernetes.io/name: web}", "labels: {app.kubernetes.io/name: web, tier: front}",
		"ports: [{containerPort: 80}]", "ports: [{containerPort: 80}, {containerPort: 81, name: more}]"))
	p := planned(t, c, targetIn(ns), base, merge)
	at := "spec.template.spec.containers[name=web]"
	want := fmt.Sprintf(`update Deployment.apps %s/web
  add metadata.labels.tier null -> "front"
  set %[2]s.args ["--port","80"] -> ["--port","81"]
  set %[2]s.env[name=COLOUR].value "red" -> "blue"
  add %[2]s.env[name=SHAPE] null -> {"name":"SHAPE","value":"round"}
  remove %[2]s.env[name=SIZE] {"name":"SIZE","value":"3"} -> null
  set %[2]s.image "example.org/web:1" -> "example.org/web:2"
  add %[2]s.ports[containerPort=81,protocol=TCP] null -> {"containerPort":81,"name":"more","protocol":"TCP"}
`, ns, at)
	if got := shape(p); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
	again := planned(t, c, targetIn(ns), base, merge)
	if again.Digest != p.Digest || again.Digest == "" {
		t.Error("two plans of the same differ in their digest")
	}
	appliedExactly(t, c, p)
	settled(t, c, targetIn(ns), merge)
}

func TestRemovedFieldsGoAndDefaultsComeBack(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	base := objects(t, ns, web)
	synced(t, c, targetIn(ns), nil, base)
	merge := objects(t, ns, changed(web, "  replicas: 2\n", "", "        args: [--port, \"80\"]\n", "", "  labels: {app.kubernetes.io/name: web}\n", ""))
	p := planned(t, c, targetIn(ns), base, merge)
	dep := changeOf(t, p, "Deployment", "web")
	if f := fieldOf(dep, "spec.replicas"); f == nil || f.After != int64(1) {
		t.Errorf("replicas: %+v, want the default 1", f)
	}
	if f := fieldOf(dep, "spec.template.spec.containers[name=web].args"); f == nil || f.Op != cluster.Remove {
		t.Errorf("args: %+v", f)
	}
	appliedExactly(t, c, p)
	settled(t, c, targetIn(ns), merge)
}

func TestTakeoverNamesFieldAndOwnerAndDriftSaysWhatHappens(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	base := objects(t, ns, web)
	synced(t, c, targetIn(ns), nil, base)
	kubectl(t, "", "-n", ns, "scale", "deployment/web", "--replicas=5")
	kubectl(t, "", "-n", ns, "annotate", "deployment/web", "note=by-hand")
	merge := objects(t, ns, changed(web, "web:1", "web:2"))
	p := planned(t, c, targetIn(ns), base, merge)
	dep := changeOf(t, p, "Deployment", "web")
	if !slices.Contains(dep.Takeovers, cluster.Ownership{Path: "spec.replicas", Manager: "kubectl"}) {
		t.Errorf("takeovers %+v", dep.Takeovers)
	}
	if f := fieldOf(dep, "spec.replicas"); f == nil || f.Before != int64(5) || f.After != int64(2) {
		t.Errorf("the reset is not part of the change: %s", shape(p))
	}
	if len(p.Drift) != 1 || len(p.Drift[0].Fields) != 2 {
		t.Fatalf("drift %+v", p.Drift)
	}
	d := p.Drift[0]
	if !strings.Contains(d.Effect, "sets back spec.replicas") || !strings.Contains(d.Effect, "leaves as it is metadata.annotations.note") {
		t.Errorf("effect %q", d.Effect)
	}
	if !slices.Contains(d.Managers, "kubectl") {
		t.Errorf("managers %v", d.Managers)
	}
	appliedExactly(t, c, p)
}

func TestDriftThatThisPullOverwrites(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	base := objects(t, ns, web)
	synced(t, c, targetIn(ns), nil, base)
	kubectl(t, "", "-n", ns, "set", "image", "deployment/web", "web=example.org/web:hotfix")
	p := planned(t, c, targetIn(ns), base, objects(t, ns, changed(web, "web:1", "web:2")))
	if len(p.Drift) != 1 || !strings.Contains(p.Drift[0].Effect, "this pull overwrites spec.template.spec.containers[name=web].image") {
		t.Errorf("drift %+v", p.Drift)
	}
	if dep := changeOf(t, p, "Deployment", "web"); len(dep.Takeovers) != 1 || dep.Takeovers[0].Manager != "kubectl-set" {
		t.Errorf("takeovers %+v", dep.Takeovers)
	}
	appliedExactly(t, c, p)
}

func TestFieldRemovedInGitStaysWhenSomebodyElseOwnsIt(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	base := objects(t, ns, web)
	synced(t, c, targetIn(ns), nil, base)
	kubectl(t, "", "-n", ns, "scale", "deployment/web", "--replicas=5")
	p := planned(t, c, targetIn(ns), base, objects(t, ns, changed(web, "  replicas: 2\n", "")))
	dep := changeOf(t, p, "Deployment", "web")
	if !slices.Equal(dep.Stays, []cluster.Ownership{{Path: "spec.replicas", Manager: "kubectl"}}) || len(dep.Fields) != 0 {
		t.Errorf("got %s", shape(p))
	}
	appliedExactly(t, c, p)
}

func TestObjectDeletedBehindOurBackIsCreatedAgain(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	base := objects(t, ns, configMap)
	synced(t, c, targetIn(ns), nil, base)
	kubectl(t, "", "-n", ns, "delete", "configmap", "settings")
	p := planned(t, c, targetIn(ns), base, objects(t, ns, changed(configMap, "red", "blue")))
	if changeOf(t, p, "ConfigMap", "settings").Action != cluster.Create || len(p.Drift) != 1 || !p.Drift[0].Deleted {
		t.Errorf("%s %+v", shape(p), p.Drift)
	}
}

// TestReplace covers the immutable fields that have their own words.
func TestImmutableFieldsReplaceOrAreRefused(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	claim := "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec:\n  accessModes: [ReadWriteOnce]\n  resources: {requests: {storage: 1Gi}}\n"
	job := "apiVersion: batch/v1\nkind: Job\nmetadata: {name: once}\nspec:\n  template:\n    spec:\n      restartPolicy: Never\n      containers: [{name: once, image: example.org/once:1}]\n"
	set := "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\nspec:\n  serviceName: db\n  replicas: 0\n  selector: {matchLabels: {app: db}}\n  template:\n    metadata: {labels: {app: db}}\n    spec: {containers: [{name: db, image: example.org/db:1}]}\n"
	binding := "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: readers}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}\nsubjects: [{kind: Group, apiGroup: rbac.authorization.k8s.io, name: readers}]\n"
	kubectl(t, strings.Join([]string{web, job, set, binding, claim, service}, "\n---\n"), "-n", ns, "apply", "--server-side", "--field-manager=lockkeeper", "-f", "-")
	base := objects(t, ns, web, job, set, binding, service)
	merge := objects(t, ns, changed(web, "app: web}", "app: web2}"), changed(job, "once:1", "once:2"), changed(set, "serviceName: db", "serviceName: db2"),
		changed(binding, "name: view", "name: edit"), changed(service, "spec:", "spec:\n  clusterIP: None"))
	p := planned(t, c, targetIn(ns), base, merge)
	for _, name := range []string{"Deployment web", "Job once", "StatefulSet db", "RoleBinding readers", "Service web"} {
		kind, name, _ := strings.Cut(name, " ")
		ch := changeOf(t, p, kind, name)
		if ch.Action != cluster.Replace || ch.Reason == "" || ch.Unverified == "" || len(ch.Fields) == 0 {
			t.Errorf("%s %s: %+v", kind, name, ch)
		}
	}
	plan, err := c.Plan(t.Context(), cluster.Request{Target: targetIn(ns), Merge: objects(t, ns, changed(claim, "ReadWriteOnce", "ReadOnlyMany"))})
	if err != nil || len(plan.Problems) != 1 || !strings.Contains(plan.Problems[0].Message, "would lose the data on its volume") {
		t.Errorf("%v %+v", err, plan)
	}
}

const gadgetCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.%GROUP%}
spec:
  group: '%GROUP%'
  scope: Namespaced
  names: {kind: Gadget, plural: gadgets, singular: gadget}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {type: integer, minimum: 1}
              colour: {type: string}
            x-kubernetes-validations:
            - {rule: "!has(self.colour) || self.colour != 'pink'", message: no pink gadgets}
`

const gadget = `
apiVersion: '%GROUP%/v1'
kind: Gadget
metadata: {name: one}
spec: {size: 3}
`

func TestCustomResourcesBesideTheirCRD(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	g := []string{"%GROUP%", ns + ".example.org"}
	merge := objects(t, ns, changed(gadgetCRD, g...), changed(gadget, g...))
	p := planned(t, c, targetIn(ns), nil, merge)
	if ch := changeOf(t, p, "Gadget", "one"); ch.Action != cluster.Create || !strings.Contains(ch.Unverified, "CRD") || fieldOf(ch, "spec") == nil {
		t.Errorf("%+v", ch)
	}
	for bad, want := range map[string]string{
		"size: 3, wings: 2": `unknown field "spec.wings"`, "size: zero": "spec.size", "size: 0": "greater than or equal to 1",
		"colour: red": "spec.size", "size: 1, colour: pink": "no pink gadgets",
	} {
		pl, err := c.Plan(t.Context(), cluster.Request{Target: targetIn(ns), Merge: objects(t, ns, changed(gadgetCRD, g...), changed(gadget, append(g, "size: 3", bad)...))})
		if err != nil || len(pl.Problems) != 1 || !strings.Contains(pl.Problems[0].Message, want) {
			t.Errorf("%s: want %q, got %v %+v", bad, want, err, pl.Problems)
		}
	}
	appliedExactly(t, c, p)
	settled(t, c, targetIn(ns), merge)
	// A change of the CRD and a resource that needs it, in one pull.
	next := objects(t, ns, changed(gadgetCRD, append(g, "colour: {type: string}", "colour: {type: string}\n              wings: {type: integer}")...),
		changed(gadget, append(g, "size: 3", "size: 3, wings: 2")...))
	p = planned(t, c, targetIn(ns), merge, next)
	if ch := changeOf(t, p, "Gadget", "one"); ch.Action != cluster.Update || ch.Unverified == "" || fieldOf(ch, "spec.wings") == nil {
		t.Errorf("%+v", ch)
	}
	applied(t, c, p)
	settled(t, c, targetIn(ns), next)
	p = planned(t, c, targetIn(ns), next, nil)
	if ch := changeOf(t, p, "CustomResourceDefinition", "gadgets."+g[1]); !strings.Contains(ch.Reason, "1 Gadget") {
		t.Errorf("reason %q", ch.Reason)
	}
}

func TestContentsOfANewNamespace(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)+"-new"
	namespace := "apiVersion: v1\nkind: Namespace\nmetadata: {name: '%NS%'}\n"
	merge := objects(t, ns, namespace, web)
	p := planned(t, c, targetIn(ns), nil, merge)
	if ch := changeOf(t, p, "Deployment", "web"); ch.Action != cluster.Create || !strings.Contains(ch.Unverified, "namespace") {
		t.Errorf("%+v", ch)
	}
	r := cluster.Request{Target: targetIn(ns), Merge: objects(t, ns, namespace, changed(web, "replicas: 2", "replica: 2"))}
	if bad, err := c.Plan(t.Context(), r); err != nil || len(bad.Problems) != 1 || !strings.Contains(bad.Problems[0].Message, "spec.replica: there is no such field") {
		t.Errorf("%v %+v", err, bad)
	}
	r.Merge = objects(t, ns, web)
	if bad, err := c.Plan(t.Context(), r); err != nil || len(bad.Problems) != 1 || !strings.Contains(bad.Problems[0].Message, "does not exist") {
		t.Errorf("%v %+v", err, bad)
	}
	applied(t, c, p)
	settled(t, c, targetIn(ns), merge)
	p = planned(t, c, targetIn(ns), merge, nil)
	if ch := changeOf(t, p, "Namespace", ns); !strings.Contains(ch.Reason, "everything in the namespace goes with it") {
		t.Errorf("reason %q", ch.Reason)
	}
}

func TestBadInputIsAProblemWithItsSource(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	for name, tt := range map[string]struct{ doc, want string }{
		"unknown kind":  {"apiVersion: nowhere.example.org/v1\nkind: Widget\nmetadata: {name: w}\n", "install its CRD first or add it to this target"},
		"invalid field": {changed(web, "replicas: 2", "replica: 2"), "spec.replica: there is no such field"},
		"wrong type":    {changed(web, "replicas: 2", "replicas: two"), "spec.replicas"},
		"refused":       {changed(web, "image: example.org/web:1", "image: ''"), "image: Required value"},
	} {
		t.Run(name, func(t *testing.T) {
			// A good object beside it is planned all the same: no error hides others.
			p, err := c.Plan(t.Context(), cluster.Request{Target: targetIn(ns), Merge: objects(t, ns, tt.doc, configMap)})
			if err != nil || len(p.Problems) != 1 || !strings.Contains(p.Problems[0].Message, tt.want) || p.Problems[0].Source != "test.yaml:1" {
				t.Fatalf("want %q, got %v %+v", tt.want, err, p)
			}
			changeOf(t, p, "ConfigMap", "settings")
		})
	}
}

// TestFenceIsCheckedBeforeAnyRequest covers invariant 10.
func TestFenceIsCheckedBeforeAnyRequest(t *testing.T) {
	c, err := New(Config{Name: "nowhere", REST: &rest.Config{Host: "https://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	target := targetIn("shop")
	target.Fence = cluster.Fence{Namespaces: []string{"shop*"}}
	for _, doc := range []string{
		changed(configMap, "name: settings", "name: settings, namespace: kube-system"), changed(configMap, "name: settings", "name: settings, namespace: lockkeeper-system"),
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n", "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: all}\n",
		"apiVersion: example.org/v1\nkind: Thing\nmetadata: {name: x, namespace: other}\n", changed(gadgetCRD, "%GROUP%", "example.org"),
		configMap + "\n---\n" + configMap,
	} {
		p, err := c.Plan(t.Context(), cluster.Request{Target: target, Merge: objects(t, "", doc)})
		if err != nil || len(p.Problems) == 0 || p.Stats.Requests != 0 {
			t.Errorf("%s: %v %+v", doc, err, p)
		}
	}
	claimed := objects(t, "", configMap)
	p, err := c.Plan(t.Context(), cluster.Request{Target: target, Merge: claimed, Claims: map[cluster.Ref]string{{Kind: "ConfigMap", Namespace: "shop", Name: "settings"}: "other"}})
	if err != nil || len(p.Problems) != 1 || !strings.Contains(p.Problems[0].Message, "target other") || p.Stats.Requests != 0 {
		t.Errorf("%v %+v", err, p)
	}
}

func TestOneObjectBelongsToOneTarget(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	objs := objects(t, ns, configMap)
	old, next := targetIn(ns), targetIn(ns)
	next.Name = "renamed"
	synced(t, c, old, nil, objs)
	ref := cluster.Ref{Kind: "ConfigMap", Namespace: ns, Name: "settings"}
	p, err := c.Plan(t.Context(), cluster.Request{Target: next, Merge: objs})
	if err != nil || len(p.Problems) != 1 || !strings.Contains(p.Problems[0].Message, "belongs to target "+old.Name) {
		t.Fatalf("%v %+v", err, p)
	}
	p, err = c.Plan(t.Context(), cluster.Request{Target: old, Base: objs, Claims: map[cluster.Ref]string{ref: next.Name}})
	if err != nil || len(p.Changes)+len(p.Problems) != 0 {
		t.Errorf("the old target deletes what moved: %v %s", err, shape(p))
	}
	p, err = c.Plan(t.Context(), cluster.Request{Target: next, Merge: objs, Releases: map[cluster.Ref]string{ref: old.Name}, Revision: "r2"})
	if err != nil || changeOf(t, p, "ConfigMap", "settings").From != old.Name || p.Changes[0].Action != cluster.Transfer {
		t.Fatalf("%v %s", err, shape(p))
	}
	before := liveOf(t, c, "configmaps.v1", ns, "settings").GetUID()
	appliedExactly(t, c, p)
	if liveOf(t, c, "configmaps.v1", ns, "settings").GetUID() != before {
		t.Error("the object was made anew")
	}
	settled(t, c, next, objs)
	if p = planned(t, c, old, objs, nil); len(p.Changes) != 0 {
		t.Errorf("the old target still deletes: %s", shape(p))
	}
	got, err := c.Applied(t.Context())
	if err != nil || got[next.Owner()].Objects != 1 || got[next.Owner()].Revision != "r2" || got[old.Owner()].Objects != 0 {
		t.Errorf("%v %+v", err, got)
	}
}

func TestWhatAnEarlierMergeLeftIsPending(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	first := objects(t, ns, configMap, service)
	synced(t, c, targetIn(ns), nil, first)
	merged := objects(t, ns, changed(configMap, "red", "blue"))
	p := planned(t, c, targetIn(ns), merged, merged)
	if got := changeOf(t, p, "ConfigMap", "settings"); !got.Pending || got.Action != cluster.Update {
		t.Errorf("%+v", got)
	}
	if got := changeOf(t, p, "Service", "web"); !got.Pending || got.Action != cluster.Delete {
		t.Errorf("%+v", got)
	}
	appliedExactly(t, c, p)
	settled(t, c, targetIn(ns), merged)
}

func TestRequestsGrowWithWhatChanged(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	var docs []string
	for i := range 60 {
		docs = append(docs, changed(configMap, "name: settings", fmt.Sprintf("name: settings-%d", i)))
	}
	base := objects(t, ns, docs...)
	p := planned(t, c, targetIn(ns), base, base)
	if len(p.Changes) != 0 || p.Unadopted != 60 || p.Stats.Requests > 4 {
		t.Errorf("%d changes, %d unadopted, %+v", len(p.Changes), p.Unadopted, p.Stats)
	}
	synced(t, c, targetIn(ns), nil, base)
	docs[7] = changed(docs[7], "red", "blue")
	cold := connected(t)
	p = planned(t, cold, targetIn(ns), base, objects(t, ns, docs...))
	if len(p.Changes) != 1 || p.Stats.Requests > 7 || p.Stats.Bytes == 0 {
		t.Errorf("%d changes, %+v", len(p.Changes), p.Stats)
	}
}

func TestTransportErrorsAreInPeoplesWords(t *testing.T) {
	access, err := shared.Get(t).Login("expired", "not-a-token-of-this-cluster")
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Name: "production", REST: access.RESTConfig()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Plan(t.Context(), cluster.Request{Target: targetIn("x"), Merge: objects(t, "x", configMap)})
	if err == nil || !strings.Contains(err.Error(), "production refused lockkeeper's credentials") || strings.Contains(err.Error(), "not-a-token") {
		t.Errorf("got %v", err)
	}
	c, err = New(Config{Name: "production", REST: &rest.Config{Host: "https://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Plan(t.Context(), cluster.Request{Target: targetIn("x"), Merge: objects(t, "x", configMap)})
	if err == nil || !strings.Contains(err.Error(), "production cannot be reached at https://127.0.0.1:1") {
		t.Errorf("got %v", err)
	}
}

// TestForbiddenNamesVerbAndResource: an account that may read but not patch.
func TestForbiddenNamesVerbAndResource(t *testing.T) {
	ns := shared.Get(t).Namespace(t)
	connected(t)
	rc := shared.Get(t).RESTConfig()
	rc.Impersonate = rest.ImpersonationConfig{UserName: "reader"}
	kubectl(t, "", "create", "clusterrolebinding", ns, "--clusterrole=view", "--user=reader")
	kubectl(t, "", "create", "clusterrole", ns+"-s", "--verb=list", "--resource=secrets")
	kubectl(t, "", "create", "clusterrolebinding", ns+"-s", "--clusterrole="+ns+"-s", "--user=reader")
	c, err := New(Config{Name: "test", REST: rc})
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Plan(t.Context(), cluster.Request{Target: targetIn(ns), Merge: objects(t, ns, configMap)})
	if err != nil || len(p.Problems) != 1 || !strings.Contains(p.Problems[0].Message, `cannot patch resource "configmaps"`) {
		t.Errorf("%v %+v", err, p)
	}
}

func TestAdmissionDenialIsAProblemWithItsMessage(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	kubectl(t, changed(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: '%NS%'}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: '%NS%'}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}]
  validations: [{expression: "!('colour' in object.data) || object.data.colour != 'pink'", message: pink is not allowed here}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: '%NS%'}
spec: {policyName: '%NS%', validationActions: [Deny]}
`, "%NS%", ns), "apply", "-f", "-")
	for {
		// Policies take a moment to be in force; each round is a request.
		p, err := c.Plan(t.Context(), cluster.Request{Target: targetIn(ns), Merge: objects(t, ns, changed(configMap, "red", "pink"))})
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Problems) == 1 && strings.Contains(p.Problems[0].Message, "pink is not allowed here") {
			return
		}
		if len(p.Problems) > 0 {
			t.Fatalf("%+v", p.Problems)
		}
	}
}

func TestPlanWithoutAKeyWarnsAndWritesNothing(t *testing.T) {
	plane := shared.Get(t)
	ns := plane.Namespace(t)
	c := connected(t)
	p := &prepared{inv: &inventory.Inventory{Ephemeral: true}, kinds: &kinds.Served{}, scrub: secret.NewScrubber()}
	if w := warnings(p, &cluster.Plan{}, &client.Tally{}); len(w) != 1 || !strings.Contains(w[0], "no digest key") {
		t.Errorf("%q", w)
	}
	before := liveOf(t, c, "namespaces.v1", "", ns).GetResourceVersion()
	planned(t, c, targetIn(ns), nil, objects(t, ns, web, credentials))
	if liveOf(t, c, "deployments.v1.apps", ns, "web") != nil || liveOf(t, c, "namespaces.v1", "", ns).GetResourceVersion() != before {
		t.Error("a plan wrote to the cluster")
	}
}

func TestBrokenAPIServiceIsToleratedWithAWarning(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	name := "v1.broken.example.org"
	kubectl(t, "apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {name: "+name+"}\nspec: {group: broken.example.org, version: v1, groupPriorityMinimum: 1, versionPriority: 1, insecureSkipTLSVerify: true, service: {name: nowhere, namespace: "+ns+"}}\n", "apply", "-f", "-")
	defer kubectl(t, "", "delete", "apiservice", name)
	broken := "apiVersion: broken.example.org/v1\nkind: Thing\nmetadata: {name: x}\n"
	for {
		p, err := c.Plan(t.Context(), cluster.Request{Target: targetIn(ns), Merge: objects(t, ns, broken, configMap)})
		if err != nil {
			t.Fatal(err)
		}
		changeOf(t, p, "ConfigMap", "settings")
		if len(p.Warnings) > 0 && strings.Contains(p.Warnings[0], "API service of broken.example.org/v1 does not answer") {
			if len(p.Problems) != 1 || !strings.Contains(p.Problems[0].Message, "does not answer") {
				t.Errorf("%+v", p.Problems)
			}
			return
		}
	}
}

// What is asked ahead is asked once, and the plan owns up to it.
func TestWarmingCostsAPlanNothing(t *testing.T) {
	const ns = "warm"
	desired := objects(t, ns, "apiVersion: v1\nkind: Namespace\nmetadata: {name: %NS%}")
	cold := planned(t, connected(t), targetIn(ns), nil, desired)
	c := connected(t)
	c.Warm(t.Context())
	warm := planned(t, c, targetIn(ns), nil, desired)
	if warm.Stats.Requests != cold.Stats.Requests {
		t.Errorf("%d requests, without warming %d", warm.Stats.Requests, cold.Stats.Requests)
	}
	if again := planned(t, c, targetIn(ns), nil, desired); again.Stats.Requests >= warm.Stats.Requests {
		t.Errorf("a later plan counts %d requests, the first %d", again.Stats.Requests, warm.Stats.Requests)
	}
}
