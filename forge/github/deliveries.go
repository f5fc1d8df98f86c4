package github

import (
	"context"
	"errors"
	"fmt"
	"time"

	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge"
	"lockkeeper/forge/github/internal/sdk"
)

// maxDeliveryPages bounds the calls of one look at the deliveries: 5,000 of them.
const maxDeliveryPages = 50

// FailedDeliveries reads what GitHub sent to the App's webhook; it keeps three
// days of that. There is one webhook for all installations. With a personal token
// ok is false: the deliveries of a repository's own webhook are for its
// administrators only. An older Enterprise Server does not tell either.
//
// GitHub lists attempts, newest first. One that went well settles its delivery,
// whatever became of the ones before.
func (f *Forge) FailedDeliveries(ctx context.Context, since time.Time) ([]forge.Delivery, bool, error) {
	c, ok := f.creds.asApp()
	if !ok {
		return nil, false, nil
	}
	var failed []forge.Delivery
	place := map[string]int{} // of a GUID in failed; -1: it was delivered
	opts := gh.ListCursorOptions{PerPage: sdk.PerPage}
	for range maxDeliveryPages {
		page, resp, err := c.Apps.ListHookDeliveries(ctx, &opts)
		if forge.CodeOf(sdk.Fail("", err)) == forge.NotFound {
			return nil, false, nil // an Enterprise Server that does not list them
		} else if err != nil {
			return nil, false, sdk.Fail("list the App's webhook deliveries", err)
		}
		for _, d := range page {
			if d.GetDeliveredAt().Before(since) {
				return settled(failed), true, nil
			}
			at, seen := place[d.GetGUID()]
			switch {
			case d.GetStatusCode() >= 200 && d.GetStatusCode() < 400:
				if seen && at >= 0 {
					failed[at].Attempts = 0
				}
				place[d.GetGUID()] = -1
			case !seen:
				place[d.GetGUID()] = len(failed)
				failed = append(failed, forge.Delivery{
					ID: d.GetID(), GUID: d.GetGUID(), Event: d.GetEvent(), RepoID: d.GetRepositoryID(), Attempts: 1,
					At: d.GetDeliveredAt().Time, Status: d.GetStatusCode(),
				})
			case at >= 0 && failed[at].Attempts > 0:
				failed[at].Attempts++
			}
		}
		if resp.Cursor == "" || resp.Cursor == opts.Cursor {
			break
		}
		opts.Cursor = resp.Cursor
	}
	return settled(failed), true, nil
}

// settled leaves out what an attempt brought after all: one of two that ran
// beside each other may be listed behind the other.
func settled(failed []forge.Delivery) []forge.Delivery {
	var out []forge.Delivery
	for _, d := range failed {
		if d.Attempts > 0 {
			out = append(out, d)
		}
	}
	return out
}

// Redeliver asks GitHub to send a delivery again.
func (f *Forge) Redeliver(ctx context.Context, id int64) error {
	op := fmt.Sprintf("have webhook delivery %d sent again", id)
	c, ok := f.creds.asApp()
	if !ok {
		return sdk.Fail(op, &forge.Error{Code: forge.Invalid, Unsent: true, Message: "only an App may ask for that"})
	}
	_, _, err := c.Apps.RedeliverHookDelivery(ctx, id)
	var accepted *gh.AcceptedError // GitHub's answer to this
	if err != nil && !errors.As(err, &accepted) {
		return sdk.Fail(op, err)
	}
	return nil
}
