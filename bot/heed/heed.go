// Package heed lets work that takes long, and that keeps others from looking at
// the same thing meanwhile, hear what is new about it.
package heed

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// lookAgain is how long to wait after it could not be found out whether running
// work is still wanted.
const lookAgain = 5 * time.Second

// Look finds a reason to stop, nil if there is none. After an error it is asked
// again.
type Look func(context.Context) (why, err error)

// While derives a context for work on a key that holds the key's run. Whenever
// there is news of the key, look is asked for a reason to stop; if there is one,
// the context ends with it as its cause. What was new before is looked at before
// While returns. stop ends the looking, and has to be called.
func While(ctx context.Context, news func(context.Context) <-chan struct{}, log *slog.Logger, look Look) (heeding context.Context, stop func()) {
	heeding, cancel := context.WithCancelCause(ctx)
	ask := func() (again <-chan time.Time) {
		why, err := look(heeding)
		if why != nil {
			cancel(why)
		}
		if err == nil || heeding.Err() != nil {
			return nil
		}
		log.WarnContext(ctx, "whether running work is still wanted cannot be asked; trying again", "error", err)
		return time.After(lookAgain)
	}
	heard := news(heeding)
	var again <-chan time.Time
	select {
	case <-heard:
		again = ask()
	default:
	}
	var looking sync.WaitGroup
	looking.Go(func() {
		for {
			select {
			case <-heeding.Done():
				return
			case <-heard:
			case <-again:
			}
			again = ask()
		}
	})
	return heeding, func() { cancel(context.Canceled); looking.Wait() }
}
