package watch

import (
	"context"
	"time"
)

const (
	// quiet is how long nothing new must have come before it is told.
	quiet = 250 * time.Millisecond
	// patience is how long news is held back at most.
	patience = 2 * time.Second
)

// debounce calls news once for a burst of signals, until ctx ends.
func debounce(ctx context.Context, signals <-chan struct{}, news func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		if !calm(ctx, signals) {
			return
		}
		news()
	}
}

// calm waits until a burst is over; false means that ctx ended.
func calm(ctx context.Context, signals <-chan struct{}) bool {
	most := time.NewTimer(patience)
	defer most.Stop()
	for {
		rest := time.NewTimer(quiet)
		select {
		case <-ctx.Done():
			rest.Stop()
			return false
		case <-signals:
			rest.Stop()
		case <-rest.C:
			return true
		case <-most.C:
			rest.Stop()
			return true
		}
	}
}
