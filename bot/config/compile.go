package config

import (
	"slices"
	"time"

	"lockkeeper/bot/policy"
	"lockkeeper/cluster"
)

// Compile turns the repository's policy and the operator's floors into one,
// which asks for all that either of them asks for. Without a file (a repository
// has none yet, or none that can be read) the floors stand alone; without a
// server file (offline use) the repository's does, and service accounts are as
// if nothing was configured.
//
// An environment whose approvals the repository does not mention asks for one.
func Compile(file *File, server *Server) policy.Policy {
	p := policy.Policy{
		Default:         policy.Requirement{Approvals: 1},
		ServiceAccounts: []int64{GitHubWebFlow},
	}
	if file != nil {
		file.Policy.compile(&p, false)
	}
	if server != nil {
		server.Floors.compile(&p, true)
		p.ServiceAccounts = slices.Clone(server.Dealings().ServiceAccounts)
		p.ServiceNames = slices.Clone(server.Dealings().ServiceNames)
	}
	return p
}

// compile adds what a policy asks for, in an order that does not depend on how
// the file was written where that means nothing.
func (p Policy) compile(into *policy.Policy, floor bool) {
	if p.Owners != nil {
		into.Owners = append(into.Owners, policy.Owners{From: p.Owners.compile(), Floor: floor})
	}
	for _, name := range sortedKeys(p.Groups) {
		into.Groups = append(into.Groups, policy.Group{Name: name, From: p.Groups[name].compile(), Floor: floor})
	}
	for _, name := range sortedKeys(p.Environments) {
		e := p.Environments[name].compile()
		e.Name, e.Floor = name, floor
		into.Environments = append(into.Environments, e)
	}
	if p.Drift != nil {
		p.Drift.compile(&into.Watching)
	}
	for _, r := range p.Rules {
		into.Rules = append(into.Rules, policy.Rule{
			Name: r.Name, When: policy.Selector(r.When), Require: r.Require.compile(), Floor: floor,
		})
	}
}

func (w Watching) compile(into *policy.Watching) {
	for _, i := range w.Ignore {
		into.Ignore = append(into.Ignore, cluster.IgnoreRule(i))
	}
	into.Humans = append(into.Humans, w.Humans...)
}

func (e Environment) compile() policy.Environment {
	out := policy.Environment{Freeze: slices.Clone(e.Freeze), MinimumAge: time.Duration(e.MinimumAge)}
	if a := e.Approvals; a != nil {
		out.Approvals = &policy.Requirement{Approvals: a.Required, From: a.From.compile()}
	}
	if s := e.Separation; s != nil {
		out.Separation = s.compile()
	}
	for _, c := range e.Checks {
		out.Checks = append(out.Checks, policy.RequiredCheck(c))
	}
	if s := e.Soak; s != nil {
		out.Soak = &policy.Soak{In: s.In, For: time.Duration(s.For), AllowUntouched: s.Untouched == "allow"}
	}
	if t := e.Ticket; t != nil {
		out.Ticket = &policy.TicketRule{Pattern: t.Pattern, Window: t.Window == "required"}
	}
	if o := e.Override; o != nil {
		out.Override = &policy.BreakGlass{
			By: o.By.compile(), Expires: time.Duration(o.Expires), Review: time.Duration(o.Review),
			Actions: o.Actions, Targets: o.Targets,
		}
	}
	if d := e.Drift; d != nil {
		out.Drift = &policy.Drift{Silence: time.Duration(d.Silence), From: d.From.compile()}
		if d.Heal != "" {
			auto := d.Heal == "auto"
			out.Drift.AutoHeal = &auto
		}
	}
	if r := e.Rollback; r != nil {
		out.Rollback = &policy.Requirement{Approvals: r.Required, From: r.From.compile()}
	}
	return out
}

func (s Separation) compile() *policy.Separation {
	out := &policy.Separation{
		ApproverMayApply: s.ApproverMayApply, ContributorMayApply: s.ContributorMayApply,
		Signatures: s.Signatures, Digest: s.Digest,
		KeepOnBaseMerge: s.KeepOnBaseMerge, OutsideCollaborators: s.OutsideCollaborators,
	}
	for _, r := range s.Contributors {
		out.Contributors = append(out.Contributors, policy.Role(r))
	}
	if s.Unattributable != "" {
		allow := s.Unattributable == "allow"
		out.AllowUnattributable = &allow
	}
	return out
}

func (p People) compile() policy.People { return policy.People(p) }

func (r Requirement) compile() policy.Requirement {
	out := policy.Requirement{Approvals: r.Approvals, From: r.From.compile()}
	for _, sub := range r.All {
		out.All = append(out.All, sub.compile())
	}
	for _, sub := range r.Any {
		out.Any = append(out.Any, sub.compile())
	}
	return out
}
