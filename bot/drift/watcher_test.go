package drift

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"lockkeeper/bot/store"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// broken is a cluster whose watches end: at once, but for those that last.
type broken struct {
	cluster.Cluster
	began []time.Time
	lasts func(n int) time.Duration
}

func (b *broken) Watch(ctx context.Context, news func()) error {
	b.began = append(b.began, time.Now())
	select {
	case <-time.After(b.lasts(len(b.began))):
		return errors.New("it ended")
	case <-ctx.Done():
		return ctx.Err()
	}
}

func open(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "lockkeeper.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// A watch that ends begins again, less and less often while it ends at once,
// and each time the cluster is looked at: nobody knows what was missed.
func TestWatchBeginsAgain(t *testing.T) {
	s := open(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := &broken{lasts: func(n int) time.Duration {
			if n == 4 {
				return time.Hour
			}
			return 0
		}}
		w := &Watcher{Store: s, Log: slog.New(slog.DiscardHandler), Clusters: map[string]cluster.Cluster{"main": c}}
		done := make(chan error)
		go func() { done <- w.Watch(ctx) }()
		time.Sleep(time.Hour + 12*time.Second) // of the bubble's clock
		cancel()
		if err := <-done; err != nil {
			t.Errorf("watch: %v", err)
		}
		var pauses []time.Duration
		for i := range c.began[1:] {
			pauses = append(pauses, c.began[i+1].Sub(c.began[i]))
		}
		want := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, time.Hour + time.Second, 2 * time.Second}
		if len(pauses) < len(want) {
			t.Fatalf("it began %d times: %v", len(c.began), pauses)
		}
		for i := range want {
			if pauses[i] != want[i] {
				t.Errorf("watch %d began %s after the one before, want %s", i+2, pauses[i], want[i])
			}
		}
	})
	if n, err := s.Waiting(t.Context()); err != nil || n != 1 {
		t.Errorf("%d keys are wanted (%v), want the cluster's", n, err)
	}
}

// Only what is not as we left it is looked at again.
func TestPullIsSeen(t *testing.T) {
	at := func(state forge.PullState, head string, merged bool) forge.Pull {
		return forge.Pull{Number: 7, State: state, Merged: merged, Head: forge.Branch{SHA: head}}
	}
	for name, c := range map[string]struct {
		pull  forge.Pull
		quiet int
		want  int
	}{
		"as we left it":         {at(forge.Open, "tip", false), 0, 0},
		"pushed to":             {at(forge.Open, "other", false), 0, 1},
		"pushed to, as known":   {at(forge.Open, "theirs", false), 0, 0},
		"closed":                {at(forge.Closed, "tip", false), 0, 1},
		"closed, as known":      {at(forge.Closed, "tip", false), 7, 0},
		"opened again":          {at(forge.Open, "tip", false), 7, 1},
		"merged":                {at(forge.Closed, "tip", true), 0, 0},
		"not one of ours":       {forge.Pull{Number: 8, State: forge.Closed}, 0, 0},
		"closed before another": {at(forge.Closed, "tip", false), 6, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := &Watcher{Store: open(t)}
			d := store.Drift{RepoID: 1, Cluster: "main", Target: "shop", Number: 7, Tip: "tip", Foreign: []string{"theirs"}, Quiet: store.Quiet{Closed: c.quiet}}
			if err := w.Store.SaveDrift(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			if err := w.Seen(t.Context(), 1, c.pull); err != nil {
				t.Fatal(err)
			}
			if n, err := w.Store.Waiting(t.Context()); err != nil || n != c.want {
				t.Errorf("%d keys are wanted (%v), want %d", n, err, c.want)
			}
		})
	}
}
