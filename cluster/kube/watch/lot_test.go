package watch

import (
	"context"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/client"
	"lockkeeper/cluster/kube/kinds"
	"lockkeeper/cluster/kube/proof"
)

var configMaps = schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}

// A kind is divided once, and only if its objects are in namespaces.
func TestKindsAreDividedByNamespace(t *testing.T) {
	w, by := newWorld(&proof.Book{}), &reflection{}
	inv := stocked(t, "a")
	k := listed(t, w, inv, by, settings("a", "1"))
	if !w.divide(k) {
		t.Fatal("a kind with namespaces is not divided")
	}
	if _, ok := w.census(); ok {
		t.Error("there is a census though nothing was listed since the refusal")
	}
	now := w.fit(inv)
	shop := w.kinds[lot{configMaps, "shop"}]
	if len(w.kinds) != 1 || shop == nil || len(shop.members) != 1 || len(now.idle) != 1 || now.idle[0] != k {
		t.Fatalf("kinds %v, idle %v", w.kinds, now.idle)
	}
	if w.divide(shop) {
		t.Error("a namespace is divided")
	}
	nodes := &kind{lot: lot{gvk: schema.GroupVersionKind{Version: "v1", Kind: "Node"}}, members: map[place]*member{{name: "n"}: {}}}
	if w.divide(nodes) || w.apart[nodes.gvk] {
		t.Error("a kind without namespaces is divided")
	}
}

// A kind that may not be looked at in many namespaces is one unknown part, since
// the first of them.
func TestUnknownIsToldByKind(t *testing.T) {
	at := time.Unix(1000, 0)
	in := func(name, namespace string, since time.Time) *kind {
		return &kind{lot: lot{schema.GroupVersionKind{Version: "v1", Kind: name}, namespace}, trouble: &cluster.Unknown{Kind: name, Since: since, Reason: "why " + namespace}}
	}
	got := unknown([]*kind{in("Secret", "b", at), in("ConfigMap", "c", at), in("ConfigMap", "a", at.Add(time.Hour)), in("ConfigMap", "b", at)})
	want := []cluster.Unknown{{Kind: "ConfigMap", Since: at, Reason: "why a (the like for 2 more)"}, {Kind: "Secret", Since: at, Reason: "why b"}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// A refusal is not for ever: after a while the kind is looked at cluster-wide
// again, where that is allowed.
func TestKindsAreUnitedAgain(t *testing.T) {
	api, err := client.New(client.Config{Name: "test", REST: shared.Get(t).RESTConfig()})
	if err != nil {
		t.Fatal(err)
	}
	f := New(api, kinds.NewDiscovery(api), &proof.Book{})
	stocked(t, "a")
	f.refusals[configMaps] = time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	news, done := make(chan struct{}, 1), make(chan error, 1)
	go func() { done <- f.Run(ctx, func() { poke(news) }) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	until := func(what string, at lot) {
		t.Helper()
		late := time.After(time.Minute)
		for synced := false; !synced; {
			select {
			case <-news:
			case <-late:
				t.Fatal("no news that " + what)
			}
			f.mu.Lock()
			w := f.running.world
			f.mu.Unlock()
			w.mu.Lock()
			k := w.kinds[at]
			synced = k != nil && k.synced && len(w.kinds) == 1
			w.mu.Unlock()
		}
	}
	until("the kind is looked at by namespace", lot{configMaps, "shop"})
	f.mu.Lock()
	f.refusals[configMaps] = time.Now().Add(-refusalAge)
	f.mu.Unlock()
	stocked(t, "a", "b")
	until("it is looked at cluster-wide", lot{gvk: configMaps})
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.refusals) > 0 {
		t.Errorf("refusals are remembered: %v", f.refusals)
	}
}
