package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"lockkeeper/bot/config"
	"lockkeeper/bot/plan"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/reconcile"
	"lockkeeper/bot/report"
	"lockkeeper/bot/store"
	"lockkeeper/forge"
	"lockkeeper/forge/git"
)

// bypassing lists what came to the base branch of a pull past the gate and is
// not settled; reconcile.Concerning picks what concerns a plan. The branch is
// looked at first, in case its webhook is late or lost.
func (b *Bot) bypassing(ctx context.Context, g *gathered) ([]reconcile.Bypassed, error) {
	branch := g.Pull.Base.Name
	last, err := b.store.Branch(ctx, g.key.Repo, branch)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if last.SHA != g.BaseSHA {
		if _, err := b.notice(ctx, g.Operator, branch); err != nil {
			return nil, err
		}
	}
	open, err := b.store.Bypasses(ctx, g.key.Repo, branch)
	if err != nil {
		return nil, err
	}
	var out []reconcile.Bypassed
	for _, f := range open {
		out = append(out, reconcile.Bypassed{
			Bypass:  policy.Bypass{SHA: f.SHA, Kind: f.Kind, By: f.By, Pull: f.Number},
			Targets: f.Targets,
		})
	}
	return out, nil
}

// settleBypasses settles what a permitted plan brought to clusters, if all of it
// was applied: the gate asked for somebody else's approval of it. A target is as
// the base branch says after a sync, and after a pull that left none of its
// objects out.
func (b *Bot) settleBypasses(ctx context.Context, g *gathered, p *permit, failure error) error {
	if word, _ := outcome(g.Results, failure); word != "succeeded" || len(p.facts.Bypass) == 0 {
		return nil
	}
	open, err := b.store.Bypasses(ctx, g.key.Repo, g.Pull.Base.Name)
	if err != nil {
		return err
	}
	brought := []string{config.RepoFile}
	for _, t := range p.out.Targets {
		if g.Kind == reconcile.PlanSync || t.Plan.Unadopted == 0 {
			brought = append(brought, t.Plan.Target.Name)
		}
	}
	how := sentence([]string{fmt.Sprintf("applied with #%d", g.key.Number), listed("approved by ", p.verdict.Approvers())})
	w := &watched{op: g.Operator, name: g.Pull.Base.Name, repo: g.src.repo}
	for _, f := range open {
		if !slices.ContainsFunc(p.facts.Bypass, func(o policy.Bypass) bool { return o.SHA == f.SHA }) {
			continue
		}
		if err := b.leave(ctx, w, f, func(target string) bool { return slices.Contains(brought, target) }, how); err != nil {
			return err
		}
	}
	return b.store.Want(context.WithoutCancel(ctx), baseKey(g.key.Repo, g.Pull.Base.Name))
}

// leave notes that a commit is settled for some targets, and settles it when
// none is left.
func (b *Bot) leave(ctx context.Context, w *watched, f store.Bypass, settled func(target string) bool, how string) error {
	left := slices.DeleteFunc(slices.Clone(f.Targets), settled)
	switch {
	case len(left) == 0:
		return b.closeBypass(ctx, w, f, how)
	case len(left) == len(f.Targets):
		return nil
	}
	f.Targets = slices.DeleteFunc(slices.Clone(f.Targets), func(t string) bool { return slices.Contains(left, t) })
	if err := b.recordBypass(ctx, w, f, "settled", how); err != nil {
		return err
	}
	return ended(b.store.SetBypassTargets(context.WithoutCancel(ctx), w.op.ID, w.name, f.SHA, left))
}

func (b *Bot) closeBypass(ctx context.Context, w *watched, f store.Bypass, how string) error {
	if err := b.recordBypass(ctx, w, f, "settled", how); err != nil {
		return err
	}
	return ended(b.store.SettleBypass(context.WithoutCancel(ctx), w.op.ID, w.name, f.SHA, how))
}

// ended forgives that something was settled meanwhile.
func ended(err error) error {
	if errors.Is(err, store.ErrFinished) {
		return nil
	}
	return err
}

// recheck looks again at what is open: the forge may have told late whose it
// is, and what a commit did may be undone on the branch. It returns what is
// still open.
func (b *Bot) recheck(ctx context.Context, w *watched, open []store.Bypass) ([]store.Bypass, error) {
	if len(open) == 0 {
		return nil, nil
	}
	if err := b.askForge(ctx, w, open); err != nil {
		return nil, err
	}
	now, err := b.sources(ctx, w, w.tip)
	if err != nil {
		return nil, err
	}
	nothing := map[string]bool{}
	for _, f := range open {
		if err := b.undone(ctx, w, f, now, nothing); err != nil {
			return nil, err
		}
	}
	return b.store.Bypasses(ctx, w.op.ID, w.name)
}

// askForge asks again about what was found lately: forges list the pulls of a
// commit, and who pushed, some time after the push.
func (b *Bot) askForge(ctx context.Context, w *watched, open []store.Bypass) error {
	var late []store.Bypass
	var line []git.Commit
	for _, f := range open {
		if f.Lost == "" && b.now().Sub(f.Found) < lateForge {
			late, line = append(late, f), append(line, git.Commit{SHA: f.SHA})
		}
	}
	unexplained, err := b.unexplained(ctx, w, line)
	if err != nil {
		return err
	}
	for i, f := range late {
		if !slices.Contains(unexplained, i) {
			if err := b.closeBypass(ctx, w, f, "the forge says now that it belongs to a merged pull"); err != nil {
				return err
			}
		}
	}
	return b.askPushers(ctx, w, open)
}

// askPushers asks again who brought what was found lately.
func (b *Bot) askPushers(ctx context.Context, w *watched, open []store.Bypass) error {
	again := false
	for _, f := range open {
		if f.By.ID != 0 || b.now().Sub(f.Found) >= lateForge {
			continue
		}
		by, err := b.pusher(ctx, w, f)
		if err != nil {
			return err
		}
		if again = again || by.ID == 0; by.ID != 0 {
			if err := ended(b.store.SetBypassActor(ctx, w.op.ID, w.name, f.SHA, by)); err != nil {
				return err
			}
		}
	}
	if again {
		return b.store.WantAt(ctx, baseKey(w.op.ID, w.name), b.now().Add(askAgain))
	}
	return nil
}

// pusher asks again who brought a commit.
func (b *Bot) pusher(ctx context.Context, w *watched, f store.Bypass) (forge.User, error) {
	pushes, err := b.pushes(ctx, w, f.Since)
	if err != nil || len(pushes) == 0 {
		return forge.User{}, err
	}
	line, err := w.repo.FirstParents(ctx, f.SHA, w.tip)
	if err != nil {
		return forge.User{}, err
	}
	return reconcile.Pusher(append([]string{f.SHA}, shas(line)...), 0, pushes), nil
}

// undone settles a commit for the targets that are again as they were before
// it came, and for policy that is; nothing notes them, because then whatever
// came later has undone it.
func (b *Bot) undone(ctx context.Context, w *watched, f store.Bypass, now *plan.Sources, nothing map[string]bool) error {
	same, err := b.sameAsBefore(ctx, w, f, now)
	if err != nil {
		return err
	}
	return b.leave(ctx, w, f, func(target string) bool {
		nothing[target] = nothing[target] || same(target)
		return nothing[target]
	}, "what it did is no longer on the branch")
}

// sameAsBefore tells of each target, and of policy, whether the branch has it
// as before a commit came.
func (b *Bot) sameAsBefore(ctx context.Context, w *watched, f store.Bypass, now *plan.Sources) (func(target string) bool, error) {
	unknown := func(string) bool { return false }
	before, err := w.before(ctx, f.SHA, f.Lost)
	if errors.Is(err, git.ErrNoRevision) {
		return unknown, nil
	}
	if err != nil {
		return nil, err
	}
	files, err := w.repo.ChangedFiles(ctx, before, w.tip)
	if errors.Is(err, git.ErrNoRevision) {
		return unknown, nil
	}
	if err != nil {
		return nil, err
	}
	then, err := b.sources(ctx, w, before)
	if err != nil {
		return nil, err
	}
	return func(target string) bool {
		if target == config.RepoFile {
			return !slices.ContainsFunc(files, policyFile)
		}
		return then.Same(now, target)
	}, nil
}

// reportBypasses keeps the branch's issue in step with what is open: there is
// one while anything is, and it is closed with the last of it. A repository
// without issues, or without our permission for them, has the audit trail.
func (b *Bot) reportBypasses(ctx context.Context, w *watched, open []store.Bypass) error {
	issues, err := b.forge.Issues(ctx, w.op.Ref())
	if unwelcome(err) {
		b.log.WarnContext(ctx, "cannot report on the branch as an issue", "repository", w.op.Name, "branch", w.name, "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	v := report.Bypasses{Key: fmt.Sprintf("branch/%d/%s", w.op.ID, w.name), Branch: w.name}
	for _, f := range open {
		v.Commits = append(v.Commits, report.BypassCommit{
			SHA: f.SHA, Subject: f.Subject, By: f.By.Login, Found: f.Found, Lost: f.Lost, Targets: f.Targets, Files: f.Files,
		})
	}
	body, err := v.Body(b.forge.Limits().Comment)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(issues, func(i forge.Issue) bool { return strings.HasPrefix(i.Body, report.Marker(v.Key, 1)) })
	switch {
	case i < 0 && len(open) == 0:
		return nil
	case i < 0:
		issue, err := b.forge.CreateIssue(ctx, w.op.Ref(), v.Title(), body)
		if err != nil {
			return err
		}
		return b.noteIssue(ctx, w, open, issue.Number)
	case issues[i].Body != body:
		_, err = b.forge.UpdateIssue(ctx, w.op.Ref(), issues[i].Number, forge.IssueEdit{Body: &body, Close: len(open) == 0})
	}
	return errors.Join(err, b.noteIssue(ctx, w, open, issues[i].Number))
}

// unwelcome reports that a repository has no issues for us.
func unwelcome(err error) bool {
	return err != nil && (forge.CodeOf(err) == forge.NotFound || forge.CodeOf(err) == forge.Forbidden)
}

func (b *Bot) noteIssue(ctx context.Context, w *watched, open []store.Bypass, issue int) error {
	for _, f := range open {
		if f.Issue == issue {
			continue
		}
		if err := ended(b.store.SetBypassIssue(ctx, w.op.ID, w.name, f.SHA, issue)); err != nil {
			return err
		}
	}
	return nil
}
