package lab

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"lockkeeper/forge/forgetest/gitlab/internal/folk"
)

// The nouns of package folk, by the names that everybody uses.
type (
	User  = folk.User
	Token = folk.Token
	Group = folk.Group
)

// The access levels.
const (
	Guest      = folk.Guest
	Reporter   = folk.Reporter
	Developer  = folk.Developer
	Maintainer = folk.Maintainer
	Owner      = folk.Owner
)

// UserByEmail is whose address it is, nil for nobody.
func (s *Lab) UserByEmail(email string) *User {
	for _, u := range s.Users {
		if strings.EqualFold(u.Noreply(), email) || slices.ContainsFunc(u.Emails, func(e string) bool { return strings.EqualFold(e, email) }) {
			return u
		}
	}
	return nil
}

// User finds an account by name, in any case.
func (s *Lab) User(login string) *User {
	for _, u := range s.Users {
		if strings.EqualFold(u.Login, login) {
			return u
		}
	}
	return nil
}

// UserByID finds an account by number.
func (s *Lab) UserByID(id int64) *User {
	for _, u := range s.Users {
		if u.ID == id {
			return u
		}
	}
	return nil
}

// MustUser is User for names that the caller has registered.
func (s *Lab) MustUser(login string) *User {
	if u := s.User(login); u != nil {
		return u
	}
	panic(fmt.Sprintf("gitlab look-alike: nobody is called %q; register them first", login))
}

// IssueToken makes a token that looks like GitLab's.
func (s *Lab) IssueToken(u *User, name string, scopes ...string) *Token {
	t := &Token{ID: s.NextID(), Name: name, User: u, Scopes: scopes, Created: s.Clock()}
	t.Value = fmt.Sprintf("glpat-%020d", t.ID*2654435761)
	s.Tokens[t.Value] = t
	return t
}

// Group finds a group by its full path.
func (s *Lab) Group(full string) *Group {
	for _, g := range s.Groups {
		if strings.EqualFold(g.Full(), full) {
			return g
		}
	}
	return nil
}

// GroupByID finds a group by number.
func (s *Lab) GroupByID(id int64) *Group {
	for _, g := range s.Groups {
		if g.ID == id {
			return g
		}
	}
	return nil
}

// Subgroups are the groups below, the whole tree or only the next floor.
func (s *Lab) Subgroups(of *Group, all bool) []*Group {
	var list []*Group
	for _, g := range s.Groups {
		if g.Parent == of || all && g.Under(of) {
			list = append(list, g)
		}
	}
	slices.SortFunc(list, func(a, b *Group) int { return cmp.Compare(a.Full(), b.Full()) })
	return list
}

// Member is somebody with an access level.
type Member struct {
	User    *User
	Level   int
	Created time.Time
}

// GroupMembers lists a group's own members, or with those of its parents.
func (s *Lab) GroupMembers(g *Group, all bool) []Member {
	return s.members(g.Created, func(u *User) int {
		if all {
			return g.Level(u.ID)
		}
		return g.Members[u.ID]
	})
}

// ProjectMembers lists a project's own members, or all that count.
func (s *Lab) ProjectMembers(p *Project, all bool) []Member {
	return s.members(p.Created, func(u *User) int {
		if all {
			return s.Level(u, p)
		}
		return p.Members[u.ID]
	})
}

func (s *Lab) members(since time.Time, level func(*User) int) []Member {
	var list []Member
	for _, u := range s.Users {
		if l := level(u); l > 0 {
			list = append(list, Member{u, l, since})
		}
	}
	slices.SortFunc(list, func(a, b Member) int { return cmp.Compare(a.User.ID, b.User.ID) })
	return list
}

// Level is what somebody is in a project: by themselves, by its groups, by groups
// that it was shared with.
func (s *Lab) Level(u *User, p *Project) int {
	if u == nil {
		return 0
	}
	best := max(p.Members[u.ID], p.Group.Level(u.ID))
	if p.Home == u {
		best = Owner
	}
	for g, most := range p.Shared {
		best = max(best, min(most, g.Level(u.ID)))
	}
	return best
}

// May reports whether somebody has at least the access level in the project.
func (s *Lab) May(u *User, p *Project, level int) bool {
	return u != nil && u.State == "active" && (u.Admin || s.Level(u, p) >= level)
}

// Sees reports whether somebody knows of the project.
func (s *Lab) Sees(u *User, p *Project) bool {
	return p.Visibility == "public" || s.May(u, p, Guest)
}

// Reads reports whether somebody reads its code and merge requests: guests of a
// private project do not.
func (s *Lab) Reads(u *User, p *Project) bool {
	return p.Visibility == "public" || s.May(u, p, Reporter)
}

// SeesGroup reports whether somebody knows of the group: members do, of it or of
// something in it.
func (s *Lab) SeesGroup(u *User, g *Group) bool {
	if u == nil {
		return false
	}
	if u.Admin || g.Level(u.ID) > 0 {
		return true
	}
	return slices.ContainsFunc(s.Projects, func(p *Project) bool {
		return (p.Group == g || p.Group != nil && p.Group.Under(g)) && (s.Sees(u, p) || p.Shared[g] > 0)
	}) || slices.ContainsFunc(s.Subgroups(g, true), func(sub *Group) bool { return sub.Members[u.ID] > 0 })
}

// Register makes an account whose addresses are confirmed.
func (s *Lab) Register(login string, emails []string) *User {
	u := &User{ID: s.NextID(), Login: login, Name: strings.ToUpper(login[:1]) + login[1:], Emails: emails, State: "active", Created: s.Tick()}
	s.Users = append(s.Users, u)
	return u
}

// MustGroup is Group for what the caller has made.
func (s *Lab) MustGroup(full string) *Group {
	if g := s.Group(full); g != nil {
		return g
	}
	panic(fmt.Sprintf("gitlab look-alike: there is no group %q", full))
}
