package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lockkeeper/bot/policy/fact"
	"lockkeeper/bot/policy/match"
	"lockkeeper/forge"
)

// Use is an override that a verdict rests on: applying by such a verdict opens
// a duty to review it.
type Use struct {
	Environment string     `json:"environment"`
	ID          int64      `json:"id"` // of the override's comment
	By          forge.User `json:"by"`
	Reason      string     `json:"reason"`
	// Due is when the review is due if it is applied now.
	Due time.Time `json:"due"`
}

// lift is what overrides lift in one environment: what the repository asks for,
// and what the operator does.
type lift struct{ repository, operator *grant }

// grant is an override that counts.
type grant struct {
	Override
	environment string
	until       time.Time
	review      time.Duration
}

func (l lift) of(floor bool) *grant {
	if floor {
		return l.operator
	}
	return l.repository
}

// overrides finds those that count, and says of each what it is worth. An
// override that does not count denies nothing.
func (e *evaluation) overrides() []Node {
	given := slices.Clone(e.f.Overrides)
	slices.SortFunc(given, func(a, b Override) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID), cmp.Compare(a.By.ID, b.By.ID))
	})
	var out []Node
	for _, env := range e.envs {
		n := Node{OK: true, Title: env + ": overrides"}
		for _, o := range given {
			until, why := e.grants(env, o)
			if why != "" {
				n.NotCounted = append(n.NotCounted, fmt.Sprintf("@%s's override: %s", o.By.Login, why))
				continue
			}
			e.recheck(until)
			n.Met = append(n.Met, fmt.Sprintf("@%s, until %s%s", o.By.Login, clock(until), because(o.Reason)))
		}
		if len(n.Met)+len(n.NotCounted) > 0 {
			out = append(out, n)
		}
	}
	return out
}

// grants notes what an override lifts in an environment, and until when; else
// it says why it lifts nothing.
func (e *evaluation) grants(env string, o Override) (until time.Time, why string) {
	why = "nobody may override in " + env
	l := e.lifts[env]
	granted := false
	for _, s := range e.g.environments {
		if s.Override == nil || !match.Glob(s.Name, env) {
			continue
		}
		end, reason := e.grant(env, s, o)
		if reason != "" {
			why = reason
			continue
		}
		g := &grant{o, env, end, s.Override.Review}
		granted, until = true, end
		if l.repository == nil {
			l.repository = g
		}
		if s.Floor && l.operator == nil {
			l.operator = g
		}
	}
	e.lifts[env] = l
	if granted {
		why = ""
	}
	return until, why
}

// grant checks an override against one entry of the policy.
func (e *evaluation) grant(env string, s environment, o Override) (until time.Time, why string) {
	until = o.At.Add(s.Override.Expires)
	if !o.Expires.IsZero() && o.Expires.Before(until) {
		until = o.Expires
	}
	shown := map[string]bool{}
	for _, d := range o.Digests {
		shown[d] = d != ""
	}
	switch why := e.mayOverride(s, o.By); {
	case o.Void != "":
		return until, o.Void
	case why != "":
		return until, why
	case o.Head != e.f.Pull.Head.SHA:
		return until, fmt.Sprintf("given for %s, the head is now %s", fact.Short(o.Head), fact.Short(e.f.Pull.Head.SHA))
	case e.f.At.IsZero() || !e.f.At.Before(until):
		return until, "expired at " + clock(until)
	}
	var reasons []string
	for _, c := range e.f.Changes {
		if c.In(env) && !shown[c.Digest] {
			return until, "the plan has changed since"
		}
		if out := outOfScope(s.Override, c); c.In(env) && out != "" {
			reasons = append(reasons, out)
		}
	}
	if len(reasons) > 0 {
		return until, slices.Min(reasons)
	}
	return until, ""
}

func outOfScope(b *BreakGlass, c Change) string {
	for _, act := range c.Actions() {
		if len(b.Actions) > 0 && !slices.Contains(b.Actions, act) {
			return fmt.Sprintf("covers %s only, and the plan has a %s of %s", strings.Join(b.Actions, ", "), act, c.Ref)
		}
	}
	if len(b.Targets) > 0 && !match.Globs(b.Targets, c.Target) {
		return fmt.Sprintf("covers %s only, and the plan changes %s", strings.Join(b.Targets, ", "), c.Target)
	}
	return ""
}

// mayOverride says why an account is not among those who may override, or "".
// Contributors may: who is on call has often written the fix.
func (e *evaluation) mayOverride(s environment, u forge.User) string {
	if why := e.nobody(u); why != "" {
		return why
	}
	if s.Override.By.Empty() {
		return "nobody may override in " + s.Name
	}
	return e.ineligible(s.override, nil, u, e.g.policy.Restrictions(s.Name, s.Floor))
}

// lift lets overrides stand in for what is not met, if there is one for each of
// the environments.
func (e *evaluation) lift(n Node, envs []string, floor bool) Node {
	if n.OK || len(envs) == 0 {
		return n
	}
	used := map[string]*grant{}
	for _, env := range envs {
		g := e.lifts[env].of(floor)
		if g == nil {
			return n
		}
		used[env] = g
	}
	lifted := Node{OK: true, Title: n.Title, NotCounted: n.NotCounted}
	for _, env := range slices.Sorted(maps.Keys(used)) {
		g := used[env]
		lifted.Met = append(lifted.Met, fmt.Sprintf("@%s's override until %s", g.By.Login, clock(g.until)))
		e.uses = append(e.uses, Use{Environment: env, ID: g.ID, By: g.By, Reason: g.Reason, Due: e.f.At.Add(g.review)})
	}
	lifted.Met = slices.Compact(lifted.Met)
	return lifted
}

// clock prints a moment for people.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }
