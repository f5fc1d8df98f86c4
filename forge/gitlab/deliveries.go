package gitlab

import (
	"context"
	"fmt"
	"time"

	"lockkeeper/forge"
	"lockkeeper/forge/internal/wire"
)

// FailedDeliveries tells nothing: GitLab keeps deliveries with each webhook, for
// those who administer it, and repeats failed ones itself only where that is
// asked for by hand.
func (f *Forge) FailedDeliveries(context.Context, time.Time) ([]forge.Delivery, bool, error) {
	return nil, false, nil
}

// Redeliver is refused: no delivery was told of.
func (f *Forge) Redeliver(_ context.Context, id int64) error {
	return wire.Fail(fmt.Sprintf("have webhook delivery %d sent again", id),
		&forge.Error{Code: forge.Invalid, Unsent: true, Message: "GitLab does not tell of deliveries of all webhooks together"})
}
