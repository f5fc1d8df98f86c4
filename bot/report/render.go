package report

import (
	"fmt"
	"strings"
	"text/template"
	"unicode/utf8"

	"lockkeeper/bot/policy"
	"lockkeeper/cluster"
	"lockkeeper/forge"
	"lockkeeper/templates"
)

// Marker is the hidden first line by which the bot finds its own comment
// again: key names what the comment is, part counts from 1.
func Marker(key string, part int) string {
	return fmt.Sprintf("<!-- lockkeeper:%s part=%d -->", key, part)
}

var words = template.Must(template.New("").Funcs(template.FuncMap{
	"marker": Marker, "headline": Headline, "icon": icon, "md": md, "code": code, "html": html, "short": short,
	"counts": counts, "dot": dot, "statusIcon": statusIcon, "stepIcon": stepIcon, "dangers": dangers, "notes": notes,
	"progress": progress, "title": title, "tree": tree, "summary": summary, "showVerdict": showVerdict,
	"operationShown": operationShown,
	"firstProblems":  first[cluster.Problem], "moreProblems": more[cluster.Problem],
	"firstSteps": first[cluster.Step], "moreSteps": more[cluster.Step],
}).ParseFS(templates.FS, "*.md"))

func fill(name string, data any) (string, error) {
	var b strings.Builder
	if err := words.ExecuteTemplate(&b, name, data); err != nil {
		return "", fmt.Errorf("write the %s: %w", strings.TrimSuffix(name, ".md"), err)
	}
	return b.String(), nil
}

// Body is the reply as a comment.
func (r Reply) Body() (string, error) {
	s, err := fill("reply.md", r)
	return strings.TrimRight(s, "\n") + "\n", err
}

// Check is a check's title and summary, within the forge's limit for the
// latter in characters.
func Check(v View, limit int) (title, text string, err error) {
	text, err = fill("check.md", v)
	if limit > 0 && utf8.RuneCountInString(text) > limit {
		text = string([]rune(text)[:limit-1]) + "…"
	}
	return plain(Headline(v)), text, err
}

// plain drops the few marks that our own sentences use.
func plain(s string) string { return strings.NewReplacer("`", "", "*", "").Replace(s) }

// maxParts bounds how many comments one report may take.
const maxParts = 8

// Sticky is the report as the bodies of one or more comments, each within the
// forge's limit. It is cut between objects; an object that is too long for a
// comment of its own is cut and says so.
func Sticky(v View, limits forge.Limits) ([]string, error) {
	head, err := fill("report.md", v)
	if err != nil {
		return nil, err
	}
	tail, err := fill("tail.md", v)
	if err != nil {
		return nil, err
	}
	limit := limits.Comment
	if limit <= 0 {
		limit = 65536
	}
	p := packer{key: v.Key, limit: limit - 600} // room for closing marks and the next part's marker
	p.text(head)
	p.reserve = utf8.RuneCountInString(tail)
	for _, t := range v.Targets {
		p.target(t)
	}
	p.reserve = 0
	return p.finish(tail), nil
}

// packer fills comments one after the other. The first one always has room for
// the tail, which says what to do next.
type packer struct {
	key     string
	limit   int // characters of a comment
	reserve int // kept free in the first comment
	parts   []string
	current strings.Builder
	size    int
	full    bool // maxParts are used up
	omitted int
}

func (p *packer) text(s string) {
	if n := utf8.RuneCountInString(s); n > p.limit {
		s = string([]rune(s)[:p.limit]) + "\n…\n"
	}
	p.write(s)
}

func (p *packer) write(s string) {
	p.current.WriteString(s)
	p.size += utf8.RuneCountInString(s)
}

func (p *packer) room() int {
	room := p.limit - p.size
	if len(p.parts) == 0 {
		room -= p.reserve
	}
	return room
}

// target writes a target's blocks into fences inside <details>.
func (p *packer) target(t Target) {
	blocks := blocksOf(t.Plan)
	if len(blocks) == 0 {
		return
	}
	title := fmt.Sprintf("<b>%s</b>: %s", html(t.Plan.Target.Name), summary(t.Plan))
	var pending []string
	size := 0
	flush := func(continued bool) {
		if len(pending) > 0 {
			p.write(details(title, pending))
		}
		pending, size = nil, 0
		if continued && !strings.HasSuffix(title, "(continued)") {
			title += " (continued)"
		}
	}
	for _, b := range blocks {
		b = bounded(b, p.limit-400)
		n := utf8.RuneCountInString(b) + 40
		if size+n+len(title)+80 > p.room() {
			flush(true)
			if !p.next() {
				p.omitted++
				continue
			}
		}
		pending = append(pending, b)
		size += n
	}
	flush(false)
}

func details(title string, blocks []string) string {
	return "\n<details><summary>" + title + "</summary>\n\n" + fenced("diff", strings.Join(blocks, "\n")) + "\n</details>\n"
}

// bounded cuts one block that alone would be too long.
func bounded(b string, limit int) string {
	if utf8.RuneCountInString(b) <= limit {
		return b
	}
	kept := string([]rune(b)[:limit-120])
	kept = kept[:strings.LastIndexByte(kept, '\n')+1]
	return kept + "  … this object is too long for a comment; `lockkeeper plan` on a clone shows all of it\n"
}

// next begins another comment, unless there are too many.
func (p *packer) next() bool {
	if p.full {
		return false
	}
	if len(p.parts)+1 >= maxParts {
		p.full = true
		return false
	}
	p.parts = append(p.parts, p.current.String())
	p.current.Reset()
	p.size = 0
	p.write(Marker(p.key, len(p.parts)+1) + "\n")
	return true
}

func (p *packer) finish(tail string) []string {
	if p.omitted > 0 {
		p.write(fmt.Sprintf("\n**%d more objects are not shown here**; `lockkeeper plan` on a clone shows all of them.\n", p.omitted))
	}
	parts := append(p.parts, p.current.String())
	for i := range parts {
		if i == 0 {
			parts[i] = strings.TrimRight(parts[i], "\n") + "\n" + tail
		}
		if len(parts) > 1 {
			parts[i] = strings.TrimRight(parts[i], "\n") + fmt.Sprintf("\n\n<sub>part %d of %d</sub>\n", i+1, len(parts))
		}
	}
	return parts
}

func blocksOf(p *cluster.Plan) []string {
	var out []string
	for _, c := range p.Changes {
		out = append(out, changeText(c))
	}
	for _, d := range p.Drift {
		out = append(out, driftText(d))
	}
	return out
}

// tree is a verdict as a nested list.
func tree(v *policy.Verdict) string {
	var b strings.Builder
	writeNode(&b, v.Node, 0)
	return strings.TrimRight(b.String(), "\n")
}

func writeNode(b *strings.Builder, n policy.Node, depth int) {
	in := strings.Repeat("  ", depth)
	mark := "❌"
	if n.OK {
		mark = "✅"
	}
	fmt.Fprintf(b, "%s- %s %s\n", in, mark, md(n.Title))
	for _, m := range n.Met {
		fmt.Fprintf(b, "%s  - by %s\n", in, md(m))
	}
	for _, m := range n.Missing {
		fmt.Fprintf(b, "%s  - missing: %s\n", in, md(m))
	}
	for _, m := range n.NotCounted {
		fmt.Fprintf(b, "%s  - not counted: %s\n", in, md(m))
	}
	for _, c := range n.Children {
		writeNode(b, c, depth+1)
	}
}
