package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/store"
)

// What a record holds is enough to make its decision again, offline.
func TestARecordedDecisionIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	title := "Four eyes of the platform team in production"
	text := exampleBlocks(t)[title]
	p := compileExample(t, text)
	write(t, filepath.Join(dir, "policy.yaml"), exampleTargets+text)
	db := filepath.Join(dir, "lockkeeper.db")
	s, err := store.Open(t.Context(), db, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, situation := range examples[title] {
		f := situation.facts(p)
		facts, err := json.Marshal(map[string]any{"facts": f, "verdict": policy.Evaluate(p, f)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.AppendRecord(t.Context(), audit.Record{Type: audit.Gate, Repo: f.Pull.Repo, Pull: 12, Time: f.At, Facts: facts}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, out, _ := lockkeeper(t.Context(), "audit", "list", "--store", db, "-o", "json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != len(examples[title]) {
		t.Fatalf("%d records", len(lines))
	}
	record := filepath.Join(dir, "record.json")
	for i, situation := range examples[title] {
		write(t, record, lines[i])
		want := 2
		if situation.allow {
			want = 0
		}
		code, out, errs := lockkeeper(t.Context(), "explain", "--policy", filepath.Join(dir, "policy.yaml"), "--facts", record)
		if code != want || errs != "" {
			t.Errorf("%s: code %d, want %d\n%s%s", situation.name, code, want, out, errs)
		}
	}
}

// Whatever a file of facts holds, it is judged or refused, and facts that are
// judged read back as they are.
func FuzzReadDecision(f *testing.F) {
	for _, s := range []string{
		`{"pull": {}, "commits": [], "changes": []}`, `{"facts": {"commits": []}, "verdict": {"ok": true}}`, `[]`, `null`,
		`{"seq": 1, "hash": "x", "type": "gate", "facts": {"facts": {"changes": [{"environment": "production", "action": "delete", "ref": {"kind": "Secret"}}]}}}`,
		`{"votes": [{"user": {"id": 2, "type": "person"}, "kind": "approve"}], "overrides": [{}], "duties": [{}], "bypass": [{}], "ticket": {}}`,
	} {
		f.Add([]byte(s))
	}
	one := policy.Policy{Default: policy.Requirement{Approvals: 1}}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := readDecision("facts.json", data)
		if err != nil {
			return
		}
		d.adopt(one.Revision())
		b, err := json.Marshal(d.facts)
		if err != nil {
			t.Fatal(err)
		}
		var again policy.Facts
		if err := strictly(b, &again); err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		if v := policy.Evaluate(one, d.facts); v.OK != policy.Evaluate(one, again).OK {
			t.Fatalf("another verdict after it was recorded:\n%s", b)
		}
	})
}
