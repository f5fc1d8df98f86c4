package main

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lockkeeper/bot/drift"
	"lockkeeper/bot/reconcile"
	"lockkeeper/bot/store/pgtest"
)

// crashed are the points at which somebody died, of all stories together.
var crashed = struct {
	sync.Mutex
	at map[string]bool
}{at: map[string]bool{}}

// crashStories reach, together, every action of the bot and every step of its
// looks for drift.
var crashStories = map[string]func(t *testing.T){
	"apply":               func(t *testing.T) { applyStory(t, "") },
	"apply, PostgreSQL":   postgresStory,
	"apply after merge":   applyAfterMergeStory,
	"changed meanwhile":   changedMeanwhileStory,
	"talk":                talkStory,
	"undo":                undoStory,
	"drift":               driftStory,
	"heal":                healStory,
	"writes to the forge": writesStory,
}

// TestACrashAnywhereLosesNothing kills the real program (kill -9) before and after
// every action of the bot and every step of its looks for drift, restarts it, and
// lets it go on (threat 28). The points are the code's own sets: one that no
// story reaches fails the test.
func TestACrashAnywhereLosesNothing(t *testing.T) {
	began, ran := time.Now(), 0
	stories := slices.Sorted(maps.Keys(crashStories))
	if raceDetector {
		// Most of what a life costs is its start, which the detector makes four
		// times as long; it finds nothing there that it does not in bot's stories.
		stories = stories[:1]
		t.Logf("the race detector watches only the story %q", stories[0])
	}
	t.Run("story", func(t *testing.T) {
		for _, name := range stories {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				crashStories[name](t)
				crashed.Lock()
				defer crashed.Unlock()
				ran++
			})
		}
	})
	t.Logf("died at %d points in %s", len(crashed.at), time.Since(began))
	if t.Failed() || ran < len(crashStories) {
		t.Logf("%d of %d stories were told to their end: whether they reach all points is not asked", ran, len(crashStories))
		return
	}
	for _, a := range reconcile.Actions() {
		mustHaveCrashed(t, reconcile.Name(a))
	}
	for _, s := range drift.Steps() {
		mustHaveCrashed(t, s)
	}
}

func mustHaveCrashed(t *testing.T, step string) {
	t.Helper()
	for _, done := range []bool{false, true} {
		if p := pointOf(step, done); !crashed.at[p] {
			t.Errorf("no story reaches the point %q: a crash there is not tried", p)
		}
	}
}

// postgresStory is the story of an apply on the database that replicas share.
func postgresStory(t *testing.T) {
	server, err := pgtest.Shared()
	if err != nil {
		t.Fatal(err)
	}
	url, err := server.Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	applyStory(t, url)
}

// told ends a story: nothing is lost but what pulls hold, and where the bot died
// counts.
func (h *crashHouse) told(held ...int) {
	h.t.Helper()
	h.nothingLost(held...)
	crashed.Lock()
	defer crashed.Unlock()
	for _, line := range h.met() {
		_, point, _ := strings.Cut(line, ": ")
		crashed.at[point] = true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.t.Logf("the bot lived %d times, and took %s of CPU each time", h.lives, h.spent/time.Duration(h.lives))
}
