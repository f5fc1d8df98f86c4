package policy_test

import (
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/policy"
	"lockkeeper/bot/policy/calendar"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// situation is a policy, facts, and what the verdict has to be.
type situation struct {
	name  string
	env   policy.Environment // of production; without approvals it asks for none
	rule  *policy.Rule       // beside it
	more  func(p *policy.Policy)
	by    []forge.User // who approved, all of it and at noon
	facts func(f *policy.Facts)
	vote  func(v *policy.Vote) // edits all approvals
	allow bool
	tells string // part of what the verdict says
}

func (s situation) policy() policy.Policy {
	p := of(1, rule{Environment: "staging"}, rule{Environment: "other"})
	s.env.Name = "production"
	if s.env.Approvals == nil {
		s.env.Approvals = &policy.Requirement{}
	}
	p.Environments = append(p.Environments, s.env)
	if s.rule != nil {
		p.Rules = []policy.Rule{*s.rule}
	}
	if s.more != nil {
		s.more(&p)
	}
	return p
}

func (s situation) verdict() policy.Verdict {
	p := s.policy()
	f := factsFor(p)
	f.At, f.Published = noon.Add(time.Hour), noon.Add(-time.Minute)
	for _, u := range s.by {
		v := approval(p, u)
		if s.vote != nil {
			s.vote(&v)
		}
		f.Votes = append(f.Votes, v)
	}
	if s.facts != nil {
		s.facts(&f)
	}
	return policy.Evaluate(p, f)
}

func try(t *testing.T, tests []situation) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := tt.verdict()
			if v.OK != tt.allow {
				t.Errorf("OK is %v, want %v:\n%s", v.OK, tt.allow, said(v))
			}
			if !strings.Contains(said(v), tt.tells) {
				t.Errorf("the verdict does not say %q:\n%s", tt.tells, said(v))
			}
			if !v.OK && len(v.AllMissing()) == 0 {
				t.Errorf("a denial without anything missing:\n%s", said(v))
			}
		})
	}
}

// asks is a rule of one approval of cho.
func asks(when policy.Selector) *policy.Rule {
	return &policy.Rule{Name: "cho's", When: when, Require: policy.Requirement{Approvals: 1, From: policy.People{Users: []string{"cho#3"}}}}
}

func changed(edit func(c *policy.Change)) func(*policy.Facts) {
	return func(f *policy.Facts) { edit(&f.Changes[0]) }
}

func touched(path string, owners ...policy.OwnerSet) policy.File {
	return policy.File{Path: path, Owners: owners}
}

func ownedBy(owners ...string) policy.OwnerSet { return policy.OwnerSet{Owners: owners} }

func TestRulesSelectWhatTheyName(t *testing.T) {
	const asked, not = "cho's: 1 approval from @cho", "production: no approval needed"
	fields := func(fields ...string) func(*policy.Facts) {
		return changed(func(c *policy.Change) { c.Fields = fields })
	}
	image := policy.Selector{Fields: []string{"spec.template.spec.containers[*].image"}}
	try(t, []situation{
		{name: "everything", rule: asks(policy.Selector{}), tells: asked},
		{name: "environment", rule: asks(policy.Selector{Environments: []string{"production"}}), tells: asked},
		{name: "environment by glob", rule: asks(policy.Selector{Environments: []string{"prod*"}}), tells: asked},
		{name: "another environment", rule: asks(policy.Selector{Environments: []string{"staging"}}), allow: true, tells: not},
		{name: "an environment it left", rule: asks(policy.Selector{Environments: []string{"staging"}}), tells: asked,
			facts: changed(func(c *policy.Change) { c.Also = []string{"staging"} })},
		{name: "target", rule: asks(policy.Selector{Targets: []string{"sh*"}}), tells: asked},
		{name: "target below", rule: asks(policy.Selector{Targets: []string{"apps/**"}}), tells: asked,
			facts: changed(func(c *policy.Change) { c.Target = "apps/eu/shop" })},
		{name: "a star stays in its segment", rule: asks(policy.Selector{Targets: []string{"apps/*"}}), allow: true,
			facts: changed(func(c *policy.Change) { c.Target = "apps/eu/shop" })},
		{name: "cluster", rule: asks(policy.Selector{Clusters: []string{"main"}}), tells: asked},
		{name: "another cluster", rule: asks(policy.Selector{Clusters: []string{"edge"}}), allow: true},
		{name: "kind", rule: asks(policy.Selector{Kinds: []string{"Service", "Deployment"}}), tells: asked},
		{name: "another kind", rule: asks(policy.Selector{Kinds: []string{"Service"}}), allow: true},
		{name: "group", rule: asks(policy.Selector{APIGroups: []string{"apps"}}), tells: asked},
		{name: "core group by name", rule: asks(policy.Selector{APIGroups: []string{"core"}}), tells: asked,
			facts: changed(func(c *policy.Change) { c.Ref.Group = "" })},
		{name: "core group", rule: asks(policy.Selector{APIGroups: []string{""}}), allow: true},
		{name: "namespace", rule: asks(policy.Selector{Namespaces: []string{"sh*"}}), tells: asked},
		{name: "name", rule: asks(policy.Selector{Names: []string{"*eb"}}), tells: asked},
		{name: "another name", rule: asks(policy.Selector{Names: []string{"*ebb"}}), allow: true},
		{name: "action", rule: asks(policy.Selector{Actions: []string{"delete", "update"}}), tells: asked},
		{name: "another action", rule: asks(policy.Selector{Actions: []string{"delete"}}), allow: true},
		{name: "takeover", rule: asks(policy.Selector{Actions: []string{"takeover"}}), tells: asked,
			facts: changed(func(c *policy.Change) { c.Takeover = true })},
		{name: "no takeover", rule: asks(policy.Selector{Actions: []string{"takeover"}}), allow: true},
		{name: "all lists hold", rule: asks(policy.Selector{Kinds: []string{"Deployment"}, Actions: []string{"delete"}}), allow: true},
		{name: "one change has to match all lists", rule: asks(policy.Selector{Kinds: []string{"Service"}, Actions: []string{"update"}}), allow: true,
			facts: func(f *policy.Facts) {
				c := f.Changes[0]
				c.Ref.Kind, c.Action, c.Digest = "Service", cluster.Delete, "d2"
				f.Changes = append(f.Changes, c)
			}},
		{name: "field", rule: asks(image), tells: asked, facts: fields("spec.template.spec.containers[name=web].image")},
		{name: "another field", rule: asks(image), allow: true, facts: fields("spec.replicas", "spec.template.spec.containers[name=web].env")},
		{name: "a field below", rule: asks(policy.Selector{Fields: []string{"spec.template"}}), tells: asked, facts: fields("spec.template.spec.hostNetwork")},
		{name: "a new container has an image", rule: asks(image), tells: asked, facts: fields("spec.template.spec.containers[name=side]")},
		{name: "a quoted key", rule: asks(policy.Selector{Fields: []string{`metadata.annotations["example.com/*"]`}}), tells: asked,
			facts: fields(`metadata.annotations["example.com/owner"]`)},
		{name: "an item is no key", rule: asks(policy.Selector{Fields: []string{"spec.*"}}), allow: true, facts: fields("spec[name=x]")},
		{name: "deleting takes every field along", rule: asks(image), tells: asked,
			facts: changed(func(c *policy.Change) { c.Action, c.Fields = cluster.Delete, nil })},
		{name: "adopting changes no field", rule: asks(image), allow: true,
			facts: changed(func(c *policy.Change) { c.Action, c.Fields = cluster.Adopt, nil })},
		{name: "a path that cannot be read is any path", rule: asks(image), tells: asked, facts: fields("spec[name=")},
		{name: "file", rule: asks(policy.Selector{Files: []string{"deploy/**"}}), tells: asked,
			facts: func(f *policy.Facts) { f.Files = []policy.File{touched("deploy/a/b.yaml")} }},
		{name: "another file", rule: asks(policy.Selector{Files: []string{"deploy/**"}}), allow: true,
			facts: func(f *policy.Facts) { f.Files = []policy.File{touched("docs/b.md")} }},
		{name: "a file that an object comes from", rule: asks(policy.Selector{Files: []string{"deploy/**"}}), tells: asked,
			facts: changed(func(c *policy.Change) { c.Files = []string{"deploy/a.yaml"} })},
		{name: "file and kind", rule: asks(policy.Selector{Files: []string{"deploy/**"}, Kinds: []string{"Service"}}), allow: true,
			facts: func(f *policy.Facts) { f.Files = []policy.File{touched("deploy/a.yaml")} }},
		{name: "a file, and no change", rule: asks(policy.Selector{Files: []string{".github/**"}}), tells: asked,
			facts: func(f *policy.Facts) { f.Changes, f.Files = nil, []policy.File{touched(".github/ci.yaml")} }},
		{name: "approved", rule: asks(policy.Selector{Kinds: []string{"Deployment"}}), by: []forge.User{cho}, allow: true, tells: "cho's (1 change): 1 approval from @cho"},
		{name: "by another", rule: asks(policy.Selector{Kinds: []string{"Deployment"}}), by: []forge.User{bob}, tells: "@bob: not among @cho"},
		{name: "what it does not select may move on", rule: asks(policy.Selector{Kinds: []string{"Deployment"}}), by: []forge.User{cho}, allow: true,
			facts: func(f *policy.Facts) {
				c := f.Changes[0]
				c.Ref.Kind, c.Digest = "Service", "never seen"
				f.Changes = append(f.Changes, c)
			}},
	})
}

func need(n int, users ...string) policy.Requirement {
	return policy.Requirement{Approvals: n, From: policy.People{Users: users}}
}

func TestRequirementsNest(t *testing.T) {
	either := &policy.Requirement{Any: []policy.Requirement{need(1, "cho#3"), need(2)}}
	all := &policy.Requirement{All: []policy.Requirement{need(1, "bob#2"), *either}}
	try(t, []situation{
		{name: "neither way", env: policy.Environment{Approvals: either},
			tells: "production: either 1 approval from @cho, or 2 approvals from somebody with write access who did not contribute"},
		{name: "the first way", env: policy.Environment{Approvals: either}, by: []forge.User{cho}, allow: true},
		{name: "half of the second way", env: policy.Environment{Approvals: either}, by: []forge.User{bob}, tells: "or 1 more approval from somebody"},
		{name: "the second way", env: policy.Environment{Approvals: either}, by: []forge.User{bob, fay}, allow: true,
			facts: func(f *policy.Facts) { f.Writers = append(f.Writers, fay.ID) }},
		{name: "one of all", env: policy.Environment{Approvals: all}, by: []forge.User{bob}, tells: "production: either"},
		{name: "one person for several parts", env: policy.Environment{Approvals: &policy.Requirement{All: []policy.Requirement{need(1, "bob#2"), need(1, "cho#3", "bob#2")}}},
			by: []forge.User{bob}, allow: true},
		{name: "different people for one part", env: policy.Environment{Approvals: &policy.Requirement{Approvals: 2, From: policy.People{Users: []string{"bob#2", "bob"}}}},
			by: []forge.User{bob}, tells: "1 more approval"},
		{name: "all", env: policy.Environment{Approvals: all}, by: []forge.User{bob, cho}, allow: true},
		{name: "too few are left", env: policy.Environment{Approvals: &policy.Requirement{Approvals: 1, From: policy.People{Users: []string{"ann#1", "dev#5"}}}},
			tells: "of those the forge knows, 0 did not contribute"},
	})
}

func TestGroupsAreTheFilesOwn(t *testing.T) {
	dba := &policy.Requirement{Approvals: 1, From: policy.People{Groups: []string{"dba"}}}
	group := func(floor bool, users ...string) func(p *policy.Policy) {
		return func(p *policy.Policy) {
			p.Groups = append(p.Groups, policy.Group{Name: "dba", From: policy.People{Users: users}, Floor: floor})
		}
	}
	try(t, []situation{
		{name: "a member", env: policy.Environment{Approvals: dba}, more: group(false, "bob#2"), by: []forge.User{bob}, allow: true},
		{name: "no member", env: policy.Environment{Approvals: dba}, more: group(false, "bob#2"), by: []forge.User{cho}, tells: "@cho: not among group dba"},
		{name: "a team of the group", env: policy.Environment{Approvals: dba}, by: []forge.User{bob}, allow: true,
			more: func(p *policy.Policy) {
				p.Groups = []policy.Group{{Name: "dba", From: policy.People{Teams: []string{"acme/platform"}}}}
			}},
		{name: "no such group", env: policy.Environment{Approvals: dba}, by: []forge.User{bob}, tells: "the policy has no group dba"},
		{name: "a repository may use the operator's", env: policy.Environment{Approvals: dba}, more: group(true, "bob#2"), by: []forge.User{bob}, allow: true},
		{name: "a floor does not use the repository's", env: policy.Environment{Approvals: dba, Floor: true}, more: group(false, "bob#2"), by: []forge.User{bob},
			tells: "the policy has no group dba"},
	})
}

func TestCodeOwnersOfEveryTouchedFileApprove(t *testing.T) {
	owners := policy.Environment{Approvals: &policy.Requirement{Approvals: 1, From: policy.People{CodeOwners: true}}}
	orPlatform := policy.Environment{Approvals: &policy.Requirement{Approvals: 1, From: policy.People{CodeOwners: true, Teams: []string{"acme/platform"}}}}
	files := func(files ...policy.File) func(*policy.Facts) {
		return func(f *policy.Facts) { f.Files = files }
	}
	try(t, []situation{
		{name: "an owner", env: owners, facts: files(touched("a", ownedBy("@bob"))), by: []forge.User{bob}, allow: true},
		{name: "another", env: owners, facts: files(touched("a", ownedBy("@bob"))), by: []forge.User{cho}, tells: "production: 1 approval from @bob for a"},
		{name: "a team", env: owners, facts: files(touched("a", ownedBy("@acme/platform"))), by: []forge.User{bob}, allow: true},
		{name: "a login without write access", env: owners, facts: files(touched("a", ownedBy("@eve"))), by: []forge.User{eve}, tells: "no write access"},
		{name: "each file", env: owners, facts: files(touched("a", ownedBy("@bob")), touched("b", ownedBy("@cho"))), by: []forge.User{bob}, tells: "1 approval from @cho for b"},
		{name: "one for both files", env: owners, facts: files(touched("a", ownedBy("@bob")), touched("b", ownedBy("@cho", "@bob"))), by: []forge.User{bob}, allow: true},
		{name: "each section", env: owners, facts: files(touched("a", ownedBy("@bob"), ownedBy("@cho"))), by: []forge.User{bob}, tells: "1 approval from @cho for a"},
		{name: "an optional section asks nobody", env: owners, by: []forge.User{bob}, allow: true,
			facts: files(touched("a", ownedBy("@bob"), policy.OwnerSet{Owners: []string{"@cho"}, Optional: true}))},
		{name: "nothing but an optional section", env: owners, by: []forge.User{bob}, tells: "1 approval from @cho for a",
			facts: files(touched("a", policy.OwnerSet{Owners: []string{"@cho"}, Optional: true, Required: 3}))},
		{name: "a section that wants two", env: owners, by: []forge.User{bob}, tells: "1 more approval from @bob or @cho for a",
			facts: files(touched("a", policy.OwnerSet{Owners: []string{"@bob", "@cho"}, Required: 2}))},
		{name: "nobody owns it", env: owners, facts: files(touched("a")), by: []forge.User{bob}, tells: "CODEOWNERS of the base branch names no owner"},
		{name: "nobody owns it, and others are named", env: orPlatform, facts: files(touched("a")), by: []forge.User{bob}, allow: true},
		{name: "e-mail addresses are nobody", env: owners, facts: files(touched("a", ownedBy("bob@example.com"))), by: []forge.User{bob}, tells: "nobody can tell whose accounts"},
		{name: "CODEOWNERS cannot be read", env: owners, by: []forge.User{bob}, tells: "CODEOWNERS of the base branch cannot be used: line 3",
			facts: func(f *policy.Facts) { f.Files, f.OwnersError = []policy.File{touched("a", ownedBy("@bob"))}, "line 3" }},
		{name: "no file was touched", env: owners, by: []forge.User{bob}, tells: "no file was touched"},
		{name: "the owner wrote it", env: owners, facts: files(touched("a", ownedBy("@dev"))), by: []forge.User{dev}, tells: "contributed to this pull"},
		{name: "files of the rule", by: []forge.User{bob}, allow: true, facts: files(touched("deploy/a", ownedBy("@bob")), touched("docs/b", ownedBy("@cho"))),
			rule: &policy.Rule{Name: "owners", When: policy.Selector{Files: []string{"deploy/**"}}, Require: policy.Requirement{Approvals: 1, From: policy.People{CodeOwners: true}}}},
	})
}

func TestPolicyChangeNeedsItsOwners(t *testing.T) { // threats 2 and 29
	change := func(f *policy.Facts) { f.PolicyChange = []string{"- production: 2 approvals"} }
	owned := func(p *policy.Policy) { p.Owners = []policy.Owners{{From: policy.People{Users: []string{"cho#3"}}}} }
	try(t, []situation{
		{name: "without owners, an admin", facts: change, tells: "policy: 1 approval from somebody with admin access"},
		{name: "a writer is no admin", facts: change, by: []forge.User{bob}, tells: "@bob: has no admin access"},
		{name: "an admin", by: []forge.User{bob}, allow: true, facts: func(f *policy.Facts) { change(f); f.Admins = []int64{bob.ID} }},
		{name: "named owners", facts: change, more: owned, by: []forge.User{bob}, tells: "policy: 1 approval from @cho"},
		{name: "an owner", facts: change, more: owned, by: []forge.User{cho}, allow: true},
		{name: "the operator's owners too", facts: change, by: []forge.User{cho}, tells: "policy: 1 approval from @bob",
			more: func(p *policy.Policy) {
				owned(p)
				p.Owners = append(p.Owners, policy.Owners{From: policy.People{Users: []string{"bob#2"}}, Floor: true})
			}},
		{name: "an owner who wrote it", facts: change, by: []forge.User{dev}, tells: "contributed",
			more: func(p *policy.Policy) { p.Owners = []policy.Owners{{From: policy.People{Users: []string{"dev#5"}}}} }},
		{name: "a pull of nothing else", more: owned, by: []forge.User{cho}, allow: true, vote: func(v *policy.Vote) { v.Digests = nil },
			facts: func(f *policy.Facts) { change(f); f.Changes = nil }},
		{name: "the environment lets openers approve", by: []forge.User{ann}, tells: "contributed to this pull (opened it)",
			env:   policy.Environment{Separation: &policy.Separation{Contributors: []policy.Role{policy.Author}}},
			facts: func(f *policy.Facts) { change(f); f.Admins = []int64{ann.ID} }},
	})
}

func TestWhatCamePastTheGateIsApprovedFirst(t *testing.T) { // threat 27
	past := func(by forge.User, pull int) func(*policy.Facts) {
		return func(f *policy.Facts) {
			f.Bypass = []policy.Bypass{{SHA: before, Kind: policy.DirectPush, By: by, Pull: pull}}
		}
	}
	try(t, []situation{
		{name: "nobody looked", facts: past(cho, 0), tells: "what came past the gate (2222222 pushed by @cho) needs a look"},
		{name: "approved", facts: past(cho, 0), by: []forge.User{bob}, allow: true},
		{name: "by who pushed", facts: past(bob, 0), by: []forge.User{bob}, tells: "brought 2222222 past the gate"},
		{name: "merged", facts: past(cho, 4), tells: "#4 merged by @cho"},
		{name: "nobody knows who pushed", facts: past(forge.User{}, 0), by: []forge.User{bob}, tells: "nobody knows by whom"},
	})
}

var fay = forge.User{ID: 8, Login: "fay", Type: forge.Person}

func yes() *bool { b := true; return &b }

func TestSeparationOfDuties(t *testing.T) { // wants 1 to 3
	one := &policy.Requirement{Approvals: 1}
	env := func(s policy.Separation) policy.Environment {
		return policy.Environment{Approvals: one, Separation: &s}
	}
	authors := policy.Separation{Contributors: []policy.Role{policy.Author}}
	applies := func(u forge.User) func(*policy.Facts) { return func(f *policy.Facts) { f.Applier = &u } }
	try(t, []situation{
		{name: "only authors are contributors", env: env(authors), by: []forge.User{ann}, allow: true},
		{name: "the author still is", env: env(authors), by: []forge.User{dev}, tells: "author of 1111111"},
		{name: "who asked for it always is", env: env(authors), by: []forge.User{ann}, tells: "asked for it", facts: func(f *policy.Facts) { f.AskedBy = &ann }},
		{name: "the strictest of two environments", env: env(authors), by: []forge.User{ann}, tells: "opened it",
			facts: func(f *policy.Facts) { f.Changes[0].Also = []string{"staging"} }},
		{name: "a floor keeps the defaults", env: env(authors), by: []forge.User{ann}, tells: "opened it",
			more: func(p *policy.Policy) {
				p.Environments = append(p.Environments, policy.Environment{Name: "prod*", Floor: true, Approvals: one})
			}},
		{name: "a suggester contributes", env: env(policy.Separation{}), by: []forge.User{bob}, tells: "suggested 1111111",
			facts: func(f *policy.Facts) { f.Commits[0].CoAuthors, f.Commits[0].Suggested = []forge.User{bob}, true }},
		{name: "suggesters are not listed", by: []forge.User{bob}, allow: true,
			env:   env(policy.Separation{Contributors: []policy.Role{policy.Author, policy.CoAuthor}}),
			facts: func(f *policy.Facts) { f.Commits[0].CoAuthors, f.Commits[0].Suggested = []forge.User{bob}, true }},
		{name: "an update from the base contributes nothing", env: env(policy.Separation{}), by: []forge.User{bob}, allow: true,
			facts: func(f *policy.Facts) {
				f.Commits = append(f.Commits, policy.Commit{SHA: before, Author: bob, Committer: web, Merge: true})
			}},
		{name: "a merge with changes of its own does", env: env(policy.Separation{}), by: []forge.User{bob}, tells: "author of 2222222",
			facts: func(f *policy.Facts) {
				f.Commits = append(f.Commits, policy.Commit{SHA: before, Author: bob, Committer: web})
			}},
		{name: "nobody knows who pushed", env: env(policy.Separation{Contributors: []policy.Role{policy.Pusher}}), by: []forge.User{bob},
			tells: "the forge does not tell who pushed"},
		{name: "pushers are known", env: env(policy.Separation{Contributors: []policy.Role{policy.Pusher}}), by: []forge.User{bob}, allow: true,
			facts: func(f *policy.Facts) { f.PushersKnown = true }},
		{name: "approver and applier are one", env: env(policy.Separation{}), by: []forge.User{bob}, facts: applies(bob), allow: true},
		{name: "approver and applier may not be one", env: env(policy.Separation{ApproverMayApply: new(bool)}), by: []forge.User{bob}, facts: applies(bob),
			tells: "@bob: asks for the apply, and approver and applier have to be different people"},
		{name: "approver and applier are two", env: env(policy.Separation{ApproverMayApply: new(bool)}), by: []forge.User{bob}, facts: applies(cho), allow: true},
		{name: "a contributor applies", env: env(policy.Separation{}), by: []forge.User{bob}, facts: applies(ann), allow: true},
		{name: "a contributor may not apply", env: env(policy.Separation{ContributorMayApply: new(bool)}), by: []forge.User{bob}, facts: applies(ann),
			tells: "@ann may not apply, having contributed to this pull (opened it); somebody else has to say `/apply`"},
		{name: "somebody else applies", env: env(policy.Separation{ContributorMayApply: new(bool)}), by: []forge.User{bob}, facts: applies(bob), allow: true},
		{name: "nobody knows who applies", env: env(policy.Separation{ContributorMayApply: new(bool)}), by: []forge.User{bob}, facts: applies(forge.User{}), tells: "nobody knows"},
		{name: "unsigned", env: env(policy.Separation{Signatures: yes()}), by: []forge.User{bob}, tells: "commit 1111111 has no verified signature"},
		{name: "signed", env: env(policy.Separation{Signatures: yes()}), by: []forge.User{bob}, allow: true, facts: func(f *policy.Facts) { f.Commits[0].Verified = true }},
		{name: "no commits to check", env: policy.Environment{Separation: &policy.Separation{Signatures: yes()}}, facts: func(f *policy.Facts) { f.Commits = nil }, tells: "no signature is known"},
		{name: "unattributable commits are allowed", env: env(policy.Separation{AllowUnattributable: yes()}), by: []forge.User{bob}, allow: true,
			facts: func(f *policy.Facts) { f.Commits[0].Author = forge.User{} }},
		{name: "a tool in a trailer is nobody", env: env(policy.Separation{}), by: []forge.User{bob}, allow: true,
			more:  func(p *policy.Policy) { p.ServiceNames = []string{"tool@example.com"} },
			facts: func(f *policy.Facts) { f.Commits[0].CoAuthors = []forge.User{{Login: "Tool@example.com"}} }},
		{name: "a bare approve where the digest is asked for", env: env(policy.Separation{Digest: yes()}), by: []forge.User{bob}, tells: "without naming the plan's digest"},
		{name: "an approve with the digest", env: env(policy.Separation{Digest: yes()}), by: []forge.User{bob}, allow: true, vote: func(v *policy.Vote) { v.Digest = "abc1234" }},
		{name: "outside collaborators do not count", env: env(policy.Separation{}), by: []forge.User{bob}, tells: "an outside collaborator; the policy would have to name bob#2",
			facts: func(f *policy.Facts) { f.Outside = []int64{bob.ID} }},
		{name: "outside collaborators count", env: env(policy.Separation{OutsideCollaborators: yes()}), by: []forge.User{bob}, allow: true,
			facts: func(f *policy.Facts) { f.Outside = []int64{bob.ID} }},
		{name: "an outside collaborator by number", env: policy.Environment{Approvals: &policy.Requirement{Approvals: 1, From: policy.People{Users: []string{"bob#2"}}}},
			by: []forge.User{bob}, allow: true, facts: func(f *policy.Facts) { f.Outside = []int64{bob.ID} }},
		{name: "an outside collaborator by login", env: policy.Environment{Approvals: &policy.Requirement{Approvals: 1, From: policy.People{Users: []string{"bob"}}}},
			by: []forge.User{bob}, tells: "outside collaborator", facts: func(f *policy.Facts) { f.Outside = []int64{bob.ID} }},
	})
}

func TestWithdrawnApprovalsSayWhy(t *testing.T) {
	one := policy.Environment{Approvals: &policy.Requirement{Approvals: 1}}
	team := policy.Environment{Approvals: &policy.Requirement{Approvals: 1, From: policy.People{Teams: []string{"acme/platform"}}}}
	keep := one
	keep.Separation = &policy.Separation{KeepOnBaseMerge: yes()}
	ticket := one
	ticket.Ticket = &policy.TicketRule{Pattern: "CHG[0-9]+"}
	older := func(v *policy.Vote) { v.Head = before }
	merged := func(f *policy.Facts) { f.EquivalentHeads = []string{before} }
	try(t, []situation{
		{name: "new commits", env: one, by: []forge.User{bob}, vote: older, tells: "@bob: approved 2222222, the head is now 1111111"},
		{name: "a base merge", env: one, by: []forge.User{bob}, vote: older, facts: merged, tells: "@bob: approved 2222222, and the base branch was merged in since"},
		{name: "a base merge where that is allowed", env: keep, by: []forge.User{bob}, vote: older, facts: merged, allow: true},
		{name: "a base merge that changes the plan", env: keep, by: []forge.User{bob}, facts: merged, tells: "the plan has changed since",
			vote: func(v *policy.Vote) { v.Head, v.Digests = before, []string{"d0"} }},
		{name: "new commits where base merges are allowed", env: keep, by: []forge.User{bob}, vote: older, tells: "approved 2222222, the head is now"},
		{name: "a repository cannot keep approvals for a floor", env: keep, by: []forge.User{bob}, vote: older, tells: "the base branch was merged in since",
			facts: merged, more: func(p *policy.Policy) {
				p.Environments = append(p.Environments, policy.Environment{Name: "*", Floor: true, Approvals: one.Approvals})
			}},
		{name: "retargeted", env: one, by: []forge.User{bob}, vote: func(v *policy.Vote) { v.Base = "next" }, tells: "@bob: approved while the pull aimed at next"}, // threat 29
		{name: "left the team", env: team, by: []forge.User{bob}, vote: func(v *policy.Vote) { v.Teams = []string{"acme/platform"} },
			facts: func(f *policy.Facts) { f.Teams = map[string][]int64{"acme/platform": {cho.ID}} }, tells: "@bob: left acme/platform since that approval"},
		{name: "dismissed", env: one, by: []forge.User{bob}, tells: "@bob: the review was dismissed",
			vote: func(v *policy.Vote) { v.Kind, v.Via = policy.Withdraw, "review" }},
		{name: "taken back", env: one, by: []forge.User{bob}, tells: "@bob: took the approval back", vote: func(v *policy.Vote) { v.Kind = policy.Withdraw }},
		{name: "edited", env: one, by: []forge.User{bob}, tells: "@bob: the comment was edited", vote: func(v *policy.Vote) { v.Void = "the comment was edited" }},
		{name: "another ticket", env: ticket, by: []forge.User{bob}, tells: "@bob: approved for another ticket", vote: func(v *policy.Vote) { v.Ticket = "CHG2" },
			facts: func(f *policy.Facts) { f.Ticket = &policy.Ticket{ID: "CHG1"} }},
		{name: "another window", env: ticket, by: []forge.User{bob}, tells: "@bob: approved for another ticket or window", vote: func(v *policy.Vote) { v.Ticket = "CHG1" },
			facts: func(f *policy.Facts) { f.Ticket = &policy.Ticket{ID: "CHG1", To: noon.Add(9 * time.Hour)} }},
		{name: "the ticket", env: ticket, by: []forge.User{bob}, allow: true, vote: func(v *policy.Vote) { v.Ticket = "CHG1" },
			facts: func(f *policy.Facts) { f.Ticket = &policy.Ticket{ID: "CHG1"} }},
	})
}

func TestConditions(t *testing.T) {
	freeze := policy.Environment{Freeze: []calendar.Window{{Name: "holidays", From: "2026-02-28", To: "2026-03-02", Zone: "Europe/Berlin"}}}
	check := policy.Environment{Checks: []policy.RequiredCheck{{Name: "ci/test", App: 15368}}}
	account := policy.Environment{Checks: []policy.RequiredCheck{{Name: "ci/test", By: 9}}}
	loose := policy.Environment{Checks: []policy.RequiredCheck{{Name: "ci/test"}}}
	age := policy.Environment{MinimumAge: 90 * time.Minute}
	soak := policy.Environment{Soak: &policy.Soak{In: "staging", For: 30 * time.Minute}}
	ticket := policy.Environment{Ticket: &policy.TicketRule{Pattern: "CHG[0-9]{3}", Window: true}}
	checks := func(c ...policy.Check) func(*policy.Facts) { return func(f *policy.Facts) { f.Checks = c } }
	soaked := func(at time.Time, healthy bool) func(*policy.Facts) {
		return func(f *policy.Facts) {
			f.Applied = []policy.Applied{{Target: "shop-staging", Environment: "staging", At: at, Healthy: healthy}}
		}
	}
	given := func(id string, from, to time.Time) func(*policy.Facts) {
		return func(f *policy.Facts) { f.Ticket = &policy.Ticket{ID: id, From: from, To: to, By: bob} }
	}
	try(t, []situation{
		{name: "frozen", env: freeze, tells: "production: frozen (holidays) until 2026-03-03 00:00 Europe/Berlin"},
		{name: "not frozen", env: freeze, allow: true, tells: "not frozen (holidays)", facts: func(f *policy.Facts) { f.At = noon.AddDate(0, 0, 5) }},
		{name: "frozen, as far as anybody knows", env: freeze, tells: "do not say when", facts: func(f *policy.Facts) { f.At = time.Time{} }},
		{name: "a window that cannot be read is active", env: policy.Environment{Freeze: []calendar.Window{{Name: "x", Cron: "what"}}}, tells: "until somebody changes the policy"},
		{name: "frozen elsewhere", allow: true, more: func(p *policy.Policy) { p.Environments[0].Freeze = freeze.Freeze }},

		{name: "the check has not run", env: check, tells: "check ci/test (app 15368) has to succeed on 1111111, where it has not run"},
		{name: "the check succeeded", env: check, allow: true, facts: checks(policy.Check{Name: "ci/test", App: 15368, State: "success"})},
		{name: "the check is pending", env: check, tells: "where it is pending", facts: checks(policy.Check{Name: "ci/test", App: 15368, State: "pending"})},
		{name: "neutral is no success", env: check, tells: "where it is neutral", facts: checks(policy.Check{Name: "ci/test", App: 15368, State: "neutral"})},
		{name: "another app wrote it", env: check, tells: "ci/test of app 7 (fake), which is not app 15368", // threat 25
			facts: checks(policy.Check{Name: "ci/test", App: 7, AppSlug: "fake", State: "success"})},
		{name: "the account's status", env: account, allow: true, facts: checks(policy.Check{Name: "ci/test", By: 9, ByLogin: "robot", State: "success"})},
		{name: "another account's status", env: account, tells: "ci/test of @mallory (account 8), which is not account 9", // threat 25
			facts: checks(policy.Check{Name: "ci/test", By: 8, ByLogin: "mallory", State: "success"})},
		{name: "nobody knows whose status", env: account, tells: "of an account that the forge does not name", facts: checks(policy.Check{Name: "ci/test", State: "success"})},
		{name: "the account has not said", env: account, tells: "check ci/test (account 9) has to succeed on 1111111, where it has not run"},
		{name: "a status that no app wrote", env: check, tells: "of no app", facts: checks(policy.Check{Name: "ci/test", State: "success"})},
		{name: "whoever wrote it, all of them", env: loose, tells: "where it is failure",
			facts: checks(policy.Check{Name: "ci/test", App: 7, State: "success"}, policy.Check{Name: "ci/test", App: 8, State: "failure"})},
		{name: "whoever wrote it", env: loose, allow: true, facts: checks(policy.Check{Name: "ci/test", App: 7, State: "success"})},

		{name: "too young", env: age, tells: "production: the plan has to have been shown for 1h30m, which is at 2026-03-01 13:29 UTC"},
		{name: "old enough", env: age, allow: true, facts: func(f *policy.Facts) { f.Published = noon.Add(-time.Hour) }},
		{name: "never published", env: age, tells: "no plan was published yet", facts: func(f *policy.Facts) { f.Published = time.Time{} }},

		{name: "nothing changes there", env: soak, tells: "this pull changed nothing in staging"},
		{name: "nothing changes there, which is allowed", env: policy.Environment{Soak: &policy.Soak{In: "staging", For: 1, AllowUntouched: true}}, allow: true},
		{name: "it still has to be applied there", env: soak, tells: "production: apply shop-staging in staging first (`/apply shop-staging`), and let it soak for 30m",
			facts: func(f *policy.Facts) { f.Waiting = []policy.Waiting{{Target: "shop-staging", Environment: "staging"}} }},
		{name: "it is applied there only now", env: soak, tells: "apply s in staging first",
			facts: func(f *policy.Facts) {
				soaked(noon.Add(-time.Hour), true)(f)
				c := change("staging", "d2")
				c.Target = "s"
				f.Changes = append(f.Changes, c)
			}},
		{name: "it soaks", env: soak, facts: soaked(noon.Add(45*time.Minute), true), tells: "shop-staging has to soak in staging until 2026-03-01 13:15 UTC"},
		{name: "it soaked", env: soak, facts: soaked(noon, true), allow: true},
		{name: "it is ill", env: soak, facts: soaked(noon, false), tells: "shop-staging is not healthy in staging"},

		{name: "no ticket", env: ticket, tells: "production: name the change ticket with `/ticket ID FROM TO` (an ID like CHG[0-9]{3})"},
		{name: "another's ticket", env: ticket, facts: given("xCHG1234", noon, noon.Add(2*time.Hour)), tells: "xCHG1234 is no ticket like"},
		{name: "no window", env: ticket, facts: given("CHG123", time.Time{}, time.Time{}), tells: "ticket CHG123 needs its window"},
		{name: "too early", env: ticket, facts: given("CHG123", noon.Add(2*time.Hour), noon.Add(3*time.Hour)), tells: "the window of ticket CHG123 begins at 2026-03-01 14:00 UTC"},
		{name: "too late", env: ticket, facts: given("CHG123", noon, noon.Add(time.Hour)), tells: "the window of ticket CHG123 ended at 2026-03-01 13:00 UTC"},
		{name: "in the window", env: ticket, facts: given("CHG123", noon, noon.Add(2*time.Hour)), allow: true, tells: "CHG123 by @bob"},
	})
}

func TestVerdictKnowsWhenToLookAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		env   policy.Environment
		facts func(*policy.Facts)
		want  time.Time
	}{
		"never":  {want: time.Time{}},
		"age":    {env: policy.Environment{MinimumAge: 2 * time.Hour}, want: noon.Add(119 * time.Minute)},
		"freeze": {env: policy.Environment{Freeze: []calendar.Window{{From: "2026-03-01", To: "2026-03-01", Zone: "UTC"}}}, want: noon.Add(12 * time.Hour)},
		"both, the earlier": {env: policy.Environment{MinimumAge: 2 * time.Hour, Freeze: []calendar.Window{{From: "2026-03-01", To: "2026-03-01", Zone: "UTC"}}},
			want: noon.Add(119 * time.Minute)},
	} {
		if got := (situation{env: tt.env, facts: tt.facts}).verdict().Again; !got.Equal(tt.want) {
			t.Errorf("%s: again at %v, want %v", name, got, tt.want)
		}
	}
}
