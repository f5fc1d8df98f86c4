package kube

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/secret"
)

// TestFirstContact adopts objects that others made: ownership moves, what Git
// does not have goes exactly as predicted, and removals work afterwards.
func TestFirstContactMigratesOwnershipSoThatRemovalsWork(t *testing.T) {
	old := changed(web, "labels: {app.kubernetes.io/name: web}", "labels: {app.kubernetes.io/name: web, legacy: 'yes'}", "- {name: SIZE, value: \"3\"}", "- {name: SIZE, value: \"3\"}\n        - {name: OLD, value: x}")
	for name, args := range map[string][]string{
		"kubectl-client-side-apply": {"apply", "-f", "-"},
		"kubectl-create":            {"create", "-f", "-"},
		"kubectl":                   {"apply", "--server-side", "-f", "-"},
		"helm":                      {"create", "--field-manager=helm", "-f", "-"},
		"kustomize-controller":      {"apply", "--server-side", "--field-manager=kustomize-controller", "-f", "-"},
		"argocd-controller":         {"apply", "--field-manager=argocd-controller", "-f", "-"},
	} {
		t.Run(name, func(t *testing.T) {
			c, ns := connected(t), shared.Get(t).Namespace(t)
			kubectl(t, old+"\n---\n"+service, append([]string{"-n", ns}, args...)...)
			merge := objects(t, ns, web, service)
			p, err := c.Plan(t.Context(), cluster.Request{Target: targetIn(ns), Base: merge, Merge: merge, Everything: true, Revision: "r"})
			if err != nil || len(p.Problems) > 0 {
				t.Fatalf("%v %+v", err, p)
			}
			dep := changeOf(t, p, "Deployment", "web")
			if dep.Action != cluster.Adopt || !slices.Contains(dep.Managers, name) {
				t.Fatalf("%s", shape(p))
			}
			for _, gone := range []string{"metadata.labels.legacy", "spec.template.spec.containers[name=web].env[name=OLD]"} {
				if f := fieldOf(dep, gone); f == nil || f.Op != cluster.Remove {
					t.Errorf("%s does not go: %s", gone, shape(p))
				}
			}
			appliedExactly(t, c, p)
			settled(t, c, targetIn(ns), merge)
			next := objects(t, ns, changed(web, "        - {name: SIZE, value: \"3\"}\n", ""), service)
			p = planned(t, c, targetIn(ns), merge, next)
			if f := fieldOf(changeOf(t, p, "Deployment", "web"), "spec.template.spec.containers[name=web].env[name=SIZE]"); f == nil || f.Op != cluster.Remove {
				t.Errorf("removal after adoption: %s", shape(p))
			}
			appliedExactly(t, c, p)
		})
	}
}

func TestAdoptionAndRemovalInOnePull(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	kubectl(t, web, "-n", ns, "apply", "-f", "-")
	base := objects(t, ns, web)
	p := planned(t, c, targetIn(ns), base, objects(t, ns, changed(web, "        args: [--port, \"80\"]\n", "", "web:1", "web:2")))
	dep := changeOf(t, p, "Deployment", "web")
	if f := fieldOf(dep, "spec.template.spec.containers[name=web].args"); f == nil || f.Op != cluster.Remove || len(dep.Takeovers) != 0 {
		t.Errorf("%s", shape(p))
	}
	appliedExactly(t, c, p)
}

// Where a list is merged item by item, an empty one is in nobody's applied
// fields; a client-side apply owns it all the same, and Git keeps it.
func TestAnEmptyListInGitOutlivesItsAdoption(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	kubectl(t, strings.ReplaceAll(widgets, "%NS%", ns), "apply", "-f", "-")
	kubectl(t, "", "wait", "--for=condition=Established", "crd/widgets."+ns+".example.org")
	widget := func(wheels string) string {
		return "apiVersion: " + ns + ".example.org/v1\nkind: Widget\nmetadata: {name: w}\nspec: {wheels: " + wheels + ", tags: [], steps: []}\n"
	}
	kubectl(t, widget("1"), "-n", ns, "apply", "-f", "-")
	p := planned(t, c, targetIn(ns), objects(t, ns, widget("1")), objects(t, ns, widget("2")))
	if ch := changeOf(t, p, "Widget", "w"); ch.Action != cluster.Adopt || fieldOf(ch, "spec.tags") != nil || fieldOf(ch, "spec.steps") != nil {
		t.Errorf("%s", shape(p))
	}
	appliedExactly(t, c, p)
}

// TestAnUnknownManagerGivesUpOnlyWhatGitSets: what else it owns stays its own.
func TestAnUnknownManagerGivesUpOnlyWhatGitSets(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	kubectl(t, changed(configMap, "colour: red", "colour: red, extra: kept"), "-n", ns, "apply", "--server-side", "--field-manager=our-own-tool", "-f", "-")
	base := objects(t, ns, configMap)
	p := planned(t, c, targetIn(ns), base, objects(t, ns, changed(configMap, ", size: \"3\"", "")))
	ch := changeOf(t, p, "ConfigMap", "settings")
	if ch.Action != cluster.Adopt || !slices.Equal(ch.Managers, []string{"our-own-tool"}) || fieldOf(ch, "data.size") == nil || fieldOf(ch, "data.extra") != nil {
		t.Errorf("%s", shape(p))
	}
	appliedExactly(t, c, p)
}

func TestDeletingWhatWasNeverAdoptedNamesItsManagers(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	kubectl(t, configMap, "-n", ns, "apply", "-f", "-")
	p := planned(t, c, targetIn(ns), objects(t, ns, configMap, service), nil)
	if len(p.Changes) != 1 {
		t.Fatalf("what is gone already is no change: %s", shape(p))
	}
	if ch := p.Changes[0]; ch.Action != cluster.Delete || !slices.Equal(ch.Managers, []string{"kubectl-client-side-apply"}) {
		t.Errorf("%s", shape(p))
	}
}

func TestAnObjectMadeAnewBehindOurBackIsAdoptedAgain(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	objs := objects(t, ns, configMap)
	synced(t, c, targetIn(ns), nil, objs)
	kubectl(t, "", "-n", ns, "delete", "configmap", "settings")
	kubectl(t, configMap, "-n", ns, "create", "-f", "-")
	p := planned(t, c, targetIn(ns), objs, objects(t, ns, changed(configMap, "red", "blue")))
	if ch := changeOf(t, p, "ConfigMap", "settings"); ch.Action != cluster.Adopt || len(p.Drift) != 1 || !p.Drift[0].Deleted {
		t.Errorf("%s %+v", shape(p), p.Drift)
	}
	appliedExactly(t, c, p)
}

const credentials = `
apiVersion: v1
kind: Secret
metadata: {name: credentials}
stringData: {password: correct-horse-battery, pin: "7"}
data: {token: c3RhcGxlLXN0YXBsZQ==}
`

// TestNoSecretValueLeavesThePlan covers invariant 6 and threat 7.
func TestNoSecretValueLeavesThePlan(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	kubectl(t, changed(credentials, "correct-horse-battery", "old-horse-battery"), "-n", ns, "apply", "-f", "-")
	base := objects(t, ns, changed(credentials, "correct-horse-battery", "old-horse-battery"))
	merge := objects(t, ns, credentials)
	p := planned(t, c, targetIn(ns), base, merge)
	ch := changeOf(t, p, "Secret", "credentials")
	f := fieldOf(ch, "data.password")
	if f == nil || !f.Masked || f.Before != secret.Placeholder || f.After != secret.Placeholder || fieldOf(ch, "data.pin") != nil {
		t.Errorf("%s", shape(p))
	}
	other := planned(t, c, targetIn(ns), base, objects(t, ns, changed(credentials, "correct-horse-battery", "another-horse")))
	if other.Digest == p.Digest {
		t.Error("another secret value has the same digest")
	}
	leaks(t, p)
	appliedExactly(t, c, p)
	settled(t, c, targetIn(ns), merge)
	// Removing a key that was written as stringData removes it for real.
	next := objects(t, ns, changed(credentials, ", pin: \"7\"", ""))
	p = planned(t, c, targetIn(ns), merge, next)
	if f := fieldOf(changeOf(t, p, "Secret", "credentials"), "data.pin"); f == nil || f.Op != cluster.Remove || !f.Masked {
		t.Errorf("%s", shape(p))
	}
	appliedExactly(t, c, p)
	// Drift of a value shows that, not what.
	kubectl(t, "", "-n", ns, "patch", "secret", "credentials", "-p", `{"stringData":{"password":"hand-made-horse"}}`)
	p = planned(t, c, targetIn(ns), next, objects(t, ns, changed(credentials, ", pin: \"7\"", "", "correct-horse", "fresh-horse")))
	if len(p.Drift) != 1 || !p.Drift[0].Fields[0].Masked {
		t.Errorf("%+v", p.Drift)
	}
	leaks(t, p)
}

func leaks(t *testing.T, p *cluster.Plan) {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"horse", "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5", "b2xkLWhvcnNl", "c3RhcGxlLXN0YXBsZQ", "staple", `"7"`, "Nw=="} {
		if strings.Contains(string(b), s) {
			t.Errorf("the plan contains %q", s)
		}
	}
}

func TestErrorsAboutSecretsQuoteNoValue(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	for _, doc := range []string{
		changed(credentials, "c3RhcGxlLXN0YXBsZQ==", "'staple!not-base64'"), changed(credentials, "\"7\"", "7"),
		changed(credentials, "data: {token: c3RhcGxlLXN0YXBsZQ==}", "data: horse-as-a-string"),
		changed(credentials, "data: {token: c3RhcGxlLXN0YXBsZQ==}", "horse: battery"), changed(credentials, "c3RhcGxlLXN0YXBsZQ==", "{horse: staple}"),
	} {
		p, err := c.Plan(t.Context(), cluster.Request{Target: targetIn(ns), Merge: objects(t, ns, doc)})
		if err != nil {
			t.Errorf("%s: %v", doc, err)
			continue
		}
		if len(p.Problems) != 1 {
			t.Errorf("%s: %s %+v", doc, shape(p), p.Problems)
		}
		b, _ := json.Marshal(p)
		for _, s := range []string{"horse-", "staple", "c3Rh", "battery-"} {
			if strings.Contains(string(b), s) {
				t.Errorf("quotes %q: %s", s, b)
			}
		}
	}
}

func TestAdoptionThatIsOnlyValidOnceOldFieldsAreGone(t *testing.T) {
	c, ns := connected(t), shared.Get(t).Namespace(t)
	budget := "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec:\n  minAvailable: 1\n  selector: {matchLabels: {app: web}}\n"
	svc := "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  selector: {app: web}\n  ports: [{name: http, port: 80}, {name: admin, port: 81}]\n"
	kubectl(t, budget+"\n---\n"+svc, "-n", ns, "apply", "-f", "-")
	base := objects(t, ns, budget, svc)
	merge := objects(t, ns, changed(budget, "minAvailable", "maxUnavailable"), changed(svc, "{name: http, port: 80}, {name: admin, port: 81}", "{name: web, port: 8080}, {name: admin, port: 80}"))
	p := planned(t, c, targetIn(ns), base, merge)
	ch := changeOf(t, p, "PodDisruptionBudget", "web")
	if ch.Action != cluster.Adopt || fieldOf(ch, "spec.minAvailable") == nil || fieldOf(ch, "spec.maxUnavailable") == nil {
		t.Errorf("%s", shape(p))
	}
	appliedExactly(t, c, p)
	settled(t, c, targetIn(ns), merge)
	// What stays invalid is refused as before.
	kubectl(t, changed(budget, "name: web", "name: other"), "-n", ns, "apply", "-f", "-")
	bad, err := c.Plan(t.Context(), cluster.Request{Target: targetIn(ns), Merge: objects(t, ns, changed(budget, "name: web", "name: other", "minAvailable: 1", "minAvailable: 1\n  maxUnavailable: 1"))})
	if err != nil || len(bad.Problems) != 1 || !strings.Contains(bad.Problems[0].Message, "cannot be both set") {
		t.Errorf("%v %+v", err, bad)
	}
}
