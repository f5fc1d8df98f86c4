package report

import (
	"fmt"
	"strings"
	"text/template"

	"lockkeeper/templates"
)

// Marker is the hidden first line by which the bot finds its own comment
// again: key names what the comment is, part counts from 1.
func Marker(key string, part int) string {
	return fmt.Sprintf("<!-- lockkeeper:%s part=%d -->", strings.NewReplacer("<", "", ">", "", "\n", "").Replace(key), part)
}

var words = template.Must(template.New("").Funcs(template.FuncMap{
	"marker": Marker, "icon": icon, "code": code, "cell": cell, "html": html, "short": short, "link": link,
	"counts": counts, "dot": dot, "loud": loud, "summary": summary, "statusIcon": statusIcon,
	"stepIcon": stepIcon, "progress": progress, "title": title, "count": count,
}).ParseFS(templates.FS, "*.md"))

func fill(name string, data any) (string, error) {
	var b strings.Builder
	if err := words.ExecuteTemplate(&b, name, data); err != nil {
		return "", fmt.Errorf("write the %s: %w", strings.TrimSuffix(name, ".md"), err)
	}
	return b.String(), nil
}

// answer is a reply with the room there is for it.
type answer struct {
	room
	Reply
}

// Reasons are the reply's items as Markdown.
func (a answer) Reasons() []string {
	var out []string
	for _, s := range a.Items {
		out = append(out, a.Say(s))
	}
	return a.Pick(out)
}

// Lacking is what is still missing, where the reply should say so.
func (a answer) Lacking() []string {
	switch a.Kind {
	case ReplyApproved, ReplyStatus, ReplyTicket, ReplyOverridden:
	default:
		return nil
	}
	if a.Verdict == nil {
		return nil
	}
	return page{room: a.room, View: View{Verdict: *a.Verdict}}.AllMissing()
}

// Tree is the explained verdict, or "".
func (a answer) Tree() string {
	if a.Verdict == nil || a.Kind != ReplyExplain {
		return ""
	}
	return a.tree(a.Verdict)
}

// replyLimit keeps replies short of every forge's limit.
const replyLimit = 20000

// Body is the reply as a comment.
func (r Reply) Body() (string, error) {
	var body string
	for _, room := range rooms {
		s, err := fill("reply.md", answer{room, r})
		if err != nil {
			return "", err
		}
		body = strings.TrimRight(s, "\n") + "\n"
		if size(body) <= replyLimit {
			break
		}
	}
	return body, nil
}

// Check is a check's title and summary, within the forge's limit for the
// latter in characters.
func Check(v View, limit int) (title, text string, err error) {
	title = plain(Headline(v))
	for _, r := range rooms {
		text, err = fill("check.md", page{r, v})
		if err != nil || limit <= 0 || size(text) <= limit {
			return title, text, err
		}
	}
	return title, clip(title, limit-1) + "\n", nil
}

// plain drops the mark that our own sentences use.
func plain(s string) string { return oneLine(strings.ReplaceAll(s, "`", "")) }
