package kube

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"lockkeeper/cluster"
)

// The inventory of a large target is spread over Secrets of bounded size, and
// read back whole; shrinking it removes the Secrets no longer needed.
func TestLargeInventoryIsSharded(t *testing.T) {
	c := connected(t)
	owner := cluster.Owner{RepoID: 99, Target: "large"}
	var put []entry
	for i := range 2*shardEntries + 1 {
		put = append(put, entry{
			Ref:        cluster.Ref{Group: "apps", Kind: "Deployment", Namespace: fmt.Sprintf("namespace-%d", i%50), Name: fmt.Sprintf("deployment-%d", i)},
			APIVersion: "apps/v1", UID: types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i)),
			Digest: fmt.Sprintf("%043d", i), Revision: "abc", Generation: int64(i), ResourceVersion: fmt.Sprint(i),
		})
	}
	inv, err := c.readInventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.writeInventory(t.Context(), inv, owner, "abc", put, nil); err != nil {
		t.Fatal(err)
	}
	again, err := c.readInventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := len(again.ownedBy(owner)); got != len(put) {
		t.Errorf("%d entries read back, want %d", got, len(put))
	}
	for _, i := range []int{0, 1, shardEntries, len(put) - 1} {
		if got, ok := again.of(put[i].Ref); !ok || got.UID != put[i].UID || got.Digest != put[i].Digest || got.Generation != put[i].Generation {
			t.Errorf("entry %d came back as %+v", i, got)
		}
	}
	if n := len(again.shelves[owner].shards); n < 3 {
		t.Errorf("%d shards, want at least 3", n)
	}
	var drop []cluster.Ref
	for _, e := range put[1:] {
		drop = append(drop, e.Ref)
	}
	if err := c.writeInventory(t.Context(), again, owner, "abd", nil, drop); err != nil {
		t.Fatal(err)
	}
	at, err := c.Applied(t.Context())
	if got := at[owner]; err != nil || got.Objects != 1 || got.Revision != "abd" {
		t.Errorf("the inventory says %+v, %v", got, err)
	}
	last, err := c.readInventory(t.Context())
	if err != nil || len(last.shelves[owner].shards) != 1 {
		t.Errorf("%d shards are left, want 1, %v", len(last.shelves[owner].shards), err)
	}
}
