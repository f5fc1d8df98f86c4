package reconcile

import (
	"slices"
	"strings"
	"testing"

	"lockkeeper/bot/policy"
	"lockkeeper/bot/store"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// found is a field that somebody changed live.
var found = store.DriftFinding{Finding: cluster.Finding{
	Kind: cluster.Changed, Ref: cluster.Ref{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"},
	Field: cluster.FieldChange{Path: "spec.replicas", Op: cluster.Set, Before: float64(2), After: float64(5)}, Source: "deploy/web.yaml:12",
}}

// drift makes the state one of a drift pull, of which the store knows these
// findings, or nothing (any more).
func drift(findings ...store.DriftFinding) func(*State) {
	return func(s *State) {
		own(s, DriftBranch+"shop")
		s.Drift = &DriftPull{Known: len(findings) > 0}
		if s.Drift.Known {
			s.Drift.Drift = store.Drift{Cluster: "main", Target: "shop", Findings: findings, Digest: "f", Tip: headSHA}
		}
		planned()(s) // what is live already is no change
	}
}

// own makes the pull one of the bot's.
func own(s *State, branch string) {
	s.Pull.Author, s.Pull.Head.Name = s.Self, branch
	s.Commits, s.PushersKnown = []forge.Commit{{SHA: headSHA, Author: s.Self, Committer: s.Self}}, true
}

func rollsBack(pure bool) func(*State) {
	return func(s *State) {
		own(s, RollbackBranch+"11")
		s.Rollback, s.Memory.AskedBy = &policy.Rollback{To: strings.Repeat("c", 40), Pure: pure, Why: "ann pushed to it"}, applier
	}
}

func restores(s *State) {
	s.Memory.Sync, s.Memory.SyncBy, s.Memory.Reset, s.Kind = "shop", applier, true, PlanReset
	planned("d1")(s)
}

func TestDecideOfDriftAndRollbacks(t *testing.T) {
	with := func(f ...func(*State)) []func(*State) { return f }
	for _, c := range []struct {
		name string
		is   []func(*State)
		want string
	}{
		{"one approval is not enough for what nobody knows the author of", with(drift(found), published, approved(approver), says(author, "/status")), "answer:status"},
		{"/restore goes with its claim", with(drift(found), published, says(applier, "/restore"), taken), "take set-sync forget"},
		{"/restore elsewhere is refused", with(published, says(applier, "/restore")), "answer:refused"},
		{"/restore of what is adopted is refused", with(drift(found), merged, published, says(applier, "/restore"), taken), "take"},
		{"a stranger restores nothing", with(drift(found), published, says(stranger, "/restore"), taken), "take"},
		{"a planned restore is answered", with(drift(found), restores, published, says(applier, "/restore")), "answer:restore"},
		{"whoever asked for it does not approve it", with(drift(found), restores, published, says(applier, "/approve")), "answer:refused"},
		{"somebody else does", with(drift(found), restores, published, says(approver, "/approve")), "vote answer:approved"},
		{"/apply of a drift pull asks the gate", with(drift(found), published, says(applier, "/apply")), "apply"},

		{"/rollback of a merged pull opens another", with(merged, published, says(applier, "/rollback")), "rollback"},
		{"/rollback to an earlier pull does too", with(published, says(applier, "/rollback to #3")), "rollback"},
		{"/rollback of what is not applied is refused", with(published, says(applier, "/rollback")), "answer:refused"},
		{"/rollback of what is half applied closes it", with(published, holds, last(PlanPull, "failed"), stand, says(applier, "/rollback")), "close answer:rollback"},
		{"once it is closed its restore is planned", with(published, holds, closed, last(PlanPull, "failed"), stand, says(applier, "/rollback")), "answer:rollback"},
		{"a stranger rolls nothing back", with(merged, published, says(stranger, "/rollback")), "answer:refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := situation(c.is...)
			stand(s)
			if got := wants(Decide(s)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestWhatADriftPullAdoptsIsJudgedThoughNoClusterChanges(t *testing.T) {
	gone := store.DriftFinding{Finding: cluster.Finding{Kind: cluster.Gone, Ref: cluster.Ref{Kind: "ConfigMap", Namespace: "shop", Name: "old"}}}
	s := situation(drift(found, gone))
	changes := s.Changes()
	if len(changes) != 2 || changes[0].Action != cluster.Delete || changes[1].Action != cluster.Update ||
		!slices.Equal(changes[1].Fields, []string{"spec.replicas"}) || !slices.Equal(changes[1].Files, []string{"deploy/web.yaml"}) {
		t.Fatalf("judged are %+v", changes)
	}
	if f := s.Facts(changes, nil); f.UnknownContributor != "whoever changed ConfigMap shop/old and 1 more of shop live" {
		t.Errorf("the unknown contributor is %q", f.UnknownContributor)
	}
	if v := s.Verdict(); v.OK {
		t.Error("what nobody approved is allowed")
	}
	// An approval is for the values that it saw.
	before := s.ChangeDigests(s.Plan)
	s.Drift.Findings[0].Field.After = float64(6)
	if slices.Equal(before, s.ChangeDigests(s.Plan)) {
		t.Error("another value has the same digest")
	}
	last(PlanPull, "succeeded")(s)
	if left := s.Changes(); len(left) > 0 {
		t.Errorf("applied as it is, and left are %+v", left)
	}
}

// Threat 33: what a pull says of objects that somebody changed live to just that is
// judged with the fields and the action that it has in Git.
func TestWhatIsLiveAlreadyIsJudgedAsAChange(t *testing.T) {
	s := situation()
	p := s.Plan.Targets[0].Plan
	gone := cluster.Ref{Kind: "ConfigMap", Namespace: "shop", Name: "gone"}
	p.Drift = []cluster.Drift{
		{Ref: p.Changes[0].Ref, Fields: []cluster.FieldChange{{Path: "spec.hostNetwork"}}},
		{Ref: found.Ref, Fields: []cluster.FieldChange{found.Field}},
		{Ref: gone, Deleted: true},
	}
	before := s.PlanDigest(s.Plan)
	got := s.Changes()
	if len(got) != 3 || !slices.Equal(got[0].Fields, []string{"spec.hostNetwork"}) ||
		got[1].Action != cluster.Update || !slices.Equal(got[1].Fields, []string{"spec.replicas"}) || got[2].Action != cluster.Delete || got[2].Ref != gone {
		t.Fatalf("judged are %+v", got)
	}
	p.Drift[1].Fields = []cluster.FieldChange{{Path: "spec.replicas", Op: cluster.Set, After: float64(6)}}
	if now := s.Changes(); now[1].Digest == got[1].Digest || s.PlanDigest(s.Plan) == before {
		t.Error("another value has the same digest")
	}
	// An apply that was cut short goes on: what it did is no news.
	begun := situation(last(PlanPull, "running"), holds)
	begun.Plan = s.Plan
	if left := begun.Changes(); len(left) != 1 {
		t.Errorf("of an apply that was begun, %+v is to be agreed to", left)
	}
	s.Kind = PlanSync
	if left := s.Changes(); len(left) != 1 {
		t.Errorf("a sync agrees to %+v", left)
	}
}

func TestAdoptingWhatIsLiveMustNotChangeIt(t *testing.T) {
	change := func(c cluster.Change) func(*State) {
		return func(s *State) { s.Plan.Targets[0].Plan.Changes = []cluster.Change{c} }
	}
	for name, c := range map[string]struct {
		is    []func(*State)
		tells string
	}{
		"ownership moves":                      {[]func(*State){drift(found), change(cluster.Change{Action: cluster.Update, Takeovers: []cluster.Ownership{{Path: "spec.replicas", Manager: "kubectl"}}})}, ""},
		"the server assigns a value":           {[]func(*State){drift(found), change(cluster.Change{Action: cluster.Update, Fields: []cluster.FieldChange{{Path: "spec.clusterIP", Server: true}}})}, ""},
		"a value would change":                 {[]func(*State){drift(found), change(cluster.Change{Action: cluster.Update, Fields: []cluster.FieldChange{{Path: "spec.replicas"}}})}, "live moved on"},
		"an object would come back":            {[]func(*State){drift(found), change(cluster.Change{Action: cluster.Create})}, "live moved on"},
		"an earlier merge waits":               {[]func(*State){drift(found), change(cluster.Change{Action: cluster.Update, Pending: true, Fields: []cluster.FieldChange{{Path: "spec.image"}}})}, "apply it there first"},
		"people added to the branch":           {[]func(*State){drift(found), func(s *State) { s.Drift.Foreign = []string{"abc"} }, change(cluster.Change{Action: cluster.Create, Digest: "x"})}, ""},
		"the target is not in the plan":        {[]func(*State){drift(found), func(s *State) { s.Plan.Targets = nil }}, "no longer a change"},
		"the drift is over":                    {[]func(*State){drift()}, "is over"},
		"the drift was adopted":                {[]func(*State){drift(), merged}, ""},
		"live was changed after it was merged": {[]func(*State){drift(), merged, change(cluster.Change{Action: cluster.Update, Fields: []cluster.FieldChange{{Path: "spec.replicas"}}})}, "/sync"},
		"it is put back instead":               {[]func(*State){drift(found), restores}, ""},
		"any other pull":                       {[]func(*State){change(cluster.Change{Action: cluster.Create})}, ""},
	} {
		s := situation(c.is...)
		got := strings.Join(s.PlanProblems(s.Plan), "; ")
		if (got == "") != (c.tells == "") || !strings.Contains(got, c.tells) {
			t.Errorf("%s: problems are %q, want %q", name, got, c.tells)
		}
	}
}

func TestOnlyWhatTheBotDidAloneIsAPureRollback(t *testing.T) {
	before := Returning{"shop": strings.Repeat("c", 40)}
	for name, c := range map[string]struct {
		is    []func(*State)
		known Returning
		why   string // "" for a pure one, "none" where it is no rollback at all
	}{
		"the bot's alone":         {[]func(*State){rollsBack(true)}, before, ""},
		"somebody committed":      {[]func(*State){rollsBack(true), func(s *State) { s.Commits[0].Author = author }}, before, "@ann committed 1111111"},
		"somebody pushed":         {[]func(*State){rollsBack(true), func(s *State) { s.Pushers = []forge.User{author} }}, before, "@ann pushed"},
		"nobody knows who pushed": {[]func(*State){rollsBack(true), func(s *State) { s.PushersKnown = false }}, before, "not signed"},
		"signed by who committed it in our name": {[]func(*State){rollsBack(true), func(s *State) {
			s.PushersKnown, s.Commits[0].Verified, s.Commits[0].Committer = false, true, author
		}}, before, "not signed"},
		"signed by the forge":            {[]func(*State){rollsBack(true), func(s *State) { s.PushersKnown, s.Commits[0].Verified = false, true }}, before, ""},
		"never applied as it would be":   {[]func(*State){rollsBack(true)}, Returning{"shop": strings.Repeat("c", 40), "web": ""}, "what it makes of web was never applied"},
		"not planned yet":                {[]func(*State){rollsBack(true)}, nil, "not planned"},
		"somebody's branch of that name": {[]func(*State){rollsBack(true), func(s *State) { s.Pull.Author = author }}, before, "none"},
		"of a fork":                      {[]func(*State){rollsBack(true), fork}, before, "none"},
	} {
		s := situation(c.is...)
		got := s.JudgeRollback(c.known)
		switch {
		case c.why == "none" && got == nil:
		case got == nil || got.Pure != (c.why == "") || !strings.Contains(got.Why, c.why):
			t.Errorf("%s: %+v, want %q", name, got, c.why)
		case got.Pure && got.To != before["shop"]:
			t.Errorf("%s: goes back to %q", name, got.To)
		}
	}
}

// Somebody else's pull with the bot's commits on it has an unknown contributor
// as well, or else reopening the branch under another name would need fewer.
func TestTheBotsCommitsBringTheirUnknownContributorAlong(t *testing.T) {
	s := situation(func(s *State) { s.Commits[0].Author = s.Self })
	if f := s.Facts(s.Changes(), nil); !strings.Contains(f.UnknownContributor, "1111111") {
		t.Errorf("the unknown contributor is %q", f.UnknownContributor)
	}
	s = situation(rollsBack(true))
	if f := s.Facts(s.Changes(), nil); f.UnknownContributor != "" || f.AskedBy == nil || f.AskedBy.ID != applier.ID {
		t.Errorf("of a rollback: %q, asked for by %v", f.UnknownContributor, f.AskedBy)
	}
	// Threat 33: what the bot proposed of a live change is not laundered by being
	// pushed to a rollback.
	s = situation(rollsBack(false), func(s *State) { s.Pushers = []forge.User{author} })
	if f := s.Facts(s.Changes(), nil); !strings.Contains(f.UnknownContributor, "1111111") {
		t.Errorf("of a rollback that somebody pushed to: %q", f.UnknownContributor)
	}
	s = situation(rollsBack(false), func(s *State) { s.PushersKnown, s.Commits[0].Verified = false, true })
	if f := s.Facts(s.Changes(), nil); !strings.Contains(f.UnknownContributor, "1111111") {
		t.Errorf("of a rollback that anybody may have pushed to: %q", f.UnknownContributor)
	}
	s.Memory.AskedBy = forge.User{}
	if f := s.Facts(s.Changes(), nil); f.UnknownContributor == "" {
		t.Error("nobody knows who asked for the rollback, and nobody says so")
	}
}
