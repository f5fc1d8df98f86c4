// Package folk has those who use GitLab: accounts, their tokens, and groups.
package folk

import (
	"fmt"
	"slices"
	"time"

	"lockkeeper/forge/forgetest/gitlab/internal/post"
)

// The access levels that GitLab calls by name.
const (
	Guest      = 10
	Reporter   = 20
	Developer  = 30
	Maintainer = 40
	Owner      = 50
)

// User is an account: of a person, or of a program.
type User struct {
	ID          int64
	Login, Name string
	Emails      []string // confirmed
	State       string   // active, blocked
	Bot         bool     // of an access token, or a service account
	Admin       bool
	Created     time.Time
}

// Noreply is the address that GitLab offers to those who hide theirs.
func (u *User) Noreply() string {
	return fmt.Sprintf("%d-%s@users.noreply.gitlab.test", u.ID, u.Login)
}

// Email is what the account commits with.
func (u *User) Email() string {
	if len(u.Emails) > 0 {
		return u.Emails[0]
	}
	return u.Noreply()
}

// Token is an access token.
type Token struct {
	ID      int64
	Name    string
	Value   string
	User    *User
	Scopes  []string
	Revoked bool
	Expires time.Time // zero: never
	Created time.Time
}

// Active reports whether the token still opens anything.
func (t *Token) Active(now time.Time) bool {
	return !t.Revoked && (t.Expires.IsZero() || now.Before(t.Expires)) && t.User.State == "active"
}

// Can reports whether the token has the scope, or one that contains it.
func (t *Token) Can(scope string) bool {
	return slices.Contains(t.Scopes, "api") || slices.Contains(t.Scopes, scope)
}

// Group is a group or a subgroup.
type Group struct {
	ID      int64
	Path    string // the last part
	Parent  *Group
	Members map[int64]int // access level by user
	Hooks   []*post.Hook
	Created time.Time
}

// Full is the path with the parents'.
func (g *Group) Full() string {
	if g.Parent == nil {
		return g.Path
	}
	return g.Parent.Full() + "/" + g.Path
}

// Under reports whether it is below another group, at any depth.
func (g *Group) Under(of *Group) bool {
	for up := g.Parent; up != nil; up = up.Parent {
		if up == of {
			return true
		}
	}
	return false
}

// Level is what somebody is in a group, its parents' members included.
func (g *Group) Level(id int64) int {
	best := 0
	for ; g != nil; g = g.Parent {
		best = max(best, g.Members[id])
	}
	return best
}
