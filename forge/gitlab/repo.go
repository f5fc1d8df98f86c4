package gitlab

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	gl "gitlab.com/gitlab-org/api/client-go"

	"lockkeeper/forge"
	"lockkeeper/forge/internal/wire"
)

// Repo reads a project by its ID, or by name when ref has no ID.
func (f *Forge) Repo(ctx context.Context, ref forge.RepoRef) (forge.Repo, error) {
	p, err := f.project(ctx, ref)
	if err != nil {
		return forge.Repo{}, wire.Fail(fmt.Sprintf("read repository %s (id %d)", ref, ref.ID), err)
	}
	owner, name := split(p.PathWithNamespace)
	return forge.Repo{
		RepoRef:       forge.RepoRef{ID: p.ID, Owner: owner, Name: name},
		DefaultBranch: p.DefaultBranch,
		CloneURL:      f.cloneURL(p),
		WebURL:        p.WebURL,
		// What is to be deleted can be read until then, and not written to.
		Archived: p.Archived || p.MarkedForDeletionOn != nil,
	}, nil
}

// cloneURL is below the configured address, whatever address GitLab gives itself:
// Git gets our token, which goes to no other host, and never unencrypted where
// the API is encrypted (threat 8).
func (f *Forge) cloneURL(p *gl.Project) string { return f.root + "/" + p.PathWithNamespace + ".git" }

// pathRE is the path of a project or group, however deep: a number alone would be
// taken for an ID. No part begins with a dot or hyphen.
//
// Source: https://docs.gitlab.com/user/reserved_names/
var pathRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+$`)

// project reads a project. GitLab follows old names, which may have been given
// to another one since; an ID never is.
func (f *Forge) project(ctx context.Context, ref forge.RepoRef) (*gl.Project, error) {
	which := fmt.Sprint(ref.ID)
	if ref.ID == 0 {
		if !pathRE.MatchString(ref.String()) {
			return nil, &forge.Error{Code: forge.Invalid, Unsent: true, Message: fmt.Sprintf("%q is not the name of a repository", ref)}
		}
		which = gl.PathEscape(ref.String())
	}
	var p gl.Project
	if err := f.api.Get(ctx, "projects/"+which, nil, &p); err != nil {
		return nil, err
	}
	if p.ID == 0 || ref.ID != 0 && p.ID != ref.ID || !strings.Contains(p.PathWithNamespace, "/") {
		return nil, &forge.Error{Code: forge.Unavailable, Message: fmt.Sprintf("the forge answered with project %d (%q)", p.ID, p.PathWithNamespace)}
	}
	return &p, nil
}

// id is a project's number, read by name where the caller has none.
func (f *Forge) id(ctx context.Context, ref forge.RepoRef) (int64, error) {
	if ref.ID > 0 {
		return ref.ID, nil
	}
	p, err := f.project(ctx, ref)
	if err != nil {
		return 0, err
	}
	return p.ID, nil
}

// at is the reference with its number.
func (f *Forge) at(ctx context.Context, ref forge.RepoRef) (forge.RepoRef, error) {
	id, err := f.id(ctx, ref)
	ref.ID = id
	return ref, err
}

// split takes a path apart: groups nest.
func split(path string) (owner, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:i], path[i+1:]
}
