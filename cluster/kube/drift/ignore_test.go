package drift

import (
	"testing"

	"lockkeeper/cluster"
)

func TestIgnoreRulesNameKindsNamespacesNamesAndPaths(t *testing.T) {
	web := cluster.Ref{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}
	at := func(path string) cluster.Finding {
		return cluster.Finding{Kind: cluster.Changed, Ref: web, Field: cluster.FieldChange{Path: path}}
	}
	whole := cluster.Finding{Kind: cluster.Gone, Ref: web}
	fields := func(paths ...string) cluster.IgnoreRule { return cluster.IgnoreRule{Fields: paths} }
	image := at("spec.template.spec.containers[name=web].image")
	for name, tc := range map[string]struct {
		rule cluster.IgnoreRule
		f    cluster.Finding
		want bool
	}{
		"the field":                       {fields("spec.replicas"), at("spec.replicas"), true},
		"what is below it":                {fields("spec.template"), image, true},
		"not what is above it":            {fields("spec.template.spec"), at("spec.template"), false},
		"not what begins alike":           {fields("spec.rep"), at("spec.replicas"), false},
		"any item":                        {fields("spec.template.spec.containers[*].image"), image, true},
		"one item":                        {fields("spec.template.spec.containers[name=web].image"), image, true},
		"another item":                    {fields("spec.template.spec.containers[name=db].image"), image, false},
		"any key that is quoted":          {fields("metadata.annotations[*]"), at(`metadata.annotations["a.b/c"]`), true},
		"a key that is quoted":            {fields(`metadata.annotations["a.b/c"]`), at(`metadata.annotations["a.b/c"]`), true},
		"brackets in quotes":              {fields(`spec.x[name="a]b"].y`), at(`spec.x[name="a]b"].y.z`), true},
		"no item":                         {fields("spec.replicas[*]"), at("spec.replicas"), false},
		"a path is no whole object":       {fields("spec"), whole, false},
		"a rule without paths is for all": {cluster.IgnoreRule{Kinds: []string{"Deployment.apps"}}, whole, true},
		"another kind":                    {cluster.IgnoreRule{Kinds: []string{"StatefulSet.*"}}, whole, false},
		"globs of names":                  {cluster.IgnoreRule{Namespaces: []string{"sh*"}, Names: []string{"api", "w?b"}}, whole, true},
		"all lists must match":            {cluster.IgnoreRule{Namespaces: []string{"other"}, Names: []string{"web"}}, whole, false},
	} {
		if got := Ignored(tc.rule, tc.f); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// FuzzSegments: patterns come from repositories; a path covers itself and what is
// below it, whatever it is made of.
func FuzzSegments(f *testing.F) {
	f.Add(`spec.x[name="a]b"].y`)
	f.Add(`a["\"]`)
	f.Add(`[[.`)
	f.Fuzz(func(t *testing.T, p string) {
		if !covers(p, p) {
			t.Errorf("%q does not cover itself", p)
		}
		if len(segments(p)) > len(p) {
			t.Errorf("%q has %d segments", p, len(segments(p)))
		}
	})
}
