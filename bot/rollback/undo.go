package rollback

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"lockkeeper/bot/history"
	"lockkeeper/bot/names"
	"lockkeeper/forge"
	"lockkeeper/forge/git"
)

const (
	// mostFiles and mostBytes are what a rollback may change: one request to the
	// forge has to carry it.
	mostFiles = 1000
	mostBytes = 16 << 20
	// mostConflicts is how many files in conflict are named.
	mostConflicts = 20
)

// span finds what is to be undone.
func (m *Maker) span(ctx context.Context, j *job) (*Outcome, error) {
	base, merge := j.Pull.Base.Name, j.Pull.MergeSHA
	here, err := j.onLine(ctx, merge)
	if err != nil {
		return nil, err
	}
	if !here {
		return refuse("%s was rewritten: the merge %s of %s is no longer on it", base, names.Short(merge), j.called()), nil
	}
	if j.back() {
		return m.destination(ctx, j)
	}
	commits, err := m.Forge.Commits(ctx, j.Repo.Ref(), j.Pull)
	if err != nil {
		return nil, err
	}
	j.to = merge
	if j.from, err = history.BeforeMerge(ctx, j.repo, merge, commits); err != nil {
		return nil, err
	}
	if j.from == "" {
		return refuse("nothing was on %s before %s", base, j.called()), nil
	}
	return nil, nil
}

func (j *job) onLine(ctx context.Context, sha string) (bool, error) {
	line, err := j.repo.OnLine(ctx, j.tip, sha)
	return len(line) == 1 && line[0] == sha, err
}

// destination finds the commit that the branch goes back to.
func (m *Maker) destination(ctx context.Context, j *job) (*Outcome, error) {
	base, sha, name := j.Pull.Base.Name, strings.ToLower(j.ToSHA), "`"+j.ToSHA+"`"
	if j.ToPull != 0 {
		p, err := m.Forge.Pull(ctx, j.Repo.Ref(), j.ToPull)
		if forge.CodeOf(err) == forge.NotFound {
			return refuse("there is no pull %s", j.limits.PullName(j.ToPull)), nil
		}
		if err != nil {
			return nil, err
		}
		if name = j.limits.PullName(j.ToPull); !p.Merged || p.Base.Name != base {
			return refuse("%s was not merged into %s", name, base), nil
		}
		sha = p.MergeSHA
	}
	line, err := j.repo.OnLine(ctx, j.tip, sha)
	switch {
	case err != nil:
		return nil, err
	case len(line) == 0:
		return refuse("%s is not on %s itself: name a commit that the branch was at, or a pull that was merged into it", name, base), nil
	case len(line) > 1:
		return refuse("%s begins %d commits of %s; give more of it", name, len(line), base), nil
	}
	j.from, j.to = line[0], j.tip
	with, err := j.repo.IsAncestor(ctx, j.Pull.MergeSHA, j.from)
	if err != nil {
		return nil, err
	}
	if with {
		return refuse("%s was on %s at %s already; name something earlier", j.called(), base, name), nil
	}
	return nil, nil
}

// undo finds what the commit has to change, and which tree that gives.
func (j *job) undo(ctx context.Context) (map[string]forge.FileEdit, string, *Outcome, error) {
	tree, conflicts, err := j.repo.Revert(ctx, j.tip, j.from, j.to)
	switch {
	case err != nil:
		return nil, "", nil, err
	case len(conflicts) > 0:
		return nil, "", j.conflict(ctx, conflicts), nil
	}
	files, err := j.repo.ChangedFiles(ctx, j.tip, tree)
	switch {
	case err != nil:
		return nil, "", nil, err
	case len(files) == 0:
		return nil, "", j.nothing(), nil
	case len(files) > mostFiles:
		return nil, "", j.byHand(ctx, refuse("%d files would change, and lockkeeper commits no more than %d at once", len(files), mostFiles)), nil
	}
	edits, err := j.repo.Edits(ctx, j.tip, tree)
	if errors.Is(err, git.ErrSubmodule) || errors.Is(err, git.ErrTooLarge) {
		return nil, "", j.byHand(ctx, refuse("lockkeeper cannot commit this: %s", err)), nil
	}
	bytes := 0
	for _, e := range edits {
		bytes += len(e.Content)
	}
	if bytes > mostBytes {
		return nil, "", j.byHand(ctx, refuse("%d MiB would change, and lockkeeper commits no more than %d at once", bytes>>20, mostBytes>>20)), nil
	}
	return edits, tree, nil, err
}

func (j *job) conflict(ctx context.Context, conflicts []string) *Outcome {
	out := refuse("later changes on %s stand on what %s did, so that undoing it alone conflicts", j.Pull.Base.Name, j.called())
	for i, file := range conflicts {
		if i == mostConflicts {
			out.Reasons = append(out.Reasons, fmt.Sprintf("… and %d files more", len(conflicts)-i))
			break
		}
		out.Reasons = append(out.Reasons, "in conflict: `"+strings.ReplaceAll(file, "`", "'")+"`")
	}
	out.Reasons = append(out.Reasons, fmt.Sprintf("everything since can be undone with it: `/rollback to %s`", names.Short(j.from)))
	return j.byHand(ctx, out)
}

// nothing is the answer where the branch would not change.
func (j *job) nothing() *Outcome {
	for _, p := range j.pulls {
		if p.Merged && p.Base.Name == j.Pull.Base.Name {
			return refuse("there is nothing to undo: %s did", j.limits.PullName(p.Number))
		}
	}
	return refuse("there is nothing to undo: nothing of it is left on %s", j.Pull.Base.Name)
}

// byHand adds how a person does what lockkeeper cannot.
func (j *job) byHand(ctx context.Context, out *Outcome) *Outcome {
	base, branch := j.Pull.Base.Name, fmt.Sprintf("rollback-%d", j.Pull.Number)
	revert := fmt.Sprintf("%s..%s", j.from, j.to)
	if c, err := j.repo.ReadCommit(ctx, j.to); err == nil && len(c.Parents) > 1 {
		revert = "-m 1 " + j.to
	}
	then := fmt.Sprintf("then `git revert --no-edit %s`; where it stops, edit the files, `git add` them, and `git revert --continue`", revert)
	if j.back() {
		then = fmt.Sprintf("then `git read-tree -u --reset %s`, and `git commit -m \"Rollback to %s\"`", j.from, names.Short(j.from))
	}
	out.Reasons = append(out.Reasons,
		fmt.Sprintf("by hand: `git fetch origin`, and `git switch -c %s %s`", branch, quote("origin/"+base)),
		then,
		fmt.Sprintf("then `git push origin %s`, and open a pull of it into %s", branch, base))
	return out
}

// quote makes a branch's name one word to a shell.
func quote(s string) string {
	if !strings.ContainsAny(s, "'\"$`&;|<>()#!{}") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
