package kinds

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"lockkeeper/cluster"
	"lockkeeper/cluster/clustertest"
	"lockkeeper/cluster/kube/client"
)

// shared is the control plane of this package's tests: an API server.
var shared clustertest.Shared

func TestMain(m *testing.M) { shared.Main(m) }

func served(t *testing.T) *Served {
	t.Helper()
	api, err := client.New(client.Config{Name: "test", REST: shared.Get(t).RESTConfig()})
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewDiscovery(api).For(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestClusterScopesAreThoseOfTheServer(t *testing.T) {
	k := served(t)
	if len(k.ByGVK) < 50 {
		t.Fatalf("discovery found only %d kinds", len(k.ByGVK))
	}
	for gvk, got := range k.ByGVK {
		ref := cluster.Ref{Group: gvk.Group, Kind: gvk.Kind}
		switch s := builtin(ref, gvk.GroupVersion().String()); {
		case s == cluster.Namespaced && !got.Namespaced, s == cluster.ClusterScoped && got.Namespaced:
			t.Errorf("%s: the table is wrong", gvk)
		}
	}
}

func TestGuessedResourcesAreThoseOfTheServer(t *testing.T) {
	guessed := 0
	for gvk, got := range served(t).ByGVK {
		gvr, ok := Guess(gvk)
		if ok && gvr != got.GVR {
			t.Errorf("%s is served as %s, not as %s", gvk, got.GVR, gvr)
		}
		if ok {
			guessed++
		}
	}
	if guessed < 40 {
		t.Errorf("only %d kinds are known", guessed)
	}
	if gvr, ok := Guess(schema.GroupVersionKind{Group: "example.org", Version: "v1", Kind: "Gadget"}); ok {
		t.Errorf("a custom kind is guessed to be served as %s", gvr)
	}
}

func TestKindsAreFoundInVersionsThatAreServed(t *testing.T) {
	k := served(t)
	web := cluster.Ref{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}
	want := Kind{schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, true}
	if got, ok := k.Get(web, "apps/v1"); !ok || got != want {
		t.Errorf("got %v, %v", got, ok)
	}
	if got, ok := k.Get(web, "apps/v1beta1"); ok {
		t.Errorf("found in a version that is not served: %v", got)
	}
	if got, version, ok := k.Any(web, "apps/v1beta1"); !ok || got != want || version != "apps/v1" {
		t.Errorf("got %v, %q, %v", got, version, ok)
	}
	if _, _, ok := k.Any(cluster.Ref{Group: "apps", Kind: "Nothing"}, "apps/v1"); ok {
		t.Error("found a kind that is not served")
	}
}

// A CRD among the objects tells the scope of its kind before any server does;
// without it the scope is unknown, and no namespace is put in or taken away.
func TestScopeOfKindsThatAreNotServedYet(t *testing.T) {
	crd := cluster.Object{Ref: cluster.Ref{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Name: "gadgets.example.org"}, APIVersion: "apiextensions.k8s.io/v1",
		Content: map[string]any{"spec": map[string]any{"group": "example.org", "scope": "Cluster", "names": map[string]any{"kind": "Gadget"}}}}
	objs := []cluster.Object{
		{Ref: cluster.Ref{Group: "example.org", Kind: "Gadget", Namespace: "shop", Name: "g"}, APIVersion: "example.org/v1"},
		{Ref: cluster.Ref{Group: "example.org", Kind: "Thing", Name: "t"}, APIVersion: "example.org/v1"},
		{Ref: cluster.Ref{Kind: "ConfigMap", Name: "c"}, APIVersion: "v1"},
	}
	got := Resolve(cluster.Target{Namespace: "shop"}, objs, Offline(objs, []cluster.Object{crd}))
	for i, want := range []string{"", "", "shop"} {
		if got[i].Ref.Namespace != want {
			t.Errorf("%s: namespace %q, want %q", got[i].Ref, got[i].Ref.Namespace, want)
		}
	}
	if objs[0].Ref.Namespace != "shop" {
		t.Error("the caller's objects were changed")
	}
}
