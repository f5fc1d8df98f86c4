package report

import (
	"fmt"
	"io"
	"strings"

	"lockkeeper/bot/plan"
	"lockkeeper/cluster"
)

// Text writes a plan for a terminal.
func Text(w io.Writer, out *plan.Output) error {
	var b strings.Builder
	for _, p := range out.Problems {
		fmt.Fprintf(&b, "problem: %s\n", clean(p))
	}
	for _, t := range out.Targets {
		note := ""
		if t.Note != "" {
			note = " (" + clean(t.Note) + ")"
		}
		fmt.Fprintf(&b, "target %s on %s%s: %s\n", clean(t.Plan.Target.Name), clean(t.Plan.Target.Cluster), note, summary(t.Plan))
		for _, p := range t.Plan.Problems {
			fmt.Fprintf(&b, "  problem: %s\n", problemText(p))
		}
		for _, warning := range t.Plan.Warnings {
			fmt.Fprintf(&b, "  warning: %s\n", clean(warning))
		}
		for _, block := range blocksOf(t.Plan) {
			for _, line := range strings.Split(strings.TrimRight(block, "\n"), "\n") {
				fmt.Fprintf(&b, "  %s\n", line)
			}
		}
		if t.Plan.Unadopted > 0 {
			fmt.Fprintf(&b, "  %s of this target are not in the inventory yet and not touched here\n", count(t.Plan.Unadopted, "object"))
		}
		fmt.Fprintf(&b, "  digest %s; %s, %d bytes read\n", short(t.Plan.Digest), count(t.Plan.Stats.Requests, "request"), t.Plan.Stats.Bytes)
	}
	if len(out.Targets) == 0 {
		b.WriteString("no target is affected\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func problemText(p cluster.Problem) string {
	s := clean(p.Message)
	if p.Ref != nil && !strings.Contains(s, p.Ref.String()) {
		s = clean(p.Ref.String()) + ": " + s
	}
	if p.Source != "" {
		s = clean(p.Source) + ": " + s
	}
	return s
}

// Markdown writes a plan as the report of a pull would show it, without what
// only a forge can tell.
func Markdown(w io.Writer, out *plan.Output) error {
	v := View{Key: "offline", Problems: out.Problems, Phase: Unchanged}
	for _, t := range out.Targets {
		status := "ok"
		if len(t.Plan.Problems) > 0 {
			status, v.Phase = "problems", Broken
		}
		v.Targets = append(v.Targets, Target{Plan: t.Plan, Note: t.Note, Status: status})
	}
	if v.Phase != Broken && changes(v.Targets) > 0 {
		v.Phase = Planned
	}
	head, err := fill("report.md", v)
	if err != nil {
		return err
	}
	p := packer{key: v.Key, limit: 1 << 30}
	p.write(head)
	for _, t := range v.Targets {
		p.target(t)
	}
	_, err = io.WriteString(w, p.current.String())
	return err
}
