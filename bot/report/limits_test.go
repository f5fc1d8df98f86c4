package report

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"lockkeeper/bot/policy"
	"lockkeeper/cluster"
	"lockkeeper/forge"
)

// arbitrary makes random views from a seed.
type arbitrary struct{ *rand.Rand }

func newArbitrary(seed uint64) arbitrary { return arbitrary{rand.New(rand.NewPCG(seed, seed))} }

// upTo is a number below n, small ones being likelier.
func (r arbitrary) upTo(n int) int { return r.IntN(1 + r.IntN(n)) }

func (r arbitrary) text(longest int) string {
	var b strings.Builder
	for range r.upTo(6) {
		b.WriteString(hostile[r.IntN(len(hostile))])
		b.WriteString(strings.Repeat([]string{"x", "`", "\n", " ", "é", "😀", "y z", "/apply\n"}[r.IntN(8)], r.upTo(longest)))
	}
	return b.String()
}

func (r arbitrary) texts(most, longest int) []string {
	out := make([]string, r.upTo(most))
	for i := range out {
		out[i] = r.text(longest)
	}
	return out
}

func (r arbitrary) value(depth int) any {
	switch r.IntN(7) {
	case 0:
		return int64(r.Uint64())
	case 1:
		return r.IntN(2) == 0
	case 2:
		return nil
	case 3, 4:
		if depth > 0 {
			list := make([]any, r.upTo(5))
			for i := range list {
				list[i] = r.value(depth - 1)
			}
			return list
		}
	case 5:
		if depth > 0 {
			m := map[string]any{}
			for range r.upTo(6) {
				m[r.text(4)] = r.value(depth - 1)
			}
			return m
		}
	}
	return r.text(40)
}

func (r arbitrary) fields() []cluster.FieldChange {
	paths := []string{"spec", "spec.replicas", `metadata.labels["a.b/c"]`, "spec.containers[name=a].image", "spec.containers[name=b]", "spec.containers", "a[0]", `x["]"]`, "", "[", "a..b"}
	out := make([]cluster.FieldChange, r.upTo(8))
	for i := range out {
		out[i] = cluster.FieldChange{
			Path: paths[r.IntN(len(paths))], Op: []cluster.Op{cluster.Add, cluster.Remove, cluster.Set}[r.IntN(3)],
			Before: r.value(3), After: r.value(3), Masked: r.IntN(9) == 0, Server: r.IntN(9) == 0,
		}
	}
	return out
}

// id finds an object in the bodies again.
func id(n int) string { return fmt.Sprintf("object-%06d", n) }

func (r arbitrary) plan(from, objects int) *cluster.Plan {
	p := &cluster.Plan{
		Target: cluster.Target{Name: r.text(10), Cluster: r.text(10)}, Digest: "0123456789abcdef",
		Warnings: r.texts(4, 300), Unadopted: r.upTo(3),
	}
	for i := range r.upTo(8) {
		p.Problems = append(p.Problems, cluster.Problem{Source: r.text(5), Message: fmt.Sprint(i, r.text(2000))})
	}
	for i := range objects {
		c := cluster.Change{
			Ref:    cluster.Ref{Kind: "ConfigMap", Namespace: "shop", Name: id(from + i)},
			Action: []cluster.Action{cluster.Create, cluster.Update, cluster.Adopt, cluster.Transfer}[r.IntN(4)],
			Source: r.text(4), Fields: r.fields(), Unverified: r.text(20), Digest: "x",
		}
		if r.IntN(20) == 0 {
			c.Fields = append(c.Fields, cluster.FieldChange{Path: "data.big", Op: cluster.Add, After: strings.Repeat("line of a long text\n", r.upTo(1500))})
		}
		p.Changes = append(p.Changes, c)
	}
	return p
}

func (r arbitrary) view(objects int) View {
	phases := []Phase{Untouched, Waiting, Broken, Denied, Ready, Unchanged, Applying, Failed, Applied, Merged, Pending, Closed, Restoring, Planned}
	v := View{
		Key: "pull/7/42", Phase: phases[r.IntN(len(phases))], Head: "0123456789abcdef", Base: r.text(20), BaseSHA: "fedcba9876543210",
		Problems: r.texts(6, 3000), Notices: r.texts(6, 3000), Next: []string{"/approve", "/apply"}, Digest: "abcdef0123",
		Verdict: policy.Verdict{Node: policy.Node{Children: []policy.Node{{Title: r.text(100), Met: r.texts(5, 30), Missing: r.texts(5, 3000)}}}},
	}
	for from := 0; from < objects; {
		n := 1 + r.upTo(objects-from)
		v.Targets = append(v.Targets, Target{Plan: r.plan(from, n), Note: r.text(5), Status: r.text(10)})
		from += n
	}
	if r.IntN(2) == 0 {
		v.Operation = &Operation{Kind: "pull", Actor: r.text(5), Outcome: "failed", Message: r.text(3000)}
		for _, t := range v.Targets {
			res := cluster.Result{Target: t.Plan.Target}
			for _, c := range t.Plan.Changes {
				res.Steps = append(res.Steps, cluster.Step{Action: c.Action, State: cluster.Unhealthy, Message: r.text(200), Events: r.texts(9, 900)})
			}
			v.Operation.Results = append(v.Operation.Results, res)
		}
	}
	return v
}

// TestEveryViewFits makes random views and asserts what Sticky promises.
func TestEveryViewFits(t *testing.T) {
	for seed := range uint64(24) {
		r := newArbitrary(seed)
		objects := r.upTo(30)
		v := r.view(objects)
		limits := []int{2000, 3000 + r.IntN(5000)}
		if seed == 0 {
			limits = append(limits, 65536)
		}
		for _, limit := range limits {
			t.Run(fmt.Sprintf("%d/%d", seed, limit), func(t *testing.T) { fits(t, v, objects, limit) })
		}
	}
}

func fits(t *testing.T, v View, objects, limit int) {
	t.Helper()
	bodies, err := Sticky(v, forge.Limits{Comment: limit})
	noError(t, err)
	sound(t, v.Key, bodies, limit)
	if len(bodies) > maxParts {
		t.Errorf("%d parts", len(bodies))
	}
	if !strings.Contains(bodies[0], "**Next:** comment "+steer(v.Next, v.Phase == Restoring)) || !strings.Contains(bodies[0], "this comment is edited in place") {
		t.Errorf("the first part does not say what is next:\n%s", bodies[0])
	}
	shown := 0
	for n := range objects {
		header := " ConfigMap shop/" + id(n) + " @@"
		switch found := strings.Count(strings.Join(bodies, ""), header); found {
		case 0:
		case 1:
			shown++
		default:
			t.Errorf("%s is shown %d times", id(n), found)
		}
	}
	notice := fmt.Sprintf("**%s more than fit here**", count(objects-shown, "change"))
	for _, body := range []string{bodies[0], bodies[len(bodies)-1]} {
		if said := strings.Contains(body, "more than fit here"); said != (shown < objects) || said && !strings.Contains(body, notice) {
			t.Errorf("%d of %d objects are shown, and the count of the others is not right", shown, objects)
		}
	}
	again, err := Sticky(v, forge.Limits{Comment: limit})
	noError(t, err)
	if !slices.Equal(bodies, again) {
		t.Error("the same view gives other bodies")
	}
	title, text, err := Check(v, limit)
	noError(t, err)
	quiet(t, text)
	if utf8.RuneCountInString(text) > limit || strings.Contains(title, "\n") {
		t.Errorf("the check's summary has %d characters, its title is %q", utf8.RuneCountInString(text), title)
	}
}

func TestTooShortACommentIsAnError(t *testing.T) {
	if _, err := Sticky(View{Key: "k"}, forge.Limits{Comment: 200}); err == nil || !strings.Contains(err.Error(), "200 characters") {
		t.Fatalf("got %v", err)
	}
}

func TestThousandTargetsFitIntoTheFirstComment(t *testing.T) {
	v := View{Key: "pull/7/42", Phase: Denied, Base: "main", Next: []string{"/approve", "/apply"}}
	for i := range 1000 {
		p := &cluster.Plan{Target: cluster.Target{Name: fmt.Sprintf("shop-%04d", i), Cluster: "production"}, Digest: "x"}
		p.Changes = []cluster.Change{{Ref: cluster.Ref{Kind: "ConfigMap", Namespace: "shop", Name: id(i)}, Action: cluster.Update}}
		if i == 777 {
			p.Changes[0].Action = cluster.Delete
		}
		v.Targets = append(v.Targets, Target{Plan: p, Status: "needs 1 more"})
	}
	for _, limit := range []int{2000, 65536} {
		fits(t, v, 1000, limit)
	}
	bodies, err := Sticky(v, forge.Limits{})
	noError(t, err)
	for _, want := range []string{"1000 changes on 1000 targets", "*and 940 more*", "| **all 1000** | | · | 999 | · | **1** |", "| `shop-0777` |", "**deletes** `ConfigMap shop/object-000777`"} {
		if !strings.Contains(bodies[0], want) {
			t.Errorf("the first part does not say %q:\n%.3000s", want, bodies[0])
		}
	}
}

func TestThousandObjectsAreCutBetweenObjects(t *testing.T) {
	p := &cluster.Plan{Target: cluster.Target{Name: "shop", Cluster: "production"}, Digest: "x"}
	for i := range 1000 {
		p.Changes = append(p.Changes, cluster.Change{
			Ref: cluster.Ref{Kind: "ConfigMap", Namespace: "shop", Name: id(i)}, Action: cluster.Create, Source: fmt.Sprintf("deploy/%03d.yaml:1", i%300),
			Fields: []cluster.FieldChange{{Path: "data.a", Op: cluster.Add, After: "one"}, {Path: "data.b", Op: cluster.Add, After: "end of " + id(i)}},
		})
	}
	v := View{Key: "pull/7/42", Phase: Denied, Base: "main", Next: []string{"/approve", "/apply"}, Targets: []Target{{Plan: p}}}
	bodies, err := Sticky(v, forge.Limits{Comment: 65536})
	noError(t, err)
	sound(t, v.Key, bodies, 65536)
	if len(bodies) != 2 && len(bodies) != 3 {
		t.Fatalf("%d parts", len(bodies))
	}
	for i := range 1000 {
		in := slices.IndexFunc(bodies, func(b string) bool { return strings.Contains(b, id(i)+" @@") })
		if in < 0 || !strings.Contains(bodies[in], "end of "+id(i)+"\n") {
			t.Fatalf("%s is missing or cut in two", id(i))
		}
	}
}

func TestHugeValueIsCutAndSaysSo(t *testing.T) {
	huge := strings.Repeat("v", 65537)
	p := &cluster.Plan{Target: cluster.Target{Name: "shop"}, Changes: []cluster.Change{
		{Ref: cluster.Ref{Kind: "ConfigMap", Name: "a"}, Action: cluster.Create, Fields: []cluster.FieldChange{{Path: "data.huge", Op: cluster.Add, After: huge}}},
		{Ref: cluster.Ref{Kind: "ConfigMap", Name: "b"}, Action: cluster.Update, Fields: []cluster.FieldChange{
			{Path: "data.huge", Op: cluster.Set, Before: huge + "old" + huge, After: huge + "new" + huge},
			{Path: "data.lines", Op: cluster.Add, After: strings.Repeat("l\n", 65537)},
		}},
	}}
	bodies, err := Sticky(View{Key: "k", Phase: Ready, Targets: []Target{{Plan: p}}}, forge.Limits{Comment: 65536})
	noError(t, err)
	sound(t, "k", bodies, 65536)
	for _, want := range []string{"…⟨65148 characters⟩", "vvvold", "vvvnew", "… 65388 more lines of lines not shown"} {
		if !strings.Contains(bodies[0], want) {
			t.Errorf("does not say %q", want)
		}
	}
	if len(bodies[0]) > 12000 {
		t.Errorf("one huge value takes up %d bytes", len(bodies[0]))
	}
}

func TestRepliesFitWhateverTheySay(t *testing.T) {
	for seed := range uint64(4) {
		r := newArbitrary(seed)
		verdict := policy.Verdict{Node: policy.Node{Title: r.text(2000)}}
		for range 100 {
			verdict.Children = append(verdict.Children, policy.Node{Title: r.text(100), Missing: r.texts(5, 1000)})
		}
		for _, kind := range []ReplyKind{ReplyExplain, ReplyStatus, ReplyApproved, ReplyRefused, ReplyFailed, ReplyCancelled, ReplyInvalid} {
			reply := Reply{Kind: kind, Key: "reply/1/0", To: r.text(3), Command: r.text(50), Text: r.text(9000), Items: r.texts(100, 1000), Verdict: &verdict}
			body, err := reply.Body()
			noError(t, err)
			sound(t, reply.Key, []string{body}, replyLimit)
		}
	}
}
