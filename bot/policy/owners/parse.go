package owners

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of a file: GitHub reads none larger than 3 MB, and the largest that
// are known have a few thousand entries.
const (
	maxFile     = 3 << 20
	maxEntries  = 10_000
	maxPattern  = 1024
	maxOwners   = 100
	maxProblems = 20 // listed in an error
)

// Parse reads a file. The error lists what is wrong with which line; then there
// is no file, because nobody knows what the lines that can be read leave out.
func Parse(path string, data []byte, d Dialect) (*File, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: has %d bytes, more than the %d that are read", path, len(data), maxFile)
	}
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%s: is not text in UTF-8", path)
	}
	p := parser{file: &File{Path: path, dialect: d}}
	text := strings.TrimPrefix(string(data), "\ufeff")
	line := 0
	for text := range strings.Lines(text) {
		line++
		if err := p.line(strings.TrimSpace(text)); err != nil {
			p.problems = append(p.problems, fmt.Errorf("%s:%d: %w", path, line, err))
		}
		if p.entries > maxEntries {
			return nil, fmt.Errorf("%s: has more than the %d entries that are read", path, maxEntries)
		}
		if len(p.problems) == maxProblems {
			break
		}
	}
	if len(p.problems) > 0 {
		return nil, errors.Join(p.problems...)
	}
	return p.file, nil
}

type parser struct {
	file     *File
	current  *section
	defaults []string // owners of the current section's entries that name none
	entries  int
	problems []error
}

func (p *parser) line(s string) error {
	switch {
	case s == "" || s[0] == '#':
		return nil
	case p.file.dialect == Gitea:
		return p.giteaLine(s)
	case p.file.dialect == GitLab && (s[0] == '[' || strings.HasPrefix(s, "^[")):
		return p.heading(s)
	}
	p.entries++
	e, err := p.entry(s)
	if err != nil {
		return err
	}
	if p.current == nil {
		p.current = p.section("")
	}
	p.current.entries = append(p.current.entries, e)
	return nil
}

// section finds one by its name, in any case, or begins it.
func (p *parser) section(name string) *section {
	for _, s := range p.file.sections {
		if strings.EqualFold(s.name, name) {
			return s
		}
	}
	s := &section{name: name}
	p.file.sections = append(p.file.sections, s)
	return s
}

var heading = regexp.MustCompile(`^(\^)?\[([^\]]*)\](?:\[([^\]]*)\])?(?:\s+(.*))?$`)

// heading begins a section of GitLab: `^[Name][2] @default`. If a name comes
// again, the stricter of what the headings say holds.
func (p *parser) heading(s string) error {
	m := heading.FindStringSubmatch(s)
	if m == nil {
		return fmt.Errorf("got %q, want a section such as `[Name][2] @owner`", s)
	}
	name, required := strings.TrimSpace(m[2]), 0
	if name == "" {
		return errors.New("the section has no name")
	}
	if strings.Contains(s, "][") {
		n, err := strconv.Atoi(m[3])
		if err != nil || n < 1 || n > maxOwners {
			return fmt.Errorf("section %s asks for %q approvals, want 1 to %d", name, m[3], maxOwners)
		}
		required = n
	}
	owners, err := p.owners(strings.Fields(m[4]))
	if err != nil {
		return err
	}
	known := len(p.file.sections)
	p.current, p.defaults = p.section(name), owners
	optional := m[1] != ""
	p.current.optional = optional && (p.current.optional || len(p.file.sections) > known)
	if !optional {
		p.current.required = max(p.current.required, required)
	}
	return nil
}

// entry reads `pattern owner...`.
func (p *parser) entry(s string) (entry, error) {
	var e entry
	if p.file.dialect == GitLab && s[0] == '!' {
		e.exclude = true
		s = s[1:]
	}
	text, rest := cutPattern(s)
	if len(text) > maxPattern {
		return e, fmt.Errorf("the pattern has %d bytes, more than the %d that are read", len(text), maxPattern)
	}
	var err error
	if e.pattern, err = compile(text, p.file.dialect); err != nil {
		return e, err
	}
	words := strings.Fields(rest)
	if p.file.dialect == GitHub {
		words = beforeComment(words)
	}
	if e.owners, err = p.owners(words); err != nil {
		return e, err
	}
	if p.file.dialect == GitHub || e.exclude {
		return e, nil
	}
	if len(e.owners) == 0 {
		e.owners = p.defaults
	}
	if len(e.owners) == 0 {
		return e, fmt.Errorf("%s has no owners; add some, or exclude it with `!%s`", text, text)
	}
	return e, nil
}

// cutPattern splits a line at the first blank that is not escaped.
func cutPattern(s string) (text, rest string) {
	escaped := false
	for i, r := range s {
		if !escaped && (r == ' ' || r == '\t') {
			return s[:i], s[i:]
		}
		escaped = r == '\\' && !escaped
	}
	return s, ""
}

func beforeComment(words []string) []string {
	for i, w := range words {
		if w[0] == '#' {
			return words[:i]
		}
	}
	return words
}

var ownerNames = map[Dialect]*regexp.Regexp{
	GitHub: regexp.MustCompile(`^@[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)?$`),
	GitLab: regexp.MustCompile(`^(@@(developer|maintainer|owner)s?|@[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*)$`),
}

var mailAddress = regexp.MustCompile(`^[^@\s#]+@[^@\s#]+\.[^@\s#]+$`)

// owners checks the words behind a pattern or a section.
func (p *parser) owners(words []string) ([]string, error) {
	if len(words) > maxOwners {
		return nil, fmt.Errorf("%d owners, more than the %d that are read", len(words), maxOwners)
	}
	for _, w := range words {
		if w[0] == '#' {
			return nil, fmt.Errorf("got %q behind an entry, where GitLab knows no comments and reads owners; put it on a line of its own", w)
		}
		if !ownerNames[p.file.dialect].MatchString(w) && !mailAddress.MatchString(w) {
			return nil, fmt.Errorf("got %q, want an owner: @login, @organisation/team or an e-mail address", w)
		}
	}
	return words, nil
}
