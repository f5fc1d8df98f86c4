package watch

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/inventory"
	"lockkeeper/cluster/kube/proof"
)

// place is an object's name within its kind.
type place struct{ namespace, name string }

// member is an object of the inventory.
type member struct {
	entry inventory.Entry
	seen  proof.Seen // if there
	there bool
	// touched is set once a list or a watch spoke of it.
	touched bool
	doubted bool // at the last look
}

// kind is what the inventory has of one lot.
type kind struct {
	lot
	gvr         schema.GroupVersionResource // empty: not served, as far as is known
	generations bool                        // it keeps one that can be trusted
	members     map[place]*member
	synced      bool             // members hold what a list said
	filling     bool             // new members are being asked for
	trouble     *cluster.Unknown // why it cannot be looked at
	gone        bool             // it was served, and is no longer
	asked       bool             // only discovery tells how it is served
	by          *reflection      // what keeps it up to date; nil for a single list
}

func (k *kind) name() string {
	return cluster.Ref{Group: k.gvk.Group, Kind: k.gvk.Kind}.GroupKind()
}

func (k *kind) ref(p place) cluster.Ref {
	return cluster.Ref{Group: k.gvk.Group, Kind: k.gvk.Kind, Namespace: p.namespace, Name: p.name}
}

// glance is what is kept of a live object.
type glance struct {
	at   place
	seen proof.Seen
}

// world is what is known of the objects of one cluster's inventory.
type world struct {
	book *proof.Book

	mu    sync.Mutex
	mac   proof.MAC
	probe string // tells one key from another
	kinds map[lot]*kind
	// apart are the kinds that are looked at by namespace.
	apart map[schema.GroupVersionKind]bool
	read  bool // the inventory was read once
	// away is why the inventory cannot be read, damaged why it cannot be
	// understood: the whole cluster is unknown then.
	away, damaged *cluster.Unknown
}

func newWorld(book *proof.Book) *world {
	return &world{book: book, kinds: map[lot]*kind{}, apart: map[schema.GroupVersionKind]bool{}}
}

// fitted is what came of fitting the world to an inventory.
type fitted struct {
	fresh map[*kind][]*member // new members of kinds that were listed already
	idle  []*kind             // kinds that have no members any more
	// rekeyed says that what was seen is under another key, and of no use.
	rekeyed bool
	news    bool // a census may say something new
}

// fit makes the members those of the inventory.
func (w *world) fit(inv *inventory.Inventory) fitted {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := fitted{fresh: map[*kind][]*member{}, news: w.recover(&w.damaged) || !w.read}
	w.mac = inv.Hasher()
	probe := string(w.mac([]byte("probe")))
	out.rekeyed = w.read && probe != w.probe
	w.read, w.probe = true, probe
	kept := w.keep(inv, &out)
	for at, k := range w.kinds {
		out.news = out.news || len(kept[k]) != len(k.members)
		k.members = kept[k]
		for _, m := range k.members {
			out.news = w.judge(k, m) || out.news
		}
		if len(k.members) == 0 {
			out.idle = append(out.idle, k)
			delete(w.kinds, at)
		}
	}
	w.book.Keep(func(ref cluster.Ref) bool { _, ok := inv.Of(ref); return ok })
	return out
}

// keep makes the members of each kind, with what is known of those that stay.
func (w *world) keep(inv *inventory.Inventory, out *fitted) map[*kind]map[place]*member {
	same := interned{}
	kept := map[*kind]map[place]*member{}
	for e := range inv.Entries() {
		k := w.kindOf(e)
		if kept[k] == nil {
			kept[k] = make(map[place]*member)
		}
		at := place{e.Ref.Namespace, e.Ref.Name}
		m := k.members[at]
		switch {
		case m == nil:
			e = same.entry(e)
			at = place{e.Ref.Namespace, e.Ref.Name}
			m, out.news = &member{entry: e}, true
			if k.synced {
				out.fresh[k] = append(out.fresh[k], m)
				k.filling = true
			}
		case m.entry != e:
			m.entry = same.entry(e)
			at = place{m.entry.Ref.Namespace, m.entry.Ref.Name}
		}
		kept[k][at] = m
	}
	return kept
}

func (w *world) kindOf(e inventory.Entry) *kind {
	at := lot{gvk: schema.FromAPIVersionAndKind(e.APIVersion, e.Ref.Kind)}
	if w.apart[at.gvk] {
		at.namespace = e.Ref.Namespace
	}
	k := w.kinds[at]
	if k == nil {
		k = &kind{lot: at}
		w.kinds[at] = k
	}
	return k
}

// interned keeps one of equal strings.
type interned map[string]string

func (s interned) one(v string) string {
	if known, ok := s[v]; ok {
		return known
	}
	s[v] = v
	return v
}

func (s interned) entry(e inventory.Entry) inventory.Entry {
	for _, p := range []*string{&e.Owner.Target, &e.Ref.Group, &e.Ref.Kind, &e.Ref.Namespace, &e.APIVersion, &e.Revision} {
		*p = s.one(*p)
	}
	return e
}

// glance reduces a live object.
func (w *world) glance(k *kind, o metav1.Object) glance {
	w.mu.Lock()
	mac := w.mac
	w.mu.Unlock()
	at := place{o.GetNamespace(), o.GetName()}
	return glance{at, proof.Look(mac, k.ref(at), o)}
}

// see takes a live object in, on the word of by; true is news.
func (w *world) see(k *kind, by *reflection, g glance) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := k.members[g.at]
	if m == nil || k.by != by {
		return false
	}
	moved := w.put(m, g.seen)
	return w.judge(k, m) || m.doubted && moved
}

// put stores what was seen, sharing strings with the entry; true is a change.
func (w *world) put(m *member, now proof.Seen) bool {
	if now.UID == m.entry.UID {
		now.UID = m.entry.UID
	}
	if now.Meta == m.entry.Meta {
		now.Meta = m.entry.Meta
	}
	if now.ResourceVersion == m.entry.ResourceVersion {
		now.ResourceVersion = m.entry.ResourceVersion
	}
	moved := !m.there || m.seen != now
	m.seen, m.there, m.touched = now, true, true
	return moved
}

// fill takes in a new member that was asked for, unless a watch spoke of it
// meanwhile: that is newer.
func (w *world) fill(k *kind, by *reflection, g glance) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if m := k.members[g.at]; m != nil && !m.touched && k.by == by {
		w.put(m, g.seen)
		w.judge(k, m)
	}
}

// lose notes that an object is gone; true is news.
func (w *world) lose(k *kind, by *reflection, at place) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := k.members[at]
	if m == nil || k.by != by {
		return false
	}
	m.seen, m.there, m.touched = proof.Seen{}, false, true
	return w.judge(k, m)
}

// replace makes a list the truth about a kind; true is news.
func (w *world) replace(k *kind, by *reflection, list []glance) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if k.by != by {
		return false
	}
	for _, m := range k.members {
		m.there, m.touched = false, true
	}
	news := !k.synced
	k.synced, k.filling, k.gone = true, false, false
	for _, g := range list {
		if m := k.members[g.at]; m != nil {
			news = w.put(m, g.seen) && m.doubted || news
		}
	}
	for _, m := range k.members {
		news = w.judge(k, m) || news
	}
	return w.recover(&k.trouble) || news
}

// judge looks at one object; true is a new verdict. The caller holds the lock.
func (w *world) judge(k *kind, m *member) bool {
	was := m.doubted
	m.doubted = !m.there || w.book.Baseline(m.entry).Doubt(m.seen, k.generations) != ""
	return m.doubted != was
}

// trouble notes why something is unknown (err), or that it no longer is (nil);
// true is news.
func (w *world) trouble(at **cluster.Unknown, kind string, err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		return w.recover(at)
	}
	if *at != nil {
		(*at).Reason = err.Error()
		return false
	}
	*at = &cluster.Unknown{Kind: kind, Since: time.Now().UTC(), Reason: err.Error()}
	return true
}

func (w *world) recover(at **cluster.Unknown) bool {
	was := *at != nil
	*at = nil
	return was
}

// census is what the world tells now; false means that it does not know enough
// yet.
func (w *world) census() (*cluster.Census, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &cluster.Census{At: time.Now().UTC(), Owners: map[cluster.Owner]int{}, Suspects: map[cluster.Owner][]cluster.Ref{}}
	whole := w.away
	if whole == nil {
		whole = w.damaged
	}
	if !w.read && whole == nil {
		return nil, false
	}
	var troubled []*kind
	for _, k := range w.kinds {
		if whole == nil && k.trouble == nil && (!k.synced || k.filling) {
			return nil, false
		}
		w.count(c, k, whole == nil && k.trouble == nil)
		if whole == nil && k.trouble != nil {
			troubled = append(troubled, k)
		}
	}
	c.Unknown = unknown(troubled)
	if whole != nil {
		c.Unknown = []cluster.Unknown{*whole}
	}
	for _, refs := range c.Suspects {
		slices.SortFunc(refs, cluster.Ref.Compare)
	}
	return c, true
}

// unknown tells trouble by kind: that of the first namespace stands for all, since
// the first began.
func unknown(troubled []*kind) (out []cluster.Unknown) {
	slices.SortFunc(troubled, func(a, b *kind) int {
		return cmp.Or(strings.Compare(a.name(), b.name()), strings.Compare(a.namespace, b.namespace))
	})
	for i := 0; i < len(troubled); {
		u, more := *troubled[i].trouble, 0
		for i++; i < len(troubled) && troubled[i].name() == u.Kind; i++ {
			if since := troubled[i].trouble.Since; since.Before(u.Since) {
				u.Since = since
			}
			more++
		}
		if more > 0 {
			u.Reason += fmt.Sprintf(" (the like for %d more)", more)
		}
		out = append(out, u)
	}
	return out
}

func (w *world) count(c *cluster.Census, k *kind, judge bool) {
	c.Objects += len(k.members)
	for _, m := range k.members {
		c.Owners[m.entry.Owner]++
		if !judge {
			continue
		}
		if w.judge(k, m); m.doubted {
			c.Suspects[m.entry.Owner] = append(c.Suspects[m.entry.Owner], m.entry.Ref)
		}
	}
}

// has reports whether an object is of the inventory.
func (w *world) has(k *kind, o metav1.Object) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return k.members[place{o.GetNamespace(), o.GetName()}] != nil
}
