package main

import (
	"context"
	"fmt"
	"time"
)

// patience bounds every wait: generous, because it only matters when
// something is wrong.
const patience = 2 * time.Minute

// eventually waits until the condition holds. An error of the condition ends
// the wait.
func eventually(ctx context.Context, what string, holds func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("still not so after %s", patience))
	defer cancel()
	pause := 10 * time.Millisecond
	for {
		ok, err := holds(ctx)
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		case <-time.After(pause):
		}
		pause = min(pause*3/2, 200*time.Millisecond)
	}
}
