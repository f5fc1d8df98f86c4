package watch

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A burst is one piece of news: soon after it has ended, and once in a while if
// it does not end.
func TestBurstsAreDebounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		signals := make(chan struct{}, 1)
		began := time.Now()
		var told []time.Duration
		go debounce(ctx, signals, func() { told = append(told, time.Since(began)) })
		for range 4 { // the last one at 300 ms
			poke(signals)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(told) != 1 || told[0] != 550*time.Millisecond {
			t.Errorf("told at %v, want once, 250 ms after the last signal", told)
		}
		told, began = nil, time.Now()
		for range 50 { // five seconds
			poke(signals)
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if len(told) != 2 || told[0] != 2*time.Second {
			t.Errorf("told at %v, want after 2 s, and after as much again", told)
		}
	})
}
