// Package rollback opens the pull that undoes a merged one: a commit of the
// bot's own, made through the forge, on a branch of its own. That pull is
// planned, judged and applied like any other.
package rollback

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"lockkeeper/bot/bypass"
	"lockkeeper/bot/config"
	"lockkeeper/bot/report"
	"lockkeeper/forge"
	"lockkeeper/forge/git"
)

// branches are where rollbacks live, by the number of the pull that is undone.
const branches = "lockkeeper/rollback/"

// Branch is the head branch of the rollback of a pull.
func Branch(number int) string { return branches + strconv.Itoa(number) }

// Of tells which pull a branch is the rollback of. That a pull's head branch is
// called so proves nothing: anybody who may push can make such a branch.
func Of(branch string) (number int, ok bool) {
	rest, found := strings.CutPrefix(branch, branches)
	number, err := strconv.Atoi(rest)
	return number, found && err == nil && Branch(number) == branch && number > 0
}

// Maker makes rollback pulls. All fields are required. It is safe for
// concurrent use, but one pull's rollbacks must be asked for one after another,
// as the work queue does.
type Maker struct {
	Forge   forge.Forge
	Mirrors *git.Cache
	// Repository reads a repository from the forge.
	Repository func(context.Context, config.Repository) (forge.Repo, error)
}

// Request is one /rollback.
type Request struct {
	Repo config.Repository
	// Pull is the pull on which it was asked for, as Forge.Pull reads it.
	Pull forge.Pull
	// ToSHA (full, or its first seven digits at least) or ToPull say to which
	// state its base branch goes back: that of the commit, or the one right after
	// that pull was merged. Without both the pull alone is undone, and what came
	// later stays.
	ToSHA  string
	ToPull int
	By     forge.User
	// Command is what they typed.
	Command string
}

// Outcome is what became of a request: a pull, or Refused.
type Outcome struct {
	// Pull is open. Found tells that it was open before: a second rollback of a
	// pull is its first, wherever it is to go back to.
	Pull  forge.Pull
	Found bool
	// Refused says in a sentence why there is none. Reasons are more of it, a line
	// each: the files in conflict, and how to do it by hand.
	Refused string
	Reasons []string
}

func refuse(format string, args ...any) *Outcome {
	return &Outcome{Refused: fmt.Sprintf(format, args...)}
}

// job is a request on its way.
type job struct {
	Request
	repo   *git.Mirror
	limits forge.Limits
	self   forge.User
	url    string
	auth   string
	tip    string // of the base branch
	from   string // the commit before what is undone
	to     string // the last one that is
	// pulls are those that the rollback's branch ever had, newest first.
	pulls []forge.Pull
}

// Open opens the pull, or finds it. After an error it may be asked again: what
// was done before is found.
func (m *Maker) Open(ctx context.Context, r Request) (*Outcome, error) {
	if !r.Pull.Merged {
		return refuse("%s is not merged: %s has nothing of it to undo", m.Forge.Limits().PullName(r.Pull.Number), r.Pull.Base.Name), nil
	}
	j, err := m.begin(ctx, r)
	if err != nil {
		return nil, err
	}
	if out := j.open(); out != nil {
		return out, nil
	}
	out, err := m.span(ctx, j)
	if out != nil || err != nil {
		return out, err
	}
	edits, tree, out, err := j.undo(ctx)
	if out != nil || err != nil {
		return out, err
	}
	if out, err := m.commit(ctx, j, edits, tree); out != nil || err != nil {
		return out, err
	}
	return m.pull(ctx, j, edits)
}

// begin brings the base branch here, and reads what there is of the rollback.
func (m *Maker) begin(ctx context.Context, r Request) (*job, error) {
	j := &job{Request: r, limits: m.Forge.Limits(), repo: m.Mirrors.Mirror(ctx, strconv.FormatInt(r.Repo.ID, 10))}
	var err error
	if j.self, err = m.Forge.Self(ctx); err != nil {
		return nil, err
	}
	if j.pulls, err = m.Forge.PullsOf(ctx, r.Repo.Ref(), Branch(r.Pull.Number)); err != nil {
		return nil, err
	}
	repo, err := m.Repository(ctx, r.Repo)
	if err != nil {
		return nil, err
	}
	j.url = repo.CloneURL
	if j.auth, err = m.Forge.GitAuth(ctx, r.Repo.Ref()); err != nil {
		return nil, err
	}
	shas, err := j.repo.Fetch(ctx, j.url, j.auth, "refs/heads/"+r.Pull.Base.Name)
	if err != nil {
		return nil, err
	}
	j.tip = shas[0]
	return j, nil
}

// open is the answer where a pull of the branch is open already, nil otherwise.
func (j *job) open() *Outcome {
	for _, p := range j.pulls {
		switch {
		case p.State != forge.Open || p.Base.Name != j.Pull.Base.Name:
		case p.Author.ID == j.self.ID:
			return &Outcome{Pull: p, Found: true}
		default:
			return refuse("%s, which is not lockkeeper's, uses the branch `%s`; close it, delete the branch, and ask again", j.limits.PullName(p.Number), p.Head.Name)
		}
	}
	return nil
}

// pull opens the pull.
func (m *Maker) pull(ctx context.Context, j *job, edits map[string]forge.FileEdit) (*Outcome, error) {
	v, err := m.view(ctx, j, edits)
	if err != nil {
		return nil, err
	}
	body, err := v.Body()
	if err != nil {
		return nil, err
	}
	p, err := m.Forge.CreatePull(ctx, j.Repo.Ref(), forge.NewPull{Title: v.PullTitle(), Body: body, Head: Branch(j.Pull.Number), Base: j.Pull.Base.Name})
	if forge.CodeOf(err) != forge.Conflict {
		return &Outcome{Pull: p}, err
	}
	// Opened a moment ago, by a call whose answer was lost.
	var listErr error
	if j.pulls, listErr = m.Forge.PullsOf(ctx, j.Repo.Ref(), Branch(j.Pull.Number)); listErr != nil {
		return nil, listErr
	}
	if out := j.open(); out != nil {
		return out, nil
	}
	return nil, err
}

// mostLooked is how many commits the forge is asked about, for the pulls that
// they came by: one call each.
const mostLooked = 30

// view is what the pull says of itself.
func (m *Maker) view(ctx context.Context, j *job, edits map[string]forge.FileEdit) (report.Rollback, error) {
	v := report.Rollback{
		Key: fmt.Sprintf("rollback/%d/%d", j.Repo.ID, j.Pull.Number), Number: j.Pull.Number, Title: j.Pull.Title, By: j.By.Login,
		Command: j.Command, Branch: j.Pull.Base.Name, ToPull: j.ToPull, Files: sortedKeys(edits), MergeMode: j.Repo.Apply == config.ApplyOnMerge, Limits: j.limits,
	}
	if j.back() {
		v.To = j.from
	}
	undone, err := j.repo.FirstParents(ctx, j.from, j.to)
	if err != nil {
		return v, err
	}
	kept, err := j.repo.FirstParents(ctx, j.to, j.tip)
	if err != nil {
		return v, err
	}
	v.Kept = len(kept)
	numbers, err := m.numbers(ctx, j, undone)
	if err != nil {
		return v, err
	}
	for i, c := range slices.Backward(undone) {
		v.Undone = append(v.Undone, report.RollbackCommit{SHA: c.SHA, Subject: c.Subject(), Pull: numbers[i]})
	}
	return v, nil
}

// numbers are the pulls that commits of the base branch came by, 0 for none.
func (m *Maker) numbers(ctx context.Context, j *job, line []git.Commit) ([]int, error) {
	out := make([]int, len(line))
	if !j.back() {
		for i := range out {
			out[i] = j.Pull.Number
		}
		return out, nil
	}
	first := max(0, len(line)-mostLooked)
	var steps []bypass.Step
	for _, c := range line[first:] {
		pulls, err := m.Forge.CommitPulls(ctx, j.Repo.Ref(), c.SHA)
		if err != nil {
			return nil, err
		}
		steps = append(steps, bypass.Step{SHA: c.SHA, Pulls: pulls})
	}
	copy(out[first:], bypass.Explained(j.Repo.ID, j.Pull.Base.Name, steps))
	return out, nil
}

// back tells that the branch goes back to an earlier state, rather than that
// one pull is taken out of it.
func (j *job) back() bool { return j.ToSHA != "" || j.ToPull != 0 }

func sortedKeys(edits map[string]forge.FileEdit) []string {
	names := make([]string, 0, len(edits))
	for name := range edits {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
