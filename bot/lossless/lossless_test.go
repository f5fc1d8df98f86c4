package lossless

import (
	"encoding/json"
	"reflect"
	"testing"
)

type inner struct {
	Deep string `json:"deep,omitempty"`
}

// earlier and later are one document in two releases.
type earlier struct {
	Name   string `json:"name"`
	Hold   *inner `json:"hold,omitempty"`
	Hidden string `json:"-"`
	Plain  int
}

type later struct {
	earlier
	Ticket *inner   `json:"ticket,omitempty"`
	Marks  []string `json:"marks,omitempty"`
}

func TestWhatALaterReleaseWroteOutlivesAnEarlierOne(t *testing.T) {
	doc, err := json.Marshal(later{earlier{Name: "one", Hold: &inner{"why"}, Plain: 7}, &inner{"CHG-1"}, []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	var e earlier
	rest, err := Unmarshal(doc, &e)
	if err != nil {
		t.Fatal(err)
	}
	// The earlier release lifts the hold and changes the name.
	e.Name, e.Hold = "two", nil
	if doc, err = Marshal(e, rest); err != nil {
		t.Fatal(err)
	}
	var got later
	if err := json.Unmarshal(doc, &got); err != nil {
		t.Fatal(err)
	}
	want := later{earlier{Name: "two", Plain: 7}, &inner{"CHG-1"}, []string{"a"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v of %s, want %+v", got, doc, want)
	}
}

func TestNothingUnknownIsNoRest(t *testing.T) {
	var e earlier
	rest, err := Unmarshal([]byte(`{"NAME": "one", "plain": 3, "hold": {"deep": "x", "new": "lost"}}`), &e)
	if err != nil || len(rest) != 0 || e.Name != "one" {
		t.Errorf("got rest %v, %+v, %v", rest, e, err)
	}
	if doc, err := Marshal(e, rest); err != nil || string(doc) != `{"name":"one","hold":{"deep":"x"},"Plain":3}` {
		t.Errorf("got %s, %v", doc, err)
	}
}

func TestBrokenDocumentsAreErrors(t *testing.T) {
	for _, doc := range []string{"", "[", "[]", `"x"`, `{"name": 3}`} {
		if _, err := Unmarshal([]byte(doc), &earlier{}); err == nil {
			t.Errorf("%q was taken", doc)
		}
	}
}
