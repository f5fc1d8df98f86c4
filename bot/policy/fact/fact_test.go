package fact_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"testing"
	"time"

	"lockkeeper/bot/policy/fact"
)

// TestShapeOfFactsIsStable: testdata/facts.json is the documented example of
// what records store. It has every field; one that is renamed, or is missing in
// the example, shows here.
func TestShapeOfFactsIsStable(t *testing.T) {
	doc, err := os.ReadFile("testdata/facts.json")
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.DisallowUnknownFields()
	var f fact.Facts
	if err := dec.Decode(&f); err != nil {
		t.Fatal(err)
	}
	everyFieldIsSet(t, "facts", reflect.ValueOf(f))
	again, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := json.Compact(&want, doc); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again, want.Bytes()) {
		t.Errorf("written again the facts differ:\n%s\n%s", again, want.Bytes())
	}
}

func everyFieldIsSet(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	if v.IsZero() {
		t.Errorf("%s is not in the example", path)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		everyFieldIsSet(t, path, v.Elem())
	case reflect.Slice:
		if v.Len() > 0 {
			everyFieldIsSet(t, path+"[0]", v.Index(0))
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			everyFieldIsSet(t, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	}
}

func TestTicketOfAnotherWindowIsAnother(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	keys := map[string]bool{}
	for _, ticket := range []*fact.Ticket{nil, {ID: "CHG1"}, {ID: "CHG1", From: at}, {ID: "CHG1", To: at}, {ID: "CHG1", From: at, To: at.Add(time.Hour)}} {
		keys[ticket.Key()] = true
	}
	if len(keys) != 5 {
		t.Errorf("five tickets have the keys %v", keys)
	}
}
