package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"lockkeeper/bot/config"
	"lockkeeper/bot/web"
	"lockkeeper/forge"
	"lockkeeper/forge/gitea"
	"lockkeeper/forge/github"
	"lockkeeper/forge/gitlab"
)

// hosting is the forge that is worked with, and what only this program does with
// it beside the bot.
type hosting struct {
	forge.Forge
	// rotate exchanges what the forge knows us by for that of the same account.
	rotate func(credentials) error
	verify func(http.Header, []byte, [][]byte) error
	parse  func(http.Header, []byte) (forge.Event, error)
}

// reach makes the driver of the forge that the file names.
func reach(ctx context.Context, at config.Forges, c credentials, by road) (hosting, error) {
	agent := "lockkeeper/" + buildVersion()
	switch at.Kind() {
	case config.OnGitHub:
		f, as, err := driver(ctx, github.New, c, func(c credentials) github.Config {
			out := github.Config{APIURL: at.GitHub.APIURL, Token: string(c.token), PrivateKey: c.key, HTTPClient: by.http, UserAgent: agent}
			if at.GitHub.App != nil {
				out.AppID = at.GitHub.App.ID
			}
			return out
		})
		return hosting{f, as, github.Verify, github.ParseEvent}, err
	case config.OnGitLab:
		f, as, err := driver(ctx, gitlab.New, c, func(c credentials) gitlab.Config {
			return gitlab.Config{URL: at.GitLab.URL, Token: string(c.token), HTTPClient: by.http, CAFile: by.gitCA, UserAgent: agent}
		})
		return hosting{f, as, gitlab.Verify, gitlab.ParseEvent}, err
	case config.OnGitea:
		f, as, err := driver(ctx, gitea.New, c, func(c credentials) gitea.Config {
			return gitea.Config{URL: at.Gitea.URL, Token: string(c.token), HTTPClient: by.http, CAFile: by.gitCA, UserAgent: agent}
		})
		return hosting{f, as, gitea.Verify, gitea.ParseEvent}, err
	}
	return hosting{}, errors.New("the server file names no forge")
}

// driver makes one, and what exchanges its credentials later.
func driver[F interface {
	forge.Forge
	Rotate(C) error
}, C any](ctx context.Context, make func(context.Context, C) (F, error), c credentials, as func(credentials) C) (forge.Forge, func(credentials) error, error) {
	f, err := make(ctx, as(c))
	if err != nil {
		return nil, nil, err
	}
	return f, func(c credentials) error { return f.Rotate(as(c)) }, nil
}

// road is how a forge is spoken to, by HTTP and by Git.
type road struct {
	http *http.Client
	// gitCA is Git's file of certificates to trust, "" where the system's suffice.
	gitCA string
}

// forgeTimeout ends a call to the forge.
const forgeTimeout = 30 * time.Second

// newRoad has each request counted. What Git has to trust is kept in dir.
func newRoad(trusted authorities, dir string, metrics *web.Metrics) (road, error) {
	r := road{http: &http.Client{Transport: counted{trusted.transport(), metrics}, Timeout: forgeTimeout}}
	var err error
	r.gitCA, err = trusted.bundle(dir)
	return r, err
}

// counted counts each request to the forge.
type counted struct {
	next    http.RoundTripper
	metrics *web.Metrics
}

// RoundTrip sends the request.
func (c counted) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := c.next.RoundTrip(r)
	status := 0
	if res != nil {
		status = res.StatusCode
	}
	c.metrics.ForgeRequest(r.Method, status)
	return res, err
}

// authorities are certificates, in PEM, that a forge may prove itself by beside
// the system's; empty for those alone.
type authorities []byte

// readAuthorities reads a caFile, none if path is "".
func readAuthorities(path string) (authorities, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the certificates of the forge: %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the certificates of the forge: %s holds none in PEM form", path)
	}
	return pem, nil
}

// transport is how HTTP goes out when these are trusted.
func (a authorities) transport() http.RoundTripper {
	if len(a) == 0 {
		return http.DefaultTransport
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // there are none but ours
	}
	pool.AppendCertsFromPEM(a)
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return t
}

// systemBundles are where systems keep the certificates that they trust, as one
// file; the first that exists counts. Source: crypto/x509.
var systemBundles = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
	"/etc/pki/tls/cacert.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
}

// bundle writes them behind the system's into a file of a directory, for Git,
// which takes one file and nothing beside it; "" if there are none.
func (a authorities) bundle(dir string) (file string, err error) {
	if len(a) == 0 {
		return "", nil
	}
	var all []byte
	for _, path := range append([]string{os.Getenv("SSL_CERT_FILE")}, systemBundles...) {
		if all, err = os.ReadFile(path); err == nil {
			break
		}
	}
	file = filepath.Join(dir, "authorities.pem")
	err = errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(file, append(append(all, '\n'), a...), 0o600))
	if err == nil {
		file, err = filepath.Abs(file) // Git runs elsewhere
	}
	if err != nil {
		return "", fmt.Errorf("keep the certificates of the forge for Git: %w", err)
	}
	return file, nil
}
