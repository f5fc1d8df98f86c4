package bot

import (
	"context"
	"fmt"

	"lockkeeper/bot/names"
	"lockkeeper/bot/policy"
	"lockkeeper/bot/store"
)

// reviewDuties opens the reviews that applying by a verdict owes. That is
// stored before anything is touched. Each operation owes its own, or else one
// that follows a review could use the same override unseen; an operation that
// is resumed owes what it did before.
func (b *Bot) reviewDuties(ctx context.Context, g *gathered, operation string, uses []policy.Use) error {
	for _, u := range uses {
		d := store.Duty{
			ID: names.Hash("duty", operation, u.Environment, fmt.Sprint(u.ID)), RepoID: g.key.Repo, Number: g.key.Number,
			Environment: u.Environment, By: u.By, Reason: u.Reason, CommentID: u.ID, Opened: b.now(), Due: u.Due,
		}
		if err := b.store.OpenDuty(ctx, d); err != nil {
			return err
		}
	}
	return nil
}
