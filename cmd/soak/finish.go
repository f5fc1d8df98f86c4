package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"lockkeeper/cmd/internal/house"
)

const (
	// rounds are how often the people try to get a pull applied before they
	// close it.
	rounds = 6
	// calm is how long to wait for what nobody told the bot: for a sweep, and for
	// what changed live to be looked at.
	calm = sweep + 3*time.Second
	// quiet is how long nothing may happen until all is done that is known.
	quiet = 1500 * time.Millisecond
)

// finish has every pull applied, or closed if it cannot be, and returns when
// nothing is left to do.
func (p *people) finish(ctx context.Context) error {
	for round, done := 1, false; ; round++ {
		rest(ctx, calm)
		if err := p.settle(ctx); err != nil {
			return err
		}
		open, err := p.open(ctx)
		if err != nil {
			return err
		}
		held, err := p.holding(ctx)
		if err != nil {
			return err
		}
		p.world.diary.tell("round %d: %d pulls are open, %d closed ones hold targets", round, len(open), len(held))
		if len(open)+len(held) == 0 {
			if done {
				return nil
			}
			done = true // and looked at once more: drift may be found meanwhile
			continue
		}
		done = false
		if err := p.bringHome(ctx, open, round); err != nil {
			return err
		}
		for _, number := range held {
			if err := p.putBack(ctx, number, round); err != nil {
				return err
			}
		}
	}
}

// bringHome approves pulls and asks for them to be applied. Those of people that
// cannot be applied any more are closed, and after some rounds all. The bot's own
// pulls about drift are not: closing one leaves the drift alone. What cannot be
// adopted is put back.
func (p *people) bringHome(ctx context.Context, open []pull, round int) error {
	var ready []pull
	for _, l := range open {
		futile, err := p.futile(ctx, l.Number)
		if err != nil {
			return err
		}
		switch {
		case drifted(l) && round > 2:
			err = p.say(ctx, house.Applier, l.Number, "/restore")
		case !drifted(l) && (futile || round > rounds):
			if err := p.as(house.Opener).Close(ctx, p.repo(), l.Number); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		ready = append(ready, l)
	}
	// Whoever asked for a pull may not approve it; somebody else can.
	for _, words := range [][]said{
		{{who: house.Applier, text: "/unhold"}, {who: house.Applier, text: "/plan"}},
		{{who: house.Opener, text: "/approve"}, {who: house.Reviewer, text: "/approve"}, {who: house.Applier, text: "/approve"}, {who: house.Applier, text: "/apply"}},
	} {
		for _, l := range ready {
			for _, c := range words {
				if err := p.say(ctx, c.who, l.Number, c.text); err != nil {
					return err
				}
			}
		}
		if err := p.settle(ctx); err != nil {
			return err
		}
	}
	return nil
}

// futile reports whether a pull conflicts with what was merged, or has nothing
// left to apply.
func (p *people) futile(ctx context.Context, number int) (bool, error) {
	var out struct {
		State string `json:"mergeable_state"`
	}
	if err := p.as(house.Opener).Do(ctx, "GET", fmt.Sprintf("/repos/%s/pulls/%d", p.repo(), number), nil, &out); err != nil {
		return false, err
	}
	report, err := p.world.house.Report(ctx, number)
	return out.State == "dirty" || strings.Contains(report, "No target is affected"), err
}

// putBack applies the restore of a pull that was applied and then closed.
func (p *people) putBack(ctx context.Context, number, round int) error {
	words := []string{"/approve", "/apply"}
	if round > 2 {
		words = []string{"/unlock restore", "/approve", "/apply"}
	}
	for _, text := range words {
		who := house.Reviewer
		if text == "/apply" {
			who = house.Applier
		}
		if err := p.say(ctx, who, number, text); err != nil {
			return err
		}
		if err := p.settle(ctx); err != nil {
			return err
		}
	}
	return nil
}

// holding are the closed pulls that hold targets.
func (p *people) holding(ctx context.Context) ([]int, error) {
	open, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	isOpen := map[int]bool{}
	for _, l := range open {
		isOpen[l.Number] = true
	}
	leases, err := p.world.store.Leases(ctx)
	if err != nil {
		return nil, err
	}
	var held []int
	seen := map[int]bool{}
	for _, l := range leases {
		rest, isPull := strings.CutPrefix(l.Holder, fmt.Sprintf("pull/%d/", p.world.house.Operator.ID))
		var number int
		if _, err := fmt.Sscan(rest, &number); !isPull || err != nil || isOpen[number] || seen[number] {
			continue
		}
		seen[number] = true
		held = append(held, number)
	}
	return held, nil
}

// settle waits until nothing happened for a while: no webhook is on its way, no
// work waits, and nothing new came of it.
func (p *people) settle(ctx context.Context) error {
	w := p.world
	since, before := time.Now(), ""
	for time.Since(since) < quiet {
		if err := w.house.Forge.Flush(ctx); err != nil {
			return err
		}
		waiting, err := w.store.Waiting(ctx)
		if err != nil {
			return err
		}
		if now := fmt.Sprint(len(w.house.Forge.Deliveries()), waiting); now != before || waiting > 0 {
			since, before = time.Now(), now
		}
		for _, r := range w.replicas {
			if err := r.alive(); err != nil {
				return err
			}
		}
		if !rest(ctx, 100*time.Millisecond) {
			return fmt.Errorf("%w; %d keys have work", context.Cause(ctx), waiting)
		}
	}
	return nil
}

// alive is an error if the process ended by itself.
func (r *replica) alive() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return fmt.Errorf("replica %s is not running", r.name)
	}
	if err := r.process.Ended(); err != nil {
		return fmt.Errorf("replica %s: %w", r.name, err)
	}
	return nil
}
