package store

import (
	"errors"
	"testing"

	"lockkeeper/bot/audit"
	"lockkeeper/forge"
)

// testRecordsBeside: what is written and the record of it come together or not at
// all, and a write that is refused leaves no record.
func testRecordsBeside(t *testing.T, open opener) {
	s := open(t, Options{})
	ctx := t.Context()
	one := audit.Record{Type: audit.Command, Outcome: "done"}
	must[bool](t)(s.ClaimCommand(ctx, Command{Source: "github", CommentID: 1, RepoID: 7, Number: 1}))
	ok(t, s.OpenDuty(ctx, Duty{ID: "d", RepoID: 7}))
	for _, write := range []struct {
		do   func() error
		want error // the second time
	}{
		{func() error { _, err := s.SavePull(ctx, 7, 1, []byte("{}"), 0, one); return err }, ErrStale},
		{func() error { return s.StartOperation(ctx, Operation{ID: "o", RepoID: 7, Number: 1}, one) }, ErrExists},
		{func() error { return s.FinishOperation(ctx, "o", "succeeded", nil, one) }, ErrFinished},
		{func() error { return s.FinishCommand(ctx, "github", 1, 0, "done", nil, one) }, ErrFinished},
		{func() error { return s.CloseDuty(ctx, "d", forge.User{ID: 1}, one) }, ErrFinished},
	} {
		before := must[audit.Head](t)(s.AuditHead(ctx))
		ok(t, write.do())
		if err := write.do(); !errors.Is(err, write.want) {
			t.Errorf("again: %v, want %v", err, write.want)
		}
		if after := must[audit.Head](t)(s.AuditHead(ctx)); after.Seq != before.Seq+1 {
			t.Errorf("%d records were appended, want one", after.Seq-before.Seq)
		}
	}
	if _, err := audit.Verify(audit.Genesis, must[[]audit.Record](t)(s.Records(ctx, Filter{}))); err != nil {
		t.Error(err)
	}
}
