package gitea

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	sdk "code.gitea.io/sdk/gitea"

	"lockkeeper/forge"
	"lockkeeper/forge/internal/wire"
)

// fresh is how long it is believed that a name leads to a repository, and that
// somebody belongs to an organisation or not.
const fresh = time.Minute

// names are what repositories are called now. Callers know a repository by its
// ID, while Gitea wants the name in nearly every address, and a name can be given
// up and taken by another repository (threat 26). Zero value ready.
type names struct {
	mu    sync.Mutex
	known map[int64]named
}

type named struct {
	forge.RepoRef
	until time.Time
}

func (n *names) now(id int64, at time.Time) (forge.RepoRef, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	is, ok := n.known[id]
	return is.RepoRef, ok && at.Before(is.until)
}

func (n *names) learn(ref forge.RepoRef, at time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil {
		n.known = map[int64]named{}
	}
	n.known[ref.ID] = named{ref, at.Add(fresh)}
}

// Repo reads a repository by its ID, or by name when ref has no ID.
func (f *Forge) Repo(ctx context.Context, ref forge.RepoRef) (forge.Repo, error) {
	r, err := f.read(ctx, ref)
	if err != nil {
		return forge.Repo{}, wire.Fail(fmt.Sprintf("read repository %s (id %d)", ref, ref.ID), err)
	}
	return r, nil
}

func (f *Forge) read(ctx context.Context, ref forge.RepoRef) (forge.Repo, error) {
	var r *sdk.Repository
	var err error
	if ref.ID != 0 {
		r, _, err = f.client(ctx).GetRepoByID(ref.ID)
	} else if err = checkName(ref); err == nil {
		r, _, err = f.client(ctx).GetRepo(ref.Owner, ref.Name)
	}
	if err != nil {
		return forge.Repo{}, err
	}
	if r.Owner == nil || r.ID == 0 {
		return forge.Repo{}, errors.New("the forge did not tell whose repository it is")
	}
	out := forge.Repo{
		RepoRef:       forge.RepoRef{ID: r.ID, Owner: r.Owner.UserName, Name: r.Name},
		DefaultBranch: r.DefaultBranch,
		WebURL:        r.HTMLURL,
		Archived:      r.Archived,
	}
	if err := checkName(out.RepoRef); err != nil {
		return forge.Repo{}, err
	}
	// Not what the server says: our credential is sent there (threat 8).
	out.CloneURL = fmt.Sprintf("%s/%s/%s.git", f.root, out.Owner, out.Name)
	f.names.learn(out.RepoRef, f.cfg.Now())
	return out, nil
}

// repo is a repository with the name that it has now.
func (f *Forge) repo(ctx context.Context, ref forge.RepoRef) (forge.RepoRef, error) {
	if now, ok := f.names.now(ref.ID, f.cfg.Now()); ok {
		return now, nil
	}
	r, err := f.read(ctx, ref)
	return r.RepoRef, err
}

// at is the path of a repository in the API.
func at(ref forge.RepoRef, rest string, args ...any) string {
	return "/repos/" + url.PathEscape(ref.Owner) + "/" + url.PathEscape(ref.Name) + fmt.Sprintf(rest, args...)
}

var nameRE = regexp.MustCompile(`^[\pL\pN._-]+$`)

// checkName keeps a name from reaching into another path.
func checkName(ref forge.RepoRef) error {
	for _, s := range []string{ref.Owner, ref.Name} {
		if !nameRE.MatchString(s) || s == "." || s == ".." {
			return invalid("%q is not the name of a repository or owner", s)
		}
	}
	return nil
}

// Permission of an account, by ID. Our account has to be an administrator of the
// repository to ask about others.
func (f *Forge) Permission(ctx context.Context, ref forge.RepoRef, u forge.User) (forge.Permission, error) {
	op := fmt.Sprintf("read the permission of %s in %s", u.Login, ref)
	if u.ID <= 0 || u.Login == "" {
		return forge.None, nil // nobody that could be asked for
	}
	// Its name is read anew: under one that it had a minute ago there may be
	// another repository, where somebody made themselves an administrator
	// (threat 26).
	now, err := f.read(ctx, ref)
	if err != nil {
		return forge.None, wire.Fail(op, err)
	}
	ref = now.RepoRef
	p, _, err := f.client(ctx).CollaboratorPermission(ref.Owner, ref.Name, u.Login)
	if code(err) == forge.NotFound {
		// The login is gone, or the repository: the one is an answer.
		if _, err := f.read(ctx, ref); err != nil {
			return forge.None, wire.Fail(op, err)
		}
		return forge.None, nil
	}
	if err != nil {
		return forge.None, wire.Fail(op, err)
	}
	if p == nil || p.User == nil || p.User.ID != u.ID {
		return forge.None, nil // somebody else has the login now (threat 26)
	}
	switch p.Permission {
	case sdk.AccessModeRead:
		return forge.Read, nil
	case sdk.AccessModeWrite:
		return forge.Write, nil
	case sdk.AccessModeAdmin, sdk.AccessModeOwner:
		return forge.Admin, nil
	}
	return forge.None, nil
}

// TeamMembers lists a team's members, our own account left out: it has to be in
// every team that it is to read, unless it owns the organisation. Gitea's teams
// have no child teams.
func (f *Forge) TeamMembers(ctx context.Context, _ forge.RepoRef, t forge.Team) ([]forge.User, error) {
	op := "list members of team " + t.String()
	me, err := f.Self(ctx)
	if err != nil {
		return nil, err
	}
	id, err := f.team(ctx, t)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	list, err := pages(func(n int) ([]*sdk.User, int, error) {
		return listed(f.client(ctx).ListTeamMembers(id, sdk.ListTeamMembersOptions{ListOptions: page(n)}))
	})
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	var out []forge.User
	for _, u := range list {
		if u.ID != me.ID {
			out = append(out, toUser(u))
		}
	}
	return out, nil
}

// team finds a team's number. Names of teams differ by more than case.
func (f *Forge) team(ctx context.Context, t forge.Team) (int64, error) {
	if !nameRE.MatchString(t.Org) {
		return 0, invalid("%q is not the name of an organisation", t.Org)
	}
	list, err := pages(func(n int) ([]*sdk.Team, int, error) {
		return listed(f.client(ctx).ListOrgTeams(t.Org, sdk.ListTeamsOptions{ListOptions: page(n)}))
	})
	if err != nil {
		return 0, err
	}
	for _, is := range list {
		if strings.EqualFold(is.Name, t.Slug) {
			return is.ID, nil
		}
	}
	return 0, &forge.Error{Code: forge.NotFound, Unsent: true, Message: fmt.Sprintf("the organisation %s has no team %s", t.Org, t.Slug)}
}

// members remembers for a while who belongs to which organisation. Zero value
// ready.
type members struct {
	mu    sync.Mutex
	known map[[2]string]membership
}

type membership struct {
	inside bool
	until  time.Time
}

// outside tells whether an account has access to a repository without belonging
// to the organisation that owns it. Who hides their membership from us, as we are
// no member, counts as outside.
func (f *Forge) outside(ctx context.Context, ref forge.RepoRef, u forge.User) (bool, error) {
	if u.ID <= 0 || strings.EqualFold(u.Login, ref.Owner) {
		return false, nil
	}
	key := [2]string{strings.ToLower(ref.Owner), strings.ToLower(u.Login)}
	now := f.cfg.Now()
	f.members.mu.Lock()
	is, ok := f.members.known[key]
	f.members.mu.Unlock()
	if ok && now.Before(is.until) {
		return !is.inside, nil
	}
	inside, err := f.inside(ctx, ref.Owner, u.Login)
	if err != nil {
		return false, err
	}
	f.members.mu.Lock()
	defer f.members.mu.Unlock()
	if f.members.known == nil || len(f.members.known) > 10_000 {
		f.members.known = map[[2]string]membership{}
	}
	f.members.known[key] = membership{inside, now.Add(fresh)}
	return !inside, nil
}

// inside tells whether somebody belongs to an organisation; nobody is outside
// where a person owns the repository.
func (f *Forge) inside(ctx context.Context, owner, login string) (bool, error) {
	in, _, err := f.client(ctx).CheckOrgMembership(owner, login)
	if code(err) != forge.NotFound {
		return in, err
	}
	org, err := f.organisation(ctx, owner)
	return err == nil && !org, err
}

// organisation tells an organisation from a person. An owner who is not shown to
// us at all counts as an organisation, which may be one that shows itself to its
// members only.
func (f *Forge) organisation(ctx context.Context, name string) (bool, error) {
	_, _, err := f.client(ctx).GetOrg(name)
	if code(err) != forge.NotFound {
		return err == nil, err
	}
	_, _, err = f.client(ctx).GetUserInfo(name)
	if code(err) == forge.NotFound {
		return true, nil
	}
	return false, err
}
