package bypass

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/config"
	"lockkeeper/bot/names"
	"lockkeeper/bot/plan"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/policy/owners"
	"lockkeeper/bot/store"
	"lockkeeper/forge"
	"lockkeeper/forge/git"
)

// notice brings the branch here and notes what came to it since the last time:
// commits that no merged pull of the branch explains are stored and recorded.
// What a branch has when it is first seen came before lockkeeper.
func (w *Watcher) notice(ctx context.Context, op config.Repository, branch string) (*watched, error) {
	w.noticing.Lock()
	defer w.noticing.Unlock()
	at, err := w.fetchBranch(ctx, op, branch)
	if err != nil {
		return nil, err
	}
	now := store.Branch{RepoID: op.ID, Name: branch, SHA: at.tip}
	last, err := w.Store.Branch(ctx, op.ID, branch)
	if errors.Is(err, store.ErrNotFound) {
		return at, w.Store.SetBranch(ctx, now, "", nil)
	}
	if err != nil {
		return nil, err
	}
	if last.SHA == at.tip {
		return at, nil
	}
	found, err := w.came(ctx, at, last)
	if err != nil {
		return nil, fmt.Errorf("look at what came to %s: %w", branch, err)
	}
	// Recorded first: a crash in between records it twice rather than never.
	for _, f := range found {
		if err := w.record(ctx, at, f, "found", foundReason(f)); err != nil {
			return nil, err
		}
	}
	found = slices.DeleteFunc(found, func(f store.Bypass) bool { return len(f.Targets) == 0 })
	return at, w.Store.SetBranch(ctx, now, last.SHA, found)
}

func (w *Watcher) fetchBranch(ctx context.Context, op config.Repository, branch string) (*watched, error) {
	repo, err := w.Repository(ctx, op)
	if err != nil {
		return nil, err
	}
	auth, err := w.Forge.GitAuth(ctx, op.Ref())
	if err != nil {
		return nil, err
	}
	mirror := w.Mirrors.Mirror(ctx, strconv.FormatInt(op.ID, 10))
	shas, err := mirror.Fetch(ctx, repo.CloneURL, auth, "refs/heads/"+branch)
	if err != nil {
		return nil, err
	}
	return &watched{op: op, name: branch, tip: shas[0], repo: mirror}, nil
}

// came lists what came past the gate since the branch was last looked at, with
// no targets where it touched none.
func (w *Watcher) came(ctx context.Context, at *watched, last store.Branch) ([]store.Bypass, error) {
	from, rewritten, err := at.fork(ctx, last.SHA)
	if err != nil {
		return nil, err
	}
	line := []git.Commit{}
	if from != "" && from != at.tip {
		if line, err = at.repo.FirstParents(ctx, from, at.tip); err != nil {
			return nil, err
		}
	}
	if len(line) == 0 { // set back, or to a history that shares nothing
		tip, err := at.repo.ReadCommit(ctx, at.tip)
		if err != nil {
			return nil, err
		}
		line = append(line, tip)
	}
	unexplained, err := w.unexplained(ctx, at, line)
	if err != nil {
		return nil, err
	}
	if rewritten && !slices.Contains(unexplained, len(line)-1) {
		unexplained = append(unexplained, len(line)-1)
	}
	if len(unexplained) == 0 {
		return nil, nil
	}
	pushes, err := w.pushes(ctx, at, last.Looked)
	if err != nil {
		return nil, err
	}
	var found []store.Bypass
	for _, i := range unexplained {
		f := store.Bypass{SHA: line[i].SHA, Kind: policy.DirectPush, Subject: line[i].Subject(), Since: last.Looked,
			By: Pusher(shas(line), i, pushes)}
		if rewritten && i == len(line)-1 {
			f.Lost = last.SHA
		}
		found = append(found, f)
	}
	return found, w.touched(ctx, at, last.SHA, found)
}

// fork finds where the branch left what it was: there, unless it was rewritten,
// and then where both histories part; "" if nowhere.
func (at *watched) fork(ctx context.Context, old string) (from string, rewritten bool, err error) {
	grown, err := at.repo.IsAncestor(ctx, old, at.tip)
	if errors.Is(err, git.ErrNoRevision) {
		return "", true, nil // thrown away, and the mirror with it
	}
	if err != nil || grown {
		return old, false, err
	}
	from, err = at.repo.MergeBase(ctx, old, at.tip)
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
func (w *Watcher) unexplained(ctx context.Context, at *watched, line []git.Commit) ([]int, error) {
	steps := make([]Step, len(line))
	for i, c := range line {
		pulls, err := w.Forge.CommitPulls(ctx, at.op.Ref(), c.SHA)
		if err != nil {
			return nil, err
		}
		steps[i] = Step{SHA: c.SHA, Pulls: pulls}
	}
	var out []int
	for i, number := range Explained(at.op.ID, at.name, steps) {
		if number == 0 {
			out = append(out, i)
			continue
		}
		if err := w.meet(ctx, names.PullKey{Repo: at.op.ID, Number: number}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// meet has a pull looked at that was merged before the bot ever saw it: its
// webhooks were lost, and nothing else would tell of it.
func (w *Watcher) meet(ctx context.Context, key names.PullKey) error {
	_, version, err := w.Store.LoadPull(ctx, key.Repo, key.Number)
	if err != nil && !errors.Is(err, store.ErrNotFound) || version != 0 {
		return err
	}
	return w.Store.Want(ctx, key.String())
}

// pushes are what moved the branch since it was last looked at; nil where the
// forge does not tell.
func (w *Watcher) pushes(ctx context.Context, at *watched, since time.Time) ([]forge.BranchPush, error) {
	pushes, ok, err := w.Forge.BranchPushes(ctx, at.op.Ref(), at.name, since.Add(-clockSkew))
	if err != nil || !ok {
		return nil, err
	}
	return pushes, nil
}

// touched works out which targets, and whether policy, each commit changed: by
// what rendering the targets read, before and now.
func (w *Watcher) touched(ctx context.Context, at *watched, old string, found []store.Bypass) error {
	now, err := w.sources(ctx, at, at.tip)
	if err != nil {
		return err
	}
	before, err := w.sources(ctx, at, old)
	if err != nil && !errors.Is(err, git.ErrNoRevision) {
		return err
	}
	for i := range found {
		f := &found[i]
		files, err := at.changes(ctx, f.SHA, f.Lost)
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

func (w *Watcher) sources(ctx context.Context, at *watched, commit string) (*plan.Sources, error) {
	sha, err := at.repo.TreeOf(ctx, commit)
	if err != nil {
		return nil, err
	}
	tree, err := at.repo.Tree(ctx, sha)
	if err != nil {
		return nil, err
	}
	return w.Planner.Sources(ctx, tree, &at.op)
}

// changes lists the files that a commit changed: beside its first parent, or
// beside what it threw away.
func (at *watched) changes(ctx context.Context, sha, lost string) ([]string, error) {
	before, err := at.before(ctx, sha, lost)
	if err != nil {
		return nil, err
	}
	return at.repo.ChangedFiles(ctx, before, sha)
}

// before is the commit that the branch was at before a commit came.
func (at *watched) before(ctx context.Context, sha, lost string) (string, error) {
	if lost != "" {
		return lost, nil
	}
	c, err := at.repo.ReadCommit(ctx, sha)
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

// record writes to the audit trail what was found, or how it was settled.
func (w *Watcher) record(ctx context.Context, at *watched, f store.Bypass, outcome, reason string) error {
	facts, err := json.Marshal(struct {
		Branch string   `json:"branch"`
		Kind   string   `json:"kind"`
		Files  []string `json:"files,omitempty"`
	}{at.name, f.Kind, f.Files})
	if err != nil {
		return fmt.Errorf("record commit %s of %s: %w", f.SHA, at.name, err)
	}
	return w.Record(ctx, f.By, audit.Record{
		Type: audit.Bypass, Repo: at.op.Ref(), Pull: f.Number, Head: f.SHA, Base: f.Lost,
		Target: strings.Join(f.Targets, ","), Outcome: outcome, Reason: reason, Facts: facts,
	})
}
