package rule

import (
	"slices"

	"lockkeeper/bot/policy/fact"
	"lockkeeper/bot/policy/match"
)

// Separation is the segregation of duties. What is left out is not said, and
// means the default where nobody says it; where several say it, and where a
// rule concerns several environments, the strictest holds.
type Separation struct {
	// Contributors are the roles that may not approve; default all.
	Contributors []fact.Role `json:"contributors,omitempty"`
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

// Restrictions is a Separation with the defaults filled in. Each field is a
// restriction, so that the stricter of two has it if either has.
type Restrictions struct {
	Barred           [6]bool // by index of fact.Roles
	PusherNamed      bool    // somebody asked for Pusher by name
	ApproverApart    bool    // who applies may not have approved
	ContributorApart bool    // who applies may not have contributed
	Signed           bool    // every commit
	Attributed       bool    // every commit
	Digest           bool    // is named by approvals
	DropOnMerge      bool    // a merge of the base branch ends approvals
	NoOutside        bool    // collaborators may approve
}

// Fill adds the defaults.
func (s Separation) Fill() Restrictions {
	is := func(b *bool, otherwise bool) bool {
		if b == nil {
			return otherwise
		}
		return *b
	}
	d := Restrictions{
		PusherNamed:      slices.Contains(s.Contributors, fact.Pusher),
		ApproverApart:    !is(s.ApproverMayApply, true),
		ContributorApart: !is(s.ContributorMayApply, true),
		Signed:           is(s.Signatures, false),
		Attributed:       !is(s.AllowUnattributable, false),
		Digest:           is(s.Digest, false),
		DropOnMerge:      !is(s.KeepOnBaseMerge, false),
		NoOutside:        !is(s.OutsideCollaborators, false),
	}
	for i, r := range fact.Roles {
		d.Barred[i] = len(s.Contributors) == 0 || slices.Contains(s.Contributors, r)
	}
	return d
}

// Strictest has what either has.
func (d Restrictions) Strictest(o Restrictions) Restrictions {
	for i := range d.Barred {
		d.Barred[i] = d.Barred[i] || o.Barred[i]
	}
	d.PusherNamed = d.PusherNamed || o.PusherNamed
	d.ApproverApart = d.ApproverApart || o.ApproverApart
	d.ContributorApart = d.ContributorApart || o.ContributorApart
	d.Signed = d.Signed || o.Signed
	d.Attributed = d.Attributed || o.Attributed
	d.Digest = d.Digest || o.Digest
	d.DropOnMerge = d.DropOnMerge || o.DropOnMerge
	d.NoOutside = d.NoOutside || o.NoOutside
	return d
}

// Said is what all entries, and those of the operator, say of an environment.
func (p Policy) Said(environment string) (all, operator Separation) {
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

// Restrictions are those that hold in an environment, for what the repository
// asks for or for what the operator does (floor). A floor is judged by what the
// operator says, with defaults for the rest, and by what the repository adds: a
// repository cannot loosen by it what the operator asks for.
func (p Policy) Restrictions(environment string, floor bool) Restrictions {
	all, operator := p.Said(environment)
	if floor {
		return all.Fill().Strictest(operator.Fill())
	}
	return all.Fill()
}
