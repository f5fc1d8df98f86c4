package gitlab

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	gl "gitlab.com/gitlab-org/api/client-go"

	"lockkeeper/forge"
	"lockkeeper/forge/internal/wire"
)

// kinds are the types of accounts that are known: REST shows with most things
// who did them, and not whether that is a program. An account's type never
// changes. Zero value ready.
type kinds struct {
	mu    sync.Mutex
	known map[int64]forge.AccountType
}

// mostKinds bounds what is remembered; beyond it everything is asked anew.
const mostKinds = 100_000

func (k *kinds) learn(id int64, t forge.AccountType) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.known == nil || len(k.known) >= mostKinds {
		k.known = map[int64]forge.AccountType{}
	}
	k.known[id] = t
}

func (k *kinds) get(id int64) (forge.AccountType, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t, ok := k.known[id]
	return t, ok
}

// someone is an account as REST names it, its type yet to be found out.
func someone(id int64, login string) forge.User {
	if id == 0 {
		return forge.User{Type: forge.Deleted}
	}
	return forge.User{ID: id, Login: login}
}

func basic(u *gl.BasicUser) forge.User {
	if u == nil {
		return forge.User{Type: forge.Deleted}
	}
	return someone(u.ID, u.Username)
}

// typed fills in the types of accounts: GitLab makes a bot for each project or
// group access token, and service accounts are programs too.
func (f *Forge) typed(ctx context.Context, users ...*forge.User) error {
	missing := map[int64]bool{}
	for _, u := range users {
		if u.ID != 0 && u.Type == "" {
			if _, ok := f.kinds.get(u.ID); !ok {
				missing[u.ID] = true
			}
		}
	}
	ids := make([]int64, 0, len(missing))
	for id := range missing {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for some := range slices.Chunk(ids, perPage) {
		if err := f.learnKinds(ctx, some); err != nil {
			return err
		}
	}
	for _, u := range users {
		if u.ID != 0 && u.Type == "" {
			u.Type, _ = f.kinds.get(u.ID)
		}
	}
	return nil
}

const kindsQuery = `query($ids:[ID!]){users(ids:$ids,first:100){nodes{id username bot}}}`

// person is an account as GraphQL shows it.
type person struct {
	ID       string `json:"id"` // gid://gitlab/User/7
	Username string `json:"username"`
	Bot      bool   `json:"bot"`
}

func (p person) user() forge.User {
	id, err := strconv.ParseInt(p.ID[strings.LastIndexByte(p.ID, '/')+1:], 10, 64)
	if err != nil || id <= 0 {
		return forge.User{Type: forge.Deleted}
	}
	return forge.User{ID: id, Login: p.Username, Type: kindOf(p.Username, p.Bot)}
}

// kindOf tells programs from people, and GitLab's ghost, which has what deleted
// accounts left behind, from both.
//
// Source: https://docs.gitlab.com/user/profile/account/delete_account/#associated-records
func kindOf(login string, bot bool) forge.AccountType {
	switch {
	case login == "ghost":
		return forge.Deleted
	case bot:
		return forge.Bot
	}
	return forge.Person
}

// learnKinds asks for the types of up to 100 accounts.
func (f *Forge) learnKinds(ctx context.Context, ids []int64) error {
	var global []string
	for _, id := range ids {
		global = append(global, gid("User", id))
	}
	var a struct {
		Users connection[person] `json:"users"`
	}
	if err := f.query(ctx, kindsQuery, map[string]any{"ids": global}, &a); err != nil {
		return err
	}
	for _, p := range a.Users.Nodes {
		u := p.user()
		f.kinds.learn(u.ID, u.Type)
	}
	for _, id := range ids {
		if _, ok := f.kinds.get(id); ok {
			continue
		}
		// Not shown there, such as one that is blocked.
		var u gl.User
		err := f.get(ctx, fmt.Sprintf("users/%d", id), nil, &u)
		if code := forge.CodeOf(err); err != nil && code != forge.NotFound && code != forge.Forbidden {
			return err
		}
		kind := forge.Deleted
		if err == nil && u.ID == id {
			kind = kindOf(u.Username, u.Bot)
		}
		f.kinds.learn(id, kind)
	}
	return nil
}

// member is a membership of a project or group.
type member struct {
	ID          int64  `json:"id"`
	Username    string `json:"username"`
	State       string `json:"state"` // of the account
	Membership  string `json:"membership_state"`
	AccessLevel int    `json:"access_level"`
	ExpiresAt   string `json:"expires_at"` // a day, at whose begin it ends
}

// stands reports whether the membership counts now: neither the account is
// blocked, nor the membership over or waiting for somebody's consent.
func (m member) stands(now time.Time) bool {
	over := m.ExpiresAt != "" && m.ExpiresAt <= now.UTC().Format(time.DateOnly)
	return m.State == "active" && (m.Membership == "" || m.Membership == "active") && !over
}

// GitLab's access levels that mean something to us; what lies between is the
// lower one (Planner, Reporter, roles to come).
//
// Source: https://docs.gitlab.com/api/members/#roles
const (
	guest      = 10
	developer  = 30
	maintainer = 40
)

// Permission of an account: its strongest role, be it the project's, inherited
// from a group or through an invited group. Who is no member may read a public
// project; in an internal one GitLab does not tell who is an external user, so
// that None is the answer there.
func (f *Forge) Permission(ctx context.Context, ref forge.RepoRef, u forge.User) (forge.Permission, error) {
	op := fmt.Sprintf("read the permission of %s in %s", u.Login, ref)
	if u.ID <= 0 || !loginRE.MatchString(u.Login) {
		return forge.None, nil
	}
	id, err := f.id(ctx, ref)
	if err != nil {
		return forge.None, wire.Fail(op, err)
	}
	var m member
	err = f.get(ctx, fmt.Sprintf("projects/%d/members/all/%d", id, u.ID), nil, &m)
	if forge.CodeOf(err) == forge.NotFound {
		p, err := f.stranger(ctx, id, u)
		if err != nil {
			return forge.None, wire.Fail(op, err)
		}
		return p, nil
	}
	if err != nil {
		return forge.None, wire.Fail(op, err)
	}
	if m.ID != u.ID || !strings.EqualFold(m.Username, u.Login) || !m.stands(f.wire.Now()) {
		return forge.None, nil
	}
	switch {
	case m.AccessLevel >= maintainer:
		return forge.Admin, nil
	case m.AccessLevel >= developer:
		return forge.Write, nil
	case m.AccessLevel >= guest:
		return forge.Read, nil
	}
	return forge.None, nil
}

// stranger is what an account may do that is no member.
func (f *Forge) stranger(ctx context.Context, project int64, u forge.User) (forge.Permission, error) {
	var p gl.Project
	err := f.get(ctx, fmt.Sprintf("projects/%d", project), nil, &p)
	if code := forge.CodeOf(err); code == forge.NotFound || err == nil && p.Visibility != gl.PublicVisibility {
		return forge.None, nil
	}
	if err != nil {
		return forge.None, err
	}
	var who gl.User
	err = f.get(ctx, fmt.Sprintf("users/%d", u.ID), nil, &who)
	if code := forge.CodeOf(err); code == forge.NotFound {
		return forge.None, nil
	}
	if err != nil {
		return forge.None, err
	}
	if who.ID != u.ID || !strings.EqualFold(who.Username, u.Login) || who.State != "active" {
		return forge.None, nil
	}
	return forge.Read, nil
}

var loginRE = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// TeamMembers lists a group's own members and those of the groups below it. The
// members of the groups above it are left out, though they may do the same there:
// else the owners of the whole would count for every part. So are groups that
// were invited.
func (f *Forge) TeamMembers(ctx context.Context, _ forge.RepoRef, t forge.Team) ([]forge.User, error) {
	op := "list members of team " + t.String()
	if !pathRE.MatchString(t.String()) {
		return nil, wire.Fail(op, &forge.Error{Code: forge.Invalid, Unsent: true, Message: fmt.Sprintf("%q is not the path of a group", t)})
	}
	out, err := f.members(ctx, t.String())
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	return out, nil
}

func (f *Forge) members(ctx context.Context, path string) ([]forge.User, error) {
	type group struct {
		ID int64 `json:"id"`
	}
	var top group
	if err := f.get(ctx, "groups/"+gl.PathEscape(path), url.Values{"with_projects": {"false"}}, &top); err != nil {
		return nil, err
	}
	below, err := list[group](ctx, f, fmt.Sprintf("groups/%d/descendant_groups", top.ID), nil)
	if err != nil {
		return nil, err
	}
	var out []forge.User
	seen := map[int64]bool{}
	for _, g := range append([]group{top}, below...) {
		some, err := list[member](ctx, f, fmt.Sprintf("groups/%d/members", g.ID), nil)
		if err != nil {
			return nil, err
		}
		for _, m := range some {
			if !seen[m.ID] && m.AccessLevel >= guest && m.stands(f.wire.Now()) {
				seen[m.ID] = true
				out = append(out, someone(m.ID, m.Username))
			}
		}
	}
	return out, f.typed(ctx, pointers(out)...)
}

func pointers(users []forge.User) []*forge.User {
	out := make([]*forge.User, len(users))
	for i := range users {
		out[i] = &users[i]
	}
	return out
}
