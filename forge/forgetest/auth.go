package forgetest

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v4"
)

// credential is what a request proved to hold.
type credential struct {
	token        string
	actor        *account // who the forge says did it; the bot for an App
	app          *App     // set for a JWT and for installation tokens
	installation *installation
	permissions  map[string]string // of an installation token
	repos        []*repo           // what an installation token was narrowed to
	expires      time.Time         // zero: never
	revoked      bool
}

// who names the credential in the call log.
func (c *credential) who() string {
	switch {
	case c == nil:
		return ""
	case c.actor != nil:
		return c.actor.login
	default:
		return c.app.Slug
	}
}

// Token gives a user's personal access token; it is the same every time.
func (s *Server) Token(login string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.userToken(s.mustAccount(login))
}

func (s *Server) userToken(a *account) string {
	token := "ghp_" + strings.ToLower(a.login) + strconv.FormatInt(a.id, 10)
	if s.creds[token] == nil {
		s.creds[token] = &credential{token: token, actor: a}
	}
	return token
}

// Revoke makes every token of an account or an App's bot answer 401.
func (s *Server) Revoke(login string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.creds {
		if c.who() == login {
			c.revoked = true
		}
	}
}

// authenticate finds the request's credential; nil without error is anonymous.
func (s *Server) authenticate(r *http.Request) (*credential, bool) {
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
	if c == nil || c.revoked || (!c.expires.IsZero() && time.Now().After(c.expires)) {
		return nil, false
	}
	if c.installation != nil && c.installation.suspend != nil {
		return nil, false
	}
	return c, true
}

// checkJWT holds an App's token to GitHub's rules: RS256 under the App's key,
// issued by its id, and good for ten minutes at most.
func (s *Server) checkJWT(token string) (*credential, bool) {
	var app *App
	claims := &jwt.RegisteredClaims{}
	_, err := jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) {
		for _, a := range s.apps {
			if claims.Issuer == strconv.FormatInt(a.ID, 10) || claims.Issuer == a.ClientID {
				app = a
				return a.key, nil
			}
		}
		return nil, jwt.ErrTokenInvalidIssuer
	}, jwt.WithValidMethods([]string{"RS256"}))
	if err != nil || claims.ExpiresAt == nil || time.Until(claims.ExpiresAt.Time) > 11*time.Minute {
		return nil, false
	}
	return &credential{token: "jwt:" + app.Slug, app: app}, true
}

// mint makes an installation token, narrowed to repos and permissions.
func (s *Server) mint(in *installation, repos []*repo, permissions map[string]string) *credential {
	c := &credential{
		token: "ghs_" + rand.Text(), actor: in.app.bot, app: in.app, installation: in,
		permissions: permissions, repos: repos, expires: time.Now().Add(time.Hour).UTC().Truncate(time.Second),
	}
	s.creds[c.token] = c
	return c
}

// sees reports whether the credential can read the repository at all.
func (s *Server) sees(c *credential, r *repo) bool {
	if !r.private {
		return true
	}
	if c != nil && c.actor == nil { // an App's JWT sees that it is installed
		return slices.ContainsFunc(c.app.installations, func(in *installation) bool { return in.has(r) })
	}
	return c != nil && s.role(c, r) != "none"
}

// role is what the credential may do in the repository as a whole; an App's
// finer permissions are checked by route.
func (s *Server) role(c *credential, r *repo) string {
	if c == nil {
		return s.permission(r, nil)
	}
	if c.installation == nil {
		if c.actor == nil {
			return "none" // an App's JWT reads no repositories
		}
		return s.permission(r, c.actor)
	}
	if !c.installation.has(r) || (len(c.repos) > 0 && !slices.Contains(c.repos, r)) {
		return s.permission(r, nil)
	}
	if c.permissions["administration"] == "write" {
		return "admin"
	}
	return "write"
}

// grants reports whether an App's token has permission "name:level".
func (c *credential) grants(want string) bool {
	if c == nil || c.installation == nil || want == "" {
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
