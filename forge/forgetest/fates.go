package forgetest

import (
	"slices"
	"strings"

	"lockkeeper/forge/forgetest/internal/hub"
)

// told sends a repository event, in the name of the repository's owner.
func (s *Server) told(r *hub.Repo, action string, changes obj) {
	payload := obj{"action": action, "sender": s.UserJSON(r.Owner)}
	if changes != nil {
		payload["changes"] = changes
	}
	s.Emit(r, "repository", action, payload)
}

// move gives a repository another place. The old name redirects to its number.
func (s *Server) move(r *hub.Repo, owner *hub.Account, name string) {
	old := strings.ToLower(r.Full())
	delete(s.Repos, old)
	s.Moved[old] = r
	r.Owner, r.Name = owner, name
	s.Repos[strings.ToLower(r.Full())] = r
}

// RenameRepo gives a repository a new name; the old one redirects to its id.
func (s *Server) RenameRepo(fullName, name string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	r := s.MustRepo(fullName)
	was := r.Name
	s.move(r, r.Owner, name)
	s.told(r, "renamed", obj{"repository": obj{"name": obj{"from": was}}})
}

// TransferRepo gives a repository to another account. Apps follow only where the
// new owner has installed them.
func (s *Server) TransferRepo(fullName, to string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	r := s.MustRepo(fullName)
	was := s.UserJSON(r.Owner)
	s.move(r, s.MustAccount(to), r.Name)
	s.told(r, "transferred", obj{"owner": obj{"from": obj{"user": was}}})
}

// RenameTeam gives a team another slug. Nothing leads from the old one to it.
func (s *Server) RenameTeam(org, slug, to string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.Team(org, slug).Slug = to
}

// ArchiveRepo makes a repository read-only.
func (s *Server) ArchiveRepo(fullName string) { s.archive(fullName, "archived") }

// UnarchiveRepo ends what ArchiveRepo began.
func (s *Server) UnarchiveRepo(fullName string) { s.archive(fullName, "unarchived") }

func (s *Server) archive(fullName, action string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	r := s.MustRepo(fullName)
	r.Archived = action == "archived"
	s.told(r, action, nil)
}

// DeleteRepo removes a repository; pulls that came from it keep their commits.
func (s *Server) DeleteRepo(fullName string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	gone := s.MustRepo(fullName)
	s.told(gone, "deleted", nil)
	delete(s.Repos, strings.ToLower(fullName))
	for _, r := range s.Repos {
		for _, p := range r.Pulls {
			if p.HeadRepo == gone {
				p.HeadRepo = nil
			}
		}
	}
}

// SetDefaultBranch makes another branch the default one.
func (s *Server) SetDefaultBranch(fullName, branch string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	r := s.MustRepo(fullName)
	was := r.DefaultBranch
	r.DefaultBranch = branch
	s.told(r, "edited", obj{"default_branch": obj{"from": was}})
}

// Uninstall takes an App off an account. Its tokens end with it.
func (s *Server) Uninstall(app *App, login string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	owner := s.MustAccount(login)
	app.Installations = slices.DeleteFunc(app.Installations, func(in *hub.Installation) bool {
		if in.Account != owner {
			return false
		}
		s.EmitInstallation(in, "deleted", owner)
		in.Suspend = owner // no token of it is accepted any more
		return true
	})
}
