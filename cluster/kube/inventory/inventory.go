// Package inventory is a cluster's memory of what lockkeeper applied to it, kept
// in Secrets on the cluster: entries of objects with keyed digests
// (inventory.go), packed into shards (shard.go), read and written (store.go).
package inventory

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/client"
)

// Entry is one object that lockkeeper applied, and the baseline seen right
// after: an unchanged uid and Meta with an unchanged generation (kinds that keep
// one) or resourceVersion (others) prove that nothing we set has changed.
type Entry struct {
	Owner           cluster.Owner `json:"-"` // from the shard
	Ref             cluster.Ref   `json:"r"`
	APIVersion      string        `json:"v"`
	UID             types.UID     `json:"u"`
	Digest          string        `json:"d"` // base64 HMAC of the rendered content
	Revision        string        `json:"c"`
	Generation      int64         `json:"g,omitempty"`
	ResourceVersion string        `json:"x"`
	// Meta is a keyed hash of the metadata that neither of these speaks of
	// (package proof): labels, annotations, finalizers, owners, our fields. ""
	// where it cannot prove anything, as in entries of older versions.
	Meta string `json:"m,omitempty"`
}

// shelf is what the inventory holds of one owner.
type shelf struct {
	entries  map[cluster.Ref]Entry
	shards   []corev1.Secret // as read or last written
	revision string
	at       time.Time
}

// Inventory is a cluster's memory of what was applied to it, for concurrent use.
type Inventory struct {
	// Ephemeral says that the cluster has no key: digests hold for this plan only.
	Ephemeral bool

	api     *client.Client // of the cluster it was read from
	mu      sync.Mutex
	key     []byte
	shelves map[cluster.Owner]*shelf
	byRef   map[cluster.Ref]cluster.Owner
}

// Of returns the entry of an object, whoever owns it.
func (v *Inventory) Of(ref cluster.Ref) (Entry, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	owner, ok := v.byRef[ref]
	if !ok {
		return Entry{}, false
	}
	e, ok := v.shelves[owner].entries[ref]
	return e, ok
}

// Entries are the entries of all owners, in no order.
func (v *Inventory) Entries() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		v.mu.Lock()
		defer v.mu.Unlock()
		for ref, owner := range v.byRef {
			if !yield(v.shelves[owner].entries[ref]) {
				return
			}
		}
	}
}

// OwnedBy lists the entries of one owner, sorted by ref.
func (v *Inventory) OwnedBy(o cluster.Owner) []Entry {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.shelves[o]
	if s == nil {
		return nil
	}
	return slices.SortedFunc(maps.Values(s.entries), func(a, b Entry) int { return a.Ref.Compare(b.Ref) })
}

// Revision is what was applied to an owner last, "" for nothing.
func (v *Inventory) Revision(o cluster.Owner) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if s := v.shelves[o]; s != nil {
		return s.revision
	}
	return ""
}

// Digest is the keyed digest of an object as rendered.
func (v *Inventory) Digest(o *cluster.Object) (string, error) {
	b, err := Canonical(o)
	if err != nil {
		return "", err
	}
	return base64.RawStdEncoding.EncodeToString(v.MAC(b)), nil
}

// MAC is HMAC-SHA-256 under the cluster's key.
func (v *Inventory) MAC(parts ...[]byte) []byte { return mac(v.key, parts) }

// Hasher is MAC for those who keep it, but not the inventory.
func (v *Inventory) Hasher() func(parts ...[]byte) []byte {
	key := v.key
	return func(parts ...[]byte) []byte { return mac(key, parts) }
}

func mac(key []byte, parts [][]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write(p)
	}
	return h.Sum(nil)
}

// Canonical is the JSON of what Git says of an object: maps sorted by key.
func Canonical(o *cluster.Object) ([]byte, error) {
	b, err := json.Marshal(o.Content)
	if err != nil {
		return nil, fmt.Errorf("%s (%s): %w", o.Ref, o.Source, err)
	}
	return b, nil
}

// record changes the entries and names the owners whose shelves it touched.
func (v *Inventory) record(owner cluster.Owner, put []Entry, drop []cluster.Ref) []cluster.Owner {
	var touched []cluster.Owner
	for _, e := range put {
		if other, ok := v.byRef[e.Ref]; ok && other != owner {
			delete(v.shelves[other].entries, e.Ref)
			if !slices.Contains(touched, other) {
				touched = append(touched, other)
			}
		}
		e.Owner = owner
		v.shelf(owner).entries[e.Ref] = e
		v.byRef[e.Ref] = owner
	}
	for _, r := range drop {
		if v.byRef[r] == owner {
			delete(v.byRef, r)
			delete(v.shelf(owner).entries, r)
		}
	}
	return touched
}

func (v *Inventory) shelf(o cluster.Owner) *shelf {
	if v.shelves[o] == nil {
		v.shelves[o] = &shelf{entries: map[cluster.Ref]Entry{}}
	}
	return v.shelves[o]
}
