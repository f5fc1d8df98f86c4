package report

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"lockkeeper/bot/plan"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// TestMaskedValuesAreNeverShown holds even where a plan forgot to put a
// placeholder into a masked field (threat 7).
func TestMaskedValuesAreNeverShown(t *testing.T) {
	var fields []cluster.FieldChange
	for _, op := range []cluster.Op{cluster.Add, cluster.Remove, cluster.Set} {
		fields = append(fields, cluster.FieldChange{Path: "data." + string(op), Op: op, Before: "hunter2-old", After: map[string]any{"x": "hunter2-new"}, Masked: true})
	}
	p := &cluster.Plan{
		Target: cluster.Target{Name: "shop"}, Drift: []cluster.Drift{{Ref: cluster.Ref{Kind: "Secret", Name: "a"}, Fields: fields}},
		Changes: []cluster.Change{{Ref: cluster.Ref{Kind: "Secret", Name: "a"}, Action: cluster.Update, Fields: fields}},
	}
	v := View{Key: "k", Phase: Ready, Targets: []Target{{Plan: p}}}
	bodies, err := Sticky(v, forge.Limits{})
	noError(t, err)
	_, summary, err := Check(v, 0)
	noError(t, err)
	var out bytes.Buffer
	o := &plan.Output{Targets: []plan.Target{{Plan: p}}}
	noError(t, Text(&out, o))
	noError(t, Markdown(&out, o))
	all := strings.Join(bodies, "") + summary + out.String()
	if strings.Contains(all, "hunter2") {
		t.Fatalf("shows a secret:\n%s", all)
	}
	if !strings.Contains(bodies[0], "+   add: (secret)") || !strings.Contains(bodies[0], "another value; secrets are never shown") {
		t.Fatalf("does not say that a secret changes:\n%s", bodies[0])
	}
}

func TestTextLeavesNothingOut(t *testing.T) {
	huge := strings.Repeat("v", 65537)
	p := &cluster.Plan{Target: cluster.Target{Name: "shop"}, Changes: []cluster.Change{{
		Ref: cluster.Ref{Kind: "ConfigMap", Name: "a"}, Action: cluster.Create,
		Fields: []cluster.FieldChange{{Path: "data.huge", Op: cluster.Add, After: huge}, {Path: "data.lines", Op: cluster.Add, After: strings.Repeat("l\n", 999) + "end"}},
	}}}
	var out bytes.Buffer
	noError(t, Text(&out, &plan.Output{Targets: []plan.Target{{Plan: p}}}))
	if !strings.Contains(out.String(), huge) || strings.Count(out.String(), "+     l\n") != 999 || !strings.Contains(out.String(), "+     end\n") {
		t.Fatalf("the text is cut: %d bytes", out.Len())
	}
}

func TestSegmentsKeepKeysAndSelectorsWhole(t *testing.T) {
	for path, want := range map[string][]string{
		"spec.replicas":                             {"spec", ".replicas"},
		"spec.containers[name=web].image":           {"spec", ".containers", "[name=web]", ".image"},
		`metadata.labels["app.kubernetes.io/name"]`: {"metadata", ".labels", `["app.kubernetes.io/name"]`},
		`a["]."].b`:                            {"a", `["]."]`, ".b"},
		`ports[containerPort=80,protocol=TCP]`: {"ports", "[containerPort=80,protocol=TCP]"},
		`hosts[="a.b"]`:                        {"hosts", `[="a.b"]`},
		"":                                     {""},
		"[0]":                                  {"[0]"},
		`x["a\"]"].y`:                          {"x", `["a\"]"]`, ".y"},
		"unclosed[a.b":                         {"unclosed", "[a.b"},
		`metadata.annotations["a"][0].b`:       {"metadata", ".annotations", `["a"]`, "[0]", ".b"},
		"spec.template.spec.volumes[name=x.y].secret": {"spec", ".template", ".spec", ".volumes", "[name=x.y]", ".secret"},
	} {
		if got := segments(path); !slices.Equal(got, want) {
			t.Errorf("segments(%q) = %q, want %q", path, got, want)
		}
	}
}

// FuzzLineDiff: the lines of a diff are the lines of both texts, and equal
// lines are left out only where it says how many.
func FuzzLineDiff(f *testing.F) {
	f.Add("a\nb\nc", "a\nc\nd")
	f.Add("", "x")
	f.Add(strings.Repeat("same\n", 30)+"old", strings.Repeat("same\n", 30)+"new")
	f.Add("a\nb\na\nb", "b\na\nb\na")
	f.Fuzz(func(t *testing.T, before, after string) {
		b, a := strings.Split(before, "\n"), strings.Split(after, "\n")
		gotB, gotA := 0, 0
		for _, l := range lineDiff(b, a) {
			skipped := 0
			if n, rest, ok := strings.Cut(strings.TrimPrefix(l.text, "… "), " line"); ok && l.sign == " " && strings.HasSuffix(rest, " unchanged") {
				for _, d := range n {
					skipped = skipped*10 + int(d-'0')
				}
			}
			switch {
			case l.sign == " " && skipped > 0:
				gotB, gotA = gotB+skipped, gotA+skipped
			case l.sign == "-" && gotB < len(b) && l.text == b[gotB]:
				gotB++
			case l.sign == "+" && gotA < len(a) && l.text == a[gotA]:
				gotA++
			case l.sign == " " && gotB < len(b) && gotA < len(a) && l.text == b[gotB] && l.text == a[gotA]:
				gotB, gotA = gotB+1, gotA+1
			default:
				t.Fatalf("%q to %q: the line %q%q is at %d and %d of neither", before, after, l.sign, l.text, gotB, gotA)
			}
		}
		if gotB != len(b) || gotA != len(a) {
			t.Fatalf("%q to %q: ends at %d of %d and %d of %d", before, after, gotB, len(b), gotA, len(a))
		}
	})
}
