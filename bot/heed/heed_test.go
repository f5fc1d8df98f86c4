package heed_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"lockkeeper/bot/heed"
)

// What was new before the work began stops it before it does anything, what is
// new later as soon as somebody says why; without a reason, nothing does.
func TestWorkHeedsWhatIsNew(t *testing.T) {
	reason := errors.New("enough")
	news := make(chan struct{}, 1)
	looks := make(chan error)
	look := func(ctx context.Context) (error, error) {
		select {
		case why := <-looks:
			return why, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	source := func(context.Context) <-chan struct{} { return news }
	work, stop := heed.While(t.Context(), source, slog.New(slog.DiscardHandler), look)
	news <- struct{}{}
	looks <- nil
	if work.Err() != nil {
		t.Error("stopped without a reason")
	}
	news <- struct{}{}
	looks <- reason
	<-work.Done()
	stop()
	if !errors.Is(context.Cause(work), reason) {
		t.Errorf("stopped because of %v", context.Cause(work))
	}

	news <- struct{}{}
	work, stop = heed.While(t.Context(), source, slog.New(slog.DiscardHandler), func(context.Context) (error, error) { return reason, nil })
	if !errors.Is(context.Cause(work), reason) {
		t.Error("what was new before is heeded late")
	}
	stop()

	work, stop = heed.While(t.Context(), source, slog.New(slog.DiscardHandler), look)
	stop()
	if work.Err() == nil || errors.Is(context.Cause(work), reason) {
		t.Errorf("ended as %v", context.Cause(work))
	}
}
