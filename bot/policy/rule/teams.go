package rule

import (
	"cmp"
	"slices"

	"lockkeeper/bot/policy/match"
	"lockkeeper/forge"
)

// Teams lists the teams that can matter to changes in these environments: what
// has to be read from the forge before evaluating. Those of code owners are not
// among them.
func (p Policy) Teams(environments []string) []forge.Team {
	var names []string
	people := func(from People, floor bool) {
		names = append(names, from.Teams...)
		for _, g := range from.Groups {
			group, _ := p.Group(g, floor)
			names = append(names, group.Teams...)
		}
	}
	for _, env := range environments {
		own := false
		for _, e := range p.Environments {
			if !match.Glob(e.Name, env) {
				continue
			}
			if e.Approvals != nil {
				own = own || !e.Floor
				e.Approvals.each(func(from People) { people(from, e.Floor) })
			}
			if e.Override != nil {
				people(e.Override.By, e.Floor)
			}
			if e.Drift != nil {
				people(e.Drift.From, e.Floor)
			}
			if e.Rollback != nil {
				e.Rollback.each(func(from People) { people(from, e.Floor) })
			}
		}
		if !own {
			p.Default.each(func(from People) { people(from, false) })
		}
	}
	for _, r := range p.Rules {
		r.Require.each(func(from People) { people(from, r.Floor) })
	}
	for _, o := range p.Owners {
		people(o.From, o.Floor)
	}
	return TeamsOf(names)
}

// each visits the people of a requirement and of its parts.
func (q Requirement) each(visit func(People)) {
	visit(q.From)
	for _, part := range slices.Concat(q.All, q.Any) {
		part.each(visit)
	}
}

// TeamsOf reads the names of teams, each "org/slug", and sorts them.
func TeamsOf(names []string) []forge.Team {
	slices.Sort(names)
	out := []forge.Team{}
	for _, t := range slices.Compact(names) {
		if team, ok := forge.ParseTeam(t); ok { // nobody is in one that is none
			out = append(out, team)
		}
	}
	slices.SortFunc(out, func(a, b forge.Team) int { return cmp.Or(cmp.Compare(a.Org, b.Org), cmp.Compare(a.Slug, b.Slug)) })
	return out
}
