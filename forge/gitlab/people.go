package gitlab

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	gl "gitlab.com/gitlab-org/api/client-go"

	"lockkeeper/forge"
	"lockkeeper/forge/gitlab/internal/api"
	"lockkeeper/forge/internal/wire"
)

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
	err = f.api.Get(ctx, fmt.Sprintf("projects/%d/members/all/%d", id, u.ID), nil, &m)
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
	err := f.api.Get(ctx, fmt.Sprintf("projects/%d", project), nil, &p)
	if code := forge.CodeOf(err); code == forge.NotFound || err == nil && p.Visibility != gl.PublicVisibility {
		return forge.None, nil
	}
	if err != nil {
		return forge.None, err
	}
	var who gl.User
	err = f.api.Get(ctx, fmt.Sprintf("users/%d", u.ID), nil, &who)
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
	if err := f.api.Get(ctx, "groups/"+gl.PathEscape(path), url.Values{"with_projects": {"false"}}, &top); err != nil {
		return nil, err
	}
	below, err := api.List[group](ctx, f.api, fmt.Sprintf("groups/%d/descendant_groups", top.ID), nil)
	if err != nil {
		return nil, err
	}
	var out []forge.User
	seen := map[int64]bool{}
	for _, g := range append([]group{top}, below...) {
		some, err := api.List[member](ctx, f.api, fmt.Sprintf("groups/%d/members", g.ID), nil)
		if err != nil {
			return nil, err
		}
		for _, m := range some {
			if !seen[m.ID] && m.AccessLevel >= guest && m.stands(f.wire.Now()) {
				seen[m.ID] = true
				out = append(out, api.Someone(m.ID, m.Username))
			}
		}
	}
	return out, f.api.Typed(ctx, api.Pointers(out)...)
}
