package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"lockkeeper/bot/web"
)

const (
	// workers is how many pulls are reconciled at once. Work is mostly waiting
	// for forges and clusters.
	workers = 8
	// bootstrapWait bounds how long the start waits for clusters: those that are
	// not ready by then are made so before they are needed.
	bootstrapWait = 20 * time.Second
	// closeWait is how long requests may still run when the listener closes.
	closeWait = 10 * time.Second
	// stuckAfter is how long the loop that queues work may stand still: it goes
	// round every second, and each of its rounds is bounded.
	stuckAfter = 2 * time.Minute
)

// lifecycle is what the probes tell of this process.
type lifecycle struct {
	working, draining atomic.Bool
	// beat is when the loop that queues work last went round.
	beat func() time.Time
	// began is when that loop was started.
	began time.Time
}

// ready says why no deliveries should be sent here. They are only stored, so
// that work need not have begun.
func (l *lifecycle) ready(context.Context) error {
	if l.draining.Load() {
		return errors.New("this process is about to end")
	}
	return nil
}

// alive says why this process is past help. The store and the forge being away
// is no reason: a new process would not reach them either.
func (l *lifecycle) alive(context.Context) error {
	if !l.working.Load() || l.draining.Load() {
		return nil
	}
	last := l.beat()
	if last.Before(l.began) {
		last = l.began
	}
	if still := time.Since(last); still > stuckAfter {
		return fmt.Errorf("work has not been queued for %s", still.Round(time.Second))
	}
	return nil
}

// run serves until ctx ends, then drains: no more jobs are begun, those that run
// end or are handed over, and only then the door is closed.
func (s *service) run(ctx context.Context, l net.Listener, reload <-chan os.Signal) error {
	s.log.InfoContext(ctx, "listening", "address", l.Addr().String(), "version", buildVersion())
	server := web.Server("", &s.door, s.log)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		s.state.draining.Store(true)
		s.log.InfoContext(ctx, "draining: no new work is begun, and what runs may go on for a while", "drain", time.Duration(s.bot.Server().Drain))
		return nil
	})
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-reload:
				s.reload(ctx)
			}
		}
	})
	g.Go(func() error {
		err := s.work(ctx)
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
		defer cancel()
		return errors.Join(err, server.Shutdown(stop))
	})
	err := g.Wait()
	s.log.InfoContext(ctx, "ended")
	return err
}

// work does what there is to do until ctx ends and the work that had begun by
// then is over.
func (s *service) work(ctx context.Context) error {
	soon, cancel := context.WithTimeout(ctx, bootstrapWait)
	s.bot.Bootstrap(soon)
	cancel()
	if ctx.Err() != nil {
		return nil
	}
	if err := s.bot.WantAll(ctx); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		s.state.began, s.state.beat = time.Now(), s.store.Beat
		s.state.working.Store(true)
		return s.store.Run(ctx, workers, s.handle)
	})
	g.Go(func() error { return s.bot.Watch(ctx) })
	return g.Wait()
}

// handle does the work behind a key, measured, and with a name in the logs.
func (s *service) handle(ctx context.Context, key string) error {
	kind, _, _ := strings.Cut(key, "/")
	start := time.Now()
	err := s.bot.Handle(ctx, key)
	outcome := "done"
	if err != nil {
		outcome = "failed"
	}
	s.metrics.Job(kind, outcome, time.Since(start))
	return err
}
