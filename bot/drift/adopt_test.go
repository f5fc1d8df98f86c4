package drift

import (
	"fmt"
	"testing"
	"time"

	"lockkeeper/cluster"
)

// Where Git leaves the namespace to the target, thousands of findings among
// thousands of objects are matched in no time.
func TestManyFindingsAreNamedAsInGit(t *testing.T) {
	const many = 3000
	var objects []cluster.Object
	var findings []cluster.Finding
	for i := range many {
		ref := cluster.Ref{Kind: "ConfigMap", Name: fmt.Sprint("c", i)}
		objects = append(objects, cluster.Object{Ref: ref})
		ref.Namespace = "shop"
		for _, path := range []string{"data.a", "data.b"} {
			findings = append(findings, cluster.Finding{Kind: cluster.Changed, Ref: ref, Field: cluster.FieldChange{Path: path}})
		}
	}
	began := time.Now()
	names := namingOf("shop", objects, findings)
	wants, refused := names.wanted()
	if len(wants) != many || len(refused) > 0 {
		t.Fatalf("%d wants, %d refused", len(wants), len(refused))
	}
	for i, w := range wants {
		if w.Ref != objects[i].Ref || len(w.Fields) != 2 {
			t.Fatalf("want %d is %+v", i, w)
		}
		if back := names.live(w.Ref); back != findings[2*i].Ref {
			t.Fatalf("%s is live as %s", w.Ref, back)
		}
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}
