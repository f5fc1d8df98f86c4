package lint

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"lockkeeper/bot/policy"
	"lockkeeper/bot/policy/match"
	"lockkeeper/cluster"
)

// ofDrift says what becomes of drift in an environment.
func ofDrift(d policy.Drift) []string {
	var out []string
	switch {
	case d.AutoHeal == nil:
	case *d.AutoHeal:
		out = append(out, "drift is healed by itself, through the gate")
	default:
		out = append(out, "drift is put back only by /restore")
	}
	if d.Silence > 0 {
		out = append(out, "a drift pull that an approver closed stays closed for "+policy.Span(d.Silence)+", unless something new is found")
	}
	if !empty(d.From) {
		out = append(out, "of drift, whose author nobody knows: 1 approval from "+ofPeople(d.From)+", in place of one more than otherwise")
	}
	return out
}

// ofWatching says how drift is looked for.
func ofWatching(w policy.Watching) []string {
	var out []string
	for _, r := range w.Ignore {
		out = append(out, "no drift: "+ofIgnore(r))
	}
	for _, h := range w.Humans {
		out = append(out, "what the field manager "+h+" adds, people add")
	}
	return out
}

func ofIgnore(r cluster.IgnoreRule) string {
	var out []string
	for _, part := range []struct {
		name   string
		values []string
	}{{"kinds", r.Kinds}, {"namespaces", r.Namespaces}, {"names", r.Names}, {"fields", r.Fields}} {
		if len(part.values) > 0 {
			out = append(out, part.name+" "+strings.Join(part.values, ", "))
		}
	}
	return strings.Join(out, "; ")
}

// groupOf are the API groups of common kinds that are not of the core group.
var groupOf = map[string]string{
	"Deployment": "apps", "StatefulSet": "apps", "DaemonSet": "apps", "ReplicaSet": "apps",
	"Job": "batch", "CronJob": "batch", "HorizontalPodAutoscaler": "autoscaling", "PodDisruptionBudget": "policy",
	"Ingress": "networking.k8s.io", "NetworkPolicy": "networking.k8s.io", "IngressClass": "networking.k8s.io",
	"Role": "rbac.authorization.k8s.io", "RoleBinding": "rbac.authorization.k8s.io",
	"ClusterRole": "rbac.authorization.k8s.io", "ClusterRoleBinding": "rbac.authorization.k8s.io",
	"CustomResourceDefinition": "apiextensions.k8s.io", "StorageClass": "storage.k8s.io",
}

// watching warns of rules that ignore nothing, or everything.
func (c *checker) watching(w policy.Watching) {
	for i, r := range w.Ignore {
		where := fmt.Sprintf("drift: ignore %d", i+1)
		for _, k := range r.Kinds {
			c.ignoredKind(where, k)
		}
		scoped := func(k string) bool {
			kind, _, _ := strings.Cut(k, ".")
			return slices.Contains(clusterScoped, kind)
		}
		if len(r.Kinds) > 0 && !slices.ContainsFunc(r.Kinds, func(k string) bool { return !scoped(k) }) &&
			len(r.Namespaces) > 0 && !match.Globs(r.Namespaces, "") {
			c.warn(where, "can never match: %s are in no namespace", strings.Join(r.Kinds, ", "))
		}
		all := func(list []string) bool {
			return len(list) == 0 || slices.Contains(list, "*") || slices.Contains(list, "**")
		}
		if len(r.Fields) == 0 && all(r.Kinds) && all(r.Namespaces) && all(r.Names) {
			c.warn(where, "ignores all drift")
		}
		for j, o := range w.Ignore[:i] {
			if slices.Equal(o.Kinds, r.Kinds) && slices.Equal(o.Namespaces, r.Namespaces) && slices.Equal(o.Names, r.Names) && slices.Equal(o.Fields, r.Fields) {
				c.warn(where, "changes nothing: ignore %d says the same", j+1)
			}
		}
	}
}

// ignoredKind warns of a kind that is not written as Kind.group.
func (c *checker) ignoredKind(where, k string) {
	first, _ := utf8.DecodeRuneInString(k)
	switch group := groupOf[k]; {
	case group != "":
		c.warn(where, "can never match kind %q, which would be of the core group; write %s.%s", k, k, group)
	case unicode.IsLower(first):
		c.warn(where, "can never match kind %q: kinds begin with a capital letter, such as Deployment.apps", k)
	case strings.Contains(k, "/"):
		c.warn(where, "can never match kind %q: write Kind.group, without the version, such as Deployment.apps", k)
	}
}

// wayBack warns of what is said of drift and rollbacks and never matters.
func (c *checker) wayBack(e policy.Environment) {
	where := "environment " + e.Name
	if d := e.Drift; d != nil {
		c.people(where, d.From, e.Floor, 1)
		if d.AutoHeal != nil && *d.AutoHeal && e.Ticket != nil {
			c.warn(where, "drift is never healed by itself, because a change ticket is asked for and a heal has none")
		}
	}
	r := e.Rollback
	if r == nil {
		return
	}
	c.requirement(where, *r, e.Floor)
	listed := slices.ContainsFunc(c.p.Environments, func(o policy.Environment) bool {
		return o.Approvals != nil && o.Floor == e.Floor && match.Glob(e.Name, o.Name)
	})
	switch {
	case e.Approvals == nil && listed && !e.Floor:
		c.warn(where, "rollback changes nothing: it eases the approvals of its own entry, which has none")
	case e.Approvals != nil && empty(r.From) && len(r.All)+len(r.Any) == 0 && e.Approvals.Approvals <= r.Approvals && empty(e.Approvals.From):
		c.warn(where, "rollback changes nothing: it asks for as many approvals as any pull")
	case e.Approvals != nil && !e.Approvals.Demands():
		c.warn(where, "rollback changes nothing: no pull needs an approval there")
	}
}
