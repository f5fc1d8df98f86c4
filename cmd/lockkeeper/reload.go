package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"

	"lockkeeper/bot/config"
	"lockkeeper/forge"
)

// door is the handler that requests go to; it may be exchanged for another.
type door struct{ now atomic.Pointer[http.Handler] }

func (d *door) set(h http.Handler) { d.now.Store(&h) }

// ServeHTTP hands the request to the handler of the moment.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*d.now.Load()).ServeHTTP(w, r) }

// reload reads the operator's file and the files with secrets again and puts
// them in force, all or none. What the operator is told is in the log.
func (s *service) reload(ctx context.Context) {
	restart, err := s.reloaded(ctx)
	if err != nil {
		s.log.ErrorContext(ctx, "the server file is not taken over, and what was in force stays so: correct it and send SIGHUP again",
			"file", s.file, "error", err)
		return
	}
	if len(restart) > 0 {
		s.log.WarnContext(ctx, "the server file is in force but for what needs a restart", "file", s.file, "restart", restart)
		return
	}
	s.log.InfoContext(ctx, "the server file is in force", "file", s.file)
}

// reloaded returns what it could not change without a restart. Whatever can fail
// comes before the first change.
func (s *service) reloaded(ctx context.Context) (restart []string, err error) {
	file, err := readServer(s.file)
	if err != nil {
		return nil, err
	}
	next, restart := s.bot.Server().Next(file)
	creds, err := readCredentials(next, s.redact)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(creds.clusters)) {
		if creds.clusters[name] != s.lent.clusters[name] {
			restart = append(restart, "clusters."+name+" (its kubeconfig has changed)")
		}
	}
	if !bytes.Equal(creds.authorities, s.lent.authorities) {
		restart = append(restart, next.Kind()+".caFile (its certificates have changed)")
	}
	if creds.store != s.lent.store {
		restart = append(restart, "storePasswordFile (the password has changed)")
	}
	if err := s.tried(ctx, next.Forges, creds); err != nil {
		return nil, err
	}
	handler, err := s.handler(creds.webhook)
	if err != nil {
		return nil, err
	}
	if err := s.forge.rotate(creds); err != nil {
		return nil, err
	}
	s.door.set(handler)
	return restart, s.bot.Reload(ctx, next)
}

// tried finds out whether the forge takes the credentials for the same account.
// A forge that cannot say so now does not keep them from coming into force.
func (s *service) tried(ctx context.Context, at config.Forges, creds credentials) error {
	other, err := reach(ctx, at, creds, s.road)
	if err != nil {
		return err
	}
	was, err := s.forge.Self(ctx)
	if err != nil {
		return err
	}
	is, err := other.Self(ctx)
	switch code := forge.CodeOf(err); {
	case code == forge.Unauthorized, code == forge.Forbidden, code == forge.NotFound:
		return fmt.Errorf("the forge refuses the credentials: %w", err)
	case err != nil:
		s.log.WarnContext(ctx, "the forge cannot be asked about the credentials, which are used from now on", "error", err)
	case is.ID != was.ID:
		return errors.New(at.Kind() + ": the credentials are another account's; comments and checks of this one would no longer be known as ours: use that account's own, or restart")
	}
	return nil
}
