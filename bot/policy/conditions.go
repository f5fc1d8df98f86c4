package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"lockkeeper/bot/policy/calendar"
	"lockkeeper/bot/policy/fact"
	"lockkeeper/bot/policy/match"
	"lockkeeper/forge"
)

// conditions are what an environment asks for besides approvals, and who may
// apply.
func (e *evaluation) conditions(env string) []Node {
	var out []Node
	for _, s := range e.g.environments {
		if !match.Glob(s.Name, env) {
			continue
		}
		var nodes []Node
		for _, w := range s.Freeze {
			nodes = append(nodes, e.freeze(env, w))
		}
		for _, c := range s.Checks {
			nodes = append(nodes, e.check(env, c))
		}
		if s.MinimumAge > 0 {
			nodes = append(nodes, e.age(env, s.MinimumAge))
		}
		if s.Soak != nil {
			nodes = append(nodes, e.soak(env, *s.Soak))
		}
		if s.Ticket != nil {
			nodes = append(nodes, e.wantTicket(env, s))
		}
		for _, n := range nodes {
			if s.Floor {
				n.Title += " (the operator's floor)"
			}
			out = append(out, e.lift(n, []string{env}, s.Floor))
		}
	}
	return out
}

func (e *evaluation) freeze(env string, w calendar.Window) Node {
	n := Node{Title: env + ": not frozen" + because(w.Name)}
	if e.f.At.IsZero() {
		n.Missing = []string{env + ": the facts do not say when, so that nobody knows whether it is frozen" + because(w.Name)}
		return n
	}
	until, active := w.Active(e.f.At)
	n.OK = !active
	if !active {
		return n
	}
	text := "until somebody changes the policy"
	if !until.IsZero() {
		e.recheck(until)
		text = "until " + clock(until)
		if zone, err := time.LoadLocation(w.Zone); w.Zone != "" && err == nil {
			text = "until " + until.In(zone).Format("2006-01-02 15:04") + " " + w.Zone
		}
	}
	n.Missing = []string{fmt.Sprintf("%s: frozen%s %s", env, because(w.Name), text)}
	return n
}

func (e *evaluation) check(env string, want RequiredCheck) Node {
	n := Node{Title: fmt.Sprintf("%s: check %s succeeded", env, want)}
	var states []string
	for _, c := range e.f.Checks {
		switch {
		case c.Name != want.Name:
		case want.App != 0 && c.App != want.App:
			n.NotCounted = append(n.NotCounted, fmt.Sprintf("%s of %s, which is not app %d", c.Name, c.Writer(), want.App))
		case want.By != 0 && c.By != want.By:
			n.NotCounted = append(n.NotCounted, fmt.Sprintf("%s of %s, which is not account %d", c.Name, c.Account(), want.By))
		default:
			states = append(states, c.State)
		}
	}
	slices.Sort(n.NotCounted)
	slices.Sort(states)
	states = slices.Compact(states)
	n.OK = len(states) == 1 && states[0] == string(forge.Success)
	switch states = slices.DeleteFunc(states, func(s string) bool { return s == string(forge.Success) }); {
	case n.OK:
		n.Met = []string{"on " + fact.Short(e.f.Pull.Head.SHA)}
	case len(states) == 0:
		n.Missing = []string{fmt.Sprintf("%s: check %s has to succeed on %s, where it has not run", env, want, fact.Short(e.f.Pull.Head.SHA))}
	default:
		n.Missing = []string{fmt.Sprintf("%s: check %s has to succeed on %s, where it is %s", env, want, fact.Short(e.f.Pull.Head.SHA), strings.Join(states, ", "))}
	}
	return n
}

func (e *evaluation) age(env string, least time.Duration) Node {
	n := Node{Title: fmt.Sprintf("%s: the plan was shown %s ago", env, Span(least))}
	ready := e.f.Published.Add(least)
	switch {
	case e.f.Published.IsZero():
		n.Missing = []string{env + ": no plan was published yet"}
	case e.f.At.Before(ready):
		e.recheck(ready)
		n.Missing = []string{fmt.Sprintf("%s: the plan has to have been shown for %s, which is at %s", env, Span(least), clock(ready))}
	default:
		n.OK = true
	}
	return n
}

// Span prints a duration without zero parts.
func Span(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (e *evaluation) soak(env string, s Soak) Node {
	n := Node{Title: fmt.Sprintf("%s: healthy in %s for %s", env, s.In, Span(s.For))}
	var left []string
	for _, c := range e.f.Changes {
		if c.Environment == s.In {
			left = append(left, c.Target)
		}
	}
	for _, w := range e.f.Waiting {
		if w.Environment == s.In {
			left = append(left, w.Target)
		}
	}
	slices.Sort(left)
	left = slices.Compact(left)
	there := slices.DeleteFunc(slices.Clone(e.f.Applied), func(a Applied) bool { return a.Environment != s.In })
	slices.SortFunc(there, func(a, b Applied) int { return cmp.Or(cmp.Compare(a.Target, b.Target), a.At.Compare(b.At)) })
	switch {
	case len(left) > 0:
		n.Missing = []string{fmt.Sprintf("%s: apply %s in %s first (`/apply %s`), and let it soak for %s",
			env, strings.Join(left, ", "), s.In, strings.Join(left, " "), Span(s.For))}
	case len(there) == 0 && s.AllowUntouched:
		n.Met = []string{"the pull changes nothing in " + s.In}
	case len(there) == 0:
		n.Missing = []string{fmt.Sprintf("%s: this pull changed nothing in %s, so that nothing of it could soak there; change it there first", env, s.In)}
	default:
		for _, a := range there {
			n.Missing = append(n.Missing, e.soaking(env, s, a)...)
		}
	}
	n.OK = len(n.Missing) == 0
	return n
}

func (e *evaluation) soaking(env string, s Soak, a Applied) []string {
	ready := a.At.Add(s.For)
	if e.f.At.Before(ready) {
		e.recheck(ready)
	}
	switch {
	case !a.Healthy:
		return []string{fmt.Sprintf("%s: %s is not healthy in %s", env, a.Target, s.In)}
	case e.f.At.Before(ready):
		return []string{fmt.Sprintf("%s: %s has to soak in %s until %s", env, a.Target, s.In, clock(ready))}
	}
	return nil
}

func (g *Engine) wantsTicket(env string) bool {
	return slices.ContainsFunc(g.environments, func(s environment) bool { return s.Ticket != nil && match.Glob(s.Name, env) })
}

func (e *evaluation) wantTicket(env string, s environment) Node {
	n := Node{Title: fmt.Sprintf("%s: a change ticket like %s", env, s.Ticket.Pattern)}
	t := e.f.Ticket
	form := "`/ticket ID`"
	if s.Ticket.Window {
		form = "`/ticket ID FROM TO`"
	}
	switch {
	case t == nil:
		n.Missing = []string{fmt.Sprintf("%s: name the change ticket with %s (an ID like %s)", env, form, s.Ticket.Pattern)}
	case !s.ticket.MatchString(t.ID):
		n.Missing = []string{fmt.Sprintf("%s: %s is no ticket like %s; name another with %s", env, t.ID, s.Ticket.Pattern, form)}
	case s.Ticket.Window && (t.From.IsZero() || t.To.IsZero()):
		n.Missing = []string{fmt.Sprintf("%s: ticket %s needs its window; give it with %s", env, t.ID, form)}
	case e.f.At.IsZero():
		n.Missing = []string{env + ": the facts do not say when, so that nobody knows whether it is the time of ticket " + t.ID}
	case e.f.At.Before(t.From):
		e.recheck(t.From)
		n.Missing = []string{fmt.Sprintf("%s: the window of ticket %s begins at %s", env, t.ID, clock(t.From))}
	case !t.To.IsZero() && !e.f.At.Before(t.To):
		n.Missing = []string{fmt.Sprintf("%s: the window of ticket %s ended at %s; give another with `/ticket ID FROM TO`", env, t.ID, clock(t.To))}
	default:
		n.OK = true
		n.Met = []string{t.ID + " by @" + t.By.Login}
		e.recheck(t.To)
	}
	return n
}

// duties are reviews that overrides owe. No override lifts an overdue one.
func (e *evaluation) duties() []Node {
	owed := slices.Clone(e.f.Duties)
	slices.SortFunc(owed, func(a, b Duty) int {
		return cmp.Or(cmp.Compare(a.Environment, b.Environment), a.Due.Compare(b.Due), cmp.Compare(a.Pull, b.Pull), cmp.Compare(a.ID, b.ID))
	})
	var out []Node
	for _, d := range owed {
		if !slices.Contains(e.envs, d.Environment) {
			continue
		}
		pull := e.f.Pull.Called(d.Pull)
		n := Node{OK: !e.f.At.IsZero() && e.f.At.Before(d.Due), Title: fmt.Sprintf("%s: @%s's override of %s is reviewed by %s", d.Environment, d.By.Login, pull, clock(d.Due))}
		if n.OK {
			e.recheck(d.Due)
		} else {
			n.Missing = []string{fmt.Sprintf("%s: the review of @%s's override of %s was due at %s; somebody else who may approve there, and did not contribute to it, has to answer `/reviewed` on %s",
				d.Environment, d.By.Login, pull, clock(d.Due), pull)}
		}
		out = append(out, n)
	}
	return out
}

// people checks, over the environments, that contributors are known, that
// commits are signed, and that the applier may apply.
func (e *evaluation) people(asks []ask) []Node {
	var out []Node
	attributed, pushers := false, false
	for _, a := range asks {
		if a.require.demands {
			attributed = attributed || a.apart.Attributed
			pushers = pushers || a.apart.PusherNamed
		}
	}
	if attributed {
		out = append(out, e.attribution())
	}
	if pushers && !e.f.PushersKnown {
		out = append(out, Node{Title: "everybody who pushed is known", Missing: []string{
			"the forge does not tell who pushed, and the policy bars pushers; let the bot read that, or leave `pusher` out of separation.contributors"}})
	}
	if len(e.envs) == 0 {
		return out
	}
	if e.g.restrictions(e.envs, true).Signed {
		out = append(out, e.signatures())
	}
	for _, env := range e.envs {
		all, operator := e.g.policy.Said(env)
		if all.Fill().ContributorApart {
			out = append(out, e.applier(env, operator.Fill().ContributorApart))
		}
	}
	return out
}

// attribution denies when a commit's author or committer has no account: an
// unknown contributor could be anybody, so nobody is known to be independent.
func (e *evaluation) attribution() Node {
	n := Node{OK: true, Title: "every contributor is known"}
	if len(e.f.Commits) == 0 {
		return Node{Title: n.Title, Missing: []string{"the forge lists no commits between the base and the head, so nobody knows whose changes these are"}}
	}
	unknown := func(u forge.User) bool { return u.ID == 0 && !e.g.policy.Tool(u.Login) }
	for _, c := range e.f.Commits {
		if !c.Merge && (c.Author.ID == 0 || c.Committer.ID == 0 || slices.ContainsFunc(c.CoAuthors, unknown)) {
			n.Missing = append(n.Missing, fmt.Sprintf("commit %s has an author, committer or co-author without an account; add the e-mail address to the account, or amend the commit", fact.Short(c.SHA)))
		}
	}
	for _, b := range e.f.Bypass {
		if b.By.ID == 0 {
			n.Missing = append(n.Missing, fmt.Sprintf("commit %s came past the gate, and nobody knows by whom; revert it, or let it come with a pull", fact.Short(b.SHA)))
		}
	}
	slices.Sort(n.Missing)
	n.OK = len(n.Missing) == 0
	return n
}

func (e *evaluation) signatures() Node {
	n := Node{Title: "every commit has a verified signature"}
	if len(e.f.Commits) == 0 {
		n.Missing = []string{"the forge lists no commits between the base and the head, so that no signature is known"}
	}
	for _, c := range e.f.Commits {
		if !c.Verified {
			n.Missing = append(n.Missing, fmt.Sprintf("commit %s has no verified signature; sign it, and push it again", fact.Short(c.SHA)))
		}
	}
	slices.Sort(n.Missing)
	n.OK = len(n.Missing) == 0
	return n
}

// applier denies a contributor who applies; one who overrides may.
func (e *evaluation) applier(env string, floor bool) Node {
	n := Node{OK: true, Title: env + ": applied by somebody who did not contribute"}
	u := e.f.Applier
	if u == nil {
		return n
	}
	what := e.contributed(u.ID, e.g.policy.Restrictions(env, floor))
	if u.ID == 0 {
		what = "nobody knows"
	}
	if what == "" {
		n.Met = []string{"@" + u.Login}
		return n
	}
	n.OK = false
	n.Missing = []string{fmt.Sprintf("%s: @%s may not apply, having contributed to this pull (%s); somebody else has to say `/apply`", env, u.Login, what)}
	if g := e.lifts[env].of(floor); g != nil && g.By.ID == u.ID {
		return e.lift(n, []string{env}, floor)
	}
	return n
}
