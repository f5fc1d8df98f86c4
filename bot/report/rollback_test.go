package report

import (
	"fmt"
	"strings"
	"testing"
)

func rolledBack() Rollback {
	return Rollback{
		Key: "rollback/7/12", Number: 12, Title: "More *replicas*\nfor @all", By: "ada", Command: "/rollback", Branch: "main",
		Undone: []RollbackCommit{{SHA: strings.Repeat("a", 40), Subject: "Pipe | <!-- lockkeeper:x part=1 --> @all #9", Pull: 12}},
		Files:  []string{"deploy/a.yaml"},
	}
}

func TestRollbackSaysWhatItUndoesAndWhoAsked(t *testing.T) {
	v := rolledBack()
	v.Limits.Comment = 65536
	body, err := v.Body()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(body, Marker("rollback/7/12", 1)+"\n") || strings.Count(body, "<!--") != 1 {
		t.Errorf("marker:\n%s", body)
	}
	for _, want := range []string{"Rollback of #12", "nothing else", "ada", "`/rollback`", "| " + strings.Repeat("a", 40) + " |", "| #12 |", "1 file changes: `deploy/a.yaml`", "`/apply`"} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not in\n%s", want, body)
		}
	}
	for _, foreign := range []string{"@all", " #9", "@ada"} {
		if strings.Contains(body, foreign) {
			t.Errorf("%q is live in\n%s", foreign, body)
		}
	}
	if got := v.PullTitle(); got != "Rollback: #12 More *replicas* for @all" {
		t.Errorf("title %q", got)
	}
	v.To, v.ToPull, v.Kept, v.MergeMode = strings.Repeat("b", 40), 9, 2, true
	if body, err = v.Body(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{strings.Repeat("b", 40) + ", when #9 had been merged", "everything that came after", "2 commits that came", "allowed and merged"} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not in\n%s", want, body)
		}
	}
}

// On GitLab "#12" would link to an issue.
func TestRollbackNamesPullsAsTheForgeDoes(t *testing.T) {
	v := rolledBack()
	v.ToPull, v.To, v.Limits.PullSign = 9, strings.Repeat("b", 40), "!"
	body, err := v.Body()
	if err != nil || strings.Contains(body, "#12") || !strings.Contains(body, "Rollback of !12") || !strings.Contains(body, "when !9 had") || !strings.Contains(body, "| !12 |") {
		t.Errorf("%v\n%s", err, body)
	}
	if got := v.PullTitle(); !strings.HasPrefix(got, "Rollback: !12 ") {
		t.Errorf("title %q", got)
	}
}

func TestLongRollbackFitsTheForge(t *testing.T) {
	v := rolledBack()
	v.Title = strings.Repeat("ü", 1000)
	for i := range 3000 {
		v.Undone = append(v.Undone, RollbackCommit{SHA: fmt.Sprintf("%040d", i), Subject: strings.Repeat("é", 200), Pull: i})
		v.Files = append(v.Files, strings.Repeat("f", 100)+fmt.Sprint(i))
	}
	v.Limits.Comment = 65536
	body, err := v.Body()
	if err != nil || size(body) > 65536 || !strings.Contains(body, "more.") || !strings.Contains(body, "3001 files change") {
		t.Errorf("%d characters, %v", size(body), err)
	}
	if len([]rune(v.PullTitle())) > 256 {
		t.Errorf("the title has %d characters", len([]rune(v.PullTitle())))
	}
}
