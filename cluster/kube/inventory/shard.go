package inventory

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"lockkeeper/cluster"
)

// Selector is the label selector of the inventory's Secrets, all in
// cluster.SystemNamespace.
const Selector = labelInventory

// The inventory's objects. One LIST by labelInventory finds the key ("key") and
// every shard ("shard").
const (
	labelInventory = "lockkeeper.dev/inventory"
	annOwner       = "lockkeeper.dev/owner"    // JSON of cluster.Owner
	annRevision    = "lockkeeper.dev/revision" // of the last apply
	annApplied     = "lockkeeper.dev/applied"  // RFC 3339
	annShard       = "lockkeeper.dev/shard"    // "2/3": second of three
	annObjects     = "lockkeeper.dev/objects"  // entries in this shard
	keyName        = "lockkeeper-key"
	keySize        = 32
	shardEntries   = 5000      // about 100 compressed bytes each
	shardLimit     = 700 << 10 // bytes; etcd takes 1.5 MiB, Secrets 1 MiB
	decodeLimit    = 64 << 20  // bytes a shard may unpack to
	pageSize       = 50        // shards a page
)

// take adds one Secret of the inventory.
func (v *Inventory) take(s corev1.Secret) error {
	if s.Labels[labelInventory] == "key" {
		if s.Name != keyName || len(s.Data["key"]) < keySize {
			return fmt.Errorf("the digest key is damaged: restore it from a backup, or delete it (approvals given so far become void)")
		}
		v.key = s.Data["key"]
		return nil
	}
	owner, err := shardOwner(&s)
	if err != nil {
		return err
	}
	entries, err := unpack(s.Data["entries"])
	if err != nil {
		return err
	}
	sh := v.shelf(owner)
	sh.shards = append(sh.shards, s)
	for _, e := range entries {
		e.Owner = owner
		// A ref on two shelves is a transfer that was cut off: the later
		// apply is the true owner.
		if other, ok := v.byRef[e.Ref]; ok && other != owner && v.shelves[other].at.After(shardTime(&s)) {
			continue
		} else if ok && other != owner {
			delete(v.shelves[other].entries, e.Ref)
		}
		sh.entries[e.Ref] = e
		v.byRef[e.Ref] = owner
	}
	if at := shardTime(&s); !at.Before(sh.at) {
		sh.revision, sh.at = s.Annotations[annRevision], at
	}
	return nil
}

func shardOwner(s metav1.Object) (cluster.Owner, error) {
	var o cluster.Owner
	if err := json.Unmarshal([]byte(s.GetAnnotations()[annOwner]), &o); err != nil {
		return o, fmt.Errorf("annotation %s is damaged: %w", annOwner, err)
	}
	return o, nil
}

func shardTime(s metav1.Object) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, s.GetAnnotations()[annApplied])
	return t
}

// pack spreads the entries over as few shards as fit, always at least one, so
// that a target without objects still tells its revision.
func (s *shelf) pack() ([][]Entry, error) {
	for n := max(1, (len(s.entries)+shardEntries-1)/shardEntries); ; n *= 2 {
		packs := make([][]Entry, n)
		for _, e := range s.entries {
			h := fnv.New32a()
			io.WriteString(h, e.Ref.String())
			i := int(h.Sum32() % uint32(n))
			packs[i] = append(packs[i], e)
		}
		fits := true
		for _, p := range packs {
			slices.SortFunc(p, func(a, b Entry) int { return a.Ref.Compare(b.Ref) })
			b, err := packEntries(p)
			if err != nil {
				return nil, err
			}
			fits = fits && (len(b) <= shardLimit || len(p) < 2)
		}
		if fits {
			return packs, nil
		}
	}
}

func (s *shelf) secret(o cluster.Owner, i, n int, entries []Entry) *corev1.Secret {
	ownerJSON, _ := json.Marshal(o) // a struct of a number and a string always encodes
	data, _ := packEntries(entries) // encoded once by pack already
	sum := sha256.Sum256(ownerJSON)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:   fmt.Sprintf("lockkeeper-inventory-%s-%d", hex.EncodeToString(sum[:10]), i),
			Labels: map[string]string{labelInventory: "shard"},
			Annotations: map[string]string{
				annOwner: string(ownerJSON), annRevision: s.revision, annApplied: s.at.Format(time.RFC3339Nano),
				annShard: fmt.Sprintf("%d/%d", i+1, n), annObjects: strconv.Itoa(len(entries)),
			},
		},
		Data: map[string][]byte{"entries": data},
	}
}

func packEntries(entries []Entry) ([]byte, error) {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if err := json.NewEncoder(z).Encode(entries); err != nil {
		return nil, fmt.Errorf("encoding the inventory: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compressing the inventory: %w", err)
	}
	return buf.Bytes(), nil
}

func unpack(b []byte) ([]Entry, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("is damaged: %w; restore it, or delete it and sync its target", err)
	}
	var entries []Entry
	if err := json.NewDecoder(io.LimitReader(z, decodeLimit)).Decode(&entries); err != nil {
		return nil, fmt.Errorf("is damaged: %w; restore it, or delete it and sync its target", err)
	}
	return entries, nil
}
