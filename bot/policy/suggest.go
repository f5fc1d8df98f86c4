package policy

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"lockkeeper/forge"
)

// Reviewer is a person or a team to ask for a review.
type Reviewer struct {
	// Login and ID are set for a person; ID is 0 where the policy or CODEOWNERS
	// names nothing but the login.
	Login string `json:"login,omitempty"`
	ID    int64  `json:"id,omitempty"`
	// Team is "org/slug", "" for a person.
	Team string `json:"team,omitempty"`
}

// String is "@login" or "org/slug".
func (r Reviewer) String() string {
	if r.Team != "" {
		return r.Team
	}
	return "@" + r.Login
}

// wish is a count that is not met yet.
type wish struct {
	lack int
	from map[Reviewer]int // how many approvals each may give
}

// Suggest names the fewest people and teams whose approvals would meet what is
// missing, of those that the policy names: nobody who contributed, approved
// already, or merely has write access.
func Suggest(p Policy, f Facts) []Reviewer {
	g, err := Compile(p)
	if err != nil {
		return nil
	}
	e := g.evaluation(f)
	e.overrides()
	var open []wish
	for _, a := range e.asks() {
		if n := e.answer(a); !n.OK {
			open = append(open, e.wishes(&a, a.require)...)
		}
	}
	return cover(open)
}

// wishes are what a requirement lacks; of alternatives, the one that lacks the
// fewest approvals of people who can be named.
func (e *evaluation) wishes(a *ask, q requirement) []wish {
	var out []wish
	for _, l := range e.leaves(a, q) {
		if n := e.approvals(a, l); !n.OK {
			out = append(out, wish{l.need - len(n.ApprovedBy), e.reviewers(a, l, n.ApprovedBy)})
		}
	}
	for _, part := range q.all {
		out = append(out, e.wishes(a, part)...)
	}
	var best []wish
	cheapest := -1
	for _, part := range q.any {
		way, cost := e.wishes(a, part), 0
		for _, w := range way {
			cost += w.lack
			if len(w.from) == 0 {
				cost += 1000 // nobody to name
			}
		}
		if cheapest < 0 || cost < cheapest {
			best, cheapest = way, cost
		}
	}
	return append(out, best...)
}

// reviewers are whom a count may ask, less those who approved.
func (e *evaluation) reviewers(a *ask, l leaf, done []forge.User) map[Reviewer]int {
	out := map[Reviewer]int{}
	approved := func(id int64) bool {
		return slices.ContainsFunc(done, func(u forge.User) bool { return u.ID == id })
	}
	person := func(n named) {
		id, _ := strconv.ParseInt(n.id, 10, 64)
		known := id
		if n.id == "" {
			known = e.idOf(n.login)
		}
		if n.id != "?" && (known == 0 || e.free(known, a.apart) && !approved(known)) {
			out[Reviewer{Login: n.login, ID: id}] = 1
		}
	}
	team := func(name string) {
		members, read := e.f.Teams[name]
		left := slices.DeleteFunc(slices.Clone(members), func(id int64) bool { return !e.free(id, a.apart) || approved(id) })
		if !read {
			out[Reviewer{Team: name}] = l.need
		} else if len(left) > 0 {
			out[Reviewer{Team: name}] = len(left)
		}
	}
	for _, n := range l.from.users {
		person(n)
	}
	for _, t := range l.from.teams {
		team(t)
	}
	for _, o := range l.owners {
		if name, ok := strings.CutPrefix(o, "@"); ok && strings.Contains(name, "/") {
			team(name)
		} else if ok {
			person(named{login: name})
		}
	}
	return out
}

// idOf finds the account of a login among those who took part or spoke; 0 if
// it is none of them.
func (e *evaluation) idOf(login string) int64 {
	users := append([]forge.User{e.f.Pull.Author}, e.f.Pushers...)
	for _, c := range e.f.Commits {
		users = append(append(users, c.Author, c.Committer), c.CoAuthors...)
	}
	for _, v := range e.f.Votes {
		users = append(users, v.User)
	}
	for _, u := range []*forge.User{e.f.AskedBy, e.f.Applier} {
		if u != nil {
			users = append(users, *u)
		}
	}
	for _, u := range users {
		if strings.EqualFold(u.Login, login) {
			return u.ID
		}
	}
	return 0
}

// cover picks reviewers, those first who help most counts, until all counts are
// met as far as they can be. Of equals a team goes before a person, because
// some of its members are there.
func cover(open []wish) []Reviewer {
	var out []Reviewer
	for {
		gains := map[Reviewer]int{}
		for _, w := range open {
			for r, gives := range w.from {
				if w.lack > 0 {
					gains[r] += min(gives, w.lack)
				}
			}
		}
		if len(gains) == 0 {
			slices.SortFunc(out, compareReviewers)
			return out
		}
		best := slices.MinFunc(slices.SortedFunc(maps.Keys(gains), compareReviewers), func(a, b Reviewer) int { return cmp.Compare(gains[b], gains[a]) })
		out = append(out, best)
		for i := range open {
			open[i].lack -= open[i].from[best]
			delete(open[i].from, best)
		}
	}
}

// compareReviewers orders teams before people.
func compareReviewers(a, b Reviewer) int {
	return cmp.Or(-cmp.Compare(min(len(a.Team), 1), min(len(b.Team), 1)), cmp.Compare(a.Team, b.Team), cmp.Compare(a.Login, b.Login), cmp.Compare(a.ID, b.ID))
}
