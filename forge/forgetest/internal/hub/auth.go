package hub

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v4"
)

// Credential is what a request proved to hold.
type Credential struct {
	Token        string
	Actor        *Account // who the forge says did it; the bot for an App
	App          *App     // set for a JWT and for installation tokens
	Installation *Installation
	permissions  map[string]string // of an installation token
	repos        []*Repo           // what an installation token was narrowed to
	Expires      time.Time         // zero: never
	revoked      bool
}

// Who names the credential in the call log.
func (c *Credential) Who() string {
	switch {
	case c == nil:
		return ""
	case c.Actor != nil:
		return c.Actor.Login
	default:
		return c.App.Slug
	}
}

// Token gives a user's personal access token; it is the same every time.
func (s *Hub) Token(login string) string {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.userToken(s.MustAccount(login))
}

func (s *Hub) userToken(a *Account) string {
	token := "ghp_" + strings.ToLower(a.Login) + strconv.FormatInt(a.ID, 10)
	if s.creds[token] == nil {
		s.creds[token] = &Credential{Token: token, Actor: a}
	}
	return token
}

// InstallationToken gives a fresh token of an App for a repository that it is
// installed on.
func (s *Hub) InstallationToken(app *App, fullName string) string {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	r := s.MustRepo(fullName)
	for _, in := range app.Installations {
		if in.Has(r) {
			return s.Mint(in, []*Repo{r}, app.Permissions).Token
		}
	}
	panic(fmt.Sprintf("forgetest: App %s is not installed on %s; install it first", app.Slug, fullName))
}

// Revoke makes every token of an account or an App's bot answer 401.
func (s *Hub) Revoke(login string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	for _, c := range s.creds {
		if c.Who() == login {
			c.revoked = true
		}
	}
}

// Authenticate finds the request's credential; nil without error is anonymous.
func (s *Hub) Authenticate(r *http.Request) (*Credential, bool) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return nil, true
	}
	token := ""
	if user, pass, ok := r.BasicAuth(); ok {
		if token = pass; token == "" {
			token = user
		}
	} else if scheme, rest, ok := strings.Cut(header, " "); ok && (strings.EqualFold(scheme, "bearer") || strings.EqualFold(scheme, "token")) {
		token = rest
	}
	if strings.Count(token, ".") == 2 {
		return s.checkJWT(token)
	}
	c := s.creds[token]
	if c == nil || c.revoked || (!c.Expires.IsZero() && time.Now().After(c.Expires)) {
		return nil, false
	}
	if c.Installation != nil && c.Installation.Suspend != nil {
		return nil, false
	}
	return c, true
}

// checkJWT holds an App's token to GitHub's rules: RS256 under the App's key,
// issued by its id, and good for ten minutes at most.
func (s *Hub) checkJWT(token string) (*Credential, bool) {
	var app *App
	claims := &jwt.RegisteredClaims{}
	_, err := jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) {
		for _, a := range s.Apps {
			if claims.Issuer == strconv.FormatInt(a.ID, 10) || claims.Issuer == a.ClientID {
				app = a
				return a.public, nil
			}
		}
		return nil, jwt.ErrTokenInvalidIssuer
	}, jwt.WithValidMethods([]string{"RS256"}))
	if err != nil || claims.ExpiresAt == nil || time.Until(claims.ExpiresAt.Time) > 11*time.Minute {
		return nil, false
	}
	return &Credential{Token: "jwt:" + app.Slug, App: app}, true
}

// Mint makes an installation token, narrowed to repos and permissions.
func (s *Hub) Mint(in *Installation, repos []*Repo, permissions map[string]string) *Credential {
	c := &Credential{
		Token: "ghs_" + rand.Text(), Actor: in.app.bot, App: in.app, Installation: in,
		permissions: permissions, repos: repos, Expires: time.Now().Add(time.Hour).UTC().Truncate(time.Second),
	}
	s.creds[c.Token] = c
	return c
}

// Sees reports whether the credential can read the repository at all.
func (s *Hub) Sees(c *Credential, r *Repo) bool {
	if !r.private {
		return true
	}
	if c != nil && c.Actor == nil { // an App's JWT sees that it is installed
		return slices.ContainsFunc(c.App.Installations, func(in *Installation) bool { return in.Has(r) })
	}
	return c != nil && s.Role(c, r) != "none"
}

// Role is what the credential may do in the repository as a whole; an App's
// finer permissions are checked by route.
func (s *Hub) Role(c *Credential, r *Repo) string {
	if c == nil {
		return s.Permission(r, nil)
	}
	if c.Installation == nil {
		if c.Actor == nil {
			return "none" // an App's JWT reads no repositories
		}
		return s.Permission(r, c.Actor)
	}
	if !c.Installation.Has(r) || (len(c.repos) > 0 && !slices.Contains(c.repos, r)) {
		return s.Permission(r, nil)
	}
	if c.permissions["administration"] == "write" {
		return "admin"
	}
	return "write"
}

// Grants reports whether an App's token has permission "name:level".
func (c *Credential) Grants(want string) bool {
	if c == nil || c.Installation == nil || want == "" {
		return true
	}
	for alternative := range strings.SplitSeq(want, "|") {
		name, level, _ := strings.Cut(alternative, ":")
		have := c.permissions[name]
		if have == "write" || have == "admin" || (have == "read" && level == "read") {
			return true
		}
	}
	return false
}

// Guards tell the repository's hook which branches this pusher may not touch.
func (s *Hub) Guards(r *Repo, cred *Credential) []string {
	var locked, kept []string
	for branch, p := range r.Protection {
		ref := "refs/heads/" + branch
		kept = append(kept, ref)
		bypass := !p.EnforceAdmins && s.Role(cred, r) == "admin"
		if (p.Reviews > 0 || len(p.Checks) > 0 || p.MergeQueue) && !bypass {
			locked = append(locked, ref)
		}
	}
	return []string{"FORGETEST_LOCKED=" + strings.Join(locked, " "), "FORGETEST_KEPT=" + strings.Join(kept, " ")}
}
