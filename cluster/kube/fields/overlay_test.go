package fields

import (
	"math/rand/v2"
	"slices"
	"testing"

	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// The order is compared with that of structured-merge-diff itself, the
// library by which API servers merge.
func TestMergedListsAreInTheServersOrder(t *testing.T) {
	parser, err := typed.NewParser(`types:
- name: t
  map: {fields: [{name: l, type: {list: {elementType: {map: {fields: [{name: name, type: {scalar: string}}]}}, elementRelationship: associative, keys: [name]}}}]}
`)
	if err != nil {
		t.Fatal(err)
	}
	list := func(names []string) *typed.TypedValue {
		items := []any{}
		for _, n := range names {
			items = append(items, map[string]any{"name": n})
		}
		v, err := parser.Type("t").FromUnstructured(map[string]any{"l": items})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	r := rand.New(rand.NewPCG(1, 2))
	some := func() []string {
		all := []string{"a", "b", "c", "d", "e", "f"}
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		return all[:r.IntN(len(all)+1)]
	}
	for range 2000 {
		left, right := some(), some()
		merged, err := list(left).Merge(list(right))
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		items, _ := merged.AsValue().Unstructured().(map[string]any)["l"].([]any)
		for _, it := range items {
			want = append(want, it.(map[string]any)["name"].(string))
		}
		if got := mergedOrder(left, right); !slices.Equal(got, want) {
			t.Fatalf("%v + %v = %v, want %v", left, right, got, want)
		}
	}
}
