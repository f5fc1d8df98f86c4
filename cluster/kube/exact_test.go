package kube

import (
	"encoding/json"
	"flag"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"lockkeeper/cluster"
)

var (
	exactSeed   = flag.Uint64("exact.seed", 20261122, "seed of the exactness test")
	exactRounds = flag.Int("exact.rounds", 12, "plans that the exactness test applies")
	exactEdits  = flag.Int("exact.edits", 25, "random edits a plan")
)

// What a plan says will change is what changes: over hundreds of random edits,
// the predicted field changes, put into the live object from before, give the
// live object from after, in everything but server-owned metadata, status and
// what the plan labels as the server's or unverified. Nothing else moves.
func TestPredictedIsObserved(t *testing.T) {
	testExactness(t, "exact", func(*Cluster, cluster.Target, *world) {})
}

// The same, beginning with objects that kubectl apply made on the client side.
func TestPredictedIsObservedOnAdoptedObjects(t *testing.T) {
	testExactness(t, "exact-adopted", func(c *Cluster, _ cluster.Target, w *world) {
		for _, o := range w.objects {
			doc, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			kubectl(t, string(doc), "apply", "-f", "-")
		}
	})
}

func testExactness(t *testing.T, name string, begin func(*Cluster, cluster.Target, *world)) {
	t.Logf("seed %d: go test -run %s -exact.seed %d", *exactSeed, t.Name(), *exactSeed)
	c := connected(t)
	one, two := shared.Get(t).Namespace(t), shared.Get(t).Namespace(t)
	kubectl(t, strings.ReplaceAll(widgets, "%NS%", one), "apply", "-f", "-")
	kubectl(t, "", "wait", "--for=condition=Established", "crd/widgets."+one+".example.org")
	target := targetIn(one)
	w := newWorld(*exactSeed, one+".example.org", one, two)
	begin(c, target, w)
	base := w.rendered()
	e := exactness{t: t, c: c, target: target}
	if name == "exact" {
		e.round("the first state", nil, base)
	}
	for i := range *exactRounds {
		edits := w.edited(*exactEdits)
		merge := w.rendered()
		if !e.round(fmt.Sprintf("seed %d, round %d (%s)", *exactSeed, i, strings.Join(edits, ", ")), base, merge) {
			return
		}
		base = merge
	}
	// Whatever no edit touched is adopted now, as a sync would.
	e.everything = true
	e.round("everything", base, base)
	e.round("nothing", base, base)
	t.Logf("%d changes with %d fields predicted and observed", e.changes, e.fields)
	if want := *exactRounds * *exactEdits / 3; e.changes < want {
		t.Errorf("only %d changes, want at least %d: the test lost its teeth", e.changes, want)
	}
}

type exactness struct {
	t               *testing.T
	c               *Cluster
	target          cluster.Target
	everything      bool
	changes, fields int
}

// round plans, applies, and compares. It reports whether all was exact.
func (e *exactness) round(what string, base, merge []cluster.Object) bool {
	e.t.Helper()
	p, err := e.c.Plan(e.t.Context(), cluster.Request{Target: e.target, Base: base, Merge: merge, Revision: what, Everything: e.everything})
	if err != nil {
		e.t.Fatalf("%s: %v", what, err)
	}
	for _, problem := range p.Problems {
		e.t.Errorf("%s: problem: %s\n%s", what, problem.Message, sourceOf(merge, problem.Source))
	}
	if what == "nothing" && len(p.Changes) > 0 {
		e.t.Errorf("left over after all: %+v", p.Changes)
	}
	if e.t.Failed() {
		return false
	}
	before := e.snapshot(base, merge)
	for _, s := range applied(e.t, e.c, p).Steps {
		if strings.Contains(s.Message, "than it predicted") {
			e.t.Errorf("%s: %s %s: %s", what, s.Action, s.Ref, s.Message)
		}
	}
	after := e.snapshot(base, merge)
	changed := map[cluster.Ref]bool{}
	for _, ch := range p.Changes {
		changed[ch.Ref] = true
		e.changes++
		e.fields += len(ch.Fields)
		if why := unlike(ch, before[ch.Ref], after[ch.Ref]); why != "" {
			e.t.Errorf("%s: %s %s %s: %s\nplanned %s", what, ch.Action, ch.Ref, ch.Unverified, why, pretty(ch.Fields))
		}
	}
	for ref, b := range before {
		if !changed[ref] && !equalJSON(content(b), content(after[ref])) {
			e.t.Errorf("%s: %s changed without being in the plan: %s", what, ref, difference("", content(b), content(after[ref])))
		}
	}
	for _, o := range merge {
		// Git is what is live, whatever the plan said.
		if live := after[o.Ref]; !e.everything && !changed[o.Ref] {
			continue
		} else if why := missing("", desiredOf(&o).Object, live); why != "" {
			e.t.Errorf("%s: %s is not live as it is in Git: %s", what, o.Ref, why)
		}
	}
	if !e.everything && base != nil {
		again, err := e.c.Plan(e.t.Context(), cluster.Request{Target: e.target, Base: base, Merge: merge, Revision: what})
		if err != nil || len(again.Changes)+len(again.Problems)+len(again.Drift) > 0 {
			e.t.Errorf("%s: left over: %v %+v", what, err, again)
		}
	}
	return !e.t.Failed()
}

func sourceOf(objs []cluster.Object, source string) string {
	for _, o := range objs {
		if o.Source == source {
			return pretty(o.Content)
		}
	}
	return ""
}

// snapshot reads all objects of both sides; those that are not there are nil.
func (e *exactness) snapshot(sides ...[]cluster.Object) map[cluster.Ref]m {
	e.t.Helper()
	known, err := e.c.kindsFor(e.t.Context(), nil)
	if err != nil {
		e.t.Fatal(err)
	}
	out := map[cluster.Ref]m{}
	for _, o := range slices.Concat(sides...) {
		if _, ok := out[o.Ref]; ok {
			continue
		}
		k, ok := known.get(o.Ref, o.APIVersion)
		if !ok {
			e.t.Fatalf("%s is not served", o.Ref)
		}
		out[o.Ref] = nil
		if live, err := e.c.read(e.t.Context(), k.gvr, o.Ref.Namespace, o.Ref.Name); err == nil {
			out[o.Ref] = live.Object
		}
	}
	return out
}

// content is what of a live object counts: not status, not what the server
// keeps about it, and not what the Deployment controller writes into it.
func content(live m) m {
	if live == nil {
		return nil
	}
	out := (&unstructured.Unstructured{Object: live}).DeepCopy().Object
	delete(out, "status")
	meta := out["metadata"].(m)
	for _, f := range []string{"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"} {
		delete(meta, f)
	}
	if a, ok := meta["annotations"].(m); ok {
		delete(a, "deployment.kubernetes.io/revision")
	}
	for _, f := range []string{"annotations", "labels"} {
		if x, ok := meta[f].(m); ok && len(x) == 0 {
			delete(meta, f)
		}
	}
	for _, f := range []string{"data", "binaryData"} {
		if x, ok := out[f].(m); ok && len(x) == 0 {
			delete(out, f)
		}
	}
	return out
}

// unlike says how what happened differs from the change, "" if it does not.
func unlike(ch cluster.Change, before, after m) string {
	switch ch.Action {
	case cluster.Delete:
		if after != nil {
			return "it is still there"
		}
		return ""
	case cluster.Create, cluster.Replace:
		return unlikeMade(ch, before, after)
	}
	if before == nil || after == nil {
		return fmt.Sprintf("it was there: %v, it is there: %v", before != nil, after != nil)
	}
	got, want := content(before), content(after)
	// A new order speaks of the items that are there in the end.
	ordered := slices.Clone(ch.Fields)
	slices.SortStableFunc(ordered, func(a, b cluster.FieldChange) int { return isOrder(a) - isOrder(b) })
	for _, f := range ordered {
		value := f.After
		if there, ok := lookup(want, f.Path); f.Masked || f.Server {
			if value = there; ok != (f.Op != cluster.Remove) {
				return fmt.Sprintf("%s was to %s and is there: %v", f.Path, f.Op, ok)
			}
			if b, _ := lookup(got, f.Path); f.Masked && equalJSON(b, there) && f.Op == cluster.Set {
				return f.Path + " was to change and did not"
			}
		}
		if err := put(got, f.Path, f.Op, value); err != nil {
			return fmt.Sprintf("%s does not fit: %v", f.Path, err)
		}
	}
	return difference("", content(got), want)
}

// unlikeMade compares an object that was made new with what was said of it.
// The plan shows what Git sets, not each default.
func unlikeMade(ch cluster.Change, before, after m) string {
	if (ch.Action == cluster.Replace) != (before != nil) || after == nil {
		return fmt.Sprintf("it was there: %v, it is there: %v", before != nil, after != nil)
	}
	if ch.Action == cluster.Replace && before["metadata"].(m)["uid"] == after["metadata"].(m)["uid"] {
		return "it is the same object"
	}
	for _, f := range ch.Fields {
		there, ok := lookup(after, f.Path)
		switch {
		case ok != (f.Op != cluster.Remove):
			return fmt.Sprintf("%s was to %s and is there: %v", f.Path, f.Op, ok)
		case f.Masked || f.Server || f.Op == cluster.Remove:
		case isOrder(f) > 0:
			list, _ := there.(l)
			if ordered, ok := reorder(slices.Clone(list), f.After); !ok || !equalJSON(ordered, list) {
				return fmt.Sprintf("%s: the order was to be %s, observed %s", f.Path, pretty(f.After), pretty(list))
			}
		default:
			if why := missing(f.Path, f.After, there); why != "" {
				return why
			}
		}
	}
	return ""
}

// difference names the first path at which two values differ.
func difference(path string, a, b any) string {
	x, okX := a.(m)
	y, okY := b.(m)
	if !okX || !okY {
		if xs, ok := a.(l); ok {
			if ys, ok := b.(l); ok && len(xs) == len(ys) {
				for i := range xs {
					if d := difference(fmt.Sprintf("%s[%d]", path, i), xs[i], ys[i]); d != "" {
						return d
					}
				}
				return ""
			}
		}
		if equalJSON(a, b) {
			return ""
		}
		return fmt.Sprintf("%s: predicted %s, observed %s", path, pretty(a), pretty(b))
	}
	for k := range x {
		if _, ok := y[k]; !ok {
			return fmt.Sprintf("%s.%s: predicted %s, observed nothing", path, k, pretty(x[k]))
		}
		if d := difference(path+"."+k, x[k], y[k]); d != "" {
			return d
		}
	}
	for k := range y {
		if _, ok := x[k]; !ok {
			return fmt.Sprintf("%s.%s: predicted nothing, observed %s", path, k, pretty(y[k]))
		}
	}
	return ""
}

// missing names the first path at which part is not contained in whole.
func missing(path string, part, whole any) string {
	if whole == nil && (part == nil || reflect.ValueOf(part).IsZero()) {
		return "" // the server leaves out what is empty
	}
	switch x := part.(type) {
	case m:
		y, ok := whole.(m)
		if !ok && len(x) > 0 {
			return fmt.Sprintf("%s: %s is missing", path, pretty(part))
		}
		for k, v := range x {
			if d := missing(path+"."+k, v, y[k]); d != "" {
				return d
			}
		}
		return ""
	case l:
		y, _ := whole.(l)
		if len(x) != len(y) {
			return fmt.Sprintf("%s: %s, observed %s", path, pretty(part), pretty(whole))
		}
		for i := range x {
			if d := missing(fmt.Sprintf("%s[%d]", path, i), x[i], y[i]); d != "" {
				return d
			}
		}
		return ""
	}
	if !equalJSON(part, whole) {
		return fmt.Sprintf("%s: %s, observed %s", path, pretty(part), pretty(whole))
	}
	return ""
}

func pretty(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// segment is one step of a FieldChange's path: a key, or a list's selector.
type segment struct {
	key   string
	item  map[string]string // name=web: fields of an item, as text
	value *string           // =x: an item of a set
	index int
	list  bool
}

// segments parses a path as documented at cluster.FieldChange. It is written
// apart from the code that prints paths, so that one checks the other.
func segments(path string) ([]segment, error) {
	var out []segment
	for path != "" {
		switch {
		case path[0] == '.':
			path = path[1:]
		case strings.HasPrefix(path, `["`):
			q, err := strconv.QuotedPrefix(path[1:])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			k, _ := strconv.Unquote(q)
			out = append(out, segment{key: k})
			path = path[1+len(q)+1:]
		case path[0] == '[':
			s, rest, err := selectorSegment(path[1:])
			if err != nil {
				return nil, err
			}
			out, path = append(out, s), rest
		default:
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			out = append(out, segment{key: path[:end]})
			path = path[end:]
		}
	}
	return out, nil
}

func selectorSegment(text string) (segment, string, error) {
	s := segment{list: true, item: map[string]string{}}
	for {
		key := ""
		if end := strings.IndexAny(text, "=]"); end < 0 {
			return s, "", fmt.Errorf("unfinished selector %q", text)
		} else if text[end] == ']' {
			n, err := strconv.Atoi(text[:end])
			s.index, s.item = n, nil
			return s, text[end+1:], err
		} else {
			key, text = text[:end], text[end+1:]
		}
		value := ""
		if q, err := strconv.QuotedPrefix(text); err == nil {
			value, _ = strconv.Unquote(q)
			text = text[len(q):]
		} else {
			end := strings.IndexAny(text, ",]")
			if end < 0 {
				return s, "", fmt.Errorf("unfinished selector %q", text)
			}
			value, text = text[:end], text[end:]
		}
		if key == "" {
			s.value = &value
		} else {
			s.item[key] = value
		}
		if strings.HasPrefix(text, "]") {
			return s, text[1:], nil
		}
		text = strings.TrimPrefix(text, ",")
	}
}

// find returns the index of the item that a segment selects, -1 for none.
func (s segment) find(list l) int {
	if s.item == nil {
		if s.index < len(list) {
			return s.index
		}
		return -1
	}
	return slices.IndexFunc(list, func(x any) bool {
		if s.value != nil {
			return fmt.Sprint(x) == *s.value
		}
		for k, v := range s.item {
			f, ok := x.(m)[k]
			if !ok && k == "protocol" {
				f = "TCP"
			}
			if fmt.Sprint(f) != v {
				return false
			}
		}
		return true
	})
}

func lookup(v any, path string) (any, bool) {
	segs, err := segments(path)
	if err != nil {
		return nil, false
	}
	for _, s := range segs {
		switch x := v.(type) {
		case m:
			next, ok := x[s.key]
			if s.list || !ok {
				return nil, false
			}
			v = next
		case l:
			i := s.find(x)
			if !s.list || i < 0 {
				return nil, false
			}
			v = x[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// put carries a field change out on an object.
func put(o m, path string, op cluster.Op, value any) error {
	segs, err := segments(path)
	if err != nil {
		return err
	}
	_, err = putAt(o, segs, op, value)
	return err
}

func putAt(v any, segs []segment, op cluster.Op, value any) (any, error) {
	if len(segs) == 0 {
		if list, ok := v.(l); ok && op == cluster.Set {
			if ordered, ok := reorder(list, value); ok {
				return ordered, nil
			}
		}
		return value, nil
	}
	s, last := segs[0], len(segs) == 1
	if s.list {
		list, _ := v.(l)
		i := s.find(list)
		switch {
		case last && op == cluster.Add:
			if s.item == nil {
				return slices.Insert(slices.Clone(list), min(s.index, len(list)), value), nil
			}
			return append(slices.Clone(list), value), nil
		case i < 0:
			return nil, fmt.Errorf("no such item in %s", pretty(list))
		case last && op == cluster.Remove:
			return slices.Delete(slices.Clone(list), i, i+1), nil
		}
		item, err := putAt(list[i], segs[1:], op, value)
		list[i] = item
		return list, err
	}
	in, ok := v.(m)
	if !ok {
		return nil, fmt.Errorf("no map at %s", s.key)
	}
	if last && op == cluster.Remove {
		if _, ok := in[s.key]; !ok {
			return nil, fmt.Errorf("%s is not there", s.key)
		}
		delete(in, s.key)
		return in, nil
	}
	if _, ok := in[s.key]; !ok && !last {
		in[s.key] = m{} // labels, annotations and data are shown key by key
	}
	sub, err := putAt(in[s.key], segs[1:], op, value)
	in[s.key] = sub
	return in, err
}

func isOrder(f cluster.FieldChange) int {
	if names, ok := f.After.(l); ok && len(names) > 0 && f.Op == cluster.Set {
		if text, ok := names[0].(string); ok && strings.HasPrefix(text, "[") {
			return 1
		}
	}
	return 0
}

// reorder sorts named items as a change of a list's order says.
func reorder(list l, order any) (l, bool) {
	names, ok := order.(l)
	if !ok || len(names) == 0 {
		return nil, false
	}
	var out l
	for _, n := range names {
		text, ok := n.(string)
		if !ok || !strings.HasPrefix(text, "[") {
			return nil, false
		}
		s, rest, err := selectorSegment(text[1:])
		if err != nil || rest != "" || s.find(list) < 0 {
			return nil, false
		}
		out = append(out, list[s.find(list)])
	}
	return out, len(out) == len(list)
}
