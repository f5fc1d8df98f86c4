package history

import (
	"context"
	"errors"
	"slices"
	"sort"
	"sync"

	"lockkeeper/bot/reconcile"
	"lockkeeper/forge"
	"lockkeeper/forge/git"
)

// Merges finds out which commits are merges that add nothing, each once. The
// zero value is ready; it is safe for concurrent use.
type Merges struct {
	known sync.Map // commit SHA to whether it is a merge that adds nothing
}

// Find finds, for s, the merges of the base branch that add nothing, and the
// earlier heads that only such merges lie after. t must have been found. A merge
// of another branch is no such thing, however clean: whoever makes it decides
// what comes into the pull, and the commits that it brings may name anybody as
// their author.
func (m *Merges) Find(ctx context.Context, t *Trees, s *reconcile.State) error {
	s.CleanMerges, s.EquivalentHeads = map[string]bool{}, nil
	base := s.BaseSHA
	if s.Kind == reconcile.PlanMerged { // by now the base contains the pull itself
		base = t.BaseSHA
	}
	first := map[string]string{}
	for _, c := range s.Commits {
		if len(c.Parents) != 2 {
			continue
		}
		first[c.SHA] = c.Parents[0]
		clean, err := m.clean(ctx, t.Repo, c.SHA)
		if err != nil {
			return err
		}
		if clean {
			clean, err = t.Repo.IsAncestor(ctx, c.Parents[1], base)
			if err != nil && !errors.Is(err, git.ErrNoRevision) {
				return err
			}
		}
		s.CleanMerges[c.SHA] = clean && err == nil
	}
	for at := s.Pull.Head.SHA; s.CleanMerges[at]; {
		at = first[at]
		s.EquivalentHeads = append(s.EquivalentHeads, at)
	}
	return nil
}

// clean asks Git once: a commit never changes.
func (m *Merges) clean(ctx context.Context, repo *git.Mirror, sha string) (bool, error) {
	if known, ok := m.known.Load(sha); ok {
		return known.(bool), nil
	}
	clean, err := repo.IsCleanMerge(ctx, sha)
	if errors.Is(err, git.ErrNoRevision) {
		return false, nil // the forge knows more than was fetched: not proven
	}
	if err != nil {
		return false, err
	}
	m.known.Store(sha, clean)
	return clean, nil
}

// Pushers are who pushed to the head, but for who only updated it from the base
// branch with a merge that adds nothing: one of s.CleanMerges, which Find finds.
func Pushers(s *reconcile.State, pushes []forge.BranchPush) []forge.User {
	parents := map[string][]string{}
	for _, c := range s.Commits {
		parents[c.SHA] = c.Parents
	}
	var out []forge.User
	for _, p := range pushes {
		if s.CleanMerges[p.After] && parents[p.After][0] == p.Before && p.Kind == forge.PlainPush {
			continue
		}
		if !slices.ContainsFunc(out, func(u forge.User) bool { return u.ID == p.By.ID }) {
			out = append(out, p.By)
		}
	}
	return out
}

// Brought finds the commit of a branch's first-parent line that brought a commit
// there: itself, unless somebody pushed a merge of it. It is the commit itself,
// too, where the branch does not have it.
func Brought(ctx context.Context, repo *git.Mirror, sha, tip string) (string, error) {
	there, err := repo.IsAncestor(ctx, sha, tip)
	if err != nil || !there {
		return sha, err
	}
	line, err := repo.FirstParents(ctx, sha, tip)
	if err != nil || len(line) == 0 || len(line[0].Parents) > 0 && line[0].Parents[0] == sha {
		return sha, err
	}
	at := sort.Search(len(line)-1, func(i int) bool {
		has, e := repo.IsAncestor(ctx, sha, line[i].SHA)
		err = errors.Join(err, e)
		return has
	})
	return line[at].SHA, err
}
