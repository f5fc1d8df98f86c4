package bot

import (
	"context"
	"errors"
	"slices"

	"lockkeeper/bot/command"
	"lockkeeper/bot/heed"
	"lockkeeper/bot/outcome"
	"lockkeeper/bot/reconcile"
	"lockkeeper/forge"
)

// cancelled is why an apply is stopped: somebody no longer wants it.
type cancelled struct{ command reconcile.Command }

func (c *cancelled) Error() string { return "cancelled by @" + c.command.Comment.Author.Login }

// errMoved is why a plan is stopped: it would be of a head that is gone.
var errMoved = errors.New("the pull has another head or base now")

// heeding derives a context for work that holds the pull's run: see heed.While.
func (b *Bot) heeding(ctx context.Context, look heed.Look) (heeding context.Context, stop func()) {
	return heed.While(ctx, b.store.News, b.log, look)
}

// cancelling looks, each time it is asked, whether somebody who may cancels a
// running operation. The comments are read anew, and so is what their authors
// may do.
func (b *Bot) cancelling(g *gathered, a reconcile.Apply) heed.Look {
	before := *g.State // the operation changes the original when it ends
	return func(ctx context.Context) (why, err error) {
		state := before
		now := &gathered{key: g.key, State: &state}
		now.Now, now.Commands = b.now(), nil
		if now.Comments, err = b.forge.Comments(ctx, now.Operator.Ref(), now.Pull.Number); err != nil {
			return nil, err
		}
		if err := b.commands(ctx, now); err != nil {
			return nil, err
		}
		now.Commands = slices.DeleteFunc(now.Commands, func(c reconcile.Command) bool { return c.Parsed.Name != command.Cancel })
		for i, c := range now.Commands {
			p, err := b.forge.Permission(ctx, now.Operator.Ref(), c.Comment.Author)
			if err != nil && forge.CodeOf(err) != forge.NotFound {
				return nil, err
			}
			now.Commands[i].Writer = p >= forge.Write
		}
		if c := now.Cancelling(a); c != nil {
			return &cancelled{*c}, nil
		}
		return nil, nil
	}
}

// moved looks, each time it is asked, whether the pull that is being planned has
// another head or base by now.
func (b *Bot) moved(g *gathered) heed.Look {
	ref, was := g.Operator.Ref(), g.Pull
	return func(ctx context.Context) (why, err error) {
		p, err := b.forge.Pull(ctx, ref, was.Number)
		if err != nil {
			return nil, err
		}
		if p.Head.SHA != was.Head.SHA || p.Base.Name != was.Base.Name {
			return errMoved, nil
		}
		return nil, nil
	}
}

// cancel ends an operation that a stop of the process cut short, truthfully: the
// fresh plan shows what is left of it. Its targets stay the pull's.
func (b *Bot) cancel(ctx context.Context, g *gathered, c reconcile.Cancel) error {
	last := g.Memory.Last
	last.Outcome, last.Cancelled = outcome.Cancelled, c.Command.ID()
	last.Message = "Cancelled by @" + c.Command.Comment.Author.Login + ", after the process was stopped in the middle. The plan above shows what is left to do; `/apply` goes on from here."
	sayRollback(g)
	g.Memory.Plan, g.Plan, g.Results = nil, nil, nil // how far it got, the plan tells
	if err := b.end(ctx, g, c.Apply, last.Outcome, last.Message); err != nil {
		return err
	}
	g.Operation = nil
	return b.replyToEnd(ctx, g, c.Apply)
}

// replyToEnd answers who asked for an operation that is over, and who cancelled
// it.
func (b *Bot) replyToEnd(ctx context.Context, g *gathered, a reconcile.Apply) error {
	var replies []reconcile.Action
	if a.Command != nil {
		replies = g.Ended(*a.Command)
	}
	return b.runAll(ctx, g, append(replies, g.CancelReply()...))
}

// sayRollback adds the way back to what is said of an operation that ended
// half-way.
func sayRollback(g *gathered) {
	last := g.Memory.Last
	if last.Halfway() && (last.Kind == reconcile.PlanPull || last.Kind == reconcile.PlanMerged) && !outcome.Untouched(g.Results) {
		last.Message += " `/rollback` goes back instead."
	}
}
