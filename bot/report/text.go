package report

import (
	"fmt"
	"io"
	"strings"

	"lockkeeper/bot/plan"
	"lockkeeper/cluster"
)

// Text writes a plan for a terminal: all of it, nothing is left out.
func Text(w io.Writer, out *plan.Output) error {
	var b strings.Builder
	for _, p := range out.Problems {
		fmt.Fprintf(&b, "problem: %s\n", clean(p))
	}
	for i, t := range out.Targets {
		if i > 0 {
			b.WriteString("\n")
		}
		targetText(&b, t)
	}
	if len(out.Targets) == 0 && len(out.Problems) == 0 {
		b.WriteString("no target is affected\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func targetText(b *strings.Builder, t plan.Target) {
	note := ""
	if t.Note != "" {
		note = " (" + oneLine(t.Note) + ")"
	}
	p := t.Plan
	fmt.Fprintf(b, "target %s on %s%s: %s\n", oneLine(p.Target.Name), oneLine(p.Target.Cluster), note, summary(p))
	for _, problem := range p.Problems {
		fmt.Fprintf(b, "  problem: %s\n", problemText(problem))
	}
	for _, warning := range p.Warnings {
		fmt.Fprintf(b, "  warning: %s\n", clean(warning))
	}
	all := painter{}
	for _, block := range append(all.changeBlocks(p), all.driftBlocks(p)...) {
		b.WriteString("\n")
		for line := range strings.SplitSeq(strings.TrimRight(block, "\n"), "\n") {
			fmt.Fprintf(b, "  %s\n", line)
		}
	}
	if len(p.Changes)+len(p.Drift) > 0 {
		b.WriteString("\n")
	}
	if p.Unadopted > 0 {
		fmt.Fprintf(b, "  %s of this target are not in the inventory yet and not touched here\n", count(p.Unadopted, "object"))
	}
	fmt.Fprintf(b, "  digest %s; %s, %d bytes read\n", short(p.Digest), count(p.Stats.Requests, "request"), p.Stats.Bytes)
}

func problemText(p cluster.Problem) string {
	s := clean(p.Message)
	if p.Ref != nil && !strings.Contains(s, p.Ref.String()) {
		s = oneLine(p.Ref.String()) + ": " + s
	}
	if p.Source != "" {
		s = oneLine(p.Source) + ": " + s
	}
	return s
}

// Markdown writes a plan as the report of a pull would show it, without what
// only a forge can tell.
func Markdown(w io.Writer, out *plan.Output) error {
	v := View{Key: "offline", Problems: out.Problems, Phase: Unchanged}
	for _, t := range out.Targets {
		status := ""
		if len(t.Plan.Problems) > 0 {
			status = "problems"
		}
		v.Targets = append(v.Targets, Target{Plan: t.Plan, Note: t.Note, Status: status})
	}
	v.Phase = offlinePhase(v)
	p := packer{key: v.Key, limit: 1 << 30, most: 1}
	head, err := fill("report.md", page{rooms[0], v})
	if err != nil {
		return err
	}
	p.write(head)
	p.targets(v.Targets)
	_, err = io.WriteString(w, p.current.String())
	return err
}

func offlinePhase(v View) Phase {
	broken := len(v.Problems) > 0
	for _, t := range v.Targets {
		broken = broken || len(t.Plan.Problems) > 0
	}
	switch {
	case broken:
		return Broken
	case len(v.Targets) == 0:
		return Untouched
	case changes(v.Targets) == 0:
		return Unchanged
	}
	return Planned
}
