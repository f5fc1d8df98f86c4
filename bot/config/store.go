package config

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
)

// validateStore looks at where the store is. The address is not repeated in
// problems: it may hold a password.
func (s *Server) validateStore(d *document) {
	at := func(field, msg string) { d.add(field+": "+msg, field) }
	if s.Store == "" {
		at("store", "missing; give the path of the SQLite file, or postgres://USER@HOST/DATABASE")
		return
	}
	scheme, rest, isURL := strings.Cut(s.Store, "://")
	switch {
	case isURL && scheme != "sqlite" && scheme != "postgres" && scheme != "postgresql":
		at("store", "want the path of an SQLite file, or postgres://USER@HOST/DATABASE")
	case scheme == "sqlite" && rest == "":
		at("store", "names no file; want sqlite://PATH or the path alone")
	case s.Postgres():
		s.validatePostgres(at)
	}
	if s.StorePasswordFile != "" && !s.Postgres() {
		at("storePasswordFile", "SQLite has no password; leave it out")
	}
}

func (s *Server) validatePostgres(at func(field, msg string)) {
	u, err := url.Parse(s.Store)
	// What a password with a plain '@' or '/' means is read in several ways, and
	// one of them takes its rest for the name of a host or a database.
	_, rest, _ := strings.Cut(s.Store, "://")
	before, _, _ := strings.Cut(rest, "?")
	authority, name, _ := strings.Cut(before, "/")
	ambiguous := strings.Count(authority, "@") > 1 || strings.Contains(name, "@")
	if err != nil || ambiguous || u.Opaque != "" || u.Host == "" && u.Query().Get("host") == "" {
		at("store", "not an address of PostgreSQL; want postgres://USER@HOST/DATABASE, where special characters of a password are written as %XX, or better storePasswordFile")
		return
	}
	if u.Query().Has("password") {
		at("store", "has a password among its parameters; give storePasswordFile")
	}
	if _, has := u.User.Password(); has && s.StorePasswordFile != "" {
		at("storePasswordFile", "store has a password too; remove it there")
	}
	if s.StorePasswordFile != "" && u.User.Username() == "" {
		at("store", "names no user for the password of storePasswordFile; want postgres://USER@HOST/DATABASE")
	}
}

// Postgres reports whether the store is a PostgreSQL database, which replicas
// can share, and not a file.
func (s *Server) Postgres() bool {
	return strings.HasPrefix(s.Store, "postgres://") || strings.HasPrefix(s.Store, "postgresql://")
}

// StorePassword is the password in the store's address, "" if it has none.
func (s *Server) StorePassword() string {
	if !s.Postgres() {
		return ""
	}
	u, err := url.Parse(s.Store)
	if err != nil { // ParseServer refused it
		return ""
	}
	password, _ := u.User.Password()
	return password
}

// WithPassword is the store's address with a password in it. It is a secret.
func (s *Server) WithPassword(password string) (string, error) {
	u, err := url.Parse(s.Store)
	if err != nil {
		return "", fmt.Errorf("store: not an address of PostgreSQL") // the cause would quote it
	}
	u.User = url.UserPassword(u.User.Username(), password)
	return u.String(), nil
}

// Resolve makes relative paths relative to dir, the directory of the file.
func (s *Server) Resolve(dir string) {
	abs := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	if file, ok := strings.CutPrefix(s.Store, "sqlite://"); ok {
		s.Store = file
	}
	if !s.Postgres() {
		abs(&s.Store)
	}
	abs(&s.StorePasswordFile)
	abs(&s.Cache)
	for _, file := range s.Forges.files() {
		abs(file)
	}
	for name, k := range s.Clusters {
		abs(&k.Kubeconfig)
		s.Clusters[name] = k
	}
}
