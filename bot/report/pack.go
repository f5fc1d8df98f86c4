package report

import (
	"fmt"
	"strings"

	"lockkeeper/forge"
)

const (
	// maxParts bounds how many comments one report may take.
	maxParts = 8
	// defaultLimit is GitHub's, in characters.
	defaultLimit = 65536
	// smallest is the shortest comment into which a report can be fitted.
	smallest = 1500
	// spare is kept free in every comment: for the count of the parts and for
	// the notice of what was left out.
	spare = 400
	// openLines is how many lines of diff are shown without being asked for.
	openLines = 40
)

// Sticky is the report as the bodies of one or more comments, each within the
// forge's limit. It is cut between objects; an object that is too long for a
// comment of its own is cut and says so, and what does not fit into 8 comments
// is counted. The same view gives the same bodies.
func Sticky(v View, limits forge.Limits) ([]string, error) {
	limit := limits.Comment
	if limit <= 0 {
		limit = defaultLimit
	}
	if limit < smallest {
		return nil, fmt.Errorf("a comment of %d characters is too short for a report; it takes %d", limit, smallest)
	}
	head, tail, err := frame(v, limit-spare)
	if err != nil {
		return nil, err
	}
	p := packer{key: v.Key, limit: limit - spare, reserve: size(tail), most: maxParts}
	p.write(head)
	p.targets(v.Targets)
	return p.finish(tail, leftOut(v, p.changes, p.drift)), nil
}

// frame is what stands before and after the diffs, as full as fits.
func frame(v View, limit int) (head, tail string, err error) {
	for _, r := range rooms {
		if head, err = fill("report.md", page{r, v}); err != nil {
			return "", "", err
		}
		if tail, err = fill("tail.md", page{r, v}); err != nil {
			return "", "", err
		}
		if size(head)+size(tail) <= limit {
			return head, tail, nil
		}
	}
	return "", "", fmt.Errorf("the report has no room in %d characters", limit)
}

// leftOut says what the comments do not show, and how to see it.
func leftOut(v View, changes, drift int) string {
	var what []string
	if changes > 0 {
		what = append(what, count(changes, "change"))
	}
	if drift > 0 {
		what = append(what, count(drift, "drifted object"))
	}
	if len(what) == 0 {
		return ""
	}
	return fmt.Sprintf("\n> [!WARNING]\n> **%s more than fit here** are not shown. On a clone, %s shows everything.\n",
		strings.Join(what, " and "), code(onClone(v)))
}

// onClone is the command that shows the whole plan.
func onClone(v View) string {
	return fmt.Sprintf("lockkeeper plan --base %s --head %s", clip(oneLine(v.Base), 60), short(v.Head))
}

// packer fills comments one after the other. The first one always has room for
// the tail, which says what to do next.
type packer struct {
	key     string
	limit   int // of a comment, in the units of size
	reserve int // kept free in the first comment
	most    int // comments
	parts   []string
	current strings.Builder
	size    int
	full    bool // the comments are used up
	changes int  // how many were left out
	drift   int
}

func (p *packer) write(s string) {
	p.current.WriteString(s)
	p.size += size(s)
}

func (p *packer) room() int {
	room := p.limit - p.size
	if len(p.parts) == 0 {
		room -= p.reserve
	}
	return room
}

// targets writes the targets' diffs. They are folded, unless they are short.
func (p *packer) targets(targets []Target) {
	total := 0
	changes, drift := make([][]string, len(targets)), make([][]string, len(targets))
	for i, t := range targets {
		changes[i], drift[i] = inComments.changeBlocks(t.Plan), inComments.driftBlocks(t.Plan)
		for _, b := range changes[i] {
			total += strings.Count(b, "\n")
		}
	}
	open := total <= openLines
	for i, t := range targets {
		name := "<b>" + html(clip(oneLine(t.Plan.Target.Name), 80)) + "</b>: "
		p.changes += p.section(name+summary(t.Plan), open, changes[i])
		p.drift += p.section(name+"drift, "+count(len(drift[i]), "object")+" changed behind Git's back", false, drift[i])
	}
}

// section writes blocks into fences inside <details>, in as many comments as
// it takes, and returns how many found no room.
func (p *packer) section(title string, open bool, blocks []string) int {
	s := section{title: title, open: open}
	for i, b := range blocks {
		b = bounded(b, p.limit-size(Marker(p.key, maxParts))-s.shell()-100)
		if !p.full && s.with(b) > p.room() {
			p.write(s.take())
			s.continued = true
			p.next()
		}
		if p.full {
			return len(blocks) - i
		}
		s.add(b)
	}
	p.write(s.take())
	return 0
}

// section is the part of a target's diff that goes into one comment.
type section struct {
	title           string
	open, continued bool
	blocks          []string
	size, run       int
}

// shell is the size of what stands around the blocks, but for the fences.
func (s *section) shell() int { return size(s.title) + 80 }

// with is how large the section would be with one block more.
func (s *section) with(block string) int {
	run := max(s.run, longestRun(block, '`'))
	return s.shell() + 2*len(fenceOf(run)) + s.size + size(block) + 1
}

func (s *section) add(block string) {
	s.blocks = append(s.blocks, block)
	s.size += size(block) + 1
	s.run = max(s.run, longestRun(block, '`'))
}

// take returns the section as Markdown and empties it.
func (s *section) take() string {
	if len(s.blocks) == 0 {
		return ""
	}
	title, open := s.title, ""
	if s.continued {
		title += " (continued)"
	}
	if s.open {
		open = " open"
	}
	text := "\n<details" + open + "><summary>" + title + "</summary>\n\n" + fenced("diff", strings.Join(s.blocks, "\n")) + "\n</details>\n"
	s.blocks, s.size, s.run = nil, 0, 0
	return text
}

// bounded cuts one block that alone would be too long for a comment.
func bounded(b string, limit int) string {
	b = shortRuns(b)
	if size(b) <= limit {
		return b
	}
	all := strings.SplitAfter(b, "\n")
	kept, used := 0, 150+2*maxRun
	for kept < len(all) && used+size(all[kept]) <= limit {
		used += size(all[kept])
		kept++
	}
	return strings.Join(all[:kept], "") +
		fmt.Sprintf("! … %s of this object not shown: too long for a comment\n", count(strings.Count(b, "\n")-kept, "more line"))
}

// next begins another comment, unless there are too many.
func (p *packer) next() {
	if len(p.parts)+1 >= p.most {
		p.full = true
		return
	}
	p.parts = append(p.parts, p.current.String())
	p.current.Reset()
	p.size = 0
	p.write(Marker(p.key, len(p.parts)+1) + "\n")
}

// finish puts the tail into the first comment, and the notice of what is left
// out before it and at the very end.
func (p *packer) finish(tail, leftOut string) []string {
	parts := append(p.parts, p.current.String())
	for i := range parts {
		body := strings.TrimRight(parts[i], "\n") + "\n"
		if i == 0 || i == len(parts)-1 {
			body += leftOut
		}
		if i == 0 {
			body += tail
		}
		if len(parts) > 1 {
			body = strings.TrimRight(body, "\n") + fmt.Sprintf("\n\n<sub>part %d of %d</sub>\n", i+1, len(parts))
		}
		parts[i] = body
	}
	return parts
}
