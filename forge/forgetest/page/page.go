// Package page renders the conversation of a pull as people know it from
// GitHub: enough to read what the bot wrote and to answer it.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer/html"
)

//go:embed *.html style.css live.js
var files embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"markdown": Markdown, "clock": func(t time.Time) string { return t.UTC().Format("2 Jan 2006 15:04:05") },
	"iso": func(t time.Time) string { return t.UTC().Format(time.RFC3339) }, "short": func(sha string) string { return sha[:min(7, len(sha))] },
	"initial": func(login string) string { return strings.ToUpper(login[:min(1, len(login))]) }, "hue": hue, "bot": func(login string) bool { return strings.HasSuffix(login, "[bot]") },
	"name": func(login string) string { return strings.TrimSuffix(login, "[bot]") },
}).ParseFS(files, "*.html"))

// hue gives every login a colour of its own.
func hue(login string) int {
	sum := sha256.Sum256([]byte(login))
	return (int(sum[0])<<8 | int(sum[1])) % 360
}

// Look is what differs from GitHub: the zero Look is GitHub's.
type Look struct {
	// Forge is its name.
	Forge string
	// Root is the path that everything lives below.
	Root string
	// List and One follow a repository's path, in the addresses of its pulls and of
	// one of them; Anchor begins that of a comment.
	List, One, Anchor string
	// Mark stands before a pull's number, Pulls is what they are called.
	Mark, Pulls string
}

func (l Look) word(own, github string) string {
	if l.Forge == "" {
		return github
	}
	return own
}

// Name is the forge's name.
func (l Look) Name() string { return l.word(l.Forge, "GitHub") }

// ListOf is the address of a repository's pulls.
func (l Look) ListOf(repo string) string { return l.Root + "/" + repo + l.word(l.List, "/pulls") }

// OneOf is the address of a pull.
func (l Look) OneOf(repo string, number int) string {
	return fmt.Sprint(l.Root, "/", repo, l.word(l.One, "/pull/"), number)
}

// Note is the anchor of a comment.
func (l Look) Note(id int64) string { return fmt.Sprint(l.word(l.Anchor, "issuecomment-"), id) }

// Nr is a pull's number as people write it.
func (l Look) Nr(number int) string { return fmt.Sprint(l.word(l.Mark, "#"), number) }

// Kind is what pulls are called.
func (l Look) Kind() string { return l.word(l.Pulls, "pull requests") }

// Frame is what every page shows around its content.
type Frame struct {
	Look
	Title string
	Repo  string   // "owner/name", "" on the first page
	Users []string // who the reader can be
	Me    string
	// Problem is what went wrong with the last thing the reader did.
	Problem string
}

// Home lists the repositories.
type Home struct {
	Frame
	Repos []Repo
}

// Repo is one line of the first page.
type Repo struct {
	Name  string
	Open  int
	Total int
}

// List shows the pulls of a repository.
type List struct {
	Frame
	Pulls []Pull
}

// Pull is one conversation.
type Pull struct {
	Frame
	Number            int
	Subject, State    string // open, draft, merged, closed
	Author            string
	Base, Head        string
	HeadSHA, MergeSHA string
	Created           time.Time
	Body              string
	Comments          int
	Timeline          []Entry
	Checks            []Check
	// Merge is GitHub's mergeable_state.
	Merge   string
	Missing []string
	Files   []File
}

// Entry is one thing that happened, in order.
type Entry struct {
	Kind    string // comment, review, commit, event
	ID      int64
	At      time.Time
	Who     string
	Body    string
	Edited  bool
	SHA     string
	State   string // of a review: APPROVED, CHANGES_REQUESTED, COMMENTED, DISMISSED
	Stale   bool   // of a review: made on an earlier head
	React   []Reaction
	Mention string // of an event: what happened
}

// Reaction counts one kind of reaction.
type Reaction struct {
	Emoji string
	Count int
	Who   string
}

// Check is a check run or a commit status of the head.
type Check struct {
	Name, State, Title, Summary, URL string
}

// File is one changed file.
type File struct {
	Path, Status         string
	Additions, Deletions int
	Lines                []Line
}

// Line is one line of a patch.
type Line struct{ Class, Text string }

// Lines splits a patch for colouring.
func Lines(patch string) []Line {
	var list []Line
	for text := range strings.SplitSeq(patch, "\n") {
		list = append(list, Line{Class: lineClass(text), Text: text})
	}
	return list
}

func lineClass(text string) string {
	switch {
	case strings.HasPrefix(text, "@@"):
		return "hunk"
	case strings.HasPrefix(text, "+"):
		return "add"
	case strings.HasPrefix(text, "-"):
		return "del"
	case strings.HasPrefix(text, "!"):
		return "warn"
	}
	return ""
}

// Render writes the page named home, list or pull. It answers a poll with 304
// while nothing changed.
func Render(w http.ResponseWriter, r *http.Request, name string, view any) {
	var out bytes.Buffer
	if err := templates.ExecuteTemplate(&out, name+".html", view); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	sum := sha256.Sum256(out.Bytes())
	etag := `"` + hex.EncodeToString(sum[:8]) + `"`
	h := w.Header()
	h.Set("ETag", etag)
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'")
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	w.Write(out.Bytes()) //nolint:errcheck // the browser went away
}

// Asset serves the style sheet and the script.
func Asset(w http.ResponseWriter, r *http.Request) {
	http.ServeFileFS(w, r, files, r.PathValue("file"))
}

var (
	markdown = goldmark.New(goldmark.WithExtensions(
		extension.Linkify, extension.Strikethrough, extension.TaskList,
		extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignAttribute))), goldmark.WithRendererOptions(html.WithUnsafe(), html.WithHardWraps()))
	policy = sanitizer()
	diffs  = regexp.MustCompile(`(?s)<pre><code class="language-diff">(.*?)</code></pre>`)
	alerts = regexp.MustCompile(`<blockquote>\s*<p>\[!(NOTE|TIP|IMPORTANT|WARNING|CAUTION)\](?:<br ?/?>)?\s*`)
)

// sanitizer allows what GitHub allows in a comment.
func sanitizer() *bluemonday.Policy {
	p := bluemonday.UGCPolicy()
	p.AllowAttrs("class").Matching(regexp.MustCompile(`^language-[a-zA-Z0-9]+$`)).OnElements("code")
	p.AllowAttrs("type").Matching(regexp.MustCompile(`^checkbox$`)).OnElements("input")
	p.AllowAttrs("checked", "disabled").OnElements("input")
	p.AllowAttrs("align").Matching(bluemonday.CellAlign).OnElements("td", "th", "p", "div")
	p.AllowElements("kbd", "sub", "sup", "samp")
	return p
}

// Markdown renders a comment as GitHub does, with nothing active left in it.
func Markdown(source string) template.HTML {
	var out bytes.Buffer
	if err := markdown.Convert([]byte(source), &out); err != nil {
		return template.HTML(template.HTMLEscapeString(source)) //nolint:gosec // escaped
	}
	clean := policy.Sanitize(out.String())
	clean = diffs.ReplaceAllStringFunc(clean, colour)
	clean = alerts.ReplaceAllStringFunc(clean, func(m string) string {
		kind := alerts.FindStringSubmatch(m)[1]
		title := kind[:1] + strings.ToLower(kind[1:])
		return fmt.Sprintf(`<blockquote class="alert %s"><p class="alert-title">%s</p><p>`, strings.ToLower(kind), title)
	})
	return template.HTML(clean) //nolint:gosec // sanitised above; what is added is fixed text
}

// colour marks the lines of a diff block. The text is escaped already.
func colour(block string) string {
	text := strings.TrimSuffix(diffs.FindStringSubmatch(block)[1], "\n")
	var out strings.Builder
	out.WriteString(`<pre class="diff"><code>`)
	for line := range strings.SplitSeq(text, "\n") {
		fmt.Fprintf(&out, `<span class="line %s">%s</span>`+"\n", lineClass(line), line)
	}
	out.WriteString(`</code></pre>`)
	return out.String()
}
