package lint

import (
	"fmt"
	"maps"
	"slices"

	"lockkeeper/bot/policy"
)

// Diff says in lines what changing one policy into the other changes: "- " what
// held, "+ " what will. No lines: nothing.
func Diff(before, after policy.Policy) []string {
	envs := map[string]bool{}
	for _, e := range slices.Concat(before.Environments, after.Environments) {
		envs[e.Name] = true
	}
	names := slices.Sorted(maps.Keys(envs))
	was, will := lines(before, names), lines(after, names)
	var out []string
	for _, l := range was {
		if !slices.Contains(will, l) {
			out = append(out, "- "+l)
		}
	}
	for _, l := range will {
		if !slices.Contains(was, l) {
			out = append(out, "+ "+l)
		}
	}
	if len(out) == 0 && before.Revision() != after.Revision() {
		out = append(out, "  the order of entries, or what is said twice")
	}
	return out
}

// lines say all of a policy, with what holds in these environments.
func lines(p policy.Policy, envs []string) []string {
	var out []string
	for _, env := range envs {
		out = append(out, ofEnvironment(p, env)...)
	}
	out = append(out, "other environments: "+ofRequirement(p.Default))
	for i, r := range p.Rules {
		out = append(out, ofRule(r, i))
	}
	for _, g := range p.Groups {
		out = append(out, fmt.Sprintf("group %s: %s%s", g.Name, ofPeople(g.From), marked(g.Floor)))
	}
	for _, o := range p.Owners {
		out = append(out, fmt.Sprintf("owners of the policy: %s%s", ofPeople(o.From), marked(o.Floor)))
	}
	if len(p.Owners) == 0 {
		out = append(out, "owners of the policy: accounts with admin access")
	}
	out = append(out, ofWatching(p.Watching)...)
	for _, id := range p.ServiceAccounts {
		out = append(out, fmt.Sprintf("service account %d is nobody", id))
	}
	for _, name := range p.ServiceNames {
		out = append(out, "co-author "+name+" is nobody")
	}
	return out
}
