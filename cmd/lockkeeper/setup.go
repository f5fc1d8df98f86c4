package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lockkeeper/bot/web"
	"lockkeeper/forge/github"
	"lockkeeper/templates"
)

// setupFlow is one run of GitHub's App manifest flow. Its pages are served on
// loopback only; state ties GitHub's answer to this run.
type setupFlow struct {
	webURL, apiURL, org, out string
	client                   *http.Client
	manifest                 github.AppManifest
	state                    string
	page                     *template.Template
	done                     chan github.AppCredentials
}

func setup(ctx context.Context, c *call) error {
	public := c.flags.String("url", "", "where GitHub will reach this lockkeeper, a `URL`")
	out := c.flags.String("out", "", "the `DIR`ectory that the App's credentials are stored in")
	name := c.flags.String("name", "lockkeeper", "the App's `NAME`")
	org := c.flags.String("org", "", "create it for this `ORGANISATION` rather than your own account")
	api := c.flags.String("api", "", "the API `URL` of a GitHub Enterprise Server (https://HOST/api/v3)")
	webURL := c.flags.String("web", "", "the `URL` of the forge's pages; default those that belong to --api")
	ca := c.flags.String("ca", "", "a `FILE` of certificates, in PEM, that the Enterprise Server may prove itself by")
	if err := c.parse(); err != nil {
		return err
	}
	if *public == "" || *out == "" {
		return errors.New("setup: --url and --out are needed: where GitHub reaches this lockkeeper, and where to store the credentials")
	}
	trusted, err := readAuthorities(*ca)
	if err != nil {
		return fmt.Errorf("setup: %w", err)
	}
	if *webURL == "" {
		if *webURL, err = pagesOf(*api); err != nil {
			return fmt.Errorf("setup: %w", err)
		}
	}
	// GitHub hands the credentials out once: what would keep them from being
	// stored is found out before.
	for _, name := range []string{keyFile, secretFileName} {
		if _, err := os.Stat(filepath.Join(*out, name)); err == nil {
			return fmt.Errorf("setup: %s is there already; move it away, or give another --out", filepath.Join(*out, name))
		}
	}
	if err := os.MkdirAll(*out, 0o700); err != nil {
		return fmt.Errorf("setup: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("setup: %w", err)
	}
	here := "http://" + l.Addr().String()
	f := &setupFlow{
		webURL: strings.TrimRight(*webURL, "/"), apiURL: *api, org: *org, out: *out, state: rand.Text(),
		client: &http.Client{Transport: trusted.transport()}, done: make(chan github.AppCredentials, 1),
	}
	if f.manifest, err = github.Manifest(*public, here+"/done", *name); err != nil {
		return errors.Join(fmt.Errorf("setup: %w", err), l.Close())
	}
	if f.page, err = template.ParseFS(templates.FS, "setup.html"); err != nil {
		return errors.Join(fmt.Errorf("setup: %w", err), l.Close())
	}
	fmt.Fprintf(c.stdout, "open %s in your browser, on this machine\n", here)
	app, err := f.wait(ctx, l)
	if err != nil {
		return err
	}
	f.advise(c.stdout, app, *ca)
	return nil
}

// advise tells what to do with the App.
func (f *setupFlow) advise(w io.Writer, app github.AppCredentials, ca string) {
	fmt.Fprintf(w, "created the App %s (%d); stored its credentials in %s\n", app.Slug, app.AppID, f.out)
	fmt.Fprintf(w, "next: install it on your repositories (%s/installations/new), and put this into the server file:\n\n", app.WebURL)
	fmt.Fprintf(w, "github:\n")
	for _, line := range []struct{ key, value string }{{"apiURL", f.apiURL}, {"caFile", ca}} {
		if line.value != "" {
			fmt.Fprintf(w, "  %s: %s\n", line.key, line.value)
		}
	}
	fmt.Fprintf(w, "  app:\n    id: %d\n    privateKeyFile: %s\n  webhookSecretFiles: [%s]\n", app.AppID,
		filepath.Join(f.out, keyFile), filepath.Join(f.out, secretFileName))
}

// pagesOf is where the pages of a GitHub are, by the address of its API.
func pagesOf(api string) (string, error) {
	if api == "" {
		return "https://github.com", nil
	}
	u, err := url.Parse(api)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("--api %q is not an address such as https://HOST/api/v3", api)
	}
	// With data residency: https://api.SUBDOMAIN.ghe.com.
	return u.Scheme + "://" + strings.TrimPrefix(u.Host, "api."), nil
}

// The files that setup writes.
const (
	keyFile        = "app-key.pem"
	secretFileName = "webhook-secret"
)

// wait serves the two pages until the App is there.
func (f *setupFlow) wait(ctx context.Context, l net.Listener) (github.AppCredentials, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", f.begin)
	mux.HandleFunc("GET /done", f.finish)
	// Another name for this address is a page that was made to point here.
	door := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != l.Addr().String() {
			http.Error(w, "open http://"+l.Addr().String(), http.StatusMisdirectedRequest)
			return
		}
		mux.ServeHTTP(w, r)
	})
	s := web.Server("", door, slog.New(slog.DiscardHandler))
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	stop := func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = s.Shutdown(grace) // the process ends next
	}
	select {
	case app := <-f.done:
		stop()
		return app, nil
	case err := <-failed:
		return github.AppCredentials{}, fmt.Errorf("setup: %w", err)
	case <-ctx.Done():
		stop()
		return github.AppCredentials{}, errors.New("setup: stopped before the App was created")
	}
}

func (f *setupFlow) begin(w http.ResponseWriter, r *http.Request) {
	doc, err := json.Marshal(f.manifest)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	action := f.webURL + "/settings/apps/new"
	if f.org != "" {
		action = f.webURL + "/organizations/" + url.PathEscape(f.org) + "/settings/apps/new"
	}
	var permissions []string
	for p, level := range f.manifest.DefaultPermissions {
		permissions = append(permissions, p+": "+level)
	}
	slices.Sort(permissions)
	f.show(w, map[string]any{"Action": action + "?state=" + f.state, "Manifest": string(doc), "Permissions": permissions})
}

func (f *setupFlow) finish(w http.ResponseWriter, r *http.Request) {
	if subtle.ConstantTimeCompare([]byte(r.FormValue("state")), []byte(f.state)) != 1 {
		http.Error(w, "this answer does not belong to this run of lockkeeper setup; start again", http.StatusForbidden)
		return
	}
	app, err := github.ConvertManifest(r.Context(), f.client, f.apiURL, r.FormValue("code"))
	if err == nil {
		err = f.store(app)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	f.show(w, map[string]any{"Done": true, "Slug": app.Slug, "Out": f.out, "Install": app.WebURL + "/installations/new"})
	f.done <- app
}

func (f *setupFlow) show(w http.ResponseWriter, data any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if err := f.page.Execute(w, data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// store writes the credentials, readable for their owner only, and never over
// others.
func (f *setupFlow) store(app github.AppCredentials) error {
	for name, content := range map[string][]byte{keyFile: app.PrivateKey, secretFileName: app.WebhookSecret} {
		file, err := os.OpenFile(filepath.Join(f.out, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("store the credentials: %w", err)
		}
		_, err = file.Write(content)
		if err := errors.Join(err, file.Close()); err != nil {
			return fmt.Errorf("store the credentials: %w", err)
		}
	}
	return nil
}
