package github

import (
	"context"
	"errors"
	"sync/atomic"

	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge"
)

// rotating are credentials that others may take the place of at any time. A call
// that has begun ends with those that it began with.
type rotating struct{ now atomic.Pointer[credentials] }

func rotatingFrom(c credentials) *rotating {
	r := &rotating{}
	r.now.Store(&c)
	return r
}

func (r *rotating) appID() int64 { return (*r.now.Load()).appID() }

func (r *rotating) asApp() (*gh.Client, bool) { return (*r.now.Load()).asApp() }

func (r *rotating) self(ctx context.Context) (*gh.User, error) { return (*r.now.Load()).self(ctx) }

func (r *rotating) client(ctx context.Context, ref forge.RepoRef) (*gh.Client, error) {
	return (*r.now.Load()).client(ctx, ref)
}

func (r *rotating) token(ctx context.Context, ref forge.RepoRef) (string, error) {
	return (*r.now.Load()).token(ctx, ref)
}

func (r *rotating) left(ref forge.RepoRef, owner int64) bool {
	return (*r.now.Load()).left(ref, owner)
}

func (r *rotating) forget(ref forge.RepoRef) { (*r.now.Load()).forget(ref) }

// Rotate has everything that is asked from now on asked with cfg's credentials:
// another key of the same App, or another token of the same account. The rest of
// cfg is not looked at. An error leaves the old ones in use.
func (f *Forge) Rotate(cfg Config) error {
	next, err := f.credentialsOf(cfg)
	if err != nil {
		return err
	}
	if next.appID() != f.creds.appID() {
		return errors.New("github: other credentials of the same account can be taken up while running, another account's need a restart")
	}
	f.creds.now.Store(&next)
	return nil
}

// credentialsOf makes credentials of what the configuration gives: an App's or a
// token.
func (f *Forge) credentialsOf(cfg Config) (credentials, error) {
	switch {
	case cfg.AppID != 0 && cfg.Token != "":
		return nil, errors.New("github: both App credentials and a token are set; remove one")
	case cfg.AppID != 0:
		return newAppCredentials(f, cfg.AppID, cfg.PrivateKey)
	case cfg.Token != "":
		return newTokenCredentials(f, cfg.Token), nil
	}
	return nil, errors.New("github: no credentials; set appID with privateKey, or token")
}
