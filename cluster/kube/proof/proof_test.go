package proof

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/inventory"
)

func testMAC(parts ...[]byte) []byte {
	h := hmac.New(sha256.New, []byte("key"))
	for _, p := range parts {
		h.Write([]byte{byte(len(p)), byte(len(p) >> 8)})
		h.Write(p)
	}
	return h.Sum(nil)
}

var web = cluster.Ref{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}

func metadata() *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Name: "web", Namespace: "shop", UID: "u", Generation: 3, ResourceVersion: "70",
		Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"note": "x"},
		Finalizers: []string{"example.org/f"},
		ManagedFields: []metav1.ManagedFieldsEntry{
			{Manager: "lockkeeper", Operation: metav1.ManagedFieldsOperationApply, APIVersion: "apps/v1", FieldsV1: fieldsOf(`{"f:spec":{"f:replicas":{},"f:paused":{}}}`)},
			{Manager: "kubectl-edit", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "apps/v1", FieldsV1: fieldsOf(`{"f:spec":{"f:x":{}}}`)},
		},
	}}
	return o
}

func fieldsOf(s string) *metav1.FieldsV1 {
	f := &metav1.FieldsV1{}
	f.SetRawBytes([]byte(s))
	return f
}

// Whatever happens to an object that could touch what we set leaves a doubt.
// What cannot (status, other managers' notes) leaves none.
func TestDoubts(t *testing.T) {
	base := Of(testMAC, web, metadata(), nil)
	for _, c := range []struct {
		name        string
		generations bool
		change      func(*metav1.PartialObjectMetadata)
		doubt       string // "" is proof
	}{
		{"nothing", true, func(o *metav1.PartialObjectMetadata) {}, ""},
		{"status", true, func(o *metav1.PartialObjectMetadata) { o.ResourceVersion = "71" }, ""},
		{"any write, without generations", false, func(o *metav1.PartialObjectMetadata) { o.ResourceVersion = "71" }, "written since"},
		{"spec", true, func(o *metav1.PartialObjectMetadata) { o.ResourceVersion, o.Generation = "71", 4 }, "generation is 4, not 3"},
		{"made again", true, func(o *metav1.PartialObjectMetadata) { o.UID = "other" }, "made again"},
		{"deleting", true, func(o *metav1.PartialObjectMetadata) { o.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }, "being deleted"},
		{"label", true, func(o *metav1.PartialObjectMetadata) { o.Labels["app"] = "other" }, "labels"},
		{"annotation removed", true, func(o *metav1.PartialObjectMetadata) { o.Annotations = nil }, "labels"},
		{"controller's note", true, func(o *metav1.PartialObjectMetadata) {
			o.ResourceVersion, o.Annotations["deployment.kubernetes.io/revision"] = "71", "2"
		}, ""},
		{"finalizer", true, func(o *metav1.PartialObjectMetadata) { o.Finalizers = nil }, "labels"},
		{"owner", true, func(o *metav1.PartialObjectMetadata) {
			o.OwnerReferences = []metav1.OwnerReference{{Kind: "X", Name: "y", UID: "z"}}
		}, "labels"},
		{"fields lost", true, func(o *metav1.PartialObjectMetadata) {
			o.ManagedFields[0].FieldsV1 = fieldsOf(`{"f:spec":{"f:replicas":{}}}`)
		}, "ownership"},
		{"managedFields reset", true, func(o *metav1.PartialObjectMetadata) { o.ManagedFields = nil }, "ownership"},
		{"other managers", true, func(o *metav1.PartialObjectMetadata) { o.ResourceVersion, o.ManagedFields = "71", o.ManagedFields[:1] }, ""},
		{"our fields in another order and time", true, func(o *metav1.PartialObjectMetadata) {
			o.ManagedFields[0].Time = &metav1.Time{Time: time.Unix(9, 0)}
			o.ManagedFields[0].FieldsV1 = fieldsOf(`{"f:spec":{"f:paused":{}, "f:replicas":{}}}`)
		}, ""},
	} {
		o := metadata()
		c.change(o)
		got := base.Doubt(Look(testMAC, web, o), c.generations)
		if (got == "") != (c.doubt == "") || !strings.Contains(got, c.doubt) {
			t.Errorf("%s: %q, want %q", c.name, got, c.doubt)
		}
	}
}

// A kind may be in the table, and the server be too old to keep its generation.
func TestWithoutAGenerationTheResourceVersionCounts(t *testing.T) {
	o := metadata()
	o.Generation = 0
	base := Of(testMAC, web, o, nil)
	if why := base.Doubt(Look(testMAC, web, o), true); why != "" {
		t.Errorf("an object that nobody wrote: %s", why)
	}
	o.ResourceVersion = "71"
	if base.Doubt(Look(testMAC, web, o), true) == "" {
		t.Error("a write is not seen")
	}
}

// Entries of older versions have no Meta: they are not proven, and neither are
// objects for which Git sets what controllers overwrite.
func TestWithoutMetaNothingIsProven(t *testing.T) {
	old := OfEntry(inventory.Entry{Ref: web, UID: "u", Generation: 3, ResourceVersion: "70"})
	if old.Doubt(Look(testMAC, web, metadata()), true) == "" {
		t.Error("an entry without Meta is proven")
	}
	git := metadata()
	git.Annotations["deployment.kubernetes.io/revision"] = "1"
	if b := Of(testMAC, web, metadata(), git); b.Meta != "" {
		t.Errorf("Meta %q for an object whose revision is in Git", b.Meta)
	}
	if b := Of(testMAC, web, metadata(), metadata()); b.Meta == "" {
		t.Error("no Meta for an object whose revision is not in Git")
	}
}

// The answer to an apply comes as JSON, a list of metadata as protobuf.
func TestMetaIsTheSameHoweverAnObjectCame(t *testing.T) {
	o := metadata()
	o.APIVersion, o.Kind = "apps/v1", "Deployment"
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(b); err != nil {
		t.Fatal(err)
	}
	if x, y := Look(testMAC, web, o), Look(testMAC, web, u); x != y {
		t.Errorf("%+v and %+v", x, y)
	}
}

// What an exact check learnt holds until the entry changes: an apply wins.
func TestBookHoldsUntilTheNextApply(t *testing.T) {
	var b Book
	e := inventory.Entry{Ref: web, UID: "u", Generation: 3, ResourceVersion: "70", Meta: "m", Digest: "d"}
	if b.Baseline(e) != OfEntry(e) {
		t.Error("an empty book does not say what the inventory says")
	}
	learnt := Baseline{UID: "u", Generation: 5, ResourceVersion: "90", Meta: "n"}
	b.Learn(e, learnt)
	if b.Baseline(e) != learnt {
		t.Error("what was learnt is forgotten")
	}
	for _, change := range []func(*inventory.Entry){
		func(e *inventory.Entry) { e.ResourceVersion = "95" },
		func(e *inventory.Entry) { e.Digest = "other" },
		func(e *inventory.Entry) { e.UID = types.UID("other") },
	} {
		later := e
		change(&later)
		if b.Baseline(later) != OfEntry(later) {
			t.Errorf("%+v: what was learnt before a later apply wins over it", later)
		}
	}
	b.Keep(func(ref cluster.Ref) bool { return ref == web })
	if b.Baseline(e) != learnt {
		t.Error("an object of the inventory was dropped")
	}
	b.Keep(func(cluster.Ref) bool { return false })
	if b.Baseline(e) != OfEntry(e) {
		t.Error("an object that is not in the inventory any more is kept")
	}
}

// FuzzMeta: managedFields are written by whoever may write the object. What is
// taken as canonical without decoding it is what decoding it gives.
func FuzzMeta(f *testing.F) {
	f.Add([]byte(`{"f:spec":{}}`))
	f.Add([]byte(`{"k:{\"port\":80}":{".":{}}}`))
	f.Add([]byte(`{"k:{\"a-b\":1}":{},"k:{\"a\":1}":{}}`))
	f.Add([]byte(`{"a":{},"b":{"c":{},"d":{}}}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		o := metadata()
		o.ManagedFields[0].FieldsV1 = fieldsOf(string(raw))
		if x, y := Look(testMAC, web, o), Look(testMAC, web, o); x != y || x.Meta == "" {
			t.Errorf("%+v and %+v", x, y)
		}
		rest, ok := sorted(raw)
		if !ok || len(rest) > 0 {
			return
		}
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatalf("%s is not JSON: %v", raw, err)
		}
		if b, err := json.Marshal(v); err != nil || string(b) != string(raw) {
			t.Errorf("%s is taken as sorted, and sorted it is %s, %v", raw, b, err)
		}
	})
}

func BenchmarkLook(b *testing.B) {
	o := metadata()
	o.ManagedFields[0].FieldsV1 = fieldsOf(`{"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:replicas":{},"f:selector":{},"f:template":{"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:env":{"k:{\"name\":\"A\"}":{".":{},"f:name":{},"f:value":{}}},"f:image":{},"f:name":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}}}`)
	for b.Loop() {
		Look(testMAC, web, o)
	}
}
