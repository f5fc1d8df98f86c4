package policy

import (
	"slices"

	"lockkeeper/bot/policy/fact"
	"lockkeeper/bot/policy/match"
)

// What is asked for where the ordinary approvals do not fit: of what somebody
// unknown had a part in, of the way back, and of a heal.

// more asks for one approval more than a requirement does; of nobody, for one.
func (q requirement) more() requirement {
	if !q.demands {
		q.demands, q.approvals = true, 1
		return q
	}
	if q.approvals > 0 {
		q.extra = 1
	}
	each := func(parts []requirement) []requirement {
		out := slices.Clone(parts)
		for i, part := range out {
			if part.demands {
				out[i] = part.more()
			}
		}
		return out
	}
	q.all, q.any = each(q.all), each(q.any)
	return q
}

// unknown makes up for a contributor whom nobody can name: any approver could be
// that person. Either somebody more approves, or somebody whom the environments
// name for that; what a repository names does not stand in for what the
// operator asks.
func (e *evaluation) unknown(asks []ask) []ask {
	if e.f.UnknownContributor == "" {
		return asks
	}
	for i, a := range asks {
		if a.lasting || len(a.envs) > 0 && !slices.ContainsFunc(a.envs, func(env string) bool { return !e.named(env, a.floor) }) {
			continue
		}
		asks[i].require = a.require.more()
		asks[i].because = "one more, because " + e.f.UnknownContributor + " may be anybody"
	}
	for _, env := range e.envs {
		for _, s := range e.g.environments {
			if s.Drift == nil || s.Drift.From.Empty() || !match.Glob(s.Name, env) {
				continue
			}
			q := requirement{demands: true, approvals: 1, from: s.driftFrom}
			a := e.ask(env, q, s.Floor, e.table.With(byEnvironment, env), e.f.Files)
			a.because = "because " + e.f.UnknownContributor + " may be anybody"
			asks = append(asks, a)
		}
	}
	return asks
}

// named reports whether an environment names people for what somebody unknown
// had a part in.
func (e *evaluation) named(env string, floor bool) bool {
	return slices.ContainsFunc(e.g.environments, func(s environment) bool {
		return s.Drift != nil && !s.Drift.From.Empty() && (s.Floor || !floor) && match.Glob(s.Name, env)
	})
}

// back lets a pure rollback pass by what is asked of rollbacks, in place of an
// entry's approvals; that never asks for more, because either will do.
func (e *evaluation) back(env string, s environment, ordinary requirement) (requirement, string) {
	r := e.f.Rollback
	switch {
	case r == nil || s.rollback == nil:
		return ordinary, ""
	case !r.Pure:
		return ordinary, "as of any pull, because it is more than a rollback: " + r.Why
	}
	way := *s.rollback
	if !s.Floor {
		for _, o := range e.g.environments {
			if o.Floor && o.rollback != nil && o.approvals == nil && match.Glob(o.Name, env) {
				way = requirement{demands: way.demands || o.rollback.demands, all: []requirement{way, *o.rollback}}
			}
		}
	}
	return requirement{demands: ordinary.demands && way.demands, any: []requirement{ordinary, way}},
		"a rollback to " + fact.Short(r.To) + ", which was applied with approval and healthy"
}

// heals judges a heal: nobody approves it, and nothing needs approval that was
// not approved before.
func (e *evaluation) heals() []Node {
	to := fact.Short(e.f.Pull.Head.SHA)
	out := []Node{{OK: true, Title: "approvals, checks and soaking of " + to + " count: it was applied last, and a heal puts it back"}}
	if len(e.envs) == 0 {
		out = append(out, Node{Title: "something is to be healed", Missing: []string{"nothing differs from " + to}})
	}
	for _, env := range e.envs {
		n := Node{OK: e.g.policy.Heals(env), Title: env + ": drift is healed without being asked for"}
		if !n.OK {
			n.Missing = []string{env + ": the policy lets drift be put back only by `/restore` (`drift.heal` is not auto)"}
		}
		out = append(out, n)
		for _, s := range e.g.environments {
			if !match.Glob(s.Name, env) {
				continue
			}
			for _, w := range s.Freeze {
				out = append(out, e.freeze(env, w))
			}
			if s.Ticket != nil {
				out = append(out, e.wantTicket(env, s))
			}
		}
	}
	for _, a := range e.special() {
		out = append(out, e.answer(a))
	}
	return out
}
