package policy

import (
	"slices"

	"lockkeeper/bot/policy/match"
	"lockkeeper/forge"
)

// MayApprove says why an account's approval could not count under any rule for
// these facts, or "" if it could, or if none is asked for.
func MayApprove(p Policy, f Facts, u forge.User) string {
	return may(p, f, func(e *evaluation) string {
		reason := e.barred(u, e.g.restrictions(e.envs, true))
		for _, a := range e.asks() {
			if !a.require.demands {
				continue
			}
			if reason = e.barred(u, a.apart); reason == "" {
				reason = e.helps(&a, a.require, u)
			}
			if reason == "" {
				return ""
			}
		}
		return reason
	})
}

// may asks about the compiled policy.
func may(p Policy, f Facts, ask func(*evaluation) string) string {
	g, err := Compile(p)
	if err != nil {
		return "the policy cannot be used: " + err.Error()
	}
	return ask(g.evaluation(f))
}

// Eligible reports whether an account's approval could count for all that an
// environment asks for.
func Eligible(p Policy, f Facts, environment string, u forge.User) bool {
	return may(p, f, func(e *evaluation) string { return e.eligible(environment, u) }) == ""
}

// Approving reports whether approvals are missing, and whether those that are
// have to name the plan's digest to count.
func Approving(p Policy, f Facts) (missing, byDigest bool) {
	may(p, f, func(e *evaluation) string {
		e.overrides()
		for _, a := range e.asks() {
			if !e.answer(a).OK {
				missing, byDigest = true, byDigest || a.apart.Digest
			}
		}
		return ""
	})
	return missing, byDigest
}

// MayReview says why an account may not close a duty with `/reviewed`, or "".
// The facts are those of the pull that the override was for.
func MayReview(p Policy, f Facts, d Duty, u forge.User) string {
	if u.ID == d.By.ID {
		return "you gave the override; somebody else has to review it"
	}
	return may(p, f, func(e *evaluation) string { return e.eligible(d.Environment, u) })
}

func (e *evaluation) eligible(environment string, u forge.User) string {
	for _, a := range e.own(environment) {
		if why := e.barred(u, a.apart); why != "" {
			return why
		}
		if why := e.suits(&a, a.require, u); why != "" {
			return why
		}
	}
	return ""
}

// helps says why an account's approval could count for no part of a
// requirement, or "".
func (e *evaluation) helps(a *ask, q requirement, u forge.User) string {
	why := ""
	if q.approvals > 0 {
		why = e.member(a, q, u)
	}
	for _, part := range slices.Concat(q.all, q.any) {
		if part.demands && (why != "" || q.approvals == 0) {
			if why = e.helps(a, part, u); why == "" {
				return ""
			}
		}
	}
	return why
}

// suits says why an account's approval could not count for every part of a
// requirement, or "".
func (e *evaluation) suits(a *ask, q requirement, u forge.User) string {
	if q.approvals > 0 || len(q.all)+len(q.any) == 0 {
		if why := e.member(a, q, u); why != "" {
			return why
		}
	}
	for _, part := range q.all {
		if why := e.suits(a, part, u); why != "" {
			return why
		}
	}
	why := ""
	for _, part := range q.any {
		if why = e.suits(a, part, u); why == "" {
			return ""
		}
	}
	return why
}

// member says why an account is not among those whom a requirement counts,
// whichever file they own, or "".
func (e *evaluation) member(a *ask, q requirement, u forge.User) string {
	why := e.ineligible(q.from, nil, u, a.apart)
	for _, l := range e.leaves(a, q) {
		if why != "" && e.ineligible(l.from, l.owners, u, a.apart) == "" {
			return ""
		}
	}
	return why
}

// MayOverride says why an account may override in no environment of these
// facts, or "" if it may in one.
func MayOverride(p Policy, f Facts, u forge.User) string {
	return may(p, f, func(e *evaluation) string {
		why := "the policy lets nobody override here"
		for _, env := range e.envs {
			for _, s := range e.g.environments {
				if s.Override == nil || !match.Glob(s.Name, env) {
					continue
				}
				if why = e.mayOverride(s, u); why == "" {
					return ""
				}
			}
		}
		return why
	})
}
