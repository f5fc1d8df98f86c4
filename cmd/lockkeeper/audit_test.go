package main

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/store"
	"lockkeeper/forge"
)

// lockkeeper runs the command in this process.
func lockkeeper(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(ctx, args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestAuditListPrintsTheTrail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lockkeeper.db")
	s, err := store.Open(t.Context(), path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []audit.Record{
		{Type: audit.Gate, Repo: forge.RepoRef{ID: 1, Owner: "acme", Name: "shop"}, Time: time.Unix(1_780_000_000, 0), Pull: 7, Outcome: "deny", Reason: "production: 1 approval from acme/platform"},
		{Type: audit.Gate, Repo: forge.RepoRef{ID: 1, Owner: "acme", Name: "shop"}, Time: time.Unix(1_780_000_000, 0), Pull: 8, Outcome: "allow"},
	} {
		if _, err := s.AppendRecord(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	code, out, errs := lockkeeper(t.Context(), "audit", "list", "--store", path, "--repo", "1", "--pull", "7")
	if code != 0 || !strings.Contains(out, "production: 1 approval from acme/platform") || strings.Contains(out, "allow") {
		t.Errorf("code %d\n%s%s", code, out, errs)
	}
	code, out, errs = lockkeeper(t.Context(), "audit", "list", "--store", path, "-o", "json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 0 || len(lines) != 2 || !json.Valid([]byte(lines[0])) {
		t.Errorf("code %d\n%s%s", code, out, errs)
	}
	if code, _, errs := lockkeeper(t.Context(), "audit", "list", "--store", path, "-o", "xml"); code != 1 || !strings.Contains(errs, "want text or json") {
		t.Errorf("code %d: %s", code, errs)
	}
}
