package report

import (
	"fmt"
	"strings"
	"time"

	"lockkeeper/bot/config"
)

// Bypasses is the issue about what came to a base branch past the gate.
type Bypasses struct {
	// Key goes into the hidden marker: "branch/<repository id>/<branch>".
	Key     string
	Branch  string
	Commits []BypassCommit // that are not settled, in the order they came
}

// BypassCommit is one commit, and what it touches.
type BypassCommit struct {
	SHA     string
	Subject string
	By      string // login; "" if nobody knows
	Found   time.Time
	// Lost is the tip that was thrown away with it.
	Lost string
	// Targets are those that it is not settled for; config.RepoFile stands for
	// targets and policy themselves.
	Targets, Files []string
}

// mostFiles is how many files of a commit are named.
const mostFiles = 5

// Title is the issue's.
func (v Bypasses) Title() string {
	return clip(oneLine("Commits on "+v.Branch+" came past lockkeeper"), 200)
}

// bypassPage is Bypasses with the room there is for it: Shown commits, and how
// many are left out.
type bypassPage struct {
	Bypasses
	Shown []BypassCommit
	More  int
}

// Body is the issue's, within the forge's limit in characters.
func (v Bypasses) Body(limit int) (string, error) {
	for shown := len(v.Commits); ; shown /= 2 {
		s, err := fill("bypass.md", bypassPage{v, v.Commits[:shown], len(v.Commits) - shown})
		if body := strings.TrimRight(s, "\n") + "\n"; err != nil || shown == 0 || limit <= 0 || size(body) <= limit {
			return body, err
		}
	}
}

// Row is one commit as a line of the table.
func (v bypassPage) Row(c BypassCommit) string {
	// A hash that stands alone becomes a link on every forge.
	commit := short(c.SHA) + " " + md(clip(c.Subject, 80))
	if c.Lost != "" {
		commit += "<br>the branch was **rewritten**: " + short(c.Lost) + " was thrown away"
	}
	who := "**nobody knows**"
	if c.By != "" {
		who = md("@" + c.By)
	}
	return fmt.Sprintf("| %s | %s | %s | %s |", cell(commit), cell(who), c.Found.UTC().Format("2006-01-02 15:04 MST"), cell(touches(c)))
}

func touches(c BypassCommit) string {
	var out []string
	for _, t := range c.Targets {
		if t == config.RepoFile {
			t = "targets and policy"
			out = append(out, "**"+t+"**")
			continue
		}
		out = append(out, code(t))
	}
	text := strings.Join(out, ", ")
	var files []string
	for i, f := range c.Files {
		if i == mostFiles {
			files = append(files, fmt.Sprintf("%d more", len(c.Files)-i))
			break
		}
		files = append(files, code(clip(f, 100)))
	}
	if len(files) > 0 {
		text += "<br>" + strings.Join(files, ", ")
	}
	return text
}
