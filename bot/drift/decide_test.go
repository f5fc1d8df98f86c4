package drift

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"lockkeeper/bot/store"
	"lockkeeper/forge"
)

var (
	now   = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	ann   = forge.User{ID: 11, Login: "ann", Type: forge.Person}
	month = 720 * time.Hour
)

func healed(ago time.Duration, fields ...string) store.Heal {
	return store.Heal{At: now.Add(-ago), Outcome: healSucceeded, Fields: fields}
}

// TestDecide goes through every transition of a target's drift.
func TestDecide(t *testing.T) {
	const replicas = "Deployment.apps shop/web spec.replicas"
	drifting := store.Drift{Digest: "d1", Told: "d1"}
	with := func(change func(*store.Drift)) store.Drift {
		d := drifting
		change(&d)
		return d
	}
	proposed := with(func(d *store.Drift) { d.Number = 7 })
	told := with(func(d *store.Drift) { d.Issue = 8 })
	quiet := func(until time.Time) store.Drift {
		return with(func(d *store.Drift) {
			d.Number, d.Quiet = 7, store.Quiet{Digest: "d1", Until: until, By: ann, Closed: 7}
		})
	}
	open := func(s sight) *sight { s.Number, s.Open = 7, true; return &s }
	closed := &sight{Number: 7, ClosedBy: byApprover, Who: ann}
	editable, partly := &offer{Edits: true}, &offer{Edits: true, Refused: true}
	refused, nothing := &offer{Refused: true}, &offer{}

	for name, c := range map[string]struct {
		row  store.Drift
		seen world
		want step
	}{
		"new":                               {drifting, world{Digest: "d1"}, think{}},
		"new, with an edit":                 {drifting, world{Digest: "d1", Offer: editable}, openPull{}},
		"new, partly editable":              {drifting, world{Digest: "d1", Offer: partly}, openPull{}},
		"new, no edit provable":             {drifting, world{Digest: "d1", Offer: refused}, tellIssue{}},
		"new, and Git says so already":      {drifting, world{Digest: "d1", Offer: nothing}, wait{}},
		"same":                              {proposed, world{Digest: "d1", Offer: editable, Pull: open(sight{Current: true, Told: true})}, wait{}},
		"same, but the base branch moved":   {proposed, world{Digest: "d1", Offer: editable, Pull: open(sight{Told: true})}, updatePull{Push: true}},
		"changed":                           {proposed, world{Digest: "d2", Offer: editable, Pull: open(sight{})}, updatePull{Push: true}},
		"changed, in what is reported only": {proposed, world{Digest: "d2", Offer: partly, Pull: open(sight{Current: true})}, updatePull{}},
		"changed, no edit provable any more": {
			proposed, world{Digest: "d2", Offer: refused, Pull: open(sight{})}, tellIssue{}},
		"the issue took over from the pull": {
			with(func(d *store.Drift) { d.Number, d.Issue = 7, 8 }),
			world{Digest: "d1", Offer: &offer{Refused: true, IssueTold: true}, IssueOpen: true, Pull: open(sight{})},
			closePull{"What is live now cannot be written to Git by lockkeeper any more; an issue says why, and tells of the drift from now on."}},
		"the pull takes over from the issue": {
			with(func(d *store.Drift) { d.Number, d.Issue = 7, 8 }),
			world{Digest: "d1", Offer: editable, IssueOpen: true, Pull: open(sight{Current: true, Told: true})},
			closeIssue{"An edit that makes Git say what is live can be proven now", 7}},
		"issue stands":                         {told, world{Digest: "d1", Offer: &offer{Refused: true, IssueTold: true}, IssueOpen: true}, wait{}},
		"issue is out of date":                 {told, world{Digest: "d2", Offer: refused, IssueOpen: true}, tellIssue{}},
		"an open pull that the row lost":       {drifting, world{Digest: "d1", Pull: open(sight{})}, adopt{7}},
		"gone, nothing was told":               {drifting, world{}, forget{}},
		"gone, with a pull":                    {proposed, world{Pull: open(sight{})}, closePull{"What was applied last is live again: the drift is gone. Nothing is left to decide."}},
		"gone, with an issue":                  {told, world{IssueOpen: true}, closeIssue{Remark: "What was applied last is live again: the drift is gone."}},
		"gone, after everything is closed":     {proposed, world{Pull: closed}, forget{}},
		"gone, but for who owns a field":       {proposed, world{Pull: closed, Fields: []string{replicas}}, forget{}},
		"only who owns a field":                {store.Drift{Digest: "d3"}, world{Fields: []string{replicas}}, wait{}},
		"gone while so much changed":           {proposed, world{Mass: true, Pull: open(sight{})}, closePull{"What was applied last is live again: the drift is gone. Nothing is left to decide."}},
		"Git has the target no more":           {proposed, world{Lost: true, Pull: open(sight{})}, closePull{"Git has this target on this cluster no more, so that there is nothing to compare with what is live. Nothing is left to decide."}},
		"open against another branch":          {proposed, world{Digest: "d1", Offer: editable, Pull: open(sight{Astray: true})}, closePull{"It is against another branch than the one that the target is applied from: another pull takes its place."}},
		"issues cannot be read just now":       {told, world{Digest: "d1", noIssues: true}, think{}},
		"nothing found, but not all was seen":  {proposed, world{Unknown: true, Pull: open(sight{})}, wait{}},
		"so much changed":                      {drifting, world{Digest: "d1", Mass: true, Offer: editable}, wait{}},
		"so much changed, where it heals":      {drifting, world{Digest: "d1", Mass: true, AutoHeal: true}, wait{}},
		"closed by an approver":                {proposed, world{Digest: "d1", Pull: closed}, hush{Quiet: store.Quiet{Digest: "d1", Until: now.Add(month), By: ann, Closed: 7}}},
		"closed by somebody else":              {proposed, world{Digest: "d1", Pull: &sight{Number: 7, ClosedBy: byOther, Who: ann}}, hush{Quiet: store.Quiet{Digest: "d1", Until: now.Add(24 * time.Hour), By: ann, Closed: 7}}},
		"closed by us, and it came back":       {proposed, world{Digest: "d1", Pull: &sight{Number: 7, ClosedBy: byUs}, Offer: editable}, openPull{}},
		"silent":                               {quiet(now.Add(time.Hour)), world{Digest: "d1", Pull: closed}, wait{now.Add(time.Hour)}},
		"silent, but it changed":               {quiet(now.Add(time.Hour)), world{Digest: "d2", Pull: closed, Offer: editable}, openPull{}},
		"the silence is over":                  {quiet(now), world{Digest: "d1", Pull: closed, Offer: editable}, openPull{}},
		"changed before the closing was noted": {proposed, world{Digest: "d2", Pull: closed}, hush{Quiet: store.Quiet{Digest: "d1", Until: now.Add(month), By: ann, Closed: 7}}},
		"opened again":                         {quiet(now.Add(time.Hour)), world{Digest: "d1", Pull: open(sight{})}, unhush{}},
		"closed again after that":              {proposed, world{Digest: "d1", Pull: closed}, hush{Quiet: store.Quiet{Digest: "d1", Until: now.Add(month), By: ann, Closed: 7}}},
		"both were closed": {with(func(d *store.Drift) {
			d.Number, d.Issue, d.Quiet = 7, 8, store.Quiet{Digest: "d1", Until: now.Add(time.Hour), Closed: 7}
		}), world{Digest: "d1", Pull: closed}, wait{now.Add(time.Hour)}},
		"the issue was closed": {told, world{Digest: "d1"}, hush{Quiet: store.Quiet{Digest: "d1", Until: now.Add(24 * time.Hour)}, Issue: true}},
		"another issue after the silence": {
			with(func(d *store.Drift) { d.Quiet = store.Quiet{Digest: "d1", Until: now} }),
			world{Digest: "d1", Offer: refused}, tellIssue{}},
		"foreign commits, text out of date": {proposed, world{Digest: "d2", Offer: editable, Pull: open(sight{Foreign: true})}, updatePull{}},
		"foreign commits":                   {proposed, world{Digest: "d1", Offer: editable, Pull: open(sight{Foreign: true, Told: true})}, wait{}},
		"adopted, and not applied yet":      {proposed, world{Digest: "d1", Pull: &sight{Number: 7, Merged: true}}, wait{}},
		"adopted, and Git says so":          {proposed, world{Digest: "d1", Pull: &sight{Number: 7, Merged: true, Taken: true}, Offer: &offer{}}, wait{}},
		"adopted, and reverted since":       {proposed, world{Digest: "d1", Pull: &sight{Number: 7, Merged: true, Taken: true}, Offer: editable}, openPull{}},
		"changed again after it was merged": {proposed, world{Digest: "d2", Pull: &sight{Number: 7, Merged: true}, Offer: editable}, openPull{}},

		"heals":                        {drifting, world{Digest: "d1", AutoHeal: true}, heal{}},
		"healed before, a minute ago":  {drifting, world{Digest: "d1", AutoHeal: true, Heals: []store.Heal{healed(time.Minute)}}, heal{}},
		"healed before, just now":      {drifting, world{Digest: "d1", AutoHeal: true, Heals: []store.Heal{healed(time.Second)}}, wait{now.Add(59 * time.Second)}},
		"healed twice":                 {drifting, world{Digest: "d1", AutoHeal: true, Heals: []store.Heal{healed(2 * time.Minute), healed(time.Minute)}}, wait{now.Add(time.Minute)}},
		"could not be healed just now": {drifting, world{Digest: "d1", AutoHeal: true, Healed: true}, think{}},
		"two parties fight": {drifting, world{Digest: "d1", AutoHeal: true, Fields: []string{replicas},
			Heals: []store.Heal{healed(50*time.Minute, replicas), healed(45*time.Minute, replicas), healed(30*time.Minute, replicas)}}, alarm{[]string{replicas}}},
		"healed as often, but other fields": {drifting, world{Digest: "d1", AutoHeal: true, Fields: []string{replicas},
			Heals: []store.Heal{healed(50*time.Minute, "x"), healed(45*time.Minute, "x"), healed(30*time.Minute, replicas)}}, heal{}},
		"healed as often, but long ago": {drifting, world{Digest: "d1", AutoHeal: true, Fields: []string{replicas},
			Heals: []store.Heal{healed(9*time.Hour, replicas), healed(6*time.Hour, replicas), healed(3*time.Hour, replicas)}}, heal{}},
		"after the alarm, people are told": {with(func(d *store.Drift) { d.Fight = "hpa" }), world{Digest: "d1", AutoHeal: true}, think{}},
	} {
		t.Run(name, func(t *testing.T) {
			c.seen.Now, c.seen.Silence = now, month
			if got := decide(c.row, c.seen); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %s %+v, want %s %+v", got.name(), got, c.want.name(), c.want)
			}
		})
	}
}

func TestHealsWaitTwiceAsLongEachTime(t *testing.T) {
	var heals []store.Heal
	at := now
	for i, want := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, time.Hour, time.Hour} {
		heals = append(heals, store.Heal{At: at})
		next := nextHeal(heals)
		if got := next.Sub(at); got != want {
			t.Errorf("after heal %d the next waits %s, want %s", i+1, got, want)
		}
		at = next
	}
	heals = append(heals, store.Heal{At: at.Add(3 * healMost)})
	if got := nextHeal(heals).Sub(at.Add(3 * healMost)); got != healFirst {
		t.Errorf("after a long peace the next waits %s, want %s", got, healFirst)
	}
}

// Threat 23: what emptied a cluster is not proposed to Git as so many deletions.
func TestMassEvents(t *testing.T) {
	for _, c := range []struct {
		gone, objects, fresh int
		want                 bool
	}{
		{9, 9, 1, false}, {10, 33, 1, true}, {10, 34, 1, false}, {30, 100, 1, true}, {29, 100, 1, false}, {0, 1000, 10, false}, {0, 1000, 11, true},
	} {
		if got := massive(c.gone, c.objects, c.fresh); got != c.want {
			t.Errorf("%d of %d objects gone and %d targets drifting: mass event %t, want %t", c.gone, c.objects, c.fresh, got, c.want)
		}
	}
}

// carried is what do leaves behind after a step, as far as decide looks at it.
func carried(d *store.Drift, w *world, s step, made *int) {
	switch s := s.(type) {
	case think:
		w.Offer = &offer{Edits: w.Now.Second()%2 == 0, Refused: w.Now.Second()%3 == 0}
	case adopt:
		d.Number = s.Number
	case openPull:
		*made++
		d.Number, d.Told = 100+*made, w.Digest
		w.Pull = &sight{Number: d.Number, Open: true, Current: true, Told: true}
	case updatePull:
		w.Pull.Current, w.Pull.Told, d.Told = w.Pull.Current || s.Push, true, w.Digest
	case closePull:
		w.Pull.Open, w.Pull.ClosedBy = false, byUs
	case tellIssue:
		w.IssueOpen, w.Offer.IssueTold, d.Issue, d.Told = true, true, 8, w.Digest
	case closeIssue:
		w.IssueOpen, d.Issue = false, 0
	case hush:
		if d.Quiet = s.Quiet; s.Issue {
			d.Issue = 0
		}
	case unhush:
		d.Quiet = store.Quiet{}
	case heal:
		w.Healed = true
	case alarm:
		d.Fight = "somebody"
	}
}

// Whatever there is to see, a look comes to rest, opens at most one pull, and
// never while one stands open.
func TestDecideComesToRest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	yes := func() bool { return r.IntN(2) == 0 }
	digest := func() string { return []string{"", "d1", "d2"}[r.IntN(3)] }
	for range 200000 {
		at := now.Add(time.Duration(r.IntN(60)) * time.Second)
		d := store.Drift{Told: digest(), Number: r.IntN(2) * 7, Issue: r.IntN(2) * 8}
		if yes() {
			d.Quiet = store.Quiet{Digest: digest(), Until: now.Add(time.Duration(r.IntN(90)) * time.Second), Closed: 7 + r.IntN(2)}
		}
		w := world{Now: at, Digest: digest(), Unknown: yes(), Mass: r.IntN(8) == 0, Silence: month, AutoHeal: yes(), IssueOpen: yes()}
		if w.Fields = []string{"f"}; yes() {
			w.Heals = []store.Heal{healed(3*time.Minute, "f"), healed(2*time.Minute, "f"), healed(time.Minute, "f")}[r.IntN(3):]
		}
		if yes() {
			w.Pull = &sight{Number: 7 + r.IntN(2), Open: yes(), Merged: yes(), ClosedBy: closer(r.IntN(3)), Current: yes(), Told: yes(), Foreign: yes()}
			w.Pull.Merged = w.Pull.Merged && !w.Pull.Open
		}
		before, seen, made := d, w, 0
		var steps []string
		for len(steps) <= maxSteps {
			s := decide(d, w)
			steps = append(steps, s.name())
			if _, ok := s.(openPull); ok && (w.Pull != nil && w.Pull.Open || made > 0) {
				t.Fatalf("another pull is opened: %v, from %+v, %+v", steps, before, seen)
			}
			switch s.(type) {
			case wait, forget:
				s = nil
			}
			if s == nil {
				break
			}
			carried(&d, &w, s, &made)
		}
		if len(steps) > maxSteps {
			t.Fatalf("no rest: %v, from %+v, %+v", steps, before, seen)
		}
	}
}
