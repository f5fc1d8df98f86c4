package gitea

import (
	"cmp"
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	sdk "code.gitea.io/sdk/gitea"

	"lockkeeper/forge"
)

// feeds are the activities of repositories as far as they were read: entries never
// change, so that only new ones are asked for. Zero value ready.
type feeds struct {
	mu    sync.Mutex
	known map[int64]*feed
}

// of is the feed of a repository.
func (fs *feeds) of(id int64) *feed {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.known == nil {
		fs.known = map[int64]*feed{}
	}
	if fs.known[id] == nil {
		fs.known[id] = &feed{turn: make(chan struct{}, 1)}
	}
	return fs.known[id]
}

// feed is what happened in one repository, from now back to some time.
type feed struct {
	turn  chan struct{} // held by the one reader at a time
	seen  map[int64]bool
	moves []*move   // newest first
	next  int       // page to read to get further back
	whole bool      // nothing is further back
	begun bool      // the creation of the repository was seen
	since time.Time // when its reading began
}

// move is one entry of a feed that is about where a branch points. A branch that
// is made has two: that it is there, without where, and then what is on it.
type move struct {
	id            int64
	branch        string
	made, gone    bool
	before, after string // "" where the feed does not tell
	by            forge.User
	at            time.Time
	kind          forge.PushKind // once found out
}

// maxPages bounds how far back a feed is read.
const maxPages = 40

// read brings the feed up to now, and back until enough says so or nothing is
// further back.
func (fd *feed) read(ctx context.Context, f *Forge, ref forge.RepoRef, enough func() bool) error {
	if fd.seen == nil || len(fd.seen) > 2*maxPages*perPage { // what is old is not asked for again
		*fd = feed{turn: fd.turn, seen: map[int64]bool{}, since: f.cfg.Now()}
	}
	for n := 1; ; n++ {
		fresh, all, err := fd.page(ctx, f, ref, n)
		if err != nil {
			return err
		}
		if fresh < all || all == 0 || n >= maxPages {
			fd.next = max(fd.next, n+1)
			fd.whole = fd.whole || all == 0
			break
		}
		if fd.next = max(fd.next, n+1); enough() {
			break
		}
	}
	for !fd.whole && fd.next <= maxPages && !enough() {
		_, all, err := fd.page(ctx, f, ref, fd.next)
		if err != nil {
			return err
		}
		fd.next++
		fd.whole = all == 0
	}
	return nil
}

// page takes in one page, newest first; fresh is how many entries were new.
func (fd *feed) page(ctx context.Context, f *Forge, ref forge.RepoRef, n int) (fresh, all int, err error) {
	var list []*sdk.Activity
	if _, err := f.get(ctx, at(ref, "/activities/feeds"), pageQuery(n), &list); err != nil {
		return 0, 0, err
	}
	for _, a := range list {
		if fd.seen[a.ID] {
			continue
		}
		fd.seen[a.ID] = true
		fresh++
		fd.begun = fd.begun || a.OpType == "create_repo"
		if m := toMove(a); m != nil {
			fd.moves = append(fd.moves, m)
		}
	}
	slices.SortFunc(fd.moves, func(a, b *move) int { return cmp.Compare(b.id, a.id) })
	return fresh, len(list), nil
}

var comparedRE = regexp.MustCompile(`/compare/([0-9a-f]{40})\.\.\.[0-9a-f]{40}$`)

// toMove reads an entry about a branch, nil for any other.
func toMove(a *sdk.Activity) *move {
	branch, ok := strings.CutPrefix(a.RefName, "refs/heads/")
	if !ok || a.OpType != "commit_repo" && a.OpType != "delete_branch" {
		return nil
	}
	m := &move{id: a.ID, branch: branch, by: toUser(a.ActUser), at: a.Created, gone: a.OpType == "delete_branch"}
	if m.gone {
		return m
	}
	if m.made = a.Content == ""; m.made {
		return m
	}
	var c struct {
		HeadCommit struct{ Sha1 string }
		CompareURL string
	}
	if err := json.Unmarshal([]byte(a.Content), &c); err != nil {
		return m // without where, which no chain goes through
	}
	m.after = c.HeadCommit.Sha1
	if s := comparedRE.FindStringSubmatch(c.CompareURL); s != nil {
		m.before = s[1]
	}
	return m
}

// of are the moves of a branch, oldest first.
func (fd *feed) of(branch string) []*move {
	var out []*move
	for _, m := range slices.Backward(fd.moves) {
		if m.branch == branch {
			out = append(out, m)
		}
	}
	return out
}

// line makes pushes of a branch's moves, oldest first, each beginning where the
// one before ended. What comes before a place where they do not is left out:
// something is missing there, such as the pushes of people who hide what they do.
func line(moves []*move) []*step {
	var out []*step
	made := false
	for _, m := range moves {
		last := ""
		if len(out) > 0 {
			last = out[len(out)-1].After
		}
		s := &step{move: m, BranchPush: forge.BranchPush{Before: m.before, After: m.after, By: m.by, At: m.at}}
		switch {
		case m.made:
			made = true
			continue
		case m.gone:
			s.Kind, s.Before, s.After = forge.BranchDeletion, last, ""
		case made:
			s.Kind, s.Before = forge.BranchCreation, ""
			if last != "" {
				out = nil
			}
		case m.before == "" || m.after == "":
			out = nil
			continue
		case last != m.before:
			out = nil
		}
		made = false
		out = append(out, s)
	}
	return out
}

// step is a push with the entry that told of it.
type step struct {
	*move
	forge.BranchPush
}

// kindOf finds out how a push moved its branch.
func (f *Forge) kindOf(ctx context.Context, ref forge.RepoRef, s *step) (forge.PushKind, error) {
	if s.Kind != "" {
		return s.Kind, nil
	}
	if s.kind != "" {
		return s.kind, nil
	}
	p, err := f.mergedAs(ctx, ref, s.After)
	if err != nil {
		return "", err
	}
	if p != nil {
		s.kind = forge.PullMerge
		return s.kind, nil
	}
	kept, err := f.holds(ctx, ref, s.After, s.Before)
	if c := code(err); c == forge.NotFound || c == forge.Invalid {
		kept, err = false, nil // thrown away since
	}
	if err != nil {
		return "", err
	}
	if s.kind = forge.ForcePush; kept {
		s.kind = forge.PlainPush
	}
	return s.kind, nil
}

// mergedAs is the pull whose merge made a commit, nil if none did.
func (f *Forge) mergedAs(ctx context.Context, ref forge.RepoRef, sha string) (*forge.Pull, error) {
	var p sdk.PullRequest
	_, err := f.get(ctx, at(ref, "/commits/%s/pull", sha), nil, &p)
	if code(err) == forge.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out, err := f.whole(ref, &p)
	if err != nil || !out.Merged || out.MergeSHA != sha {
		return nil, err
	}
	return &out, nil
}

// unreadable tells a feed that is not for us from one that cannot be read now.
func unreadable(err error) bool {
	c := code(err)
	return c == forge.Forbidden || c == forge.NotFound
}

// history is the last line of pushes of a branch, oldest first, and whether it
// reaches back to where the branch was made or the repository, or to before since.
// It is read anew a few times until it ends at tip: Gitea writes an entry moments
// after the push.
func (f *Forge) history(ctx context.Context, ref forge.RepoRef, branch, tip string, since time.Time) (steps []*step, whole bool, err error) {
	fd := f.feeds.of(ref.ID)
	select {
	case fd.turn <- struct{}{}:
		defer func() { <-fd.turn }()
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	}
	reaches := func() bool {
		moves := fd.of(branch)
		return slices.ContainsFunc(moves, func(m *move) bool { return m.made }) ||
			len(moves) > 0 && moves[0].at.Before(since)
	}
	for try := range 4 {
		if try > 0 {
			if err := pause(ctx, 250*time.Millisecond); err != nil {
				return nil, false, err
			}
		}
		if err := fd.read(ctx, f, ref, reaches); err != nil {
			return nil, false, err
		}
		steps = line(fd.of(branch))
		if len(steps) > 0 && steps[len(steps)-1].After == tip {
			break
		}
	}
	if len(steps) == 0 || steps[len(steps)-1].After != tip {
		fd.doubt(f.cfg.Now())
		return nil, false, nil
	}
	first := steps[0]
	whole = first.Kind == forge.BranchCreation || first.At.Before(since) || fd.whole && fd.begun && first.move == fd.of(branch)[0]
	if !whole {
		fd.doubt(f.cfg.Now())
	}
	return steps, whole, nil
}

// doubt has the feed read from its beginning again after a while: maybe an entry
// was missed between two pages, or is hidden no longer.
func (fd *feed) doubt(now time.Time) {
	if now.Sub(fd.since) >= fresh {
		*fd = feed{turn: fd.turn}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// pushes are the pushes of steps at or after since, newest first.
func (f *Forge) pushes(ctx context.Context, ref forge.RepoRef, steps []*step, since time.Time) ([]forge.BranchPush, error) {
	var out []forge.BranchPush
	for _, s := range slices.Backward(steps) {
		if s.At.Before(since) {
			break
		}
		kind, err := f.kindOf(ctx, ref, s)
		if err != nil {
			return nil, err
		}
		p := s.BranchPush
		p.Kind = kind
		out = append(out, p)
	}
	return out, nil
}
