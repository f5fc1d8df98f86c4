package forgetest

import (
	"slices"
	"strings"

	"lockkeeper/forge/forgetest/internal/hub"
)

// TransferRepo gives a repository to another account. The old name redirects to
// its number, as after RenameRepo; Apps follow only where the new owner has
// installed them.
func (s *Server) TransferRepo(fullName, to string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	r := s.MustRepo(fullName)
	delete(s.Repos, strings.ToLower(fullName))
	s.Moved[strings.ToLower(fullName)] = r
	r.Owner = s.MustAccount(to)
	s.Repos[strings.ToLower(r.Full())] = r
}

// UnarchiveRepo ends what ArchiveRepo began.
func (s *Server) UnarchiveRepo(fullName string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.MustRepo(fullName).Archived = false
}

// SetDefaultBranch makes another branch the default one.
func (s *Server) SetDefaultBranch(fullName, branch string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.MustRepo(fullName).DefaultBranch = branch
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
