package kube

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"lockkeeper/cluster"
)

func someEntries(n int) []entry {
	out := make([]entry, n)
	for i := range out {
		out[i] = entry{
			Ref:        cluster.Ref{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: fmt.Sprintf("web-%d", i)},
			APIVersion: "apps/v1", UID: types.UID(fmt.Sprint(i)), Digest: "digest", Revision: "r", Generation: int64(i), ResourceVersion: "7",
		}
	}
	return out
}

func TestInventoryOfThousandsIsShardedAndReadBack(t *testing.T) {
	c := connected(t)
	owner := cluster.Owner{RepoID: 99, Target: t.Name()}
	inv, err := c.readInventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entries := someEntries(12000)
	if err := c.writeInventory(t.Context(), inv, owner, "r1", entries, nil); err != nil {
		t.Fatal(err)
	}
	read, err := connected(t).readInventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := read.ownedBy(owner); len(got) != len(entries) || len(read.shelves[owner].shards) < 3 {
		t.Fatalf("%d entries in %d shards", len(got), len(read.shelves[owner].shards))
	}
	want := entries[7]
	want.Owner = owner
	if got, ok := read.of(want.Ref); !ok || got != want {
		t.Errorf("got %+v", got)
	}
	// Shrinking removes the shards that are not needed any more.
	var drop []cluster.Ref
	for _, e := range entries[1:] {
		drop = append(drop, e.Ref)
	}
	if err := c.writeInventory(t.Context(), read, owner, "r2", nil, drop); err != nil {
		t.Fatal(err)
	}
	all, err := c.Applied(t.Context())
	if got := all[owner]; err != nil || got.Objects != 1 || got.Revision != "r2" || got.At.IsZero() {
		t.Errorf("%v %+v", err, got)
	}
}

// Two writers that read the same state both get their entries in.
func TestInventoryWrittenByTwoLosesNothing(t *testing.T) {
	owner := cluster.Owner{RepoID: 99, Target: t.Name()}
	c := connected(t)
	var wg sync.WaitGroup
	entries := someEntries(4)
	for i := range entries {
		inv, err := c.readInventory(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if err := c.writeInventory(t.Context(), inv, owner, "r", entries[i:i+1], nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	inv, err := c.readInventory(t.Context())
	if err != nil || len(inv.ownedBy(owner)) != len(entries) {
		t.Errorf("%v %+v", err, inv.ownedBy(owner))
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
		v := &inventory{shelves: map[cluster.Owner]*shelf{}, byRef: map[cluster.Ref]cluster.Owner{}}
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
	o := objects(t, "", configMap)[0]
	a, b := &inventory{key: []byte("one")}, &inventory{key: []byte("two")}
	x, err := a.digest(&o)
	if err != nil {
		t.Fatal(err)
	}
	if y, _ := b.digest(&o); x == y {
		t.Error("the digest does not depend on the key")
	}
	if y, _ := a.digest(&o); x != y {
		t.Error("the digest is not stable")
	}
}

func TestPlanWithoutAKeyWarnsAndWritesNothing(t *testing.T) {
	plane := shared.Get(t)
	ns := plane.Namespace(t)
	c := connected(t)
	inv, err := c.readInventory(t.Context())
	if err != nil || inv.ephemeral {
		t.Fatalf("%v, ephemeral %v", err, inv.ephemeral)
	}
	// A second Bootstrap leaves the key as it is.
	if err := c.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	again, err := c.readInventory(t.Context())
	if err != nil || string(again.key) != string(inv.key) {
		t.Errorf("the key changed: %v", err)
	}
	p := &prepared{inv: &inventory{ephemeral: true}, kinds: &kinds{}, scrub: newScrubber()}
	if w := warnings(p, &cluster.Plan{}, &tally{}); len(w) != 1 || !strings.Contains(w[0], "no digest key") {
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
