package report

import (
	"fmt"
	"strings"

	"lockkeeper/forge"
)

// Rollback is the pull that undoes what came to a base branch.
type Rollback struct {
	// Key goes into the hidden marker: "rollback/<repository id>/<number>".
	Key string
	// Number and Title are of the pull on which it was asked for, By is who
	// asked, and Command what they typed.
	Number             int
	Title, By, Command string
	Branch             string // the base branch
	// To is the commit whose state comes back, and ToPull the pull that brought
	// it, if that was asked for; "" undoes the pull alone.
	To     string
	ToPull int
	Undone []RollbackCommit // of the branch's line, newest first
	// Kept is how many commits of the line came later and stay as they are.
	Kept  int
	Files []string
	// MergeMode is for repositories that are applied after the merge.
	MergeMode bool
	// Limits are the forge's.
	Limits forge.Limits
}

// Called is what people call a pull.
func (v Rollback) Called(number int) string { return v.Limits.PullName(number) }

// RollbackCommit is a commit that is undone, and the pull that brought it; 0 if
// none did, or nobody asked.
type RollbackCommit struct {
	SHA, Subject string
	Pull         int
}

// PullTitle is the rollback pull's.
func (v Rollback) PullTitle() string {
	return clip(fmt.Sprintf("Rollback: %s %s", v.Called(v.Number), oneLine(v.Title)), 200)
}

// rollbackPage is Rollback with the room there is for it.
type rollbackPage struct {
	Rollback
	Shown     []RollbackCommit
	More      int
	Some      []string
	MoreFiles int
}

// Body is the rollback pull's, within the forge's limit in characters.
func (v Rollback) Body() (string, error) {
	limit := v.Limits.Comment
	for room := max(len(v.Undone), len(v.Files)); ; room /= 2 {
		n, f := min(room, len(v.Undone)), min(room, len(v.Files))
		s, err := fill("rollback.md", rollbackPage{v, v.Undone[:n], len(v.Undone) - n, v.Files[:f], len(v.Files) - f})
		if body := strings.TrimRight(s, "\n") + "\n"; err != nil || room == 0 || limit <= 0 || size(body) <= limit {
			return body, err
		}
	}
}

// Row is one commit as a line of the table. A hash that stands alone becomes a
// link on every forge, and so does the number of a pull.
func (v rollbackPage) Row(c RollbackCommit) string {
	pull := "–"
	if c.Pull != 0 {
		pull = v.Called(c.Pull)
	}
	return fmt.Sprintf("| %s | %s | %s |", c.SHA, cell(md(clip(c.Subject, 100))), pull)
}

// Asker is who asked, mentioning nobody.
func (v Rollback) Asker() string { return md("@" + v.By) }
