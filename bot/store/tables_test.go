package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/forge"
)

func testPulls(t *testing.T, open opener) {
	s := open(t, Options{})
	doc, version, err := s.LoadPull(t.Context(), 1, 7)
	if doc != nil || version != 0 || err != nil {
		t.Fatalf("a pull never saved: %q, version %d, %v", doc, version, err)
	}
	save := func(doc string, version int64) (int64, error) {
		return s.SavePull(t.Context(), 1, 7, []byte(doc), version)
	}
	if v := must[int64](t)(save(`{"a":1}`, 0)); v != 1 {
		t.Errorf("first version is %d", v)
	}
	if _, err := save(`{"a":2}`, 0); !errors.Is(err, ErrStale) {
		t.Errorf("saved as new twice: %v, want ErrStale", err)
	}
	if v := must[int64](t)(save(`{"a":"€ \u0000"}`, 1)); v != 2 {
		t.Errorf("second version is %d", v)
	}
	if _, err := save(`{"a":4}`, 1); !errors.Is(err, ErrStale) || !strings.Contains(err.Error(), "pull 7") {
		t.Errorf("saved over a later version: %v, want ErrStale with the pull's number", err)
	}
	doc, version, err = s.LoadPull(t.Context(), 1, 7)
	if string(doc) != `{"a":"€ \u0000"}` || version != 2 || err != nil {
		t.Errorf("loaded %s, version %d, %v", doc, version, err)
	}
	must[int64](t)(s.SavePull(t.Context(), 1, 3, []byte("{}"), 0))
	must[int64](t)(s.SavePull(t.Context(), 2, 5, []byte("{}"), 0))
	if got := must[[]int](t)(s.ListPulls(t.Context(), 1)); !slices.Equal(got, []int{3, 7}) {
		t.Errorf("pulls of repository 1: %v", got)
	}
	must[int64](t)(s.SavePull(t.Context(), 1, 4, []byte(`{"head":"c0ffee"}`), 0))
	if got := must[[]int](t)(s.ListPullsNaming(t.Context(), 1, "c0ffee")); !slices.Equal(got, []int{4}) {
		t.Errorf("pulls of repository 1 that name c0ffee: %v", got)
	}
}

func testSaveRace(t *testing.T, open opener) {
	s := open(t, Options{})
	must[int64](t)(s.SavePull(t.Context(), 1, 1, []byte("0"), 0))
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := s.SavePull(t.Context(), 1, 1, fmt.Append(nil, i), 1)
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, ErrStale) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 8 savers won, want 1", won.Load())
	}
}

func testPlans(t *testing.T, open opener) {
	c := newClock()
	s := open(t, Options{Now: c.Now})
	id := func(i int) string { return fmt.Sprint("plan-", i) }
	for i := range 20 + 2 {
		ok(t, s.SavePlan(t.Context(), PlanRow{ID: id(i), RepoID: 1, Number: 7, Head: "h", Digest: "d", Body: []byte{0, byte(i)}}))
	}
	ok(t, s.SavePlan(t.Context(), PlanRow{ID: "other", RepoID: 1, Number: 8}))
	if _, err := s.Plan(t.Context(), id(1)); !errors.Is(err, ErrNotFound) {
		t.Errorf("the oldest plan: %v, want ErrNotFound", err)
	}
	// Saved again, the oldest left becomes the newest.
	ok(t, s.SavePlan(t.Context(), PlanRow{ID: id(2), RepoID: 1, Number: 7, Head: "h2", Digest: "d", Body: []byte("again")}))
	ok(t, s.SavePlan(t.Context(), PlanRow{ID: "next", RepoID: 1, Number: 7}))
	p := must[PlanRow](t)(s.Plan(t.Context(), id(2)))
	if p.Head != "h2" || string(p.Body) != "again" || !p.Created.Equal(c.Now()) || p.RepoID != 1 || p.Number != 7 || p.Digest != "d" {
		t.Errorf("plan saved again: %+v", p)
	}
	if _, err := s.Plan(t.Context(), id(3)); !errors.Is(err, ErrNotFound) {
		t.Errorf("the oldest plan now: %v, want ErrNotFound", err)
	}
	must[PlanRow](t)(s.Plan(t.Context(), "other"))
}

func testCommands(t *testing.T, open opener) {
	c := newClock()
	s := open(t, Options{Now: c.Now})
	cmd := Command{Source: "github", CommentID: 99, RepoID: 1, Number: 7, Name: "apply", Args: []string{"shop/prod"},
		Actor: forge.User{ID: 5, Login: "eve", Type: forge.Person}, Head: "abc"}
	var fresh atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			f, err := s.ClaimCommand(t.Context(), cmd)
			if err != nil {
				t.Error(err)
			}
			if f {
				fresh.Add(1)
			}
		})
	}
	wg.Wait()
	if fresh.Load() != 1 {
		t.Errorf("%d of 8 claims were fresh, want 1", fresh.Load())
	}
	again := open(t, Options{Now: c.Now}) // after a restart
	if must[bool](t)(again.ClaimCommand(t.Context(), cmd)) {
		t.Error("fresh again after a restart")
	}
	second := cmd
	second.Index, second.Name, second.Args = 1, "plan", nil
	review := cmd
	review.Source = "github/review"
	c.Advance(time.Second)
	if !must[bool](t)(s.ClaimCommand(t.Context(), second)) || !must[bool](t)(s.ClaimCommand(t.Context(), review)) {
		t.Error("another command of the comment, or a review of the same number, counts as the first")
	}
	ok(t, s.FinishCommand(t.Context(), "github", 99, 0, "refused", json.RawMessage(`{"why":"no approval"}`)))
	if err := s.FinishCommand(t.Context(), "github", 99, 0, "done", nil); !errors.Is(err, ErrFinished) {
		t.Errorf("finished twice: %v", err)
	}
	if err := s.FinishCommand(t.Context(), "github", 1, 0, "done", nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("finished without a claim: %v", err)
	}
	got := must[[]Command](t)(s.Commands(t.Context(), 1, 7))
	if len(got) != 3 {
		t.Fatalf("%d commands, want 3", len(got))
	}
	first := got[0]
	if first.Outcome != "refused" || string(first.Detail) != `{"why":"no approval"}` || !first.Finished.Equal(c.Now()) ||
		!slices.Equal(first.Args, cmd.Args) || first.Actor != cmd.Actor || first.Head != "abc" || first.Name != "apply" {
		t.Errorf("read back %+v", first)
	}
	if !got[1].Finished.IsZero() || got[1].Detail != nil {
		t.Errorf("a command without outcome reads back as %+v", got[1])
	}
}

func testLeases(t *testing.T, open opener) {
	c := newClock()
	s := open(t, Options{Now: c.Now})
	acquire := func(key, holder string, ttl time.Duration) (Lease, bool, Lease) {
		t.Helper()
		l, got, current, err := s.Acquire(t.Context(), key, holder, "apply", ttl)
		ok(t, err)
		return l, got, current
	}
	first, got, _ := acquire("target/prod", "pull/1/7", time.Minute)
	if !got || first.Token != 1 || !first.Expires.Equal(c.Now().Add(time.Minute)) {
		t.Fatalf("first lease: %+v, %v", first, got)
	}
	if _, got, current := acquire("target/prod", "pull/1/8", time.Minute); got || current.Holder != "pull/1/7" || current.Purpose != "apply" {
		t.Errorf("a second holder got it, or does not learn who has it: %v, %+v", got, current)
	}
	c.Advance(50 * time.Second)
	renewed := must[Lease](t)(s.Renew(t.Context(), first, time.Minute))
	c.Advance(50 * time.Second)
	if l := must[Lease](t)(s.Lease(t.Context(), "target/prod")); l != renewed {
		t.Errorf("renewed lease reads back as %+v, want %+v", l, renewed)
	}
	c.Advance(10 * time.Second) // expired to the second
	if _, err := s.Lease(t.Context(), "target/prod"); !errors.Is(err, ErrNotFound) {
		t.Errorf("an expired lease: %v", err)
	}
	if _, err := s.Renew(t.Context(), first, time.Minute); !errors.Is(err, ErrLeaseLost) {
		t.Errorf("renewed after it expired: %v", err)
	}
	sticky, got, _ := acquire("target/prod", "pull/1/8", 0)
	if !got || sticky.Token != 2 || !sticky.Expires.IsZero() {
		t.Fatalf("lease after the expiry: %+v, %v", sticky, got)
	}
	c.Advance(1000 * time.Hour)
	if _, got, _ := acquire("target/prod", "pull/1/7", 0); got {
		t.Error("a lease held until released was taken")
	}
	again, got, _ := acquire("target/prod", "pull/1/8", time.Minute)
	if !got || again.Token != 3 || !again.Expires.IsZero() || !again.Acquired.Equal(sticky.Acquired) {
		t.Errorf("its holder gets it as %+v, %v: want a new token, held until released as before", again, got)
	}
	if must[Lease](t)(s.Renew(t.Context(), again, time.Second)).Expires != again.Expires {
		t.Error("renewing gave a lease held until released an end")
	}
	if err := s.Release(t.Context(), sticky); !errors.Is(err, ErrLeaseLost) {
		t.Errorf("released with an older token: %v", err)
	}
	other, _, _ := acquire("target/staging", "pull/1/9", time.Minute)
	if all := must[[]Lease](t)(s.Leases(t.Context())); len(all) != 2 || all[0] != again || all[1] != other {
		t.Errorf("leases: %+v", all)
	}
	ok(t, s.Release(t.Context(), again))
	if err := s.Release(t.Context(), again); !errors.Is(err, ErrLeaseLost) {
		t.Errorf("released twice: %v", err)
	}
	if next, got, _ := acquire("target/prod", "pull/1/7", 0); !got || next.Token != 4 {
		t.Errorf("after the release: %+v, %v; a token must never come again", next, got)
	}
	if _, _, _, err := s.Acquire(t.Context(), "k", "", "", 0); err == nil {
		t.Error("acquired for nobody")
	}
}

func testLeaseRace(t *testing.T, open opener) {
	s := open(t, Options{})
	var holders atomic.Int32
	var mu sync.Mutex
	var tokens []int64
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			for got := 0; got < 5; {
				lease, ok, _, err := s.Acquire(t.Context(), "target/prod", fmt.Sprint("pull/", i), "apply", time.Hour)
				if err != nil {
					t.Error(err)
					return
				}
				if !ok {
					continue
				}
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d holders at a time", n)
				}
				mu.Lock()
				tokens = append(tokens, lease.Token)
				mu.Unlock()
				got++
				holders.Add(-1)
				if err := s.Release(t.Context(), lease); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if len(tokens) != 30 || !slices.IsSorted(tokens) || len(slices.Compact(tokens)) != 30 {
		t.Errorf("tokens do not rise: %v", tokens)
	}
}

func testOperations(t *testing.T, open opener) {
	c := newClock()
	s := open(t, Options{Now: c.Now})
	op := Operation{ID: "op-1", Kind: "apply", RepoID: 1, Number: 7, Targets: []string{"shop/prod"}, Head: "abc",
		PlanDigest: "sha256:1", CommentID: 99, Actor: forge.User{ID: 5, Login: "eve"}}
	ok(t, s.StartOperation(t.Context(), op))
	if err := s.StartOperation(t.Context(), op); !errors.Is(err, ErrExists) {
		t.Errorf("started twice: %v", err)
	}
	c.Advance(time.Second)
	ok(t, s.UpdateOperation(t.Context(), "op-1", json.RawMessage(`{"applied":1}`)))
	restarted := open(t, Options{Now: c.Now})
	running := must[[]Operation](t)(restarted.RunningOperations(t.Context()))
	if len(running) != 1 || running[0].State != Running || string(running[0].Detail) != `{"applied":1}` || !running[0].Finished.IsZero() ||
		!running[0].Updated.Equal(c.Now()) || !running[0].Started.Equal(c.Now().Add(-time.Second)) ||
		!slices.Equal(running[0].Targets, op.Targets) || running[0].Actor != op.Actor || running[0].PlanDigest != op.PlanDigest {
		t.Fatalf("after a restart: %+v", running)
	}
	if err := s.FinishOperation(t.Context(), "op-1", Running, nil); err == nil {
		t.Error("finished as running")
	}
	ok(t, s.FinishOperation(t.Context(), "op-1", "failed", nil))
	for name, err := range map[string]error{
		"finished twice":     s.FinishOperation(t.Context(), "op-1", "done", nil),
		"updated afterwards": s.UpdateOperation(t.Context(), "op-1", json.RawMessage("{}")),
	} {
		if !errors.Is(err, ErrFinished) || !strings.Contains(err.Error(), "failed") {
			t.Errorf("%s: %v, want ErrFinished and the outcome", name, err)
		}
	}
	if err := s.UpdateOperation(t.Context(), "op-2", nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("updated what never was: %v", err)
	}
	all := must[[]Operation](t)(s.Operations(t.Context(), 1, 7))
	if len(all) != 1 || all[0].State != "failed" || string(all[0].Detail) != `{"applied":1}` || !all[0].Finished.Equal(c.Now()) {
		t.Errorf("operations of the pull: %+v", all)
	}
	if left := must[[]Operation](t)(s.RunningOperations(t.Context())); len(left) != 0 {
		t.Errorf("still running: %+v", left)
	}
}

func testRecords(t *testing.T, open opener) {
	c := newClock()
	s := open(t, Options{Now: c.Now})
	if head := must[audit.Head](t)(s.AuditHead(t.Context())); head != audit.Genesis {
		t.Errorf("head of an empty trail: %+v", head)
	}
	repo := forge.RepoRef{ID: 1, Owner: "acme", Name: "shop"}
	for i := range 6 {
		r := must[audit.Record](t)(s.AppendRecord(t.Context(), audit.Record{
			Type: audit.Gate, Repo: repo, Pull: 7 + i%2, Outcome: "deny", Reason: "<no> approval & \u2028", Facts: json.RawMessage(`{ "b": "<&>", "a": [1.0] }`)}))
		if r.Seq != int64(i+1) || !r.Time.Equal(c.Now()) || string(r.Facts) != `{"a":[1.0],"b":"<&>"}` {
			t.Errorf("record %d: %+v", i, r)
		}
		c.Advance(time.Second)
	}
	all := must[[]audit.Record](t)(open(t, Options{}).Records(t.Context(), Filter{}))
	head, err := audit.Verify(audit.Genesis, all)
	if err != nil || head != must[audit.Head](t)(s.AuditHead(t.Context())) {
		t.Errorf("the trail: head %+v, %v", head, err)
	}
	seqs := func(f Filter) (seqs []int64) {
		for _, r := range must[[]audit.Record](t)(s.Records(t.Context(), f)) {
			seqs = append(seqs, r.Seq)
		}
		return seqs
	}
	for name, c := range map[string]struct {
		filter Filter
		want   []int64
	}{
		"of a pull":          {Filter{RepoID: 1, Number: 8}, []int64{2, 4, 6}},
		"of another":         {Filter{RepoID: 2}, nil},
		"since":              {Filter{Since: c.Now().Add(-2 * time.Second)}, []int64{5, 6}},
		"page":               {Filter{After: 2, Limit: 2}, []int64{3, 4}},
		"page of a pull":     {Filter{RepoID: 1, Number: 7, After: 1, Limit: 1}, []int64{3}},
		"after the last one": {Filter{After: 6}, nil},
	} {
		if got := seqs(c.filter); !slices.Equal(got, c.want) {
			t.Errorf("records %s: %v, want %v", name, got, c.want)
		}
	}
	// Somebody edits the database.
	if _, err := s.db.ExecContext(t.Context(), `UPDATE records SET body = replace(body, '"deny"', '"allow"') WHERE seq = 4`); err != nil {
		t.Fatal(err)
	}
	var bad *audit.ChainError
	if _, err := audit.Verify(audit.Genesis, must[[]audit.Record](t)(s.Records(t.Context(), Filter{}))); !errors.As(err, &bad) || bad.Seq != 4 {
		t.Errorf("an edited record: %v, want record 4 named", err)
	}
}

func testRecordRace(t *testing.T, open opener) {
	s, other := open(t, Options{}), open(t, Options{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			writer := []*Store{s, other}[i%2]
			for j := range 5 {
				if _, err := writer.AppendRecord(t.Context(), audit.Record{Type: audit.Step, Reason: fmt.Sprint(i, j)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	all := must[[]audit.Record](t)(s.Records(t.Context(), Filter{}))
	if _, err := audit.Verify(audit.Genesis, all); err != nil || len(all) != 40 {
		t.Errorf("%d records of 40: %v", len(all), err)
	}
}

func testBadRecord(t *testing.T, open opener) {
	s := open(t, Options{})
	for _, r := range []audit.Record{{Facts: json.RawMessage(`{"a":`)}, {Reason: "\xff"}} {
		if _, err := s.AppendRecord(t.Context(), r); err == nil {
			t.Errorf("stored %+v", r)
		}
	}
	if r := must[audit.Record](t)(s.AppendRecord(t.Context(), audit.Record{Type: audit.System})); r.Seq != 1 {
		t.Errorf("a refused record left a gap: next is %d", r.Seq)
	}
}

func testClosed(t *testing.T, open opener) {
	s := open(t, Options{})
	ok(t, s.db.Close())
	_, _, loadErr := s.LoadPull(t.Context(), 1, 7)
	_, deliveryErr := s.AddDelivery(t.Context(), Delivery{ID: "d-9"}, nil)
	for want, err := range map[string]error{
		"pull 7": loadErr, "d-9": deliveryErr, "does not answer": s.Ping(t.Context()),
		"op-1": s.StartOperation(t.Context(), Operation{ID: "op-1"}), "want pull/1/1": s.Want(t.Context(), "pull/1/1"),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %q", err, want)
		}
	}
}

func testHome(t *testing.T, open opener) {
	s := open(t, Options{})
	for range 2 {
		ok(t, s.Home(t.Context(), "gitlab at https://gitlab.com"))
	}
	for _, other := range []string{"gitea at https://gitlab.com", "gitlab at https://git.example.com"} {
		err := s.Home(t.Context(), other)
		if !errors.Is(err, ErrElsewhere) || !strings.Contains(err.Error(), "for gitlab at https://gitlab.com, not for "+other) {
			t.Errorf("%s: %v", other, err)
		}
	}
	ok(t, s.Home(t.Context(), "gitlab at https://gitlab.com"))
}
