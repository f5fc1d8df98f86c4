package kube

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"lockkeeper/cluster"
)

// The inventory's objects, all in cluster.SystemNamespace. One LIST by
// labelInventory finds the key ("key") and every shard ("shard").
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

// entry is one object that lockkeeper applied, and the baseline seen right
// after: an unchanged uid with an unchanged generation (kinds that keep one) or
// resourceVersion (others) proves that nothing we set has changed.
type entry struct {
	Owner           cluster.Owner `json:"-"`
	Ref             cluster.Ref   `json:"r"`
	APIVersion      string        `json:"v"`
	UID             types.UID     `json:"u"`
	Digest          string        `json:"d"` // base64 HMAC of the rendered content
	Revision        string        `json:"c"`
	Generation      int64         `json:"g,omitempty"`
	ResourceVersion string        `json:"x"`
}

// shelf is what the inventory holds of one owner.
type shelf struct {
	entries  map[cluster.Ref]entry
	shards   []corev1.Secret // as read or last written
	revision string
	at       time.Time
}

// inventory is the cluster's memory of what was applied to it.
type inventory struct {
	mu        sync.Mutex
	key       []byte
	ephemeral bool // no key on the cluster: digests hold for this plan only
	shelves   map[cluster.Owner]*shelf
	byRef     map[cluster.Ref]cluster.Owner
}

// of returns the entry of an object, whoever owns it.
func (v *inventory) of(ref cluster.Ref) (entry, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	owner, ok := v.byRef[ref]
	if !ok {
		return entry{}, false
	}
	e, ok := v.shelves[owner].entries[ref]
	return e, ok
}

// ownedBy lists the entries of one owner, sorted by ref.
func (v *inventory) ownedBy(o cluster.Owner) []entry {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.shelves[o]
	if s == nil {
		return nil
	}
	return slices.SortedFunc(maps.Values(s.entries), func(a, b entry) int { return a.Ref.Compare(b.Ref) })
}

// digest is the keyed digest of an object as rendered.
func (v *inventory) digest(o *cluster.Object) (string, error) {
	b, err := canonical(o)
	if err != nil {
		return "", err
	}
	return base64.RawStdEncoding.EncodeToString(v.mac(b)), nil
}

// mac is HMAC-SHA-256 under the cluster's key.
func (v *inventory) mac(parts ...[]byte) []byte {
	h := hmac.New(sha256.New, v.key)
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write(p)
	}
	return h.Sum(nil)
}

// canonical is the JSON of what Git says of an object: maps sorted by key.
func canonical(o *cluster.Object) ([]byte, error) {
	b, err := json.Marshal(o.Content)
	if err != nil {
		return nil, fmt.Errorf("%s (%s): %w", o.Ref, o.Source, err)
	}
	return b, nil
}

// Bootstrap makes lockkeeper's namespace and digest key where they are missing.
func (c *Cluster) Bootstrap(ctx context.Context) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: cluster.SystemNamespace}}
	err := c.request(ctx, func(ctx context.Context) error {
		_, err := c.core.Namespaces().Create(ctx, ns, metav1.CreateOptions{FieldManager: Manager})
		return err
	})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("namespace %s: %w", cluster.SystemNamespace, c.explain(err))
	}
	key := make([]byte, keySize)
	rand.Read(key)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: keyName, Labels: map[string]string{labelInventory: "key"}},
		Data:       map[string][]byte{"key": key},
		Immutable:  new(true),
	}
	err = c.request(ctx, func(ctx context.Context) error {
		_, err := c.core.Secrets(cluster.SystemNamespace).Create(ctx, secret, metav1.CreateOptions{FieldManager: Manager})
		return err
	})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("digest key %s/%s: %w", cluster.SystemNamespace, keyName, c.explain(err))
	}
	return nil
}

// readInventory reads key and shards with one LIST (paged).
func (c *Cluster) readInventory(ctx context.Context) (*inventory, error) {
	v := &inventory{shelves: map[cluster.Owner]*shelf{}, byRef: map[cluster.Ref]cluster.Owner{}}
	opts := metav1.ListOptions{LabelSelector: labelInventory, Limit: pageSize}
	for {
		var page *corev1.SecretList
		err := c.request(ctx, func(ctx context.Context) (err error) {
			page, err = c.core.Secrets(cluster.SystemNamespace).List(ctx, opts)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("reading the inventory in namespace %s: %w", cluster.SystemNamespace, c.explain(err))
		}
		for i := range page.Items {
			if err := v.take(page.Items[i]); err != nil {
				return nil, fmt.Errorf("inventory of cluster %s: Secret %s/%s: %w", c.name, cluster.SystemNamespace, page.Items[i].Name, err)
			}
		}
		if opts.Continue = page.Continue; opts.Continue == "" {
			break
		}
	}
	if v.key == nil {
		v.key, v.ephemeral = make([]byte, keySize), true
		rand.Read(v.key)
	}
	return v, nil
}

// take adds one Secret of the inventory.
func (v *inventory) take(s corev1.Secret) error {
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

func (v *inventory) shelf(o cluster.Owner) *shelf {
	if v.shelves[o] == nil {
		v.shelves[o] = &shelf{entries: map[cluster.Ref]entry{}}
	}
	return v.shelves[o]
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

// writeInventory records what an apply did: put replaces or adds entries of
// owner (taking them from any other owner), drop removes entries of owner. Each
// shard is written bound to the resourceVersion it was read at; when somebody
// else wrote in between, the inventory is read and the change made again. inv
// holds the new state afterwards.
func (c *Cluster) writeInventory(ctx context.Context, inv *inventory, owner cluster.Owner, revision string, put []entry, drop []cluster.Ref) error {
	const attempts = 5
	for attempt := 1; ; attempt++ {
		inv.mu.Lock()
		touched := inv.record(owner, put, drop)
		inv.shelf(owner).revision, inv.shelf(owner).at = revision, time.Now().UTC()
		err := c.writeShelf(ctx, inv, owner)
		for _, o := range touched {
			if err == nil && o != owner {
				err = c.writeShelf(ctx, inv, o)
			}
		}
		inv.mu.Unlock()
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) || attempt == attempts {
			if err != nil {
				return fmt.Errorf("writing the inventory of target %s: %w", owner.Target, c.explain(err))
			}
			return nil
		}
		fresh, err := c.readInventory(ctx)
		if err != nil {
			return err
		}
		inv.mu.Lock()
		inv.shelves, inv.byRef = fresh.shelves, fresh.byRef
		inv.mu.Unlock()
	}
}

// record changes the entries and names the owners whose shelves it touched.
func (v *inventory) record(owner cluster.Owner, put []entry, drop []cluster.Ref) []cluster.Owner {
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

// writeShelf brings an owner's shards on the cluster to its entries.
func (c *Cluster) writeShelf(ctx context.Context, v *inventory, o cluster.Owner) error {
	s := v.shelf(o)
	packs, err := s.pack()
	if err != nil {
		return err
	}
	api := c.core.Secrets(cluster.SystemNamespace)
	var kept []corev1.Secret
	for i, p := range packs {
		want := s.secret(o, i, len(packs), p)
		var got *corev1.Secret
		at := slices.IndexFunc(s.shards, func(x corev1.Secret) bool { return x.Name == want.Name })
		err := c.request(ctx, func(ctx context.Context) (err error) {
			if at < 0 {
				got, err = api.Create(ctx, want, metav1.CreateOptions{FieldManager: Manager})
				return err
			}
			want.ResourceVersion = s.shards[at].ResourceVersion
			got, err = api.Update(ctx, want, metav1.UpdateOptions{FieldManager: Manager})
			return err
		})
		if err != nil {
			return err
		}
		kept = append(kept, *got)
	}
	for i := range s.shards {
		old := &s.shards[i]
		if slices.ContainsFunc(kept, func(k corev1.Secret) bool { return k.Name == old.Name }) {
			continue
		}
		err := c.request(ctx, func(ctx context.Context) error {
			return api.Delete(ctx, old.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &old.ResourceVersion}})
		})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	s.shards = kept
	return nil
}

// pack spreads the entries over as few shards as fit, always at least one, so
// that a target without objects still tells its revision.
func (s *shelf) pack() ([][]entry, error) {
	for n := max(1, (len(s.entries)+shardEntries-1)/shardEntries); ; n *= 2 {
		packs := make([][]entry, n)
		for _, e := range s.entries {
			h := fnv.New32a()
			io.WriteString(h, e.Ref.String())
			i := int(h.Sum32() % uint32(n))
			packs[i] = append(packs[i], e)
		}
		fits := true
		for _, p := range packs {
			slices.SortFunc(p, func(a, b entry) int { return a.Ref.Compare(b.Ref) })
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

func (s *shelf) secret(o cluster.Owner, i, n int, entries []entry) *corev1.Secret {
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

func packEntries(entries []entry) ([]byte, error) {
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

func unpack(b []byte) ([]entry, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("is damaged: %w; restore it, or delete it and sync its target", err)
	}
	var entries []entry
	if err := json.NewDecoder(io.LimitReader(z, decodeLimit)).Decode(&entries); err != nil {
		return nil, fmt.Errorf("is damaged: %w; restore it, or delete it and sync its target", err)
	}
	return entries, nil
}

// Applied tells, from the shards' annotations alone, what was applied last.
func (c *Cluster) Applied(ctx context.Context) (map[cluster.Owner]cluster.AppliedTarget, error) {
	out := map[cluster.Owner]cluster.AppliedTarget{}
	secrets := corev1.SchemeGroupVersion.WithResource("secrets")
	opts := metav1.ListOptions{LabelSelector: labelInventory + "=shard", Limit: 500}
	for {
		var page *metav1.PartialObjectMetadataList
		err := c.request(ctx, func(ctx context.Context) (err error) {
			page, err = c.meta.Resource(secrets).Namespace(cluster.SystemNamespace).List(ctx, opts)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("reading the inventory in namespace %s: %w", cluster.SystemNamespace, c.explain(err))
		}
		for i := range page.Items {
			s := &page.Items[i]
			owner, err := shardOwner(s)
			if err != nil {
				return nil, fmt.Errorf("inventory of cluster %s: Secret %s/%s: %w", c.name, s.Namespace, s.Name, err)
			}
			n, _ := strconv.Atoi(s.Annotations[annObjects])
			a := out[owner]
			if at := shardTime(s); cmp.Compare(at.UnixNano(), a.At.UnixNano()) >= 0 || a.At.IsZero() {
				a.Revision, a.At = s.Annotations[annRevision], at
			}
			a.Objects += n
			out[owner] = a
		}
		if opts.Continue = page.Continue; opts.Continue == "" {
			return out, nil
		}
	}
}
