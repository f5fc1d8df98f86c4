package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/config"
	"lockkeeper/bot/plan"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/policy/owners"
	"lockkeeper/bot/reconcile"
	"lockkeeper/bot/store"
	"lockkeeper/forge"
	"lockkeeper/forge/git"
)

const (
	// lateForge is how long a forge may take to tell whose a commit is after it
	// shows it on the branch, and who pushed it.
	lateForge = time.Hour
	// askAgain is when a forge that has not told yet is asked again.
	askAgain = time.Minute
	// clockSkew is by how much the forge's clock may be behind ours.
	clockSkew = 5 * time.Minute
)

// watched is a base branch with its objects here.
type watched struct {
	op   config.Repository
	name string
	tip  string
	repo *git.Mirror
}

// watch looks at what came to a base branch, and reports what came past the
// gate. It runs once at a time for a branch, under the key of baseKey.
func (b *Bot) watch(ctx context.Context, op config.Repository, branch string) error {
	w, err := b.notice(ctx, op, branch)
	if err != nil {
		return err
	}
	open, err := b.store.Bypasses(ctx, op.ID, branch)
	if err != nil {
		return err
	}
	if open, err = b.recheck(ctx, w, open); err != nil {
		return err
	}
	return b.reportBypasses(ctx, w, open)
}

func baseKey(repo int64, branch string) string { return fmt.Sprintf("base/%d/%s", repo, branch) }

// notice brings the branch here and notes what came to it since the last time:
// commits that no merged pull of the branch explains are stored and recorded.
// What a branch has when it is first seen came before lockkeeper.
func (b *Bot) notice(ctx context.Context, op config.Repository, branch string) (*watched, error) {
	b.noticing.Lock()
	defer b.noticing.Unlock()
	w, err := b.fetchBranch(ctx, op, branch)
	if err != nil {
		return nil, err
	}
	now := store.Branch{RepoID: op.ID, Name: branch, SHA: w.tip}
	last, err := b.store.Branch(ctx, op.ID, branch)
	if errors.Is(err, store.ErrNotFound) {
		return w, b.store.SetBranch(ctx, now, "", nil)
	}
	if err != nil {
		return nil, err
	}
	if last.SHA == w.tip {
		return w, nil
	}
	found, err := b.came(ctx, w, last)
	if err != nil {
		return nil, fmt.Errorf("look at what came to %s: %w", branch, err)
	}
	// Recorded first: a crash in between records it twice rather than never.
	for _, f := range found {
		if err := b.recordBypass(ctx, w, f, "found", foundReason(f)); err != nil {
			return nil, err
		}
	}
	found = slices.DeleteFunc(found, func(f store.Bypass) bool { return len(f.Targets) == 0 })
	return w, b.store.SetBranch(ctx, now, last.SHA, found)
}

func (b *Bot) fetchBranch(ctx context.Context, op config.Repository, branch string) (*watched, error) {
	repo, err := b.repository(ctx, op)
	if err != nil {
		return nil, err
	}
	auth, err := b.forge.GitAuth(ctx, op.Ref())
	if err != nil {
		return nil, err
	}
	mirror := b.mirrors.Mirror(strconv.FormatInt(op.ID, 10))
	shas, err := mirror.Fetch(ctx, repo.CloneURL, auth, "refs/heads/"+branch)
	if err != nil {
		return nil, err
	}
	return &watched{op: op, name: branch, tip: shas[0], repo: mirror}, nil
}

// came lists what came past the gate since the branch was last looked at, with
// no targets where it touched none.
func (b *Bot) came(ctx context.Context, w *watched, last store.Branch) ([]store.Bypass, error) {
	from, rewritten, err := w.fork(ctx, last.SHA)
	if err != nil {
		return nil, err
	}
	line := []git.Commit{}
	if from != "" && from != w.tip {
		if line, err = w.repo.FirstParents(ctx, from, w.tip); err != nil {
			return nil, err
		}
	}
	if len(line) == 0 { // set back, or to a history that shares nothing
		tip, err := w.repo.ReadCommit(ctx, w.tip)
		if err != nil {
			return nil, err
		}
		line = append(line, tip)
	}
	unexplained, err := b.unexplained(ctx, w, line)
	if err != nil {
		return nil, err
	}
	if rewritten && !slices.Contains(unexplained, len(line)-1) {
		unexplained = append(unexplained, len(line)-1)
	}
	if len(unexplained) == 0 {
		return nil, nil
	}
	pushes, err := b.pushes(ctx, w, last.Looked)
	if err != nil {
		return nil, err
	}
	var found []store.Bypass
	for _, i := range unexplained {
		f := store.Bypass{SHA: line[i].SHA, Kind: policy.DirectPush, Subject: line[i].Subject(), Since: last.Looked,
			By: reconcile.Pusher(shas(line), i, pushes)}
		if rewritten && i == len(line)-1 {
			f.Lost = last.SHA
		}
		found = append(found, f)
	}
	return found, b.touched(ctx, w, last.SHA, found)
}

// fork finds where the branch left what it was: there, unless it was rewritten,
// and then where both histories part; "" if nowhere.
func (w *watched) fork(ctx context.Context, old string) (from string, rewritten bool, err error) {
	grown, err := w.repo.IsAncestor(ctx, old, w.tip)
	if errors.Is(err, git.ErrNoRevision) {
		return "", true, nil // thrown away, and the mirror with it
	}
	if err != nil || grown {
		return old, false, err
	}
	from, err = w.repo.MergeBase(ctx, old, w.tip)
	if errors.Is(err, git.ErrUnrelated) {
		return "", true, nil
	}
	return from, true, err
}

func shas(line []git.Commit) []string {
	out := make([]string, len(line))
	for i, c := range line {
		out[i] = c.SHA
	}
	return out
}

// unexplained lists the places in line of the commits of no pull.
func (b *Bot) unexplained(ctx context.Context, w *watched, line []git.Commit) ([]int, error) {
	steps := make([]reconcile.Step, len(line))
	for i, c := range line {
		pulls, err := b.forge.CommitPulls(ctx, w.op.Ref(), c.SHA)
		if err != nil {
			return nil, err
		}
		steps[i] = reconcile.Step{SHA: c.SHA, Pulls: pulls}
	}
	var out []int
	for i, number := range reconcile.Explained(w.op.ID, w.name, steps) {
		if number == 0 {
			out = append(out, i)
		}
	}
	return out, nil
}

// pushes are what moved the branch since it was last looked at; nil where the
// forge does not tell.
func (b *Bot) pushes(ctx context.Context, w *watched, since time.Time) ([]forge.BranchPush, error) {
	pushes, ok, err := b.forge.BranchPushes(ctx, w.op.Ref(), w.name, since.Add(-clockSkew))
	if err != nil || !ok {
		return nil, err
	}
	return pushes, nil
}

// touched works out which targets, and whether policy, each commit changed: by
// what rendering the targets read, before and now.
func (b *Bot) touched(ctx context.Context, w *watched, old string, found []store.Bypass) error {
	now, err := b.sources(ctx, w, w.tip)
	if err != nil {
		return err
	}
	before, err := b.sources(ctx, w, old)
	if err != nil && !errors.Is(err, git.ErrNoRevision) {
		return err
	}
	for i := range found {
		f := &found[i]
		files, err := w.changes(ctx, f.SHA, f.Lost)
		if errors.Is(err, git.ErrNoRevision) { // what was lost is not here: nobody knows
			f.Targets = append(now.Names(), config.RepoFile)
			continue
		}
		if err != nil {
			return err
		}
		for _, file := range files {
			targets := now.Touched(file)
			if before != nil {
				targets = append(targets, before.Touched(file)...)
			}
			if policyFile(file) {
				targets = append(targets, config.RepoFile)
			}
			if len(targets) > 0 {
				f.Files = append(f.Files, file)
				f.Targets = append(f.Targets, targets...)
			}
		}
		slices.Sort(f.Targets)
		f.Targets = slices.Compact(f.Targets)
	}
	return nil
}

// policyFile reports whether a file decides by which rules pulls are judged.
func policyFile(name string) bool { return name == config.RepoFile || owners.Is(name) }

func (b *Bot) sources(ctx context.Context, w *watched, commit string) (*plan.Sources, error) {
	tree, err := openTreeish(ctx, w.repo, commit)
	if err != nil {
		return nil, err
	}
	return b.planner.Sources(ctx, tree, &w.op)
}

// changes lists the files that a commit changed: beside its first parent, or
// beside what it threw away.
func (w *watched) changes(ctx context.Context, sha, lost string) ([]string, error) {
	before, err := w.before(ctx, sha, lost)
	if err != nil {
		return nil, err
	}
	return w.repo.ChangedFiles(ctx, before, sha)
}

// before is the commit that the branch was at before a commit came.
func (w *watched) before(ctx context.Context, sha, lost string) (string, error) {
	if lost != "" {
		return lost, nil
	}
	c, err := w.repo.ReadCommit(ctx, sha)
	if err != nil {
		return "", err
	}
	if len(c.Parents) == 0 {
		return "", fmt.Errorf("%w: what was before %s, which has no parent", git.ErrNoRevision, sha)
	}
	return c.Parents[0], nil
}

func foundReason(f store.Bypass) string {
	who := "nobody knows whom"
	if f.By.ID != 0 {
		who = "@" + f.By.Login
	}
	what := "pushed by " + who + " without a pull"
	if f.Lost != "" {
		what = "the branch was rewritten by " + who + ", who threw away " + f.Lost
	}
	if len(f.Targets) == 0 {
		return what + "; it touches no target, and no policy"
	}
	return what + "; it touches " + strings.Join(f.Targets, ", ")
}

// recordBypass writes to the audit trail what was found, or how it was settled.
func (b *Bot) recordBypass(ctx context.Context, w *watched, f store.Bypass, outcome, reason string) error {
	_, err := b.store.AppendRecord(context.WithoutCancel(ctx), audit.Record{
		Type: audit.Bypass, Time: b.now(), Tool: b.version, Repo: w.op.Ref(), Pull: f.Number, Actor: b.actor(f.By),
		Head: f.SHA, Base: f.Lost, Target: strings.Join(f.Targets, ","), Outcome: outcome, Reason: reason,
		Facts: facts(struct {
			Branch string   `json:"branch"`
			Kind   string   `json:"kind"`
			Files  []string `json:"files,omitempty"`
		}{w.name, f.Kind, f.Files}),
	})
	return err
}
