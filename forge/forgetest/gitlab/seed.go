package gitlab

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/gitlab/internal/lab"
)

// AddUser registers an account, once; the addresses are confirmed.
func (s *Server) AddUser(login string, emails ...string) int64 {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if u := s.User(login); u != nil {
		return u.ID
	}
	return s.Register(login, emails).ID
}

// AddServiceAccount registers an account for a program.
func (s *Server) AddServiceAccount(login string) int64 {
	id := s.AddUser(login)
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.MustUser(login).Bot = true
	return id
}

// DeleteUser removes an account. Its name can be registered anew.
func (s *Server) DeleteUser(login string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	gone := s.MustUser(login)
	gone.State, gone.Emails = "blocked", nil
	s.Users = slices.DeleteFunc(s.Users, func(u *lab.User) bool { return u == gone })
	for _, p := range s.Projects {
		delete(p.Members, gone.ID)
	}
	for _, g := range s.Groups {
		delete(g.Members, gone.ID)
	}
}

// Block keeps an account from doing anything.
func (s *Server) Block(login string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.MustUser(login).State = "blocked"
}

// Token is an account's access token with all scopes, made on first use.
func (s *Server) Token(login string) string {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	u := s.MustUser(login)
	for _, t := range s.Tokens {
		if t.User == u && t.Name == "everything" && !t.Revoked {
			return t.Value
		}
	}
	return s.IssueToken(u, "everything", "api").Value
}

// NewToken makes another access token of an account, with these scopes.
func (s *Server) NewToken(login string, scopes ...string) string {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.IssueToken(s.MustUser(login), strings.Join(scopes, " "), scopes...).Value
}

// Revoke ends an access token.
func (s *Server) Revoke(value string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.Tokens[value].Revoked = true
}

// AddGroup makes a group or subgroup by its full path, once, whose owner is login.
func (s *Server) AddGroup(full, login string) int64 {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	g := s.Group(full)
	if g == nil {
		parent, path := "", full
		if at := strings.LastIndex(full, "/"); at >= 0 {
			parent, path = full[:at], full[at+1:]
		}
		g = &lab.Group{ID: s.NextID(), Path: path, Members: map[int64]int{}, Created: s.Tick()}
		if parent != "" {
			g.Parent = s.MustGroup(parent)
		}
		s.Groups = append(s.Groups, g)
	}
	if login != "" {
		g.Members[s.MustUser(login).ID] = lab.Owner
	}
	return g.ID
}

// RenameGroup gives a group another path.
func (s *Server) RenameGroup(full, path string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.MustGroup(full).Path = path
}

// GrantGroup gives somebody an access level in a group; 0 takes it away.
func (s *Server) GrantGroup(full, login string, level int) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	set(s.MustGroup(full).Members, s.MustUser(login).ID, level)
}

// Grant gives somebody an access level in a project; 0 takes it away.
func (s *Server) Grant(project, login string, level int) {
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
func (s *Server) Share(project, group string, level int) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.MustProject(project).Shared[s.MustGroup(group)] = level
}

// AddProject makes a project with the files on main, whose rules are open: who may
// push may push there too, as on a GitLab whose administrator has switched default
// branch protection off.
func (s *Server) AddProject(ctx context.Context, in NewProject) (int64, error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if s.Project(in.Owner+"/"+in.Path) != nil {
		return 0, fmt.Errorf("gitlab look-alike: there is a project %s/%s already", in.Owner, in.Path)
	}
	p := s.Blank(in.Path, map[bool]string{true: "private", false: "public"}[in.Private])
	by := s.Place(p, in.Owner)
	var err error
	if p.Git, err = bare.Init(ctx, s.GitDir(p), p.DefaultBranch); err != nil {
		return 0, err
	}
	if err := p.Guard(); err != nil {
		return 0, err
	}
	if err := s.FirstCommit(ctx, p, by, in.Files); err != nil {
		return 0, err
	}
	s.Projects = append(s.Projects, p)
	return p.ID, nil
}

// MoveProject gives a project another name, another owner or both. The former path
// leads to it until something else takes it.
func (s *Server) MoveProject(full, owner, path string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	p := s.MustProject(full)
	s.Moved[strings.ToLower(full)] = p
	s.Place(p, owner)
	p.Path = path
}

// Archive makes a project read-only, or ends that.
func (s *Server) Archive(full string, on bool) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.MustProject(full).Archived = on
}

// DeleteProject removes a project; merge requests that came from it keep their
// commits.
func (s *Server) DeleteProject(full string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	gone := s.MustProject(full)
	s.Projects = slices.DeleteFunc(s.Projects, func(p *lab.Project) bool { return p == gone })
	for _, p := range s.Projects {
		for _, m := range p.MRs {
			if m.Source == gone {
				m.Source = nil
			}
		}
	}
}

// Protect gives a branch rules, and the project those that GitLab only has for all
// branches together.
func (s *Server) Protect(full, branch string, r Rules) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	p := s.MustProject(full)
	p.Protected[branch] = &lab.Protection{ID: s.NextID(), Push: r.Push, Merge: r.Merge}
	p.PipelinesMustSucceed, p.Approvals, p.ResetOnPush = r.PipelinesMustSucceed, r.Approvals, r.ResetOnPush
}

// Head is where a branch points, "" without one.
func (s *Server) Head(full, branch string) string {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if p := s.Project(full); p != nil {
		return p.Branch(branch)
	}
	return ""
}

// Rules are what a project demands of merge requests.
type Rules struct {
	// Push and Merge are the least access levels for the branch; 0 is nobody.
	Push, Merge          int
	PipelinesMustSucceed bool
	Approvals            int
	ResetOnPush          bool
}

// NewProject is a project to make: Owner is the path of a group, or a person.
type NewProject struct {
	Owner, Path string
	Files       map[string]string
	Private     bool
}
