package store

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// clock is a clock that tests move by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// opener opens one database, as often as it is called; the suite runs on it.
type opener func(t *testing.T, opts Options) *Store

// emptyDatabase is a new database's file, made once: the race detector makes
// migrations slow.
var emptyDatabase = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "lockkeeper-store-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "empty.db")
	s, err := Open(context.Background(), path, Options{Now: newClock().Now})
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func sqliteOpener(t *testing.T) opener {
	path := filepath.Join(t.TempDir(), "lockkeeper.db")
	ok(t, os.WriteFile(path, must[[]byte](t)(emptyDatabase()), 0o600))
	return func(t *testing.T, opts Options) *Store {
		t.Helper()
		s, err := Open(t.Context(), path, opts)
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
}

// suite is what every database has to pass.
var suite = map[string]func(t *testing.T, open opener){
	"EventDuringRunCausesAnotherRun":  testEventDuringRun,
	"ManyEventsAreOneRun":             testCoalescing,
	"OneRunPerKeyAtATime":             testOneRunPerKey,
	"DoubledDeliveryCountsOnce":       testDoubledDelivery,
	"OldDeliveriesAreForgotten":       testPrunedDeliveries,
	"FailedRunIsTriedAgain":           testRetry,
	"PanicIsAnErrorOfTheRun":          testPanic,
	"EventsDoNotSpinAFailingKey":      testFailingKeyRests,
	"LaterRestsUntilItsTime":          testLater,
	"RestEndsForWhoeverAsks":          testLaterUnlessWanted,
	"WantAtRunsAtItsTime":             testWantAt,
	"QueuedWorkSurvivesRestart":       testRestart,
	"JobGoneAstrayIsPutBack":          testStray,
	"NewsAndCauseOfARun":              testNews,
	"OlderRunIsFencedOff":             testFence,
	"KeepHoldsItsLease":               testKeep,
	"StoppingCancelsRunsAndKeepsWork": testHardStop,
	"StoppingLetsRunsFinish":          testSoftStop,
	"SecondRunIsRefused":              testSecondRun,
	"IdleEndsWithItsContext":          testIdleContext,
	"WebhookToJobIsFast":              testLatency,

	"PullIsSavedOnlyOverWhatWasLoaded": testPulls,
	"OneOfManySaversWins":              testSaveRace,
	"NewestPlansAreKept":               testPlans,
	"CommandActsOnce":                  testCommands,
	"LeaseHasOneHolder":                testLeases,
	"LeaseTokensRise":                  testLeaseRace,
	"OperationHasOneOutcome":           testOperations,
	"StoreIsForOneForge":               testHome,
	"BranchIsNotedWithWhatWasFound":    testBranches,
	"BypassIsSettledOnce":              testBypassSettled,
	"DutyIsClosedOnce":                 testDuties,
	"DriftIsFoundByItsPull":            testDrifts,
	"StatesThatWereAppliedAreFound":    testRenders,
	"HealsAreRememberedForADay":        testHeals,
	"ClusterIsKnownAsLastLookedAt":     testWatches,
	"RecordsAreOneChain":               testRecords,
	"ConcurrentRecordsAreOneChain":     testRecordRace,
	"RecordsComeWithWhatTheyTellOf":    testRecordsBeside,
	"UnwritableRecordIsRefused":        testBadRecord,
	"ClosedStoreNamesWhatFailed":       testClosed,
}

// TestStoreOnSQLite runs the whole suite on SQLite; another database runs the
// same one with another opener.
func TestStoreOnSQLite(t *testing.T) {
	for name, test := range suite {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t, sqliteOpener(t)) })
	}
}

// start runs handler on the store until the test ends or stop is called.
func start(t *testing.T, s *Store, workers int, handler func(ctx context.Context, key string) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, workers, handler) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// idle waits until all work is done, and fails instead of hanging.
func idle(t *testing.T, s *Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ok(t, s.Idle(ctx))
}

// receive takes the next value, and fails instead of hanging.
func receive[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(30 * time.Second):
		t.Fatalf("timed out waiting for %s", what)
		panic("unreachable")
	}
}
