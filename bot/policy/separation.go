package policy

import (
	"slices"
	"strings"

	"lockkeeper/bot/policy/match"
)

// Role is a way to contribute to a pull.
type Role string

// The roles.
const (
	Opener    Role = "opener"
	Author    Role = "author"
	Committer Role = "committer"
	CoAuthor  Role = "coauthor"
	Pusher    Role = "pusher"
	Suggester Role = "suggester"
)

// Separation is the segregation of duties. What is left out is not said, and
// means the default where nobody says it; where several say it, and where a
// rule concerns several environments, the strictest holds.
type Separation struct {
	// Contributors are the roles that may not approve; default all.
	Contributors []Role `json:"contributors,omitempty"`
	// ApproverMayApply and ContributorMayApply default to true.
	ApproverMayApply    *bool `json:"approverMayApply,omitempty"`
	ContributorMayApply *bool `json:"contributorMayApply,omitempty"`
	// Signatures asks that the forge verified every commit; default false.
	Signatures *bool `json:"signatures,omitempty"`
	// AllowUnattributable lets commits pass whose people have no account;
	// default false. Where no approval is asked for they always pass.
	AllowUnattributable *bool `json:"allowUnattributable,omitempty"`
	// Digest asks for `/approve <digest>`; default false.
	Digest *bool `json:"digest,omitempty"`
	// KeepOnBaseMerge lets approvals outlive a merge of the base branch that
	// leaves all digests as they were; default false.
	KeepOnBaseMerge *bool `json:"keepOnBaseMerge,omitempty"`
	// OutsideCollaborators lets their approvals count; default false: only
	// those do whom a rule names by login#id.
	OutsideCollaborators *bool `json:"outsideCollaborators,omitempty"`
}

// roles are all there are, in the order in which one is named as the reason.
var roles = []Role{Opener, Author, Committer, CoAuthor, Suggester, Pusher}

// merge adds what another entry says; the strictest holds.
func (s Separation) merge(o *Separation) Separation {
	if o == nil {
		return s
	}
	for _, r := range o.Contributors {
		if !slices.Contains(s.Contributors, r) {
			s.Contributors = append(slices.Clip(s.Contributors), r)
		}
	}
	s.ApproverMayApply = both(s.ApproverMayApply, o.ApproverMayApply)
	s.ContributorMayApply = both(s.ContributorMayApply, o.ContributorMayApply)
	s.Signatures = either(s.Signatures, o.Signatures)
	s.AllowUnattributable = both(s.AllowUnattributable, o.AllowUnattributable)
	s.Digest = either(s.Digest, o.Digest)
	s.KeepOnBaseMerge = both(s.KeepOnBaseMerge, o.KeepOnBaseMerge)
	s.OutsideCollaborators = both(s.OutsideCollaborators, o.OutsideCollaborators)
	return s
}

// both is the permission that two entries give: what one leaves open, the other
// decides.
func both(a, b *bool) *bool {
	if a == nil || b != nil && !*b {
		return b
	}
	return a
}

// either is what at least one of two entries demands.
func either(a, b *bool) *bool {
	if a == nil || b != nil && *b {
		return b
	}
	return a
}

// duties is a Separation with the defaults filled in. Each field is a
// restriction, so that the stricter of two has it if either has.
type duties struct {
	barred         [6]bool // by index of roles
	pusherNamed    bool    // somebody asked for Pusher by name
	approverApart  bool
	helpersApart   bool // contributors may not apply
	signed         bool
	attributed     bool
	digest         bool
	dropOnMerge    bool
	withoutOutside bool
}

func (s Separation) fill() duties {
	is := func(b *bool, otherwise bool) bool {
		if b == nil {
			return otherwise
		}
		return *b
	}
	d := duties{
		pusherNamed:    slices.Contains(s.Contributors, Pusher),
		approverApart:  !is(s.ApproverMayApply, true),
		helpersApart:   !is(s.ContributorMayApply, true),
		signed:         is(s.Signatures, false),
		attributed:     !is(s.AllowUnattributable, false),
		digest:         is(s.Digest, false),
		dropOnMerge:    !is(s.KeepOnBaseMerge, false),
		withoutOutside: !is(s.OutsideCollaborators, false),
	}
	for i, r := range roles {
		d.barred[i] = len(s.Contributors) == 0 || slices.Contains(s.Contributors, r)
	}
	return d
}

func (d duties) strictest(o duties) duties {
	for i := range d.barred {
		d.barred[i] = d.barred[i] || o.barred[i]
	}
	d.pusherNamed = d.pusherNamed || o.pusherNamed
	d.approverApart = d.approverApart || o.approverApart
	d.helpersApart = d.helpersApart || o.helpersApart
	d.signed = d.signed || o.signed
	d.attributed = d.attributed || o.attributed
	d.digest = d.digest || o.digest
	d.dropOnMerge = d.dropOnMerge || o.dropOnMerge
	d.withoutOutside = d.withoutOutside || o.withoutOutside
	return d
}

// said is what all entries, and those of the operator, say of an environment.
func (p Policy) said(environment string) (all, operator Separation) {
	for _, e := range p.Environments {
		if match.Glob(e.Name, environment) {
			all = all.merge(e.Separation)
			if e.Floor {
				operator = operator.merge(e.Separation)
			}
		}
	}
	return all, operator
}

// separation is what holds in an environment. A floor is judged by what the
// operator says, with defaults for the rest, and by what the repository adds: a
// repository cannot loosen by it what the operator asks for.
func (g *Engine) separation(environment string, floor bool) duties {
	all, operator := g.policy.said(environment)
	if floor {
		return all.fill().strictest(operator.fill())
	}
	return all.fill()
}

// separations is the strictest of several environments; of none, the default.
func (g *Engine) separations(environments []string, floor bool) duties {
	if len(environments) == 0 {
		return Separation{}.fill()
	}
	d := g.separation(environments[0], floor)
	for _, env := range environments[1:] {
		d = d.strictest(g.separation(env, floor))
	}
	return d
}

// DescribeSeparation says in lines what separation of duties holds in an
// environment, and for the operator's floors if that is more.
func (p Policy) DescribeSeparation(environment string) (own, floors []string) {
	all, operator := p.said(environment)
	own = all.fill().describe()
	if f := operator.fill().strictest(all.fill()); f != all.fill() {
		floors = f.describe()
	}
	return own, floors
}

// describe lists the roles that bar, and what differs from the defaults.
func (d duties) describe() []string {
	var barred []string
	for i, r := range roles {
		if d.barred[i] {
			barred = append(barred, string(r))
		}
	}
	out := []string{"contributors, who may not approve: " + strings.Join(barred, ", ")}
	for _, x := range []struct {
		on   bool
		line string
	}{
		{d.approverApart, "approver and applier are different people"},
		{d.helpersApart, "contributors may not apply"},
		{d.signed, "every commit has a verified signature"},
		{!d.attributed, "commits of people without an account pass"},
		{d.digest, "approvals name the plan's digest"},
		{!d.dropOnMerge, "approvals outlive a merge of the base branch that changes no digest"},
		{!d.withoutOutside, "approvals of outside collaborators count"},
	} {
		if x.on {
			out = append(out, x.line)
		}
	}
	return out
}
