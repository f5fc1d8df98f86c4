package report

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"lockkeeper/bot/policy"
)

// outline is a verdict as people read it: a list of what is asked for, what is
// missing first, by whom the rest holds, and who was not counted and why.
// Nothing is said twice: not what a title says already, nor why somebody is
// counted nowhere.
type outline struct {
	room
	// all shows also what holds without anybody's doing, and the alternatives
	// that nobody took.
	all bool
	// common are the refusals that several rules share; they stand at the end.
	common map[string]bool
	lines  []string
}

// few bounds the refusals of one rule.
const few = 6

// outline writes a verdict as lines of a Markdown list.
func (r room) outline(v policy.Verdict, all bool) []string {
	o := outline{room: r, all: all, common: shared(v.Node)}
	for _, n := range missingFirst(v.Children) {
		o.node(n, "", 0)
	}
	if len(o.common) > 0 {
		o.add(0, "not counted by several of these:")
		o.refusals("", slices.Sorted(maps.Keys(o.common)), 1)
	}
	if len(o.lines) == 0 {
		o.add(0, mark(true)+" nothing is asked for")
	}
	return o.lines
}

// shared are the refusals that more than one node has.
func shared(n policy.Node) map[string]bool {
	seen, out := map[string]bool{}, map[string]bool{}
	var visit func(policy.Node)
	visit = func(n policy.Node) {
		for _, s := range n.NotCounted {
			out[s], seen[s] = seen[s], true
		}
		for _, c := range n.Children {
			visit(c)
		}
	}
	visit(n)
	for s, twice := range out {
		if !twice {
			delete(out, s)
		}
	}
	return out
}

func missingFirst(nodes []policy.Node) []policy.Node {
	out := slices.Clone(nodes)
	slices.SortStableFunc(out, func(a, b policy.Node) int { return rank(a.OK) - rank(b.OK) })
	return out
}

func (o *outline) add(depth int, line string) {
	o.lines = append(o.lines, strings.Repeat("  ", min(depth, 10))+"- "+line)
}

// node writes one part; where is what the titles above it began with.
func (o *outline) node(n policy.Node, where string, depth int) {
	if !o.all && n.OK && !o.speaks(n) {
		return
	}
	head, lacks := o.head(n, where)
	o.add(depth, mark(n.OK)+" "+head)
	for _, s := range lacks {
		o.add(depth+1, o.Say(s))
	}
	if o.all || !n.OK || len(n.Met) == 0 {
		o.refusals("not counted: ", slices.DeleteFunc(slices.Clone(n.NotCounted), func(s string) bool { return o.common[s] }), depth+1)
	}
	for _, c := range missingFirst(n.Children) {
		if n.OK && !c.OK && !o.all {
			continue // an alternative that is not needed
		}
		o.node(c, begins(n.Title), depth+1)
	}
}

// speaks reports whether a part that holds has something to tell.
func (o *outline) speaks(n policy.Node) bool {
	own := slices.ContainsFunc(n.NotCounted, func(s string) bool { return !o.common[s] })
	return own || len(n.Met) > 0 || slices.ContainsFunc(n.Children, o.speaks)
}

// refusals says who was not counted and why, those of one reason together.
func (o *outline) refusals(word string, lines []string, depth int) {
	lines = together(lines)
	for i, s := range lines {
		if left := len(lines) - i; i == few && left > 1 {
			o.add(depth, fmt.Sprintf("%sand %d more", word, left))
			return
		}
		o.add(depth, word+o.Say(s))
	}
}

// together joins lines such as "@bob: not among them" that give one reason.
func together(lines []string) []string {
	var reasons []string
	who := map[string][]string{}
	for _, s := range lines {
		name, why, ok := strings.Cut(s, ": ")
		if !ok {
			name, why = "", s
		}
		if who[why] == nil {
			reasons = append(reasons, why)
		}
		who[why] = append(who[why], name)
	}
	out := make([]string, len(reasons))
	for i, why := range reasons {
		out[i] = why
		if names := strings.Join(who[why], ", "); names != "" {
			out[i] = names + ": " + why
		}
	}
	return out
}

// head is the first line of a part, and what it lacks besides.
func (o *outline) head(n policy.Node, where string) (head string, lacks []string) {
	title := below(where, n.Title)
	if len(n.Children) > 0 {
		return o.Say(title), nil // they say what is missing
	}
	for _, m := range n.Missing {
		approvals, lack := lacking(n.Title, m)
		switch {
		case !approvals && len(n.Missing) == 1 && !o.all:
			title = below(where, m) + floor.FindString(n.Title)
		case lack != "":
			lacks = append(lacks, lack)
		}
	}
	return o.Say(title) + o.met(n), lacks
}

// met says by whom or what a part holds, or does so far.
func (o *outline) met(n policy.Node) string {
	if len(n.Met) == 0 {
		return ""
	}
	word := ": "
	switch {
	case strings.Contains(n.Met[0], "'s override until "):
		word = ", lifted by "
	case strings.HasPrefix(n.Met[0], "@") && n.OK:
		word = ", given by "
	case strings.HasPrefix(n.Met[0], "@"):
		word = ", so far by "
	}
	return word + o.Say(strings.Join(n.Met, ", "))
}

// below drops from a title what the one above it says.
func below(where, title string) string {
	if where == "" {
		return title
	}
	return strings.TrimPrefix(title, where+": ")
}

var (
	// aside is what a title says in brackets about what a rule selects.
	aside = regexp.MustCompile(` \([^()]*\)`)
	floor = regexp.MustCompile(` \(the operator's floor\)$`)
	// many is how a missing number of people begins.
	many = regexp.MustCompile(`^\d+ (more )?approvals?`)
)

// begins is the name at the front of a title: of an environment, or a rule.
func begins(title string) string {
	name, _, _ := strings.Cut(aside.ReplaceAllString(title, ""), ": ")
	return name
}

// lacking is a missing part without what its title says: often nothing is left,
// sometimes how many more. It also tells whether people are missing.
func lacking(title, missing string) (approvals bool, lack string) {
	title = aside.ReplaceAllString(title, "")
	lack = strings.TrimPrefix(missing, begins(title)+": ")
	number := many.FindString(lack)
	if number == "" {
		_, tail, _ := strings.Cut(missing, ": ")
		if strings.HasSuffix(title, ": "+tail) {
			return true, "" // under another name
		}
		return false, lack
	}
	rest := lack[len(number):]
	if _, from, ok := strings.Cut(title, " from "); ok {
		rest = strings.TrimPrefix(rest, " from "+from)
	}
	if strings.Contains(title, ": "+number+" ") {
		return true, strings.TrimLeft(rest, " ;")
	}
	return true, "missing: " + number + rest
}
