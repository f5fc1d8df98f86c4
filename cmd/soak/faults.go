package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"lockkeeper/cmd/internal/fault"
	"lockkeeper/forge/forgetest"
)

// faults breaks things, one after the other, and mends each after a while.
// Several may do so at once.
type faults struct {
	world *world
	rng   *rand.Rand
}

// breakage is one thing that can happen. It returns when it is over.
type breakage struct {
	weight int
	run    func(ctx context.Context) error
}

// live breaks things until ctx ends.
func (f *faults) live(ctx context.Context) error {
	all := []breakage{
		{6, f.spoilRoad}, {3, f.spoilForge}, {3, f.spoilWebhooks},
		{3, f.kill}, {2, f.replace}, {2, f.pause}, {1, f.killAPIServer},
	}
	sum := 0
	for _, b := range all {
		sum += b.weight
	}
	for rest(ctx, f.between(0, 2*time.Second)) {
		if err := f.keepUp(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		n := f.rng.IntN(sum)
		i := slices.IndexFunc(all, func(b breakage) bool { n -= b.weight; return n < 0 })
		if err := all[i].run(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// keepUp starts replicas that ended by themselves, as an init system would: one
// that cannot reach its database or its forge at the start does.
func (f *faults) keepUp(ctx context.Context) error {
	for _, r := range f.world.replicas {
		why := r.alive()
		if why == nil || !r.busy.TryLock() {
			continue
		}
		f.world.diary.tell("%.600s", why)
		err := errors.Join(r.end(true), r.start(ctx))
		r.busy.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// rest waits, and reports whether there is time left.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (f *faults) between(least, most time.Duration) time.Duration {
	return least + time.Duration(f.rng.Int64N(int64(most-least)))
}

func (f *faults) someone() *replica { return f.world.replicas[f.rng.IntN(len(f.world.replicas))] }

// spoilRoad makes one road of one replica worse. Nothing tells a database's
// client that plain TCP brought it other bytes, so that this road is not damaged.
func (f *faults) spoilRoad(ctx context.Context) error {
	r := f.someone()
	roads := []string{"forge", "cluster"}
	states := []fault.State{
		{Delay: f.between(20*time.Millisecond, 600*time.Millisecond)}, {Cut: true}, {Silent: true}, {Damage: 2000 + f.rng.IntN(30_000)},
	}
	if r.store != nil {
		roads = append(roads, "database")
	}
	road, s := roads[f.rng.IntN(len(roads))], states[f.rng.IntN(len(states))]
	if road == "database" && s.Damage > 0 {
		s = fault.State{Cut: true}
	}
	d := f.between(time.Second, 8*time.Second)
	f.world.diary.tell("replica %s: the road to the %s is %s for %.1f s", r.name, road, s, d.Seconds())
	l := r.links()[road]
	l.Set(s)
	rest(ctx, d)
	l.Set(fault.State{})
	return nil
}

// spoilForge has the forge answer the bot badly now and then. People are not
// disturbed: what they did is known then.
func (f *faults) spoilForge(ctx context.Context) error {
	answers := []*forgetest.Fault{
		{Status: http.StatusBadGateway}, {Status: http.StatusInternalServerError}, {Cut: true}, {Cut: true, After: true}, {Hang: true, After: true},
		{Status: http.StatusTooManyRequests, Message: "You have exceeded a secondary rate limit.", Header: http.Header{"Retry-After": {"1"}}},
	}
	answer, share := answers[f.rng.IntN(len(answers))], 2+f.rng.IntN(6)
	if answer.Hang {
		share *= 4
	}
	dice, d := rand.New(rand.NewPCG(f.rng.Uint64(), 0)), f.between(2*time.Second, 8*time.Second)
	var mu sync.Mutex
	f.world.diary.tell("the forge answers 1 in %d calls of the bot with %s for %.1f s", share, describe(answer), d.Seconds())
	f.world.house.Forge.Fail(func(r *http.Request) *forgetest.Fault {
		if strings.Contains(r.Header.Get("Authorization"), "ghp_") {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if dice.IntN(share) > 0 {
			return nil
		}
		return answer
	})
	rest(ctx, d)
	f.world.house.Forge.Fail(nil)
	return nil
}

func describe(a *forgetest.Fault) string {
	what := fmt.Sprintf("HTTP %d", a.Status)
	switch {
	case a.Cut:
		what = "a cut connection"
	case a.Hang:
		what = "silence"
	}
	if a.After {
		what += " after doing what was asked"
	}
	return what
}

// spoilWebhooks has webhooks lost, doubled or late and out of order.
func (f *faults) spoilWebhooks(ctx context.Context) error {
	dice, d := rand.New(rand.NewPCG(f.rng.Uint64(), 0)), f.between(3*time.Second, 12*time.Second)
	modes := map[string]forgetest.DeliveryMode{
		"lost, half of them":    {Drop: func(forgetest.Delivery) bool { return dice.IntN(2) == 0 }},
		"sent three times":      {Copies: 3},
		"late and out of order": {Hold: true, Shuffle: f.rng.Uint64() | 1, Copies: 2},
	}
	names := []string{"lost, half of them", "sent three times", "late and out of order"}
	name := names[f.rng.IntN(len(names))]
	f.world.diary.tell("webhooks are %s for %.1f s", name, d.Seconds())
	f.world.house.Forge.SetDelivery(modes[name])
	rest(ctx, d)
	if modes[name].Hold {
		// Shuffled as they leave; those that arrive meanwhile are not held.
		flush, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		f.world.house.Forge.Flush(flush) //nolint:errcheck // what is not sent by then is sent later
	}
	f.world.house.Forge.SetDelivery(forgetest.DeliveryMode{})
	return nil
}

// kill ends a replica as a crash does.
func (f *faults) kill(ctx context.Context) error {
	r, d := f.someone(), f.between(0, 6*time.Second)
	if !r.busy.TryLock() {
		return nil
	}
	defer r.busy.Unlock()
	f.world.diary.tell("replica %s is killed, and starts again after %.1f s", r.name, d.Seconds())
	if err := r.end(true); err != nil {
		return err
	}
	rest(ctx, d)
	return r.start(ctx)
}

// replace ends a replica as an upgrade does.
func (f *faults) replace(ctx context.Context) error {
	r := f.someone()
	if !r.busy.TryLock() {
		return nil
	}
	defer r.busy.Unlock()
	f.world.diary.tell("replica %s is asked to end, and starts again", r.name)
	if err := r.end(false); err != nil {
		return fmt.Errorf("replica %s: %w", r.name, err)
	}
	return r.start(ctx)
}

// pause stops a replica in the middle of whatever it does, now and then for
// longer than the others wait for it.
func (f *faults) pause(ctx context.Context) error {
	r, d := f.someone(), f.between(time.Second, 10*time.Second)
	if f.rng.IntN(3) == 0 {
		d += 35 * time.Second
	}
	f.world.diary.tell("replica %s stands still for %.1f s", r.name, d.Seconds())
	if err := r.stop(); err != nil {
		return err
	}
	rest(ctx, d)
	r.mu.Lock()
	p := r.process
	r.mu.Unlock()
	return r.wake(p)
}

// killAPIServer ends the cluster's API server as a crash does.
func (f *faults) killAPIServer(ctx context.Context) error {
	d := f.between(0, 5*time.Second)
	if !f.world.busy.TryLock() {
		return nil
	}
	defer f.world.busy.Unlock()
	f.world.diary.tell("the API server is killed, and starts again after %.1f s", d.Seconds())
	if err := f.world.plane.StopAPIServer(); err != nil {
		return err
	}
	rest(ctx, d)
	// It starts also if the time is over: it is needed at the end.
	return f.world.plane.StartAPIServer(context.WithoutCancel(ctx))
}
