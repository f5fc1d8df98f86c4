package github

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"

	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge"
	"lockkeeper/forge/github/internal/sdk"
)

// names are what repositories are called now. Callers know a repository by its
// ID and by a name that may be old: GitHub wants the name in nearly every
// address. Zero value ready.
type names struct {
	mu    sync.Mutex
	known map[int64]forge.RepoRef // with an empty Name: to be read anew
}

// now is the reference with its present name; ok is false where it has to be
// read first.
func (n *names) now(ref forge.RepoRef) (_ forge.RepoRef, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ref.ID == 0 {
		return ref, true
	}
	is, known := n.known[ref.ID]
	if !known {
		n.keep(ref)
		return ref, true
	}
	if is.Name == "" {
		return ref, false
	}
	return is, true
}

// keep is called with the lock held.
func (n *names) keep(ref forge.RepoRef) {
	if n.known == nil {
		n.known = map[int64]forge.RepoRef{}
	}
	n.known[ref.ID] = ref
}

func (n *names) learn(ref forge.RepoRef) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.keep(ref)
}

// lose has the name of a repository read anew before its next use: it was found
// to lead elsewhere.
func (n *names) lose(ref forge.RepoRef) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, is := range n.known {
		if id == ref.ID || strings.EqualFold(is.String(), ref.String()) {
			n.known[id] = forge.RepoRef{ID: id}
		}
	}
}

// following notices by GitHub's redirects that a repository has another name.
type following struct {
	next  http.RoundTripper
	api   string // path of the REST root, with a slash at its end
	names *names
}

func (f following) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := f.next.RoundTrip(req)
	if err != nil || resp.StatusCode/100 != 3 || resp.StatusCode == http.StatusNotModified {
		return resp, err
	}
	if path, ok := strings.CutPrefix(req.URL.Path, f.api+"repos/"); ok {
		if parts := strings.SplitN(path, "/", 3); len(parts) > 1 {
			f.names.lose(forge.RepoRef{Owner: parts[0], Name: parts[1]})
		}
	}
	return resp, nil
}

// Repo reads a repository by its ID, or by name when ref has no ID. From then on
// calls for it use the name that it has now.
func (f *Forge) Repo(ctx context.Context, ref forge.RepoRef) (forge.Repo, error) {
	op := fmt.Sprintf("read repository %s (id %d)", ref, ref.ID)
	r, err := f.read(ctx, ref)
	if err == nil && f.creds.left(ref, r.GetOwner().GetID()) {
		// Transferred: a public repository can still be read with the token of an
		// installation that lost it, and nothing else be done.
		f.names.learn(forge.RepoRef{ID: r.GetID(), Owner: r.GetOwner().GetLogin(), Name: r.GetName()})
		r, err = f.read(ctx, ref)
	}
	if err != nil {
		err = sdk.Fail(op, err)
		if code := forge.CodeOf(err); code == forge.NotFound || code == forge.Forbidden {
			// Maybe it was transferred, or the App was installed anew: next time the
			// installation is looked up again.
			f.creds.forget(ref)
		}
		return forge.Repo{}, err
	}
	f.learnOwner(r.GetOwner())
	out := forge.Repo{
		RepoRef:       forge.RepoRef{ID: r.GetID(), Owner: r.GetOwner().GetLogin(), Name: r.GetName()},
		DefaultBranch: r.GetDefaultBranch(),
		CloneURL:      r.GetCloneURL(),
		WebURL:        r.GetHTMLURL(),
		Archived:      r.GetArchived(),
	}
	f.names.learn(out.RepoRef)
	return out, nil
}

func (f *Forge) read(ctx context.Context, ref forge.RepoRef) (*gh.Repository, error) {
	if now, ok := f.names.now(ref); ok {
		ref = now
	}
	c, err := f.creds.client(ctx, ref)
	if err != nil {
		return nil, err
	}
	if ref.ID != 0 {
		r, _, err := c.Repositories.GetByID(ctx, ref.ID)
		return r, err
	}
	if err := checkName(ref); err != nil {
		return nil, err
	}
	r, _, err := c.Repositories.Get(ctx, ref.Owner, ref.Name)
	return r, err
}

// repo returns a client for calls under /repos/OWNER/NAME, and that name as it is
// now.
func (f *Forge) repo(ctx context.Context, ref forge.RepoRef) (*gh.Client, forge.RepoRef, error) {
	now, ok := f.names.now(ref)
	if !ok {
		r, err := f.Repo(ctx, ref)
		if err != nil {
			return nil, ref, err
		}
		now = r.RepoRef
	}
	if err := checkName(now); err != nil {
		return nil, now, err
	}
	c, err := f.creds.client(ctx, now)
	return c, now, err
}

var nameRE = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// checkName keeps a name from reaching into another path: go-github puts names
// into URLs as they are.
func checkName(ref forge.RepoRef) error {
	for _, s := range []string{ref.Owner, ref.Name} {
		if !nameRE.MatchString(s) || s == "." || s == ".." {
			return &forge.Error{Code: forge.Invalid, Unsent: true,
				Message: fmt.Sprintf("%q is not the name of a repository or owner", s)}
		}
	}
	return nil
}
