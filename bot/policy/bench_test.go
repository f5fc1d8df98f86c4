package policy_test

import (
	"fmt"
	"testing"

	"lockkeeper/bot/policy"
	"lockkeeper/cluster"
)

// large is a policy of 100 rules and a pull with 1,000 changed objects.
func large() (policy.Policy, policy.Facts) {
	p := of(1, rule{Environment: "production", Required: 2, Teams: []string{"acme/platform"}})
	kinds := []string{"Deployment", "Service", "ConfigMap", "Secret", "Role", "ClusterRole", "Ingress", "CronJob", "StatefulSet", "Job"}
	for i := range 100 {
		r := policy.Rule{Name: fmt.Sprintf("rule %d", i), Require: policy.Requirement{Approvals: 1, From: policy.People{Teams: []string{"acme/platform"}}}}
		switch i % 5 {
		case 0:
			r.When = policy.Selector{Kinds: []string{kinds[i%10]}, Actions: []string{"update", "delete"}}
		case 1:
			r.When = policy.Selector{Namespaces: []string{fmt.Sprintf("team-%d*", i%20)}, Names: []string{fmt.Sprintf("*-%d", i)}}
		case 2:
			r.When = policy.Selector{Fields: []string{"spec.template.spec.containers[*].image", fmt.Sprintf("metadata.annotations[\"example.com/k%d\"]", i)}}
		case 3:
			r.When = policy.Selector{Environments: []string{"prod*"}, Files: []string{fmt.Sprintf("apps/team-%d/**", i%20)}}
			r.Require.From.CodeOwners = true
		case 4:
			r.Require = policy.Requirement{Any: []policy.Requirement{r.Require, {Approvals: 2}}}
		}
		p.Rules = append(p.Rules, r)
	}
	f := factsFor(p)
	f.Changes = nil
	var digests []string
	for i := range 1000 {
		c := change("production", fmt.Sprintf("digest-%d", i))
		c.Ref = cluster.Ref{Group: "apps", Kind: kinds[i%10], Namespace: fmt.Sprintf("team-%d", i%20), Name: fmt.Sprintf("app-%d", i)}
		c.Fields = []string{"spec.replicas", fmt.Sprintf("spec.template.spec.containers[name=app-%d].image", i%50), fmt.Sprintf("metadata.annotations[\"example.com/k%d\"]", i%100)}
		c.Files = []string{fmt.Sprintf("apps/team-%d/app-%d.yaml", i%20, i)}
		f.Files = append(f.Files, policy.File{Path: c.Files[0], Owners: []policy.OwnerSet{{Owners: []string{"@acme/platform", fmt.Sprintf("@dev-%d", i%20)}}}})
		f.Changes, digests = append(f.Changes, c), append(digests, c.Digest)
	}
	f.Teams["acme/platform"] = []int64{bob.ID, cho.ID}
	for _, u := range people[:5] {
		v := approval(p, u)
		v.Digests = digests
		f.Votes = append(f.Votes, v)
	}
	return p, f
}

func BenchmarkHundredRulesThousandObjects(b *testing.B) {
	p, f := large()
	if v := policy.Evaluate(p, f); !v.OK {
		b.Fatal(v.AllMissing())
	}
	for b.Loop() {
		policy.Evaluate(p, f)
	}
}
