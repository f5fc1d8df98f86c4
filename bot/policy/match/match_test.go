package match_test

import (
	"testing"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"

	"lockkeeper/bot/policy/match"
)

func TestPathsTouchAtAboveAndBelow(t *testing.T) {
	const image = "spec.template.spec.containers[*].image"
	for _, tt := range []struct {
		pattern, path string
		want          bool
	}{
		{image, "spec.template.spec.containers[name=web].image", true},
		{image, "spec.template.spec.containers[name=web]", true},
		{image, "spec.template.spec.containers", true},
		{image, "spec.template.spec.containers[name=web].env", false},
		{image, "spec.template.spec.initContainers[name=web].image", false},
		{"spec", "spec.replicas", true},
		{"spec", "specification", false},
		{"data.*", `data["app.yaml"]`, true},
		{`metadata.labels["app.kubernetes.io/*"]`, `metadata.labels["app.kubernetes.io/name"]`, true},
		{`metadata.labels["app"]`, "metadata.labels.app", true},
		{"ports[containerPort=80,protocol=TCP]", "ports[containerPort=80,protocol=TCP].name", true},
		{`args[="a]b"]`, `args[="a]b"]`, true},
		{"list[0]", "list[1]", false},
	} {
		pattern, err := match.ParsePath(tt.pattern)
		if err != nil {
			t.Fatal(err)
		}
		path, err := match.ParsePath(tt.path)
		if err != nil {
			t.Fatal(err)
		}
		if got := match.Touches(pattern, path); got != tt.want {
			t.Errorf("%s touches %s: %v, want %v", tt.pattern, tt.path, got, tt.want)
		}
	}
}

func TestPathsThatCannotBeRead(t *testing.T) {
	for _, s := range []string{"", ".", "a.", ".a", "a..b", "a[", "a[x", `a["x]`, `a["x`, "a[x]b", `a[="x]`} {
		if steps, err := match.ParsePath(s); err == nil {
			t.Errorf("%q was read as %v", s, steps)
		}
	}
}

// FuzzParsePath: whatever is given, a path that was read touches itself.
func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"spec.containers[name=web].image", `a["b.c"]`, `a[="]"].b`, "a[*]", "a*.b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if path, err := match.ParsePath(s); err == nil && !match.Touches(path, path) {
			t.Errorf("%q does not touch itself", s)
		}
	})
}

// FuzzGlob: looking at a pattern once decides as the library does.
func FuzzGlob(f *testing.F) {
	for _, x := range [][2]string{{"a/**", "a"}, {"**/b", "b"}, {"a/**/b", "a/b"}, {"{a,b}c", "bc"}, {"x[ab]*y", "xay"}, {`\*a`, "*a"}, {"a*", "ab/c"}, {"", ""}} {
		f.Add(x[0], x[1])
	}
	f.Fuzz(func(t *testing.T, glob, s string) {
		want, err := doublestar.Match(glob, s)
		if err != nil || !utf8.ValidString(glob) || !utf8.ValidString(s) {
			return // refused when a policy is compiled; nor can YAML say it
		}
		if got := match.Glob(glob, s); got != (want || glob == s) {
			t.Errorf("%q matches %q: %v, the library says %v", glob, s, got, want)
		}
	})
}

func TestSets(t *testing.T) {
	a, b := match.NewSet(200), match.Full(200)
	a.Add(3)
	a.Add(130)
	if a.Size() != 2 || !a.Has(130) || a.Has(131) || b.Size() != 200 || !a.Meets(b) {
		t.Errorf("a set of 3 and 130 is %v", a)
	}
	b.Intersect(a)
	if b.Size() != 2 {
		t.Errorf("the intersection has %d", b.Size())
	}
	c := match.NewSet(200)
	if c.Meets(a) {
		t.Error("an empty set meets another")
	}
	c.Unite(a)
	if !c.Has(3) {
		t.Error("the union lacks 3")
	}
}
