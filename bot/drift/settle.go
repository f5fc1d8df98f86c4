package drift

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"lockkeeper/bot/names"
	"lockkeeper/bot/report"
	"lockkeeper/bot/store"
	"lockkeeper/forge"
)

// maxSteps bounds what one look does about one target.
const maxSteps = 12

// settle does what is to be done about one target's drift.
func (l *look) settle(ctx context.Context, t *target) error {
	w, err := l.world(ctx, t)
	if err != nil {
		return err
	}
	for range maxSteps {
		s := decide(t.row, *w)
		done := l.Step(ctx, Key(l.name), "drift/"+s.name())
		over, err := l.do(ctx, t, w, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name(), err)
		}
		done()
		if over {
			return nil
		}
	}
	return errors.New("its drift does not come to rest")
}

// world looks at what there is beside the row.
func (l *look) world(ctx context.Context, t *target) (*world, error) {
	p := t.base.policy
	digest, err := digestOf(loud(t.row.Findings))
	if err != nil {
		return nil, err
	}
	w := &world{
		Now: l.Now(), Digest: digest, Unknown: t.unknown, Lost: t.lost, Mass: !l.known.Mass.IsZero(),
		Silence: p.Silence(t.target.Environment), AutoHeal: l.Heal != nil && p.Heals(t.target.Environment), Fields: fieldNames(t.row.Findings),
	}
	if t.row.Branch == "" {
		t.row.Branch = branchOf(t.target, t.first)
	}
	if w.AutoHeal {
		if w.Heals, err = l.Store.Heals(ctx, t.op.ID, l.name, t.target.Name); err != nil {
			return nil, err
		}
	}
	if err := l.lookAtPull(ctx, t, w); err != nil {
		return nil, err
	}
	issue, err := l.issue(ctx, t.op, t.key())
	if err != nil && !unwelcome(err) {
		return nil, err
	}
	if w.noIssues = err != nil; issue != nil {
		w.issue, w.IssueOpen, t.row.Issue = *issue, true, issue.Number
	}
	return w, nil
}

// key goes into the hidden markers of the target's pull and issue; no name has a
// colon.
func (t *target) key() string {
	return "drift/" + strconv.FormatInt(t.op.ID, 10) + "/" + t.target.Cluster + ":" + t.target.Name
}

// fieldNames are what findings are of, as heals are remembered by.
func fieldNames(all []store.DriftFinding) []string {
	var out []string
	for _, f := range all {
		name := f.Ref.String()
		if f.Field.Path != "" {
			name += " " + f.Field.Path
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// do carries out a step; done ends what this look does about the target.
func (l *look) do(ctx context.Context, t *target, w *world, s step) (done bool, err error) {
	switch s := s.(type) {
	case wait:
		if s.Until.IsZero() {
			return true, nil
		}
		return true, l.Store.WantAt(ctx, Key(l.name), s.Until)
	case think:
		return false, l.think(ctx, t, w)
	case adopt:
		t.row.Number = s.Number
		if err := l.record(ctx, t, forge.User{}, "proposed", "as "+t.row.Branch+", whose pull was open already"); err != nil {
			return false, err
		}
		return false, errors.Join(l.keep(ctx, t), l.judge(ctx, t))
	case openPull:
		return false, l.openPull(ctx, t, w)
	case updatePull:
		return false, l.updatePull(ctx, t, w, s.Push)
	case closePull:
		return false, l.closePull(ctx, t, w, s.Remark)
	case tellIssue:
		return w.noIssues, l.tellIssue(ctx, t, w)
	case closeIssue:
		remark := s.Remark
		if s.Pull != 0 {
			remark += ": see " + l.Forge.Limits().PullName(s.Pull) + "."
		}
		return false, l.closeIssue(ctx, t, w, remark)
	case hush:
		return false, l.hush(ctx, t, s)
	case unhush:
		t.row.Quiet = store.Quiet{}
		return false, l.keep(ctx, t)
	case heal:
		return l.heal(ctx, t, w)
	case alarm:
		return false, l.alarm(ctx, t, s.Fields)
	case forget:
		return true, l.forget(ctx, t)
	}
	return true, fmt.Errorf("no way to carry out %T", s)
}

// keep stores what is known of the target.
func (l *look) keep(ctx context.Context, t *target) error {
	return l.Store.SaveDrift(context.WithoutCancel(ctx), t.row)
}

// judge has the target's pull planned and judged: the forge's webhooks about
// what we do ourselves are no news to the bot.
func (l *look) judge(ctx context.Context, t *target) error {
	return l.Store.Want(context.WithoutCancel(ctx), names.PullKey{Repo: t.op.ID, Number: t.row.Number}.String())
}

func (l *look) hush(ctx context.Context, t *target, s hush) error {
	closed := l.Forge.Limits().PullName(s.Quiet.Closed)
	if s.Issue {
		closed, t.row.Issue = fmt.Sprintf("#%d", t.row.Issue), 0
	}
	t.row.Quiet = s.Quiet
	reason := fmt.Sprintf("%s was closed: nothing is said until something else drifts, at the latest until %s", closed, s.Quiet.Until.UTC().Format("2006-01-02 15:04 MST"))
	if err := l.record(ctx, t, s.Quiet.By, "silenced", reason); err != nil {
		return err
	}
	return l.keep(ctx, t)
}

// forget ends a drift: its branch goes, if nobody else has anything there.
func (l *look) forget(ctx context.Context, t *target) error {
	if t.row.Tip != "" {
		err := l.Forge.DeleteBranch(ctx, t.op.Ref(), t.row.Branch, t.row.Tip)
		if code := forge.CodeOf(err); err != nil && code != forge.Conflict && code != forge.Forbidden && code != forge.NotFound {
			return err
		}
	}
	reason := "everything of it is as it was applied"
	if t.lost {
		reason = "Git has the target on this cluster no more"
	}
	if err := l.record(ctx, t, forge.User{}, "gone", reason); err != nil {
		return err
	}
	if len(t.row.Findings) == 0 {
		return l.Store.DropDrift(context.WithoutCancel(ctx), t.op.ID, l.name, t.target.Name)
	}
	d := t.row
	t.row = store.Drift{
		RepoID: d.RepoID, Cluster: d.Cluster, Target: d.Target, Environment: d.Environment, Base: d.Base,
		Since: d.Since, Findings: d.Findings, Digest: d.Digest,
	}
	return l.keep(ctx, t)
}

// heal asks the gate to put back what was applied last. Whatever comes of it,
// the next time waits longer.
func (l *look) heal(ctx context.Context, t *target, w *world) (done bool, err error) {
	w.Healed = true
	h := store.Heal{RepoID: t.op.ID, Cluster: l.name, Target: t.target.Name, At: w.Now, Outcome: healFailed, Fields: w.Fields}
	if err := l.Store.AddHeal(ctx, h); err != nil { // before: one that a crash cuts short counts
		return false, err
	}
	r := HealRequest{Repository: t.op, Base: t.base.name, BaseSHA: t.base.sha, Target: t.target}
	for _, f := range t.row.Findings {
		r.Findings = append(r.Findings, f.Finding)
	}
	res, err := l.Heal(ctx, r)
	if err != nil {
		return false, err
	}
	if h.Outcome = res.Outcome; len(res.Refused) > 0 {
		h.Outcome = healRefused
	}
	if err := l.Store.AddHeal(context.WithoutCancel(ctx), h); err != nil {
		return false, err
	}
	if h.Outcome != healSucceeded {
		t.row.Refused = res.Refused
		return false, l.keep(ctx, t)
	}
	// Whether it is as it was is for the cluster to say.
	return true, l.Store.Want(ctx, Key(l.name))
}

// alarm notes that what is healed is undone, again and again.
func (l *look) alarm(ctx context.Context, t *target, fields []string) error {
	var by []store.DriftFinding
	for _, f := range t.row.Findings {
		if names := fieldNames([]store.DriftFinding{f}); slices.Contains(fields, names[0]) {
			by = append(by, f)
		}
	}
	t.row.Fight = fightText(fields, managers(by))
	if err := l.record(ctx, t, forge.User{}, "fight", t.row.Fight); err != nil {
		return err
	}
	return l.keep(ctx, t)
}

// view is what pull and issue show.
func (l *look) view(t *target, w *world) report.Drift {
	v := report.Drift{
		Key: t.key(), Target: t.target.Name, Cluster: l.name, Environment: t.target.Environment, Base: t.base.name,
		Since: t.row.Since, Fight: t.row.Fight, Foreign: t.row.Foreign, Silence: w.Silence, Brief: briefSilence,
		AutoHeal: w.AutoHeal, HealRefused: t.row.Refused, OnMerge: t.op.Apply == "merge", Pull: w.Offer.Edits, Digest: t.row.Digest, Refused: t.offer.refused,
	}
	for _, f := range t.row.Findings {
		v.Findings = append(v.Findings, report.Finding{Finding: f.Finding, Since: f.Since})
	}
	v.Problems = append(v.Problems, t.problems...)
	return v
}
