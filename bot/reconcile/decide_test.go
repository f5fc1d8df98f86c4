package reconcile

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/command"
	"lockkeeper/bot/config"
	"lockkeeper/bot/names"
	"lockkeeper/bot/plan"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/report"
	"lockkeeper/bot/store"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// The people and the moment of every state here.
var (
	author   = forge.User{ID: 1, Login: "ann", Type: forge.Person}
	approver = forge.User{ID: 2, Login: "bob", Type: forge.Person}
	applier  = forge.User{ID: 3, Login: "cho", Type: forge.Person}
	stranger = forge.User{ID: 4, Login: "eve", Type: forge.Person}
	noon     = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
)

const headSHA = "1111111111111111111111111111111111111111"

// situation makes the state of an open pull that was just planned: one change
// of production, one approval asked for, nothing published yet.
func situation(change ...func(*State)) *State {
	s := &State{
		Now: noon, Self: forge.User{ID: 9, Login: "lockkeeper[bot]", Type: forge.Bot}, CheckName: "lockkeeper",
		Operator: config.Repository{ID: 7, Name: "acme/shop", Apply: config.ApplyOnComment},
		Limits:   forge.Limits{Comment: 65536, Summary: 65535, HasChecks: true},
		Pull: forge.Pull{
			Number: 12, State: forge.Open, Author: author,
			Base: forge.Branch{Name: "main", RepoID: 7}, Head: forge.Branch{Name: "change", SHA: headSHA, RepoID: 7},
		},
		Commits: []forge.Commit{{SHA: headSHA, Author: author, Committer: author}},
		Writers: map[int64]bool{1: true, 2: true, 3: true},
		Policy:  policy.Policy{Default: policy.Requirement{Approvals: 1}},
		BaseSHA: strings.Repeat("b", 40), PlanKey: "key", Kind: PlanPull, Holders: map[string]store.Lease{},
		Memory: &Memory{Base: "main"},
	}
	planned("d1")(s)
	for _, f := range change {
		f(s)
	}
	return s
}

// planned gives the state a fresh plan with the changes of these digests.
func planned(digests ...string) func(*State) {
	return func(s *State) {
		p := &cluster.Plan{Target: cluster.Target{Name: "shop", Cluster: "main", Environment: "production", RepoID: 7}}
		for i, d := range digests {
			p.Changes = append(p.Changes, cluster.Change{
				Ref: cluster.Ref{Kind: "ConfigMap", Namespace: "shop", Name: fmt.Sprint("c", i)}, Action: cluster.Create, Digest: d,
			})
		}
		s.Plan = &plan.Output{Targets: []plan.Target{{Plan: p}}}
		s.Memory.Plan = &Planned{
			ID: "plan", Key: s.PlanKey, Kind: s.Kind, Head: s.Pull.Head.SHA, Digest: names.Hash(digests...),
		}
	}
}

// published makes the report stand as it would be written now.
func published(s *State) {
	s.Memory.Published(Publication{
		At: noon.Add(-time.Hour), Head: s.Pull.Head.SHA, Digest: s.Memory.Plan.Digest,
		Digests: s.ChangeDigests(s.Plan), PolicyRevision: s.Policy.Revision(),
	})
	for range 3 { // the check links the report once that stands
		stand(s)
	}
}

// stand carries out the writes that Decide asks for, as a forge would.
func stand(s *State) {
	for _, a := range publish(s) {
		switch a := a.(type) {
		case Publish:
			s.Memory.Sticky = nil
			for i, body := range a.Bodies {
				s.Memory.Sticky = append(s.Memory.Sticky, Posted{ID: int64(100 + i), Hash: names.Hash(body)})
			}
		case WriteCheck:
			s.Memory.Check = Posted{ID: 200, SHA: a.Check.SHA, Hash: CheckHash(a.Check)}
		}
	}
}

// says adds a command that was taken up and waits for its answer.
func says(who forge.User, line string) func(*State) {
	return func(s *State) {
		id := int64(1000 + len(s.Commands))
		c := forge.Comment{ID: id, Author: who, Body: line, CreatedAt: noon, UpdatedAt: noon}
		s.Comments = append(s.Comments, c)
		s.Commands = append(s.Commands, Command{
			Comment: c, Parsed: command.Parse(line)[0], Writer: s.Writers[who.ID], Begun: true,
		})
	}
}

// approved adds an approval of what is published.
func approved(who forge.User) func(*State) {
	return func(s *State) {
		p := s.Memory.Publications[len(s.Memory.Publications)-1]
		s.Comments = append(s.Comments, forge.Comment{ID: 500 + who.ID, Author: who, CreatedAt: noon, UpdatedAt: noon})
		s.Memory.Votes = append(s.Memory.Votes, policy.Vote{
			User: who, Kind: policy.Approve, Via: "command", ID: 500 + who.ID, At: noon,
			Head: p.Head, Digests: p.Digests, PolicyRevision: p.PolicyRevision,
		})
		stand(s)
	}
}

func merged(s *State) {
	s.Pull.State, s.Pull.Merged, s.Pull.MergeSHA, s.Pull.MergedBy = forge.Closed, true, strings.Repeat("c", 40), applier
	s.Memory.MergedSeen, s.Memory.Judged, s.Kind, s.Memory.Plan.Kind = true, true, PlanMerged, PlanMerged
}

func closed(s *State) { s.Pull.State, s.Kind = forge.Closed, PlanRestore }

func onMerge(s *State) { s.Operator.Apply = config.ApplyOnMerge }

func stale(s *State) { s.Memory.Plan.Key = "another" }

func fork(s *State) { s.Pull.Head.RepoID = 0 }

func draft(s *State) { s.Pull.Draft = true }

func taken(s *State) { s.Commands[len(s.Commands)-1].Begun = false }

func holds(s *State) { s.Memory.Leases = []string{"target/main/shop/7"} }

func last(kind PlanKind, outcome string) func(*State) {
	return func(s *State) {
		s.Memory.Last = &Operation{ID: "op", Kind: kind, Outcome: outcome, Head: headSHA, Plan: s.Memory.Plan.Digest}
	}
}

// wants lists what Decide wants, with the kind of a reply.
func wants(actions []Action) string {
	var out []string
	for _, a := range actions {
		n := a.name()
		if r, ok := a.(Answer); ok {
			n += ":" + string(r.Reply.Kind)
		}
		out = append(out, n)
	}
	return strings.Join(out, " ")
}

// TestDecide is the table of what is done when.
func TestDecide(t *testing.T) {
	with := func(f ...func(*State)) []func(*State) { return f }
	for _, c := range []struct {
		name string
		is   []func(*State)
		want string
	}{
		{"a plan that was made is published and the check written", nil, "publish check"},
		{"what is published needs nothing more", with(published), ""},
		{"a moved head or base is planned again, and the check says so at once", with(published, stale), "check plan"},
		{"a draft is not planned", with(stale, draft), "publish check"},
		{"a draft whose plan was asked for is", with(stale, draft, func(s *State) { s.Memory.Asked = headSHA }), "check plan"},
		{"a fork's head is not planned", with(stale, fork), "publish check"},
		{"an admitted head is", with(stale, fork, func(s *State) { s.Memory.Admitted = []string{headSHA} }), "check plan"},
		{"the admission of an earlier head does not count", with(stale, fork, func(s *State) { s.Memory.Admitted = []string{"0"} }), "publish check"},
		{"a closed pull that was never spoken of is left alone", with(closed, stale), ""},
		{"a closed pull that applied something has its restore planned", with(published, closed, stale, holds), "check plan"},

		{"a new command is claimed first", with(published, says(approver, "/approve"), taken), "take"},
		{"admitting goes with its claim", with(fork, stale, says(applier, "/plan 1111111"), taken), "take admit forget"},
		{"an outsider admits nothing", with(fork, stale, says(stranger, "/plan 1111111"), taken), "take"},
		{"a sync goes with its claim", with(published, says(applier, "/sync shop"), taken), "take set-sync forget"},
		{"a closed pull syncs nothing", with(published, closed, says(applier, "/sync shop"), taken), "take"},

		{"an approval is remembered and answered", with(published, says(approver, "/approve")), "vote answer:approved"},
		{"the author's is refused", with(published, says(author, "/approve")), "answer:refused"},
		{"a stranger's is refused", with(published, says(stranger, "/approve")), "answer:refused"},
		{"an approval of another digest is refused", with(published, says(approver, "/approve 0123456789ab")), "answer:refused"},
		{"whoever has approved may take it back", with(published, approved(approver), says(approver, "/unapprove")), "vote answer:unapproved"},
		{"a hold is set and answered", with(published, says(applier, "/hold for now")), "hold answer:held"},
		{"/apply asks the gate, which says what is missing", with(published, says(applier, "/apply")), "apply"},
		{"a stranger's /apply does not get that far", with(published, says(stranger, "/apply")), "answer:refused"},
		{"/apply of another head is refused", with(published, says(applier, "/apply 2222222")), "answer:refused"},
		{"/apply of an unknown target is refused", with(published, says(applier, "/apply nowhere")), "answer:refused"},
		{"a misspelt command is explained", with(published, says(applier, "/aply")), "answer:invalid"},
		{"an old command is not run any more", with(published, says(applier, "/apply"), func(s *State) { s.Commands[0].Late = true }), "answer:late"},
		{"commands are answered one at a time, oldest first", with(published, says(stranger, "/status"), says(applier, "/hold")), "answer:status"},
		{"a sync that is not planned is not said to be", with(published, says(applier, "/sync shop")), "answer:refused"},

		{"an interrupted operation goes before all else", with(published, says(stranger, "/status"), interruptedApply), "apply"},
		{"a /cancel ends it instead", with(published, says(applier, "/cancel"), interruptedApply), "cancel"},
		{"not a stranger's", with(published, says(stranger, "/cancel"), interruptedApply), "apply"},
		{"nor one that is old", with(published, says(applier, "/cancel"), interruptedApply, func(s *State) { s.Commands[0].Late = true }), "apply"},
		{"nor one that was given before it was asked for", with(published, says(applier, "/cancel"), says(applier, "/apply"), interruptedApply, func(s *State) {
			s.Operation.ID = s.Commands[1].ID()
		}), "apply"},
		{"one that was given since does", with(published, says(applier, "/apply"), says(approver, "/cancel"), interruptedApply, func(s *State) {
			s.Operation.ID = s.Commands[0].ID()
		}), "cancel"},
		{"with nothing to cancel, that is said", with(published, says(applier, "/cancel")), "answer:refused"},
		{"a /cancel that came too late is told what became of it", with(published, last(PlanPull, "succeeded"), says(applier, "/cancel"), stand), "answer:refused"},
		{"the reply of a /cancel that ended an operation is made up for", with(published, last(PlanPull, "cancelled"), says(applier, "/cancel"), func(s *State) {
			s.Memory.Last.Cancelled = s.Commands[0].ID()
			stand(s)
		}), "answer:cancelled"},
		{"the same for the /apply", with(published, last(PlanPull, "cancelled"), says(applier, "/apply"), func(s *State) {
			s.Memory.Last.ID = s.Commands[0].ID()
			stand(s)
		}), "answer:cancelled"},
		{"leases of an apply that never began are given up", with(published, func(s *State) { s.Stray = []string{"target/main/shop/7"} }), "free"},
		{"a rewritten base freezes the pull (threat 34)", with(published, func(s *State) { s.Rewritten = strings.Repeat("d", 40) }), "freeze"},
		{"the reply of an operation that ended before the process is made up for", with(published, last(PlanPull, "succeeded"), says(applier, "/apply"), func(s *State) {
			s.Memory.Last.ID = s.Commands[0].ID()
			stand(s)
		}), "answer:applied"},
		{"the same for /unlock, though nothing is held any more", with(published, last(PlanRestore, "succeeded"), says(applier, "/unlock restore"), func(s *State) {
			s.Memory.Last.ID = s.Commands[0].ID()
			stand(s)
		}), "answer:applied"},

		{"a merge is noted", with(merged, func(s *State) { s.Memory.MergedSeen = false }), "note-merge"},
		{"a merge is judged by the plan that people saw", with(merged, func(s *State) {
			s.Memory.MergedSeen, s.Memory.Judged, s.Memory.Plan.Kind = false, false, PlanPull
		}), "judge-merge note-merge"},
		{"or by the first one after it", with(merged, func(s *State) { s.Memory.Judged = false }), "judge-merge"},
		{"merged without approval stays pending", with(onMerge, merged, published), ""},
		{"merged with approvals is applied", with(onMerge, merged, published, approved(approver)), "apply"},
		{"not by itself where /apply comes before the merge", with(merged, published, approved(approver)), ""},
		{"nor twice in one reconcile", with(onMerge, merged, published, approved(approver), func(s *State) { s.Tried = true }), ""},
		{"nor again by itself after it failed", with(onMerge, merged, published, approved(approver), last(PlanMerged, "failed"), stand), ""},
		{"nor after it was cancelled", with(onMerge, merged, published, approved(approver), last(PlanMerged, "cancelled"), stand), ""},
		{"nor while another pull holds the target", with(onMerge, merged, published, approved(approver), func(s *State) {
			s.Holders["target/main/shop/7"] = store.Lease{Key: "target/main/shop/7", Holder: "pull/7/11"}
			stand(s)
		}), ""},
		{"a merged fork needs no admission: its code is on the base", with(onMerge, fork, merged, published, approved(approver)), "apply"},

		{"a merged pull with nothing left is settled", with(merged, planned(), merged, published), "settle"},
		{"so is one that was merged by hand after 'applied, not merged'", with(merged, planned(), merged, published, last(PlanPull, "succeeded"), holds, stand), "settle"},
		{"not one whose apply ended half-way and that holds its targets", with(merged, planned(), merged, published, last(PlanMerged, "failed"), holds, stand), ""},
		{"a settled pull is never planned again", with(merged, published, stale, settledPull), ""},
		{"nor applied", with(onMerge, merged, published, approved(approver), settledPull, says(applier, "/apply")), "answer:refused"},
		{"nor planned on demand", with(merged, published, settledPull, says(applier, "/plan"), taken), "take"},
		{"a merged pull may be given up", with(merged, published, says(approver, "/unlock keep"), func(s *State) { s.Memory.PendingMerge = "c"; stand(s) }), "unlock answer:unlocked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := situation(c.is...)
			if got := wants(Decide(s)); got != c.want {
				t.Errorf("Decide wants %q, not %q", got, c.want)
			}
		})
	}
}

func interruptedApply(s *State) { s.Operation = &store.Operation{ID: "op", Actor: applier} }

// TestCancelledApplyIsGoneOnWithOrUndone: the report says so, and names both ways.
func TestCancelledApplyIsGoneOnWithOrUndone(t *testing.T) {
	s := situation(published, approved(approver), holds, last(PlanPull, "cancelled"))
	v := s.View()
	if next := strings.Join(v.Next, ","); v.Phase != report.Cancelled || next != "/apply,/rollback" {
		t.Errorf("phase %s, next %s", v.Phase, next)
	}
	if state, ok := s.check(v); !ok || state != forge.ActionRequired {
		t.Errorf("the check is %s", state)
	}
}

func settledPull(s *State) { s.Memory.Settled = true; stand(s); stand(s) }

func TestWhoeverAskedForASyncMayNotApproveIt(t *testing.T) {
	s := situation(func(s *State) { s.Memory.Sync, s.Memory.SyncBy, s.Kind = "shop", approver, PlanSync }, planned("d1"), published)
	says(approver, "/approve")(s)
	got := Decide(s)
	if wants(got) != "answer:refused" || !strings.Contains(got[0].(Answer).Reply.Items[0], "asked for it") {
		t.Fatalf("Decide wants %+v", got)
	}
}

func TestApplyAfterMergeIsAnotherOperationEachTime(t *testing.T) {
	id := func(plan string) string {
		s := situation(onMerge, merged, published, approved(approver))
		s.Memory.Plan.ID = plan
		return Decide(s)[0].(Apply).ID
	}
	first := id("first")
	if first == id("second") {
		t.Fatal("the store would refuse the second operation, for ever, because it knows its ID")
	}
	if again := id("first"); first != again {
		t.Fatal("the same plan is another operation each time it is looked at")
	}
}

func TestReportThatNobodySawIsNotApproved(t *testing.T) {
	s := situation(published)
	s.Memory.Publications[0].Digests = nil // as Publish leaves it when Unshown is set
	says(approver, "/approve")(s)
	next := *s
	for _, a := range Decide(s) {
		if v, ok := a.(AddVote); ok {
			next.Memory.Voted(v.Vote)
		}
	}
	if next.Verdict().OK {
		t.Fatal("an approval of a report that could not be shown counts")
	}
}

func TestVoteIsRememberedOnce(t *testing.T) {
	m := &Memory{}
	v := policy.Vote{User: approver, Kind: policy.Approve, ID: 5}
	m.Voted(v)
	m.Voted(v)
	v.Kind = policy.Withdraw
	m.Voted(v)
	if len(m.Votes) != 2 {
		t.Fatalf("%d votes", len(m.Votes))
	}
}

// TestPublicationOfTheSameSecondDoesNotCount is threat 32.
func TestPublicationOfTheSameSecondDoesNotCount(t *testing.T) {
	m := &Memory{Publications: []Publication{{At: noon.Add(-time.Second), Digest: "old"}, {At: noon, Digest: "new"}}}
	if p, ok := m.seenAt(noon); !ok || p.Digest != "old" {
		t.Fatalf("seen at noon: %+v, %t", p, ok)
	}
	if _, ok := m.seenAt(noon.Add(-time.Second)); ok {
		t.Fatal("something was seen before anything was published")
	}
}

// TestRandomStatesComeToRestAndApplyOnlyWhatMayBe throws dice for a state,
// carries out what Decide wants as an obliging world would, and looks at every
// Apply on the way.
func TestRandomStatesComeToRestAndApplyOnlyWhatMayBe(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := randomState(r)
		rounds := 0
		for ; rounds < MaxRounds; rounds++ {
			actions := Decide(s)
			if len(actions) == 0 {
				break
			}
			for _, a := range actions {
				if ap, ok := a.(Apply); ok {
					checkApply(t, seed, s, ap)
				}
				obey(s, a)
			}
		}
		if rounds == MaxRounds {
			t.Fatalf("seed %d does not come to rest: %s", seed, wants(Decide(s)))
		}
	}
}

func checkApply(t *testing.T, seed uint64, s *State, a Apply) {
	t.Helper()
	if a.Resume {
		return // the gate judges it anew
	}
	switch {
	case !s.Fresh():
		t.Fatalf("seed %d: applies a stale plan", seed)
	case !s.Admitted():
		t.Fatalf("seed %d: applies a fork's head that nobody admitted", seed)
	case s.Pull.State == forge.Closed && !s.Pull.Merged && len(s.Memory.Leases) == 0:
		t.Fatalf("seed %d: applies a closed pull", seed)
	case s.history():
		t.Fatalf("seed %d: applies a pull that is history", seed)
	case a.Command == nil && (!s.Verdict().OK || !s.Pull.Merged || s.Operator.Apply != config.ApplyOnMerge):
		t.Fatalf("seed %d: applies by itself what the policy denies, or what was not merged", seed)
	case a.Command != nil && !a.Command.Writer:
		t.Fatalf("seed %d: applies for somebody without write access", seed)
	case !s.isPublished() && len(s.Changes()) > 0:
		t.Fatalf("seed %d: applies what was not published", seed)
	}
}

func randomState(r *rand.Rand) *State {
	s := situation()
	coin := func() bool { return r.IntN(3) == 0 }
	pick := func(f ...func(*State)) { f[r.IntN(len(f))](s) }
	none := func(*State) {}
	pick(none, none, fork, draft, onMerge)
	pick(none, none, none, drift(found), drift(), rollsBack(true), rollsBack(false))
	pick(none, planned(), planned("d1", "d2"), func(s *State) { s.Plan.Problems = []string{"broken"} })
	pick(none, none, merged, closed)
	pick(none, onMerge)
	pick(none, published)
	pick(none, stale, func(s *State) { s.PlanKey, s.Blocked = "", []string{"conflict"} }, func(s *State) { s.Blocked = []string{"broken policy"} })
	if len(s.Memory.Publications) > 0 && coin() {
		approved(approver)(s)
	}
	pick(none, none, holds, func(s *State) { s.Memory.Settled = true }, func(s *State) { s.Memory.Hold = &policy.Hold{By: applier} })
	pick(none, none, last(PlanPull, "succeeded"), last(PlanMerged, "failed"), last(PlanPull, "failed"), last(PlanPull, "cancelled"))
	pick(none, none, none, func(s *State) { s.Stray = []string{"x"} }, func(s *State) { s.Rewritten = headSHA },
		interruptedApply)
	lines := []string{"/plan", "/plan 1111111", "/apply", "/cancel", "/apply shop", "/approve", "/unapprove", "/hold", "/unhold",
		"/unlock keep", "/unlock restore", "/sync shop", "/restore", "/rollback", "/rollback to #3", "/status", "/explain", "/help", "/aply"}
	people := []forge.User{author, approver, applier, stranger}
	for range r.IntN(4) {
		says(people[r.IntN(len(people))], lines[r.IntN(len(lines))])(s)
		if coin() {
			taken(s)
		}
	}
	return s
}

// obey does to the state what a runner and a forge without trouble would.
func obey(s *State, a Action) {
	switch a := a.(type) {
	case Take:
		i := slices.IndexFunc(s.Commands, func(c Command) bool { return c.Comment.ID == a.Command.Comment.ID })
		s.Commands[i].Begun = true
	case Admit:
		s.Memory.Admitted = append(s.Memory.Admitted, a.SHA)
	case Ask:
		s.Memory.Asked = a.SHA
	case SetSync:
		s.Memory.Sync, s.Memory.SyncBy, s.Memory.Reset = a.Target, a.By, a.Reset
		s.Kind = s.WantedKind()
	case Forget:
		s.Memory.Plan, s.Plan = nil, nil
	case MakePlan:
		planned("d1")(s)
	case AddVote:
		s.Memory.Voted(a.Vote)
	case SetHold:
		s.Memory.Hold = a.Hold
	case Freeze:
		s.Rewritten, s.Memory.Hold = "", &policy.Hold{By: s.Self, Reason: a.Reason}
	case Free:
		s.Stray = nil
	case Rollback:
		finished(s, a.Command)
	case ClosePull:
		s.Pull.State = forge.Closed
		s.Kind = s.WantedKind()
		stale(s)
	case NoteMerge:
		s.Memory.MergedSeen = true
	case JudgeMerge:
		s.Memory.Judged, s.Memory.Bypass = true, a.Bypass
	case AddOverride:
		s.Memory.Overrode(a.Override)
	case SetTicket:
		s.Memory.Ticket = &a.Ticket
	case CloseDuty:
		s.Duties = slices.DeleteFunc(s.Duties, func(d policy.Duty) bool { return d.ID == a.Duty.ID })
	case RequestReview:
		for _, r := range a.Reviewers {
			s.Memory.Reviewers = append(s.Memory.Reviewers, ReviewerName(r))
		}
	case Settle, Unlock:
		s.Memory.Leases, s.Memory.PendingMerge = nil, ""
		s.Memory.Settled = s.Memory.Settled || s.Pull.Merged
	case Apply:
		s.Operation, s.Tried = nil, true
		if a.Command != nil {
			finished(s, *a.Command)
		}
	case Cancel:
		s.Operation = nil
		last(PlanPull, "cancelled")(s)
		s.Memory.Last.Cancelled = a.Command.ID()
	case Publish:
		stand(s)
		if s.Fresh() {
			s.Memory.Published(Publication{At: s.Now.Add(-time.Minute), Head: s.Pull.Head.SHA, Digest: s.Memory.Plan.Digest,
				Digests: s.ChangeDigests(s.Plan), PolicyRevision: s.Policy.Revision()})
		}
	case WriteCheck:
		s.Memory.Check = Posted{ID: 200, SHA: a.Check.SHA, Hash: CheckHash(a.Check)}
	case Answer:
		if a.Reply.Kind == report.ReplyRefused && len(a.Reply.Items) == 0 {
			panic("a refusal without a reason: " + a.Command.Parsed.Line)
		}
		finished(s, a.Command)
	}
}

func finished(s *State, c Command) {
	s.Commands = slices.DeleteFunc(s.Commands, func(o Command) bool { return o.Comment.ID == c.Comment.ID })
}

// Where the forge carries out "/approve" itself, people are told what reaches us.
func TestCommandsAreToldAsTheForgeLetsThemThrough(t *testing.T) {
	s := situation()
	s.Limits.Reserved = []string{"approve", "unlock"}
	if next := s.View().Next; !slices.Contains(next, "/lockkeeper approve") {
		t.Errorf("next: %q", next)
	}
}
