package watch

import (
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"lockkeeper/cluster"
	"lockkeeper/cluster/clustertest"
	"lockkeeper/cluster/kube/client"
	"lockkeeper/cluster/kube/inventory"
	"lockkeeper/cluster/kube/proof"
)

// shared is the control plane of this package's tests: an API server.
var shared clustertest.Shared

func TestMain(m *testing.M) { shared.Main(m) }

var owner = cluster.Owner{RepoID: 1, Target: "shop"}

// settings is a live ConfigMap as metadata has it.
func settings(name, version string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: "shop", UID: types.UID("uid of " + name), ResourceVersion: version,
	}}
}

// stocked is an inventory of the ConfigMaps named, at version 1.
func stocked(t *testing.T, names ...string) *inventory.Inventory {
	t.Helper()
	api, err := client.New(client.Config{Name: "test", REST: shared.Get(t).RESTConfig()})
	if err != nil {
		t.Fatal(err)
	}
	if err := inventory.Bootstrap(t.Context(), api); err != nil {
		t.Fatal(err)
	}
	inv, err := inventory.Read(t.Context(), api)
	if err != nil {
		t.Fatal(err)
	}
	var put []inventory.Entry
	var drop []cluster.Ref
	for _, e := range inv.OwnedBy(owner) {
		drop = append(drop, e.Ref)
	}
	for _, name := range names {
		ref := cluster.Ref{Kind: "ConfigMap", Namespace: "shop", Name: name}
		b := proof.Of(inv.MAC, ref, settings(name, "1"), nil)
		put = append(put, inventory.Entry{Ref: ref, APIVersion: "v1", UID: b.UID, ResourceVersion: b.ResourceVersion, Meta: b.Meta, Digest: "d"})
	}
	if err := inv.Write(t.Context(), owner, "r", nil, drop); err != nil {
		t.Fatal(err)
	}
	if err := inv.Write(t.Context(), owner, "r", put, nil); err != nil {
		t.Fatal(err)
	}
	return inv
}

// listed fits a world to an inventory of one kind, and lists that.
func listed(t *testing.T, w *world, inv *inventory.Inventory, by *reflection, live ...*metav1.PartialObjectMetadata) *kind {
	t.Helper()
	w.fit(inv)
	if len(w.kinds) != 1 {
		t.Fatalf("%d kinds, want one", len(w.kinds))
	}
	for _, k := range w.kinds {
		k.by = by
		var list []glance
		for _, o := range live {
			list = append(list, w.glance(k, o))
		}
		w.replace(k, by, list)
		return k
	}
	return nil
}

func names(c *cluster.Census) (out []string) {
	for _, ref := range c.Suspects[owner] {
		out = append(out, ref.Name)
	}
	return out
}

func expect(t *testing.T, w *world, what string, want ...string) {
	t.Helper()
	c, ok := w.census()
	if !ok {
		t.Fatalf("%s: no census", what)
	}
	if got := names(c); len(got) != len(want) || len(want) > 0 && got[0] != want[0] {
		t.Errorf("%s: the suspects are %v, want %v", what, got, want)
	}
}

// What is not in the inventory is dropped as it comes (threat 28): a world never
// grows by what others put on the cluster.
func TestForeignObjectsAreNotKept(t *testing.T) {
	w, by := newWorld(&proof.Book{}), &reflection{}
	k := listed(t, w, stocked(t, "a"), by, settings("a", "1"), settings("foreign", "7"))
	if w.see(k, by, w.glance(k, settings("other", "8"))) || w.lose(k, by, place{"shop", "foreign"}) {
		t.Error("a foreign object is news")
	}
	if w.has(k, settings("foreign", "7")) || len(k.members) != 1 {
		t.Errorf("%d members", len(k.members))
	}
	expect(t, w, "with foreign objects")
}

// An object that was asked for when it became a member may have been written
// since: what the watch said of it is newer. And a watch that was stopped is not
// heard any more.
func TestNewerWordWins(t *testing.T) {
	w, by := newWorld(&proof.Book{}), &reflection{}
	k := listed(t, w, stocked(t, "a"), by, settings("a", "1"))
	fresh := w.fit(stocked(t, "a", "b")).fresh[k]
	if len(fresh) != 1 || fresh[0].entry.Ref.Name != "b" {
		t.Fatalf("new members %v", fresh)
	}
	if _, ok := w.census(); ok {
		t.Error("there is a census though a member is being asked for")
	}
	w.see(k, by, w.glance(k, settings("b", "5")))
	w.fill(k, by, w.glance(k, settings("b", "1")))
	k.filling = false
	expect(t, w, "b was written after it was asked for", "b")
	w.see(k, by, w.glance(k, settings("b", "1")))
	expect(t, w, "b is as it was")
	if w.see(k, &reflection{}, w.glance(k, settings("a", "9"))) || w.lose(k, nil, place{"shop", "a"}) {
		t.Error("a stopped watch brings news")
	}
	expect(t, w, "a stopped watch spoke")
}

// Only what changes a verdict is news.
func TestNewsAreOfVerdicts(t *testing.T) {
	book := &proof.Book{}
	w, by := newWorld(book), &reflection{}
	inv := stocked(t, "a")
	k := listed(t, w, inv, by, settings("a", "1"))
	if w.fit(inv).news || w.see(k, by, w.glance(k, settings("a", "1"))) {
		t.Error("the same again is news")
	}
	if !w.see(k, by, w.glance(k, settings("a", "2"))) {
		t.Error("a write is no news")
	}
	if !w.see(k, by, w.glance(k, settings("a", "3"))) {
		t.Error("another write of a suspect is no news")
	}
	entry, _ := inv.Of(cluster.Ref{Kind: "ConfigMap", Namespace: "shop", Name: "a"})
	book.Learn(entry, proof.Of(inv.MAC, entry.Ref, settings("a", "3"), nil))
	expect(t, w, "an exact check found a clean")
	if !w.lose(k, by, place{"shop", "a"}) {
		t.Error("a deletion is no news")
	}
	expect(t, w, "a was deleted", "a")
}

// A kind in trouble has no suspects, and is unknown since the trouble began.
func TestTroubleHasABeginningAndAnEnd(t *testing.T) {
	w, by := newWorld(&proof.Book{}), &reflection{}
	k := listed(t, w, stocked(t, "a"), by)
	expect(t, w, "a is not there", "a")
	if !w.trouble(&k.trouble, k.name(), errors.New("first")) || w.trouble(&k.trouble, k.name(), errors.New("second")) {
		t.Error("the beginning of trouble is news, and once")
	}
	expect(t, w, "in trouble")
	c, _ := w.census()
	if len(c.Unknown) != 1 || c.Unknown[0].Reason != "second" || c.Unknown[0].Kind != "ConfigMap" || c.Owners[owner] != 1 {
		t.Errorf("the census says %+v", c)
	}
	if !w.replace(k, by, []glance{w.glance(k, settings("a", "1"))}) {
		t.Error("the end of trouble is no news")
	}
	expect(t, w, "out of trouble")
}
