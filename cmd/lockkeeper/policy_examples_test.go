package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/config"
	"lockkeeper/bot/policy"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// The people of the README's examples. Ann opens every pull and writes it.
var (
	ann = forge.User{ID: 1, Login: "ann", Type: forge.Person}
	bob = forge.User{ID: 2, Login: "bob", Type: forge.Person} // acme/platform
	cho = forge.User{ID: 3, Login: "cho", Type: forge.Person} // acme/platform
	dan = forge.User{ID: 4, Login: "dan", Type: forge.Person} // acme/dba
	eve = forge.User{ID: 5, Login: "eve", Type: forge.Person} // acme/security
	fay = forge.User{ID: 6, Login: "fay", Type: forge.Person} // acme/oncall
	gus = forge.User{ID: 7, Login: "gus", Type: forge.Person} // administers the repository
)

// A Wednesday on which nothing is frozen.
var someday = time.Date(2026, 12, 2, 12, 0, 0, 0, time.UTC)

const exampleHead = "9f1c2d3e4b5a69788796a5b4c3d2e1f009182736"

// situation is a pull of ann that changes the image of a Deployment in
// production, unless it is edited.
type situation struct {
	name     string
	edit     func(f *policy.Facts)
	approved []forge.User
	allow    bool
	tells    string        // part of what is missing, for a denial
	review   time.Duration // how soon the override that it rests on is to be reviewed
}

func (s situation) facts(p policy.Policy) policy.Facts {
	f := policy.Facts{
		At: someday,
		Pull: policy.Pull{
			Repo: forge.RepoRef{ID: 42, Owner: "acme", Name: "shop"}, Number: 12, Author: ann,
			Base: forge.Branch{Name: "main", SHA: "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567", RepoID: 42},
			Head: forge.Branch{Name: "change", SHA: exampleHead, RepoID: 42},
		},
		Commits:      []policy.Commit{{SHA: exampleHead, Author: ann, Committer: ann, Verified: true}},
		PushersKnown: true,
		Applier:      &gus,
		Teams: map[string][]int64{
			"acme/platform": {bob.ID, cho.ID}, "acme/dba": {dan.ID}, "acme/security": {eve.ID}, "acme/oncall": {fay.ID},
		},
		Writers: []int64{1, 2, 3, 4, 5, 6, 7}, Admins: []int64{gus.ID},
		Changes:        []policy.Change{exampleChange("production", "apps", "Deployment", cluster.Update, "spec.template.spec.containers[name=web].image")},
		Files:          []policy.File{{Path: "overlays/production/web.yaml"}},
		Published:      someday.Add(-time.Hour),
		PolicyRevision: p.Revision(),
	}
	for _, u := range s.approved {
		f.Votes = append(f.Votes, policy.Vote{
			User: u, Kind: policy.Approve, Via: "command", ID: 100 + u.ID, At: someday.Add(-time.Minute),
			Head: exampleHead, PolicyRevision: p.Revision(), Base: "main",
		})
	}
	if s.edit != nil {
		s.edit(&f)
	}
	var digests []string
	for _, c := range f.Changes {
		digests = append(digests, c.Digest)
	}
	for i := range f.Votes {
		f.Votes[i].Digests = digests
		f.Votes[i].Ticket = f.Ticket.Key()
	}
	for i := range f.Overrides {
		f.Overrides[i].Digests, f.Overrides[i].Head = digests, exampleHead
	}
	return f
}

func exampleChange(environment, group, kind string, action cluster.Action, fields ...string) policy.Change {
	return policy.Change{
		Target: environment, Environment: environment, Cluster: environment, Action: action, Fields: fields,
		Ref:    cluster.Ref{Group: group, Kind: kind, Namespace: "shop", Name: "web"},
		Digest: strings.Join(append([]string{environment, kind, string(action)}, fields...), " "),
	}
}

// instead replaces what the plan changes.
func instead(changes ...policy.Change) func(*policy.Facts) {
	return func(f *policy.Facts) { f.Changes = changes }
}

// together makes several edits.
func together(edits ...func(*policy.Facts)) func(*policy.Facts) {
	return func(f *policy.Facts) {
		for _, e := range edits {
			e(f)
		}
	}
}

func when(year int, month time.Month, day, hour int) func(*policy.Facts) {
	return func(f *policy.Facts) { f.At = time.Date(year, month, day, hour, 0, 0, 0, time.UTC) }
}

func appliedBy(u forge.User) func(*policy.Facts) {
	return func(f *policy.Facts) { f.Applier = &u }
}

func typedDigest(f *policy.Facts) {
	for i := range f.Votes {
		f.Votes[i].Digest = "4d7a1c9b"
	}
}

func overriddenBy(u forge.User, at time.Time) func(*policy.Facts) {
	return func(f *policy.Facts) {
		f.Overrides = []policy.Override{{By: u, Reason: "the shop is down", At: at, ID: 200}}
	}
}

// ready fulfils every condition of the example about them.
func ready(f *policy.Facts) {
	f.Checks = []policy.Check{{Name: "ci/test", App: 15368, State: "success"}}
	f.Applied = []policy.Applied{{Target: "staging", Environment: "staging", At: someday.Add(-31 * time.Minute), Healthy: true}}
	f.Ticket = &policy.Ticket{ID: "CHG0012345", From: someday.Add(-time.Hour), To: someday.Add(time.Hour), By: ann}
}

var (
	role        = exampleChange("production", "rbac.authorization.k8s.io", "Role", cluster.Update, "rules")
	volume      = exampleChange("production", "", "PersistentVolumeClaim", cluster.Delete)
	newVolume   = exampleChange("production", "", "PersistentVolumeClaim", cluster.Create)
	namespace   = exampleChange("production", "", "Namespace", cluster.Delete)
	replicas    = exampleChange("production", "apps", "Deployment", cluster.Update, "spec.replicas")
	image       = exampleChange("production", "apps", "Deployment", cluster.Update, "spec.template.spec.containers[name=web].image")
	stagingOnly = exampleChange("staging", "apps", "Deployment", cluster.Update, "spec.replicas")
)

type users = []forge.User

// examples are what the README's policies say of situations, by their titles.
var examples = map[string][]situation{
	"One reviewer": {
		{name: "nobody", tells: "production: 1 approval from somebody with write access"},
		{name: "the author", approved: users{ann}, tells: "1 approval"},
		{name: "somebody else", approved: users{dan}, allow: true},
	},
	"Four eyes of the platform team in production": {
		{name: "one of the team", approved: users{bob}, tells: "production: 1 more approval from @dan or acme/platform"},
		{name: "and somebody else", approved: users{bob, eve}, tells: "1 more approval"},
		{name: "two of the team", approved: users{bob, cho}, allow: true},
		{name: "one of the team and dan", approved: users{bob, dan}, allow: true},
		{name: "an account that took the name of dan", approved: users{bob, {ID: 99, Login: "dan", Type: forge.Person}}, tells: "1 more approval"},
		{name: "staging", edit: instead(stagingOnly), allow: true},
		{name: "staging and production", edit: instead(stagingOnly, replicas), tells: "production: 2 approvals"},
	},
	"Author, approver and applier are different people": {
		{name: "three people", approved: users{bob}, edit: typedDigest, allow: true},
		{name: "without the digest", approved: users{bob}, tells: "1 approval"},
		{name: "the approver applies", approved: users{bob}, edit: together(typedDigest, appliedBy(bob)), tells: "1 approval from somebody"},
		{name: "the author applies", approved: users{bob}, edit: together(typedDigest, appliedBy(ann)), tells: "ann"},
		{name: "an unsigned commit", approved: users{bob}, edit: together(typedDigest, func(f *policy.Facts) { f.Commits[0].Verified = false }), tells: "signature"},
	},
	"Security owns RBAC": {
		{name: "no RBAC", approved: users{bob}, allow: true},
		{name: "a role, approved by somebody else", edit: instead(role), approved: users{bob}, tells: "1 approval from acme/security"},
		{name: "a role, approved by security", edit: instead(role), approved: users{eve}, allow: true},
		{name: "a role among others", edit: instead(image, role), approved: users{bob}, tells: "acme/security"},
	},
	"Who may change which images": {
		{name: "an image", approved: users{dan}, tells: "1 approval from"},
		{name: "an image, approved by a releaser", approved: users{eve}, allow: true},
		{name: "replicas", edit: instead(replicas), approved: users{dan}, allow: true},
		{name: "an image elsewhere", approved: users{dan}, allow: true, edit: func(f *policy.Facts) { f.Changes[0].Ref.Namespace = "blog" }},
	},
	"Nobody deletes volumes alone": {
		{name: "one dba", edit: instead(volume), approved: users{dan}, tells: "1 more approval"},
		{name: "a dba and somebody", edit: instead(volume), approved: users{dan, eve}, allow: true},
		{name: "two of the platform team", edit: instead(volume), approved: users{bob, cho}, allow: true},
		{name: "two, of whom none is enough", edit: instead(volume), approved: users{bob, eve}, tells: "approval"},
		{name: "a volume is created", edit: instead(newVolume), approved: users{eve}, allow: true},
	},
	"Code owners agree too": {
		{name: "a file of the platform team", edit: owned("@acme/platform"), approved: users{eve}, tells: "acme/platform"},
		{name: "approved by an owner", edit: owned("@acme/platform"), approved: users{bob}, allow: true},
		{name: "another file of security", edit: owned("@acme/platform", "@acme/security"), approved: users{bob}, tells: "acme/security"},
		{name: "both approve", edit: owned("@acme/platform", "@acme/security"), approved: users{bob, eve}, allow: true},
		{name: "CODEOWNERS cannot be read", approved: users{bob}, tells: "CODEOWNERS",
			edit: together(owned("@acme/platform"), func(f *policy.Facts) { f.OwnersError = "CODEOWNERS:3: got \"bob\", want an owner" })},
	},
	"Frozen over the holidays and at weekends": {
		{name: "a Wednesday", approved: users{bob}, allow: true},
		{name: "the first evening of the holidays", approved: users{bob}, edit: when(2026, 12, 19, 23), tells: "frozen (holidays) until 2027-01-04 00:00 Europe/Berlin"},
		{name: "their last day", approved: users{bob}, edit: when(2027, 1, 3, 22), tells: "frozen (holidays)"},
		{name: "after them", approved: users{bob}, edit: when(2027, 1, 4, 7), allow: true},
		{name: "a Friday evening", approved: users{bob}, edit: when(2026, 12, 4, 17), tells: "frozen (weekends) until 2026-12-07 08:00 Europe/Berlin"},
		{name: "Monday, before eight", approved: users{bob}, edit: when(2026, 12, 7, 6), tells: "frozen (weekends)"},
		{name: "Monday, eight", approved: users{bob}, edit: when(2026, 12, 7, 7), allow: true},
		{name: "the Saturday that is excepted", approved: users{bob}, edit: when(2026, 11, 28, 12), allow: true},
		{name: "the Sunday after it", approved: users{bob}, edit: when(2026, 11, 29, 12), tells: "frozen (weekends)"},
	},
	"Tested, shown for a while, healthy in staging, with a ticket": {
		{name: "all of it", approved: users{bob}, edit: ready, allow: true},
		{name: "nothing of it", approved: users{bob}, tells: "production: check ci/test (app 15368) has to succeed"},
		{name: "another app says success", approved: users{bob}, edit: together(ready, func(f *policy.Facts) { f.Checks[0].App = 1 }), tells: "ci/test"},
		{name: "just shown", approved: users{bob}, edit: together(ready, func(f *policy.Facts) { f.Published = someday.Add(-9 * time.Minute) }), tells: "10m"},
		{name: "not long in staging", approved: users{bob}, edit: together(ready, func(f *policy.Facts) { f.Applied[0].At = someday.Add(-29 * time.Minute) }), tells: "soak"},
		{name: "not healthy in staging", approved: users{bob}, edit: together(ready, func(f *policy.Facts) { f.Applied[0].Healthy = false }), tells: "not healthy in staging"},
		{name: "no ticket", approved: users{bob}, edit: together(ready, func(f *policy.Facts) { f.Ticket = nil }), tells: "/ticket"},
		{name: "a ticket without a window", approved: users{bob}, edit: together(ready, func(f *policy.Facts) { f.Ticket.To = time.Time{} }), tells: "window"},
		{name: "another kind of ticket", approved: users{bob}, edit: together(ready, func(f *policy.Facts) { f.Ticket.ID = "INC0012345" }), tells: "CHG[0-9]{7}"},
		{name: "the ticket's time is over", approved: users{bob}, edit: together(ready, func(f *policy.Facts) { f.Ticket.To = someday.Add(-time.Minute) }), tells: "CHG0012345"},
	},
	"Break the glass, and clean up": {
		{name: "nobody approves", tells: "2 approvals"},
		{name: "on call overrides", edit: overriddenBy(fay, someday.Add(-time.Minute)), allow: true, review: 48 * time.Hour},
		{name: "somebody else does", edit: overriddenBy(bob, someday.Add(-time.Minute)), tells: "2 approvals"},
		{name: "too long ago", edit: overriddenBy(fay, someday.Add(-2*time.Hour)), tells: "2 approvals"},
		{name: "for a deletion", edit: together(instead(volume), overriddenBy(fay, someday.Add(-time.Minute))), tells: "2 approvals"},
		{name: "somebody holds the pull", edit: together(overriddenBy(fay, someday.Add(-time.Minute)), func(f *policy.Facts) { f.Hold = &policy.Hold{By: bob} }), tells: "holds it", review: 48 * time.Hour},
		{name: "an earlier override was not reviewed in time", approved: users{bob, cho}, tells: "review", edit: func(f *policy.Facts) {
			f.Duties = []policy.Duty{{ID: "d", Environment: "production", Pull: 3, By: fay, Opened: someday.Add(-72 * time.Hour), Due: someday.Add(-24 * time.Hour)}}
		}},
	},
	"Drift and rollbacks": {
		{name: "two of the team", approved: users{bob, cho}, allow: true},
		{name: "on call alone", approved: users{fay}, tells: "acme/platform"},
		{name: "on call, of a rollback", approved: users{fay}, edit: rollsBack(true), allow: true},
		{name: "nobody, of a rollback", edit: rollsBack(true), tells: "either 2 approvals from acme/platform"},
		{name: "on call, of more than a rollback", approved: users{fay}, edit: rollsBack(false), tells: "2 approvals"},
		{name: "two of the team, of drift", approved: users{bob, cho}, edit: changedLive, tells: "1 approval from acme/security (because whoever changed"},
		{name: "security too, of drift", approved: users{bob, cho, eve}, edit: changedLive, allow: true},
		{name: "nobody, of drift in staging", edit: together(instead(stagingOnly), changedLive), tells: "staging: 1 approval"},
		{name: "somebody, of drift in staging", approved: users{dan}, edit: together(instead(stagingOnly), changedLive), allow: true},
		{name: "healed in staging", edit: together(instead(stagingOnly), heals), allow: true},
		{name: "healed in production", edit: heals, tells: "/restore"},
		{name: "healed while somebody holds it", edit: together(instead(stagingOnly), heals, func(f *policy.Facts) { f.Hold = &policy.Hold{By: bob} }), tells: "@bob holds it"},
	},
	"Who owns the policy": {
		{name: "no change of policy", approved: users{bob}, allow: true},
		{name: "a change of policy", edit: changesPolicy, approved: users{bob, gus}, tells: "acme/security"},
		{name: "approved by an owner", edit: changesPolicy, approved: users{eve}, allow: true},
	},
	"Four eyes in production, security owns RBAC, nobody deletes volumes alone, frozen over the holidays": {
		{name: "two of the team", approved: users{bob, cho}, edit: ready, allow: true},
		{name: "one", approved: users{bob, dan}, edit: ready, tells: "1 more approval from acme/platform"},
		{name: "a role", approved: users{bob, cho}, edit: together(ready, instead(role)), tells: "1 approval from acme/security"},
		{name: "a role with security", approved: users{bob, cho, eve}, edit: together(ready, instead(role)), allow: true},
		{name: "a volume", approved: users{bob, cho}, edit: together(ready, instead(volume)), tells: "dba"},
		{name: "a volume with a dba", approved: users{bob, cho, dan}, edit: together(ready, instead(volume)), allow: true},
		{name: "in the holidays", approved: users{bob, cho}, edit: together(ready, when(2026, 12, 24, 12)), tells: "frozen (holidays)"},
		{name: "in the holidays, overridden", allow: true, review: 48 * time.Hour, edit: together(when(2026, 12, 24, 12), overriddenBy(fay, time.Date(2026, 12, 24, 11, 30, 0, 0, time.UTC)))},
		{name: "the author applies", approved: users{bob, cho}, edit: together(ready, appliedBy(ann)), tells: "ann"},
		{name: "before staging", approved: users{bob, cho}, tells: "staging"},
		{name: "staging", edit: instead(stagingOnly), allow: true},
		{name: "a change of policy", approved: users{bob, cho}, edit: together(ready, changesPolicy), tells: "acme/security"},
	},
	"Floors of the server file": {
		{name: "somebody", approved: users{dan}, tells: "acme/platform"},
		{name: "one of the team", approved: users{bob}, allow: true},
		{name: "the author applies", approved: users{bob}, edit: appliedBy(ann), tells: "ann"},
		{name: "an unsigned commit", approved: users{bob}, edit: func(f *policy.Facts) { f.Commits[0].Verified = false }, tells: "signature"},
		{name: "a namespace", edit: instead(namespace), approved: users{bob}, tells: "1 more approval"},
		{name: "a namespace with another", edit: instead(namespace), approved: users{bob, dan}, allow: true},
		{name: "staging", edit: instead(stagingOnly), approved: users{dan}, allow: true},
	},
}

// owned lets each of these own a changed file.
func owned(owners ...string) func(*policy.Facts) {
	return func(f *policy.Facts) {
		f.Files = nil
		for _, o := range owners {
			f.Files = append(f.Files, policy.File{Path: "overlays/" + o, Owners: []policy.OwnerSet{{Owners: []string{o}}}})
		}
	}
}

func rollsBack(pure bool) func(*policy.Facts) {
	return func(f *policy.Facts) {
		f.Rollback = &policy.Rollback{To: exampleHead, Pure: pure, Why: "ann pushed to it"}
	}
}

func changedLive(f *policy.Facts) {
	f.UnknownContributor = "whoever changed Deployment.apps shop/web live"
}

func heals(f *policy.Facts) { f.Heal, f.Commits, f.Applier = true, nil, nil }

func changesPolicy(f *policy.Facts) {
	f.PolicyChange = []string{"- production: 2 approvals from acme/platform", "+ production: no approval needed"}
}

// exampleBlocks are the YAML blocks of a chapter of the README, by the comment
// in their first line.
func exampleBlocks(t *testing.T) map[string]string {
	t.Helper()
	_, chapter, ok := strings.Cut(readme(t), "\n## Policy by example\n")
	if !ok {
		t.Fatal("the README has no chapter with examples of policies")
	}
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	found := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)```yaml\n# ([^\n]*)\n(.*?)```").FindAllStringSubmatch(chapter, -1) {
		found[m[1]] = m[2]
	}
	if blocks := strings.Count(chapter, "```yaml"); blocks != len(found) {
		t.Fatalf("%d of %d blocks have a title of their own", len(found), blocks)
	}
	return found
}

// exampleTargets are the targets that the examples are about.
const exampleTargets = `targets:
  - {path: overlays/staging, name: staging, cluster: staging, environment: staging}
  - {path: overlays/production, name: production, cluster: production, environment: production}
`

// exampleServer is an operator's file without floors.
const exampleServer = `store: lockkeeper.db
cache: cache
github: {tokenFile: token, webhookSecretFiles: [secret]}
clusters: {staging: {}, production: {}}
repositories:
  - id: 42
    name: acme/shop
    allow: [{paths: ["overlays/*"], clusters: [staging, production], environments: [staging, production], namespaces: ["*"]}]
`

// compileExample compiles a block as what it is a part of.
func compileExample(t *testing.T, text string) policy.Policy {
	t.Helper()
	var floors string
	if strings.HasPrefix(text, "floors:") {
		text, floors = "", text
	}
	f, err := config.ParseFile(config.RepoFile, []byte(exampleTargets+text))
	if err != nil {
		t.Fatal(err)
	}
	s, err := config.ParseServer("server.yaml", []byte(exampleServer+floors))
	if err != nil {
		t.Fatal(err)
	}
	return config.Compile(f, s)
}

func TestPoliciesInTheReadmeSayWhatTheyAreSaidToSay(t *testing.T) {
	blocks := exampleBlocks(t)
	for title := range examples {
		if blocks[title] == "" {
			t.Errorf("the README has no example %q", title)
		}
	}
	for title, text := range blocks {
		t.Run(title, func(t *testing.T) {
			p := compileExample(t, text)
			situations := examples[title]
			for _, wanted := range []bool{true, false} {
				if !slices.ContainsFunc(situations, func(s situation) bool { return s.allow == wanted }) {
					t.Errorf("no situation in which the outcome is %s", outcome(wanted))
				}
			}
			for _, s := range situations {
				v := policy.Evaluate(p, s.facts(p))
				missing := strings.Join(v.AllMissing(), "\n")
				if v.OK != s.allow || !strings.Contains(missing, s.tells) {
					t.Errorf("%s: %s, missing:\n%s\nwant %s, and %q", s.name, outcome(v.OK), missing, outcome(s.allow), s.tells)
				}
				for _, use := range v.Overrides {
					if got := use.Due.Sub(s.facts(p).At); got != s.review {
						t.Errorf("%s: its override is to be reviewed within %v, want %v", s.name, got, s.review)
					}
				}
				if (s.review > 0) != (len(v.Overrides) > 0) {
					t.Errorf("%s: rests on the overrides %v", s.name, v.Overrides)
				}
			}
		})
	}
}
