package owners

import (
	"fmt"
	"regexp"
	"strings"
)

var giteaOwner = regexp.MustCompile(`^@?[A-Za-z0-9][A-Za-z0-9._-]*(/[^/\s]+)?$`)

// giteaLine reads `expression owner...` of a Gitea or Forgejo. Every line that
// matches a file has its owners asked for a review there, so that each line asks
// on its own; with `!` in front it matches what the expression does not.
//
// Source: https://docs.gitea.com/usage/repository/code-owners
func (p *parser) giteaLine(s string) error {
	words := giteaWords(s)
	if len(words) == 0 {
		return nil
	}
	p.entries++
	e := entry{}
	text, negated := strings.CutPrefix(words[0], "!")
	e.pattern.not = negated
	switch {
	case len(text) > maxPattern:
		return fmt.Errorf("the expression has %d bytes, more than the %d that are read", len(text), maxPattern)
	case len(words) < 2:
		return fmt.Errorf("%s has no owners, and Gitea skips the line; add some", text)
	case len(words) > maxOwners:
		return fmt.Errorf("%d owners, more than the %d that are read", len(words)-1, maxOwners)
	}
	var err error
	if e.pattern.re, err = regexp.Compile("^" + strings.TrimPrefix(text, "/") + "$"); err != nil {
		return fmt.Errorf("the expression cannot be used; want one as Go reads them, without look-around: %w", err)
	}
	for _, w := range words[1:] {
		if !giteaOwner.MatchString(w) {
			return fmt.Errorf("got %q, want an owner: @login or @organisation/team", w)
		}
		e.owners = append(e.owners, "@"+strings.TrimPrefix(w, "@"))
	}
	p.file.sections = append(p.file.sections, &section{entries: []entry{e}})
	return nil
}

// giteaWords splits a line as Gitea does: a backslash keeps what is behind it from
// meaning a blank, a comment or another backslash.
func giteaWords(line string) []string {
	var words []string
	var word strings.Builder
	end := func() {
		if word.Len() > 0 {
			words = append(words, word.String())
		}
		word.Reset()
	}
	escaped := false
	for _, r := range line {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\':
			escaped = true
		case r == '#':
			end()
			return words
		case r == ' ' || r == '\t':
			end()
		default:
			word.WriteRune(r)
		}
	}
	end()
	return words
}
