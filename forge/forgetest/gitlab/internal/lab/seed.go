package lab

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"lockkeeper/forge/forgetest/bare"
)

// AddUser registers an account, once; the addresses are confirmed.
func (s *Lab) AddUser(login string, emails ...string) int64 {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if u := s.User(login); u != nil {
		return u.ID
	}
	return s.addUser(login, emails).ID
}

func (s *Lab) addUser(login string, emails []string) *User {
	u := &User{ID: s.nextID(), Login: login, Name: strings.ToUpper(login[:1]) + login[1:], Emails: emails, State: "active", Created: s.Tick()}
	s.Users = append(s.Users, u)
	return u
}

// AddServiceAccount registers an account for a program.
func (s *Lab) AddServiceAccount(login string) int64 {
	id := s.AddUser(login)
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.MustUser(login).Bot = true
	return id
}

// DeleteUser removes an account. Its name can be registered anew.
func (s *Lab) DeleteUser(login string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	gone := s.MustUser(login)
	gone.State, gone.Emails = "blocked", nil
	s.Users = slices.DeleteFunc(s.Users, func(u *User) bool { return u == gone })
	for _, p := range s.Projects {
		delete(p.Members, gone.ID)
	}
	for _, g := range s.Groups {
		delete(g.Members, gone.ID)
	}
}

// Block keeps an account from doing anything.
func (s *Lab) Block(login string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.MustUser(login).State = "blocked"
}

// Token is an account's access token with all scopes, made on first use.
func (s *Lab) Token(login string) string {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	u := s.MustUser(login)
	for _, t := range s.Tokens {
		if t.User == u && t.Name == "everything" && !t.Revoked {
			return t.Value
		}
	}
	return s.newToken(u, "everything", "api").Value
}

// NewToken makes another access token of an account, with these scopes.
func (s *Lab) NewToken(login string, scopes ...string) string {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.newToken(s.MustUser(login), strings.Join(scopes, " "), scopes...).Value
}

// Revoke ends an access token.
func (s *Lab) Revoke(value string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.Tokens[value].Revoked = true
}

// AddGroup makes a group or subgroup by its full path, once, whose owner is login.
func (s *Lab) AddGroup(full, login string) int64 {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	g := s.Group(full)
	if g == nil {
		parent, path := "", full
		if at := strings.LastIndex(full, "/"); at >= 0 {
			parent, path = full[:at], full[at+1:]
		}
		g = &Group{ID: s.nextID(), Path: path, Members: map[int64]int{}, Created: s.Tick()}
		if parent != "" {
			g.Parent = s.MustGroup(parent)
		}
		s.Groups = append(s.Groups, g)
	}
	if login != "" {
		g.Members[s.MustUser(login).ID] = Owner
	}
	return g.ID
}

// MustGroup is Group for what the caller has made.
func (s *Lab) MustGroup(full string) *Group {
	if g := s.Group(full); g != nil {
		return g
	}
	panic(fmt.Sprintf("gitlab look-alike: there is no group %q", full))
}

// RenameGroup gives a group another path.
func (s *Lab) RenameGroup(full, path string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.MustGroup(full).Path = path
}

// GrantGroup gives somebody an access level in a group; 0 takes it away.
func (s *Lab) GrantGroup(full, login string, level int) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	set(s.MustGroup(full).Members, s.MustUser(login).ID, level)
}

// Grant gives somebody an access level in a project; 0 takes it away.
func (s *Lab) Grant(project, login string, level int) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	set(s.MustProject(project).Members, s.MustUser(login).ID, level)
}

func set(members map[int64]int, id int64, level int) {
	if members[id] = level; level == 0 {
		delete(members, id)
	}
}

// Share gives a group's members access to a project.
func (s *Lab) Share(project, group string, level int) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.MustProject(project).Shared[s.MustGroup(group)] = level
}

// NewProject is a project to make: Owner is the path of a group, or a person.
type NewProject struct {
	Owner, Path string
	Files       map[string]string
	Private     bool
}

// AddProject makes a project with the files on main, whose rules are open: who may
// push may push there too, as on a GitLab whose administrator has switched default
// branch protection off.
func (s *Lab) AddProject(ctx context.Context, in NewProject) (int64, error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if s.Project(in.Owner+"/"+in.Path) != nil {
		return 0, fmt.Errorf("gitlab look-alike: there is a project %s/%s already", in.Owner, in.Path)
	}
	p := s.newProject(in.Path, map[bool]string{true: "private", false: "public"}[in.Private])
	by := p.place(s, in.Owner)
	var err error
	if p.Git, err = bare.Init(ctx, s.gitDir(p), p.DefaultBranch); err != nil {
		return 0, err
	}
	if err := p.guard(); err != nil {
		return 0, err
	}
	if err := s.firstCommit(ctx, p, by, in.Files); err != nil {
		return 0, err
	}
	s.Projects = append(s.Projects, p)
	return p.ID, nil
}

// place puts the project into a namespace, and says who acts for its owner.
func (p *Project) place(s *Lab, owner string) *User {
	p.Group, p.Home = s.Group(owner), nil
	if p.Group == nil {
		p.Home = s.MustUser(owner)
		return p.Home
	}
	for _, u := range s.Users {
		if p.Group.level(u.ID) == Owner {
			return u
		}
	}
	return s.Users[0]
}

func (s *Lab) firstCommit(ctx context.Context, p *Project, by *User, files map[string]string) error {
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
	who := by.person(s.Tick())
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

// MoveProject gives a project another name, another owner or both. The former path
// leads to it until something else takes it.
func (s *Lab) MoveProject(full, owner, path string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	p := s.MustProject(full)
	s.Moved[strings.ToLower(full)] = p
	p.place(s, owner)
	p.Path = path
}

// Archive makes a project read-only, or ends that.
func (s *Lab) Archive(full string, on bool) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.MustProject(full).Archived = on
}

// DeleteProject removes a project; merge requests that came from it keep their
// commits.
func (s *Lab) DeleteProject(full string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	gone := s.MustProject(full)
	s.Projects = slices.DeleteFunc(s.Projects, func(p *Project) bool { return p == gone })
	for _, p := range s.Projects {
		for _, m := range p.MRs {
			if m.Source == gone {
				m.Source = nil
			}
		}
	}
}

// Rules are what a project demands of merge requests.
type Rules struct {
	// Push and Merge are the least access levels for the branch; 0 is nobody.
	Push, Merge          int
	PipelinesMustSucceed bool
	Approvals            int
	ResetOnPush          bool
}

// Protect gives a branch rules, and the project those that GitLab only has for all
// branches together.
func (s *Lab) Protect(full, branch string, r Rules) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	p := s.MustProject(full)
	p.Protected[branch] = &Protection{ID: s.nextID(), Push: r.Push, Merge: r.Merge}
	p.PipelinesMustSucceed, p.Approvals, p.ResetOnPush = r.PipelinesMustSucceed, r.Approvals, r.ResetOnPush
}

// Head is where a branch points, "" without one.
func (s *Lab) Head(full, branch string) string {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if p := s.Project(full); p != nil {
		return p.Branch(branch)
	}
	return ""
}
