package kube

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/inventory"
)

func edit(t *testing.T, c *Cluster, resource, ns, name, patch string) {
	t.Helper()
	_, err := c.api.Resource(gvrOf(resource), ns).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "kubectl-edit"})
	if err != nil {
		t.Fatal(err)
	}
}

// Threat: the cluster moves between approval and write. What was approved is
// what is applied, or nothing.
func TestObjectThatMovedSinceThePlan(t *testing.T) {
	c := connected(t)
	changed := strings.Replace(configMap, "red", "blue", 1)
	for _, tc := range []struct{ name, edit, refused string }{
		{"elsewhere", `{"data":{"other":"x"}}`, ""},
		{"in the field that changes", `{"data":{"colour":"green"}}`, "data.colour (conflict with \"kubectl-edit\""},
		{"to what the plan wants", `{"data":{"colour":"blue"}}`, "data.colour"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ns := shared.Get(t).Namespace(t)
			target := targetIn(ns)
			base, merge := objects(t, ns, configMap), objects(t, ns, changed)
			synced(t, c, target, nil, base)
			p := planned(t, c, target, base, merge)
			edit(t, c, "configmaps.v1", ns, "settings", tc.edit)
			r, err := c.Apply(t.Context(), p, nil)
			if err != nil {
				t.Fatal(err)
			}
			s := stepOf(t, r, "ConfigMap", "settings")
			if tc.refused == "" && s.State != cluster.Healthy {
				t.Errorf("got %+v, want it to go on: the change is the same", s)
			}
			if tc.refused != "" && (s.State != cluster.Failed || !strings.Contains(s.Message, "changed since the plan: ") || !strings.Contains(s.Message, tc.refused)) {
				t.Errorf("got %+v, want it refused, naming %s", s, tc.refused)
			}
		})
	}
}

func TestSecretThatMovedIsRefusedWithoutItsValue(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	target := targetIn(ns)
	secret := func(v string) []cluster.Object {
		return objects(t, ns, "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: "+v+"}\n")
	}
	synced(t, c, target, nil, secret("first-value"))
	p := planned(t, c, target, secret("first-value"), secret("second-value"))
	edit(t, c, "secrets.v1", ns, "s", `{"stringData":{"password":"third-value"}}`)
	r, err := c.Apply(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := stepOf(t, r, "Secret", "s")
	if s.State != cluster.Failed || !strings.Contains(s.Message, "data.password") || strings.Contains(s.Message, "-value") {
		t.Errorf("got %+v", s)
	}
}

func TestCreateNeverTouchesWhatSomebodyElseMade(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	p := planned(t, c, targetIn(ns), nil, objects(t, ns, configMap, service))
	kubectl(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {mine: all}\n", "create", "-n", ns, "-f", "-")
	r, err := c.Apply(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s := stepOf(t, r, "ConfigMap", "settings"); s.State != cluster.Failed || !strings.Contains(s.Message, "not create") {
		t.Errorf("got %+v", s)
	}
	if live := liveOf(t, c, "configmaps.v1", ns, "settings"); fmt.Sprint(live.Object["data"]) != "map[mine:all]" {
		t.Errorf("the object of somebody else was changed: %v", live.Object["data"])
	}
	if s := stepOf(t, r, "Service", "web"); s.State != cluster.Skipped {
		t.Errorf("a later stage was tried: %+v", s)
	}
}

func TestDeleteIsBoundToTheObjectThatWasPlanned(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	target := targetIn(ns)
	base := objects(t, ns, configMap, inFile(configMap, "settings", "other"))
	synced(t, c, target, nil, base)
	p := planned(t, c, target, base, nil)
	kubectl(t, "", "delete", "configmap", "-n", ns, "settings")
	kubectl(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {mine: all}\n", "create", "-n", ns, "-f", "-")
	r, err := c.Apply(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if live := liveOf(t, c, "configmaps.v1", ns, "settings"); live == nil {
		t.Errorf("an object that somebody else made in between was deleted: %+v", stepOf(t, r, "ConfigMap", "settings"))
	}
	if s := stepOf(t, r, "ConfigMap", "other"); s.State != cluster.Healthy {
		t.Errorf("got %+v", s)
	}
}

func TestObjectDeletedByHandNeedsNoDelete(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	target := targetIn(ns)
	base := objects(t, ns, configMap)
	synced(t, c, target, nil, base)
	p := planned(t, c, target, base, nil)
	kubectl(t, "", "delete", "configmap", "-n", ns, "settings")
	r := applied(t, c, p)
	if s := stepOf(t, r, "ConfigMap", "settings"); !strings.Contains(s.Message, "gone already") {
		t.Errorf("got %+v", s)
	}
	at, err := c.Applied(t.Context())
	if got := at[target.Owner()]; err != nil || got.Objects != 0 {
		t.Errorf("the inventory says %+v, %v", got, err)
	}
}

func TestPlanFromElsewhereIsRefused(t *testing.T) {
	c := connected(t)
	for _, p := range []*cluster.Plan{
		{}, {Prepared: 1}, {Prepared: (*prepared)(nil)}, {Prepared: &prepared{}, Changes: make([]cluster.Change, 1)},
		{Prepared: &prepared{inv: &inventory.Inventory{}}, Problems: []cluster.Problem{{Message: "no"}}},
		{Prepared: &prepared{inv: &inventory.Inventory{Ephemeral: true}}},
	} {
		if r, err := c.Apply(t.Context(), p, nil); err == nil || r != nil {
			t.Errorf("applied %+v", p)
		}
	}
}
