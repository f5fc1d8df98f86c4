package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"lockkeeper/bot/policy/fact"
	"lockkeeper/forge"
)

// contributed says how an account contributed, by the roles that count; "" if
// it did not.
func (e *evaluation) contributed(id int64, d Restrictions) string {
	if slices.Contains(e.g.policy.ServiceAccounts, id) {
		return ""
	}
	for _, p := range e.parts[id] {
		if i := slices.Index(fact.Roles, p.Role); i < 0 || d.Barred[i] {
			return p.What
		}
	}
	return ""
}

// barred says why an account counts for nothing, or "".
func (e *evaluation) barred(u forge.User, d Restrictions) string {
	if why := e.nobody(u); why != "" {
		return why
	}
	if what := e.contributed(u.ID, d); what != "" {
		return "contributed to this pull (" + what + ")"
	}
	return ""
}

// nobody says why an account is no person, or "".
func (e *evaluation) nobody(u forge.User) string {
	switch {
	case u.ID == 0 || u.Type == forge.Deleted:
		return "the account is gone"
	case u.Type != forge.Person:
		return "a bot is not a person"
	case slices.Contains(e.g.policy.ServiceAccounts, u.ID):
		return "a service account is not a person"
	}
	return ""
}

// ineligible says why an account is not among those asked for, or "". Owners
// are the code owners of the file at hand.
func (e *evaluation) ineligible(p people, owners []string, u forge.User, d Restrictions) string {
	if slices.ContainsFunc(p.teams, func(t string) bool { return slices.Contains(e.f.Teams[t], u.ID) }) {
		return ""
	}
	if slices.ContainsFunc(p.users, func(n named) bool { return n.id == strconv.FormatInt(u.ID, 10) }) {
		return ""
	}
	sure, loose := e.owns(owners, u)
	if sure {
		return ""
	}
	if loose = loose || slices.ContainsFunc(p.users, func(n named) bool { return n.id == "" && strings.EqualFold(n.login, u.Login) }); loose {
		if !slices.Contains(e.f.Writers, u.ID) {
			return fmt.Sprintf("named by login without an account id (%s#%d), and it has no write access to the repository", u.Login, u.ID)
		}
		return e.outsider(u, d)
	}
	switch {
	case p.admins && !slices.Contains(e.f.Admins, u.ID):
		return "has no admin access to the repository"
	case p.writers && !slices.Contains(e.f.Writers, u.ID):
		return "has no write access to the repository"
	case p.admins || p.writers:
		return e.outsider(u, d)
	}
	return "not among " + p.who
}

// owns reports whether an account is a code owner: surely, as a member of a
// team, or by its login of today. E-mail addresses name no account.
func (e *evaluation) owns(owners []string, u forge.User) (sure, loose bool) {
	for _, o := range owners {
		name, ok := strings.CutPrefix(o, "@")
		if ok && strings.Contains(name, "/") {
			sure = sure || slices.Contains(e.f.Teams[name], u.ID)
		} else if ok {
			loose = loose || strings.EqualFold(name, u.Login)
		}
	}
	return sure, loose
}

func (e *evaluation) outsider(u forge.User, d Restrictions) string {
	if d.NoOutside && slices.Contains(e.f.Outside, u.ID) {
		return fmt.Sprintf("an outside collaborator; the policy would have to name %s#%d, or let outside collaborators approve", u.Login, u.ID)
	}
	return ""
}

// left names a team that the person was in at the vote and is not in now, or
// "".
func (e *evaluation) left(p people, v Vote) string {
	for _, t := range p.teams {
		if slices.Contains(v.Teams, t) && !slices.Contains(e.f.Teams[t], v.User.ID) {
			return t
		}
	}
	return ""
}

// enough says how many independent people there are, if all of them are known
// by id and they are fewer than asked for.
func (e *evaluation) enough(l leaf, d Restrictions) string {
	ids, known := e.candidates(l)
	if !known || len(ids) == 0 && len(l.from.teams) == 0 {
		return ""
	}
	free := 0
	for _, id := range ids {
		if e.free(id, d) {
			free++
		}
	}
	if free >= l.need {
		return ""
	}
	return fmt.Sprintf(" (of those the forge knows, %d did not contribute)", free)
}

// candidates are the accounts that may approve, if all are known by id.
func (e *evaluation) candidates(l leaf) (ids []int64, known bool) {
	if l.from.writers || l.from.admins {
		return nil, false
	}
	for _, n := range l.from.users {
		id, err := strconv.ParseInt(n.id, 10, 64)
		if n.id == "" || err != nil {
			return nil, false
		}
		ids = append(ids, id)
	}
	teams := slices.Clone(l.from.teams)
	for _, o := range l.owners {
		name, ok := strings.CutPrefix(o, "@")
		if ok && !strings.Contains(name, "/") {
			return nil, false
		}
		if ok {
			teams = append(teams, name)
		}
	}
	for _, t := range teams {
		members, ok := e.f.Teams[t]
		if !ok {
			return nil, false // not read, or not there
		}
		ids = append(ids, members...)
	}
	slices.Sort(ids)
	return slices.Compact(ids), true
}

// free reports whether an account could approve, as far as its part in the
// changes goes.
func (e *evaluation) free(id int64, d Restrictions) bool {
	return e.contributed(id, d) == "" && !slices.Contains(e.g.policy.ServiceAccounts, id) && !e.applies(id, d)
}

// applies reports whether an account may not approve because it applies.
func (e *evaluation) applies(id int64, d Restrictions) bool {
	return d.ApproverApart && e.f.Applier != nil && e.f.Applier.ID == id
}
