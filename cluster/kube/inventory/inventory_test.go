package inventory

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"lockkeeper/cluster"
	"lockkeeper/cluster/clustertest"
	"lockkeeper/cluster/kube/client"
)

// shared is the control plane of this package's tests: an API server.
var shared clustertest.Shared

func TestMain(m *testing.M) { shared.Main(m) }

// connected is a client of the shared cluster, bootstrapped.
func connected(t testing.TB) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Name: "test", REST: shared.Get(t).RESTConfig()})
	if err != nil {
		t.Fatal(err)
	}
	if err := Bootstrap(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c
}

func someEntries(n int) []Entry {
	out := make([]Entry, n)
	for i := range out {
		out[i] = Entry{
			Ref:        cluster.Ref{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: fmt.Sprintf("web-%d", i)},
			APIVersion: "apps/v1", UID: types.UID(fmt.Sprint(i)), Digest: "digest", Revision: "r", Generation: int64(i), ResourceVersion: "7",
		}
	}
	return out
}

func TestInventoryOfThousandsIsShardedAndReadBack(t *testing.T) {
	c := connected(t)
	owner := cluster.Owner{RepoID: 99, Target: t.Name()}
	inv, err := Read(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	entries := someEntries(12000)
	if err := inv.Write(t.Context(), owner, "r1", entries, nil); err != nil {
		t.Fatal(err)
	}
	read, err := Read(t.Context(), connected(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := read.OwnedBy(owner); len(got) != len(entries) || len(read.shelves[owner].shards) < 3 {
		t.Fatalf("%d entries in %d shards", len(got), len(read.shelves[owner].shards))
	}
	for _, i := range []int{0, 7, shardEntries, len(entries) - 1} {
		want := entries[i]
		want.Owner = owner
		if got, ok := read.Of(want.Ref); !ok || got != want {
			t.Errorf("entry %d came back as %+v", i, got)
		}
	}
	// Shrinking removes the shards that are not needed any more.
	var drop []cluster.Ref
	for _, e := range entries[1:] {
		drop = append(drop, e.Ref)
	}
	if err := read.Write(t.Context(), owner, "r2", nil, drop); err != nil {
		t.Fatal(err)
	}
	all, err := Applied(t.Context(), c)
	if got := all[owner]; err != nil || got.Objects != 1 || got.Revision != "r2" || got.At.IsZero() {
		t.Errorf("%v %+v", err, got)
	}
	last, err := Read(t.Context(), c)
	if err != nil || len(last.shelves[owner].shards) != 1 {
		t.Errorf("%d shards are left, want 1, %v", len(last.shelves[owner].shards), err)
	}
}

// Two writers that read the same state both get their entries in.
func TestInventoryWrittenByTwoLosesNothing(t *testing.T) {
	owner := cluster.Owner{RepoID: 99, Target: t.Name()}
	c := connected(t)
	var wg sync.WaitGroup
	entries := someEntries(4)
	for i := range entries {
		inv, err := Read(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if err := inv.Write(t.Context(), owner, "r", entries[i:i+1], nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	inv, err := Read(t.Context(), c)
	if err != nil || len(inv.OwnedBy(owner)) != len(entries) {
		t.Errorf("%v %+v", err, inv.OwnedBy(owner))
	}
}

func TestDamagedInventoryIsNamed(t *testing.T) {
	shard := corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: "x", Labels: map[string]string{labelInventory: "shard"}, Annotations: map[string]string{annOwner: `{"repo":1,"target":"a"}`},
	}}
	for name, change := range map[string]func(*corev1.Secret){
		"no gzip":  func(s *corev1.Secret) { s.Data = map[string][]byte{"entries": []byte("x")} },
		"no owner": func(s *corev1.Secret) { s.Annotations = nil },
		"bad key":  func(s *corev1.Secret) { s.Labels = map[string]string{labelInventory: "key"} },
	} {
		v := empty(nil)
		s := shard.DeepCopy()
		change(s)
		if err := v.take(*s); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzUnpack: what is stored in a shard is outside input to the next reader.
func FuzzUnpack(f *testing.F) {
	good, err := packEntries(someEntries(3))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := unpack(b)
		if err != nil && !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%d entries, %v", len(entries), err)
		}
	})
}

func TestDigestsOfContentAreKeyed(t *testing.T) {
	o := cluster.Object{
		Ref: cluster.Ref{Kind: "ConfigMap", Name: "settings"}, APIVersion: "v1", Source: "test.yaml:1",
		Content: map[string]any{"data": map[string]any{"colour": "red"}},
	}
	a, b := &Inventory{key: []byte("one")}, &Inventory{key: []byte("two")}
	x, err := a.Digest(&o)
	if err != nil {
		t.Fatal(err)
	}
	if y, _ := b.Digest(&o); x == y {
		t.Error("the digest does not depend on the key")
	}
	if y, _ := a.Digest(&o); x != y {
		t.Error("the digest is not stable")
	}
}

// The key is what digests are worth: bootstrapping again leaves it as it is.
func TestBootstrapKeepsTheKey(t *testing.T) {
	c := connected(t)
	first, err := Read(t.Context(), c)
	if err != nil || first.Ephemeral {
		t.Fatalf("%v, ephemeral %v", err, first.Ephemeral)
	}
	if err := Bootstrap(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	again, err := Read(t.Context(), c)
	if err != nil || string(again.key) != string(first.key) {
		t.Errorf("the key changed: %v", err)
	}
}
