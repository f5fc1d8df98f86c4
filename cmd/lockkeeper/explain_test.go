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
