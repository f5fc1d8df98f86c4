package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"lockkeeper/bot/policy/fact"
	"lockkeeper/bot/policy/match"
)

// Evaluate judges whether the changes in f may be applied. A policy that cannot
// be compiled allows nothing.
func Evaluate(p Policy, f Facts) Verdict {
	g, err := Compile(p)
	if err != nil {
		return Verdict{Node: Node{Title: "may be applied", Children: []Node{
			{Title: "the policy can be used", Missing: strings.Split(err.Error(), "\n")}}}}
	}
	return g.Evaluate(f)
}

// evaluation is the work on one set of facts.
type evaluation struct {
	g        *Engine
	f        Facts
	table    *match.Table
	opinions []fact.Opinion
	ballots  [][]ballot // for each opinion, its approvals
	parts    map[int64][]fact.Part
	envs     []string
	lifts    map[string]lift
	uses     []Use
	shared   []share // of all files, once somebody asked
	again    time.Time
}

func (g *Engine) evaluation(f Facts) *evaluation {
	e := &evaluation{
		g: g, f: f, table: match.NewTable(len(f.Changes), attributes, func(i, a int) []string { return values(f.Changes[i], a) }), opinions: fact.Opinions(f.Votes),
		parts: f.Parts(), envs: f.Environments(), lifts: map[string]lift{},
	}
	for _, o := range e.opinions {
		e.ballots = append(e.ballots, e.cast(o))
	}
	return e
}

// Evaluate judges whether the changes in f may be applied.
func (g *Engine) Evaluate(f Facts) Verdict {
	e := g.evaluation(f)
	root := Node{Title: "may be applied", Children: e.blocked()}
	root.Children = append(root.Children, e.hold(), e.objections())
	overrides := e.overrides()
	owed := append(e.duties(), overrides...)
	if f.Heal {
		root.Children = append(append(root.Children, owed...), e.heals()...)
	} else {
		root.Children = append(root.Children, e.judge(owed)...)
	}
	root.OK = allOK(root.Children)
	slices.SortFunc(e.uses, func(a, b Use) int { return cmp.Or(cmp.Compare(a.Environment, b.Environment), cmp.Compare(a.ID, b.ID)) })
	return Verdict{Node: root, Overrides: slices.CompactFunc(e.uses, func(a, b Use) bool { return a == b }), Again: e.again}
}

// judge asks for what a pull needs, beside what is owed.
func (e *evaluation) judge(owed []Node) []Node {
	asks := e.asks()
	out := append(e.people(asks), owed...)
	for _, env := range e.envs {
		out = append(out, e.conditions(env)...)
	}
	for _, a := range asks {
		out = append(out, e.answer(a))
	}
	return out
}

func allOK(nodes []Node) bool {
	return !slices.ContainsFunc(nodes, func(n Node) bool { return !n.OK })
}

// recheck notes a moment at which the verdict may change by itself.
func (e *evaluation) recheck(t time.Time) {
	if t.After(e.f.At) && (e.again.IsZero() || t.Before(e.again)) {
		e.again = t
	}
}

func (e *evaluation) blocked() []Node {
	var out []Node
	for _, b := range e.f.Blocked {
		out = append(out, Node{Title: "the plan can be carried out", Missing: []string{b}})
	}
	if e.f.PolicyRevision != e.g.revision {
		out = append(out, Node{Title: "the facts belong to this policy", Missing: []string{
			"the facts were gathered under another policy; they have to be read again"}})
	}
	return out
}

func (e *evaluation) hold() Node {
	n := Node{OK: e.f.Hold == nil, Title: "nobody holds the pull"}
	if h := e.f.Hold; h != nil {
		n.Missing = []string{fmt.Sprintf("@%s holds it%s; `/unhold` lifts that", h.By.Login, because(h.Reason))}
	}
	return n
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

// objections denies while anybody with write access requests changes; it is
// that person's to lift, by approving, or a dismissal's.
func (e *evaluation) objections() Node {
	n := Node{OK: true, Title: "nobody requests changes"}
	for _, o := range e.opinions {
		if !o.Objects {
			continue
		}
		if !slices.Contains(e.f.Writers, o.User.ID) {
			n.NotCounted = append(n.NotCounted, fmt.Sprintf("@%s requests changes, without write access to the repository", o.User.Login))
			continue
		}
		n.OK = false
		n.Missing = append(n.Missing, fmt.Sprintf("@%s requests changes", o.User.Login))
	}
	return n
}

// ask is a rule that selects something here.
type ask struct {
	title   string // of the node: the rule's name, and what it selects
	where   string // what the lines of Missing begin with
	require requirement
	floor   bool
	changes match.Set
	envs    []string
	files   []File // whose owners are the code owners
	apart   Restrictions
	ticket  string // the name of an environment that wants one, or ""
	lasting bool   // no override lifts it
	because string // why it asks for something else than usual, or ""
}

// asks lists all rules that select something, the environments' own first.
func (e *evaluation) asks() []ask {
	out := e.special()
	for _, env := range e.envs {
		out = append(out, e.own(env)...)
	}
	for _, r := range e.g.rules {
		if a, ok := e.selected(r); ok {
			out = append(out, a)
		}
	}
	return e.unknown(out)
}

// own are the approvals that an environment asks for: what is said of it, and
// the default where the repository says nothing.
func (e *evaluation) own(env string) []ask {
	var out []ask
	changes, listed := e.table.With(byEnvironment, env), false
	for _, s := range e.g.environments {
		if s.approvals == nil || !match.Glob(s.Name, env) {
			continue
		}
		listed = listed || !s.Floor
		q, note := e.back(env, s, *s.approvals)
		a := e.ask(env, q, s.Floor, changes, e.f.Files)
		a.title += because(note)
		out = append(out, a)
	}
	if !listed {
		out = append(out, e.unsaid(env, changes))
	}
	for i, a := range out {
		if len(a.envs) == 0 { // nothing changes there
			out[i].apart = e.g.policy.Restrictions(env, a.floor)
		}
	}
	return out
}

// restrictions are the strictest of several environments; of none, the default.
func (g *Engine) restrictions(environments []string, floor bool) Restrictions {
	if len(environments) == 0 {
		return Separation{}.Fill()
	}
	d := g.policy.Restrictions(environments[0], floor)
	for _, env := range environments[1:] {
		d = d.Strictest(g.policy.Restrictions(env, floor))
	}
	return d
}

// unsaid are the approvals of an environment of which the repository says none.
func (e *evaluation) unsaid(env string, changes match.Set) ask {
	q, note := e.g.fallback, ""
	for _, s := range e.g.environments {
		if !s.Floor && s.rollback != nil && note == "" && match.Glob(s.Name, env) {
			q, note = e.back(env, s, q)
		}
	}
	a := e.ask(env, q, false, changes, e.f.Files)
	a.title += because(note)
	return a
}

func (e *evaluation) ask(where string, q requirement, floor bool, changes match.Set, files []File) ask {
	a := ask{title: where, where: where, require: q, floor: floor, changes: changes, files: files}
	for _, env := range e.envs {
		if changes.Meets(e.table.With(byEnvironment, env)) {
			a.envs = append(a.envs, env)
			if a.ticket == "" && e.g.wantsTicket(env) {
				a.ticket = env
			}
		}
	}
	a.apart = e.g.restrictions(a.envs, floor)
	return a
}

// special are the approvals that no rule can leave out.
func (e *evaluation) special() []ask {
	var out []ask
	all := match.Full(len(e.f.Changes))
	if len(e.f.PolicyChange) > 0 {
		for _, o := range e.g.owners {
			a := e.ask("policy", requirement{demands: true, approvals: 1, from: o.people}, o.floor, all, nil)
			a.title = "policy: its change needs its owners"
			out = append(out, a)
		}
	}
	if len(e.f.Bypass) > 0 {
		var came []string
		for _, b := range e.f.Bypass {
			came = append(came, b.Told(e.f.Pull.Sign))
		}
		slices.Sort(came)
		anybody := people{writers: true, who: People{}.String()}
		a := e.ask("bypass", requirement{demands: true, approvals: 1, from: anybody}, true, all, nil)
		a.title = "what came past the gate (" + strings.Join(came, ", ") + ") needs a look"
		out = append(out, a)
	}
	for i := range out {
		out[i].apart, out[i].lasting = out[i].apart.Strictest(Separation{}.Fill()), true
	}
	return out
}

// selected finds what a rule selects. One with files needs a file that matches:
// a changed one, or one that a selected object comes from.
func (e *evaluation) selected(r compiledRule) (ask, bool) {
	changes := r.when.pick(e.table, len(e.f.Changes))
	touched := e.f.Files
	if len(r.when.files) > 0 {
		touched = nil
		for _, f := range e.f.Files {
			if match.Any(r.when.files, f.Path) {
				touched = append(touched, f)
			}
		}
		if len(touched) == 0 && !e.comesFrom(changes, r.when.files) {
			return ask{}, false
		}
		if len(touched) == 0 {
			touched = e.f.Files
		}
	}
	n := changes.Size()
	if n == 0 && !r.when.onlyFiles() {
		return ask{}, false
	}
	a := e.ask(r.name, r.require, r.floor, changes, touched)
	a.title += " (" + count(n, "change", true) + ")"
	return a, true
}

func (e *evaluation) comesFrom(changes match.Set, patterns []match.Pattern) bool {
	for i, c := range e.f.Changes {
		if changes.Has(i) && slices.ContainsFunc(c.Files, func(f string) bool { return match.Any(patterns, f) }) {
			return true
		}
	}
	return false
}

// answer judges a rule.
func (e *evaluation) answer(a ask) Node {
	n := e.require(&a, a.require)
	n.Title = a.title + strings.TrimPrefix(n.Title, a.where) + because(a.because)
	if a.floor && !a.lasting {
		n.Title += " (the operator's floor)"
	}
	if a.lasting {
		return n
	}
	return e.lift(n, a.envs, a.floor)
}

func count(n int, noun string, fresh bool) string {
	if fresh {
		noun = strings.TrimPrefix(noun, "more ")
	}
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
