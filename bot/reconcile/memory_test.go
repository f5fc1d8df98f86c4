package reconcile

import (
	"encoding/json"
	"strings"
	"testing"
)

// While replicas are exchanged one by one, an earlier release saves what a later
// one knows of a pull.
func TestWhatALaterReleaseKnowsOfAPullIsKept(t *testing.T) {
	m, err := DecodeMemory([]byte(`{"base": "main", "asked": "abc", "invented": {"later": [1]}}`))
	if err != nil {
		t.Fatal(err)
	}
	m.Asked, m.Closed = "", true
	doc, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(doc); !strings.Contains(got, `"invented":{"later":[1]}`) || strings.Contains(got, "asked") {
		t.Errorf("saved as %s", got)
	}
	if again, err := DecodeMemory(doc); err != nil || again.Base != "main" || again.Asked != "" || !again.Closed {
		t.Errorf("read again as %+v, %v", again, err)
	}
}
