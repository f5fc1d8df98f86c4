package cluster

import (
	"testing"
)

func TestIgnoreRulesNameKindsNamespacesNamesAndPaths(t *testing.T) {
	web := Ref{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}
	at := func(path string) Finding {
		return Finding{Kind: Changed, Ref: web, Field: FieldChange{Path: path}}
	}
	whole := Finding{Kind: Gone, Ref: web}
	fields := func(paths ...string) IgnoreRule { return IgnoreRule{Fields: paths} }
	image := at("spec.template.spec.containers[name=web].image")
	for name, tc := range map[string]struct {
		rule IgnoreRule
		f    Finding
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
		"a rule without paths is for all": {IgnoreRule{Kinds: []string{"Deployment.apps"}}, whole, true},
		"another kind":                    {IgnoreRule{Kinds: []string{"StatefulSet.*"}}, whole, false},
		"globs of names":                  {IgnoreRule{Namespaces: []string{"sh*"}, Names: []string{"api", "w?b"}}, whole, true},
		"all lists must match":            {IgnoreRule{Namespaces: []string{"other"}, Names: []string{"web"}}, whole, false},
	} {
		if got := tc.rule.Drops(tc.f); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAFieldMeetsWhatIsAboveAndBelowIt(t *testing.T) {
	web := Ref{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}
	for _, tc := range []struct {
		rule IgnoreRule
		path string
		want bool
	}{
		{IgnoreRule{Fields: []string{"spec.replicas"}}, "spec.replicas", true},
		{IgnoreRule{Fields: []string{"metadata.annotations[*]"}}, "metadata.annotations", true},
		{IgnoreRule{Fields: []string{"metadata.annotations"}}, `metadata.annotations["a.b/c"]`, true},
		{IgnoreRule{Fields: []string{"spec.replicas"}}, "spec.template", false},
		{IgnoreRule{Kinds: []string{"Deployment.apps"}}, "spec.template", true},
		{IgnoreRule{Kinds: []string{"Service"}, Fields: []string{"spec.replicas"}}, "spec.replicas", false},
	} {
		if got := tc.rule.Meets(web, tc.path); got != tc.want {
			t.Errorf("%+v meets %s: %v", tc.rule, tc.path, got)
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
