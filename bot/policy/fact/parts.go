package fact

import (
	"cmp"
	"slices"

	"lockkeeper/forge"
)

// Role is a way to contribute to a pull.
type Role string

// The roles.
const (
	Opener    Role = "opener"
	Author    Role = "author"
	Committer Role = "committer"
	CoAuthor  Role = "coauthor"
	Pusher    Role = "pusher"
	Suggester Role = "suggester"
)

// Roles are all there are, in the order in which one is named as the reason.
var Roles = []Role{Opener, Author, Committer, CoAuthor, Suggester, Pusher}

// Part is one way in which an account took part in the changes. One without a
// Role is one that no separation of duties excuses.
type Part struct {
	Role Role
	What string // "author of 1234567"
}

// Parts lists, by account id, how each account took part.
func (f Facts) Parts() map[int64][]Part {
	out := map[int64][]Part{}
	add := func(u forge.User, r Role, what string) {
		if u.ID != 0 {
			out[u.ID] = append(out[u.ID], Part{r, what})
		}
	}
	if f.AskedBy != nil {
		add(*f.AskedBy, "", "asked for it")
	}
	for _, b := range f.Bypass {
		add(b.By, "", "brought "+Short(b.SHA)+" past the gate")
	}
	add(f.Pull.Author, Opener, "opened it")
	for _, c := range f.Commits {
		if c.Merge {
			continue
		}
		add(c.Author, Author, "author of "+Short(c.SHA))
		add(c.Committer, Committer, "committer of "+Short(c.SHA))
		for _, u := range c.CoAuthors {
			if c.Suggested {
				add(u, Suggester, "suggested "+Short(c.SHA))
			} else {
				add(u, CoAuthor, "co-author of "+Short(c.SHA))
			}
		}
	}
	for _, u := range f.Pushers {
		add(u, Pusher, "pushed to it")
	}
	for _, parts := range out {
		slices.SortFunc(parts, func(a, b Part) int {
			return cmp.Or(cmp.Compare(slices.Index(Roles, a.Role), slices.Index(Roles, b.Role)), cmp.Compare(a.What, b.What))
		})
	}
	return out
}

// Environments are those that the changes concern, sorted.
func (f Facts) Environments() []string {
	var out []string
	for _, c := range f.Changes {
		out = append(append(out, c.Environment), c.Also...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Short is how people read a commit.
func Short(sha string) string {
	if len(sha) > 7 {
		return sha[:7]
	}
	return sha
}
