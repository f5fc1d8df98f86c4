package lab

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/gitlab/internal/post"
	"lockkeeper/forge/forgetest/gitlab/internal/refuse"
)

// Project is a repository with all that hangs on it.
type Project struct {
	ID            int64
	Path          string
	Group         *Group // or
	Home          *User  // whose personal project it is
	Visibility    string // private, public
	Archived      bool
	DefaultBranch string
	Members       map[int64]int
	Shared        map[*Group]int
	Forked        *Project
	Protected     map[string]*Protection
	Hooks         []*post.Hook
	// MergeMethod is merge, rebase_merge or ff; Squash is default_off,
	// default_on, always or never.
	MergeMethod, Squash string
	// PipelinesMustSucceed, Approvals and ResetOnPush are merge request settings.
	PipelinesMustSucceed bool
	Approvals            int
	ResetOnPush          bool

	Git       *bare.Repo
	Refs      map[string]string
	MRs       map[int]*MR
	Issues    map[int]*Issue
	Pipelines []*Pipeline
	Events    []*Event
	Created   time.Time
	Active    time.Time
	notes     map[int64]*Remark
	lastMR    int
	lastIssue int
}

// Protection are a branch's rules: who may push and who may merge, by the least
// access level; 0 is nobody.
type Protection struct {
	ID            int64
	Push, Merge   int
	AllowForce    bool
	CodeOwners    bool
	UnprotectedBy int
}

// Namespace is the path of the group or of the person that it belongs to.
func (p *Project) Namespace() string {
	if p.Group != nil {
		return p.Group.Full()
	}
	return p.Home.Login
}

// Full is the path with namespace.
func (p *Project) Full() string { return p.Namespace() + "/" + p.Path }

// Branch is the tip of a branch, "" without one.
func (p *Project) Branch(name string) string { return p.Refs["refs/heads/"+name] }

// Branches lists the branches by name.
func (p *Project) Branches() []string {
	var list []string
	for ref := range p.Refs {
		if name, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// Containing lists the branches that a commit is in, by name.
func (p *Project) Containing(ctx context.Context, sha string) []string {
	return slices.DeleteFunc(p.Branches(), func(b string) bool {
		return p.Branch(b) != sha && !p.Git.IsAncestor(ctx, sha, p.Branch(b))
	})
}

// Project finds a project by its number or its path with namespace.
func (s *Lab) Project(key string) *Project {
	id, err := strconv.ParseInt(key, 10, 64)
	for _, p := range s.Projects {
		if err == nil && p.ID == id || strings.EqualFold(p.Full(), key) {
			return p
		}
	}
	return nil
}

// MustProject is Project for what the caller has made.
func (s *Lab) MustProject(full string) *Project {
	if p := s.Project(full); p != nil {
		return p
	}
	panic(fmt.Sprintf("gitlab look-alike: there is no project %q", full))
}

// Blank is a project without a repository, which nobody finds yet.
func (s *Lab) Blank(path, visibility string) *Project {
	now := s.Tick()
	return &Project{
		ID: s.NextID(), Path: path, Visibility: visibility, DefaultBranch: "main", Members: map[int64]int{}, Shared: map[*Group]int{},
		Protected: map[string]*Protection{}, MergeMethod: "merge", Squash: "default_off", Refs: map[string]string{},
		MRs: map[int]*MR{}, Issues: map[int]*Issue{}, notes: map[int64]*Remark{}, Created: now, Active: now,
	}
}

// Fork copies a project to a person's own namespace.
func (s *Lab) Fork(ctx context.Context, p *Project, to *User) (*Project, error) {
	if s.Project(to.Login+"/"+p.Path) != nil {
		return nil, refuse.With(http.StatusConflict, []string{"Project namespace name has already been taken", "Name has already been taken", "Path has already been taken"})
	}
	f := s.Blank(p.Path, p.Visibility)
	f.Home, f.Forked, f.DefaultBranch = to, p, p.DefaultBranch
	var err error
	if f.Git, err = p.Git.Fork(ctx, s.GitDir(f), p.DefaultBranch); err != nil {
		return nil, err
	}
	if f.Refs, err = f.Git.Refs(ctx); err != nil {
		return nil, err
	}
	if err := f.Guard(); err != nil {
		return nil, err
	}
	s.Projects = append(s.Projects, f)
	return f, nil
}

// MayPush reports whether somebody may push to a branch.
func (s *Lab) MayPush(u *User, p *Project, branch string) bool {
	if rules := p.Protected[branch]; rules != nil {
		return rules.Push > 0 && s.May(u, p, rules.Push)
	}
	return s.May(u, p, Developer)
}

// MayMerge reports whether somebody may merge into a branch.
func (s *Lab) MayMerge(u *User, p *Project, branch string) bool {
	if rules := p.Protected[branch]; rules != nil {
		return rules.Merge > 0 && s.May(u, p, rules.Merge) || s.MayPush(u, p, branch)
	}
	return s.May(u, p, Developer)
}

// Guards are the refs of protected branches that a push by somebody must not
// touch (locked), or not rewrite or delete (kept).
func (s *Lab) Guards(u *User, p *Project) (locked, kept []string) {
	for branch, rules := range p.Protected {
		ref := "refs/heads/" + branch
		if !s.MayPush(u, p, branch) {
			locked = append(locked, ref)
		} else if !rules.AllowForce {
			kept = append(kept, ref)
		}
	}
	slices.Sort(locked)
	slices.Sort(kept)
	return locked, kept
}

// OpenMRs lists the open merge requests, newest first.
func (p *Project) OpenMRs() []*MR {
	return slices.DeleteFunc(p.SortedMRs(), func(m *MR) bool { return m.State != Opened })
}

// SortedMRs lists all merge requests, newest first.
func (p *Project) SortedMRs() []*MR {
	list := make([]*MR, 0, len(p.MRs))
	for _, m := range p.MRs {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b *MR) int { return cmp.Compare(b.IID, a.IID) })
	return list
}

// Event is something that somebody did in a project.
type Event struct {
	ID      int64
	Action  string // pushed to, pushed new, deleted, opened, closed, accepted, commented on, approved
	Author  *User
	At      time.Time
	Push    *PushData
	Target  string // MergeRequest, Issue, Note
	TID     int64
	TIID    int
	TTitle  string
	Comment *Remark
}

// PushData is what a push did to a branch, or, with Refs, to more than three at
// once, which GitLab counts only.
type PushData struct {
	Count           int
	Action, RefType string
	From, To, Ref   string
	Title           string
	Refs            int
}

func (s *Lab) event(p *Project, e *Event) {
	e.ID, e.At = s.NextID(), s.Clock()
	p.Active = e.At
	p.Events = append(p.Events, e)
}

// preReceive refuses pushes to refs that the server lists in the environment, in
// GitLab's words.
const preReceive = `#!/bin/sh
zero=0000000000000000000000000000000000000000
while read old new ref; do
  case " $FORGETEST_LOCKED " in *" $ref "*)
    echo "GitLab: You are not allowed to push code to protected branches on this project." >&2
    exit 1;; esac
  case " $FORGETEST_KEPT " in *" $ref "*)
    [ "$old" = $zero ] && continue
    if [ "$new" = $zero ] || ! git merge-base --is-ancestor "$old" "$new"; then
      echo "GitLab: You are not allowed to force push code to a protected branch on this project." >&2
      exit 1
    fi;; esac
done
`

// Guard has the repository refuse as GitLab does.
func (p *Project) Guard() error {
	return os.WriteFile(filepath.Join(p.Git.Dir, "hooks", "pre-receive"), []byte(preReceive), 0o755) //nolint:gosec // Git runs it
}

// Place puts a project into a namespace, and says who acts for its owner.
func (s *Lab) Place(p *Project, owner string) *User {
	p.Group, p.Home = s.Group(owner), nil
	if p.Group == nil {
		p.Home = s.MustUser(owner)
		return p.Home
	}
	for _, u := range s.Users {
		if p.Group.Level(u.ID) == Owner {
			return u
		}
	}
	return s.Users[0]
}

// FirstCommit puts files on the default branch of an empty project.
func (s *Lab) FirstCommit(ctx context.Context, p *Project, by *User, files map[string]string) error {
	if len(files) == 0 {
		return nil
	}
	var list []bare.File
	for _, path := range slices.Sorted(maps.Keys(files)) {
		list = append(list, bare.File{Path: path, Content: []byte(files[path])})
	}
	tree, err := p.Git.WriteTree(ctx, "", filepath.Join(s.Dir, fmt.Sprintf("%d.index", p.ID)), list)
	if err != nil {
		return err
	}
	who := person(by, s.Tick())
	sha, err := p.Git.CommitTree(ctx, bare.Commit{Tree: tree, Author: who, Committer: who, Message: "Initial commit"})
	if err != nil {
		return err
	}
	if err := p.Git.SetRef(ctx, "refs/heads/"+p.DefaultBranch, sha, ""); err != nil {
		return err
	}
	p.Refs, err = p.Git.Refs(ctx)
	return err
}
