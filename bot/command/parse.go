package command

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of what is read. Reading Markdown can take time quadratic in its
// length and its depth, and anybody may write comments.
const (
	maxBody     = 32 << 10 // bytes of a comment
	maxDepth    = 100      // quotes and lists in each other
	maxLinks    = 500      // links, or what starts like one
	maxCommands = 10       // commands of one comment
	maxLine     = 2000     // characters of a command line
	maxText     = 500      // characters of a reason
)

// Parsed is one line that is a command, or that looks like a failed attempt at
// one. It may be carried out only if Err is nil.
type Parsed struct {
	// Name is the command; "" for a near miss.
	Name Name
	// Line is the line as written, without surrounding space, shortened if it
	// is very long. It is outside input: escape it before showing it.
	Line string
	// Targets are what /apply and /sync name, in order, each once.
	Targets []string
	// SHA is a hash or its beginning (7 digits or more): of the head commit
	// for /plan and /apply, of the plan's digest for /approve, of a commit of the
	// base branch for /rollback; "" if not given.
	SHA string
	// Pull is the number that /rollback goes back to; 0 if none is named.
	Pull int
	// Choice is PutBack or Keep for /unlock.
	Choice string
	// Text is the reason for /hold and /override, the remark for /reviewed, and
	// the ID for /ticket; From and To are the ticket's window, zero if none was
	// given.
	Text     string
	From, To time.Time
	// Err says, in Markdown for the author, why the line is refused. Words of
	// the author are in code spans.
	Err error
	// Suggestion is the command that was probably meant, such as "/apply"; ""
	// if the line is not a near miss.
	Suggestion string
}

// Parse returns the commands of a comment in order, near misses included.
// Lines that have nothing to do with us are not returned. It never fails: what
// is wrong with a line is in its Err, which spells reserved words as Spell does.
func Parse(body string, reserved ...string) []Parsed {
	body = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\x00", "\ufffd").Replace(body)
	first, ok := promising(body)
	if !ok {
		return nil
	}
	if len(body) > maxBody {
		return []Parsed{{Line: first.Line, Err: fmt.Errorf(
			"this comment has %d bytes, and commands are read from comments of at most %d; please give the command in a comment of its own", len(body), maxBody)}}
	}
	if intricate(body) {
		return []Parsed{{Line: first.Line, Err: fmt.Errorf(
			"this comment nests quotes or lists more than %d deep, or has more than %d links, and is not read; please give the command in a comment of its own", maxDepth, maxLinks)}}
	}
	var out []Parsed
	for _, c := range candidates([]byte(body)) {
		p, ok := parseLine(c, reserved)
		if !ok {
			continue
		}
		if len(out) == maxCommands {
			p = Parsed{Line: p.Line, Err: fmt.Errorf("a comment may hold %d commands; this one and what follows it are ignored", maxCommands)}
			return append(out, p)
		}
		out = append(out, p)
	}
	return out
}

// promising finds the first line that would be a command or a near miss if it
// stood in the right place. Most comments have none and need not be read.
func promising(body string) (Parsed, bool) {
	for line := range strings.SplitSeq(body, "\n") {
		if p, ok := parseLine(candidate{text: line, plain: true}, nil); ok {
			return p, true
		}
	}
	return Parsed{}, false
}

// containers are the marks of quotes and lists at the start of a line.
var containers = regexp.MustCompile(fmt.Sprintf(`(?m)^(?:[ \t]*(?:>|[-+*][ \t]|[0-9]{1,9}[.)][ \t])){%d}`, maxDepth+1))

// intricate reports whether reading the Markdown could take long.
func intricate(body string) bool {
	return strings.Count(body, "](") > maxLinks || containers.MatchString(body)
}

// parseLine reads one line of a comment; ok is false if it is none of ours.
func parseLine(c candidate, reserved []string) (p Parsed, ok bool) {
	line := strings.Trim(c.text, " \t")
	p.Line = shorten(line, maxLine)
	spec, rest, known := named(line)
	if !known {
		p.Suggestion, p.Err = nearMiss(line, reserved)
		return p, p.Err != nil
	}
	if err := c.acceptable(line, spec); err != nil {
		p.Suggestion, p.Err = spec.spelled(reserved), err
		return p, true
	}
	p.Name = spec.Name
	args := strings.Fields(rest)
	if spec.free {
		args = []string{strings.Trim(rest, " \t")}
	}
	if err := spec.read(&p, args); err != nil {
		p.Err = fmt.Errorf("%w; usage: %s", err, code(Spell(spec.Usage(), reserved)))
	}
	return p, true
}

// named finds the command that a line starts with, in the short spelling or the
// long one, and what follows it.
func named(line string) (spec Spec, rest string, known bool) {
	word, rest := cutWord(line)
	if word == Prefix {
		word, rest = cutWord(strings.TrimLeft(rest, " \t"))
		word = "/" + word
	}
	name, slash := strings.CutPrefix(word, "/")
	if !slash {
		return Spec{}, "", false
	}
	spec, known = Lookup(name)
	return spec, rest, known
}

// acceptable says why a line that starts with a command is not one.
func (c candidate) acceptable(line string, spec Spec) error {
	switch {
	case c.inside != "":
		return fmt.Errorf("this line belongs to the %s above it, where commands do not count; leave an empty line before it and do not indent it", c.inside)
	case len(line) > maxLine:
		return fmt.Errorf("this line is longer than %d characters", maxLine)
	}
	if r, bad := strangeRune(line); bad {
		return fmt.Errorf("a command must be plain ASCII, and this line holds %s; please type it again", describe(r))
	}
	if !c.plain && !spec.free {
		return fmt.Errorf("a command must be plain text, without code, links, emphasis or HTML; please type it again")
	}
	return nil
}

// cutWord splits a line at its first space or tab.
func cutWord(line string) (word, rest string) {
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		return line[:i], line[i+1:]
	}
	return line, ""
}

var (
	shaArg    = regexp.MustCompile(`^[0-9a-f]{7,40}$`)
	digestArg = regexp.MustCompile(`^(?:sha256:)?([0-9a-f]{7,64})$`)
	targetArg = regexp.MustCompile(`^[A-Za-z0-9._/][A-Za-z0-9._/-]{0,199}$`)
)

func readNothing(_ *Parsed, args []string) error { return unexpected(args) }

func readSHA(p *Parsed, args []string) error {
	if len(args) > 0 && shaArg.MatchString(args[0]) {
		p.SHA, args = args[0], args[1:]
	}
	return unexpected(args)
}

func readDigest(p *Parsed, args []string) error {
	if len(args) > 0 {
		if m := digestArg.FindStringSubmatch(args[0]); m != nil {
			p.SHA, args = m[1], args[1:]
		}
	}
	return unexpected(args)
}

// readTargetsAndSHA takes a last word of 7 to 40 hex digits for the hash. A
// target with such a name can be applied by giving the hash after it.
func readTargetsAndSHA(p *Parsed, args []string) error {
	if n := len(args); n > 0 && shaArg.MatchString(args[n-1]) {
		p.SHA, args = args[n-1], args[:n-1]
	}
	for _, arg := range args {
		if !targetArg.MatchString(arg) {
			return unexpected([]string{arg})
		}
		if !slices.Contains(p.Targets, arg) {
			p.Targets = append(p.Targets, arg)
		}
	}
	return nil
}

func readTarget(p *Parsed, args []string) error {
	if len(args) == 0 {
		return errors.New("the name of a target is missing")
	}
	if !targetArg.MatchString(args[0]) {
		return unexpected(args)
	}
	p.Targets = args[:1:1]
	return unexpected(args[1:])
}

func readChoice(p *Parsed, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("say what is to become of what was applied: %s or %s", code(PutBack), code(Keep))
	}
	if args[0] != PutBack && args[0] != Keep {
		return unexpected(args)
	}
	p.Choice = args[0]
	return unexpected(args[1:])
}

// pullArg takes GitLab's sign, too: what people copy from there.
var pullArg = regexp.MustCompile(`^[#!]([1-9][0-9]{0,8})$`)

// readRollback takes where to go back to, if that is said.
func readRollback(p *Parsed, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case args[0] != "to":
		return unexpected(args)
	case len(args) == 1:
		return errors.New("say what to go back to: a commit of the base branch, or a merged pull such as `#41`")
	}
	if m := pullArg.FindStringSubmatch(args[1]); m != nil {
		p.Pull, _ = strconv.Atoi(m[1])
	} else if shaArg.MatchString(args[1]) {
		p.SHA = args[1]
	} else {
		return unexpected(args[1:])
	}
	return unexpected(args[2:])
}

func readText(p *Parsed, args []string) error {
	if len(args[0]) > maxText {
		return fmt.Errorf("the reason is longer than %d characters", maxText)
	}
	p.Text = args[0]
	return nil
}

func readReason(p *Parsed, args []string) error {
	if args[0] == "" {
		return errors.New("the reason is missing; whoever reviews it later has nothing else to go by")
	}
	return readText(p, args)
}

var ticketArg = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/#-]{0,99}$`)

// readTicket takes an ID, and the window if one is given.
func readTicket(p *Parsed, args []string) error {
	switch {
	case len(args) == 0:
		return errors.New("the ID of the ticket is missing")
	case !ticketArg.MatchString(args[0]):
		return unexpected(args)
	case len(args) == 1:
		p.Text = args[0]
		return nil
	case len(args) != 3:
		return errors.New("a window has a start and an end")
	}
	for i, at := range []*time.Time{&p.From, &p.To} {
		t, err := readTime(args[i+1])
		if err != nil {
			return err
		}
		*at = t
	}
	if !p.From.Before(p.To) {
		return errors.New("the window ends before it starts")
	}
	p.Text = args[0]
	return nil
}

// readTime reads a moment with its zone, with or without seconds.
func readTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("the time %s is not understood; write it with its zone, as 2026-12-01T22:00Z or 2026-12-01T23:00+01:00", code(s))
}

// unexpected refuses arguments that nothing has taken.
func unexpected(args []string) error {
	if len(args) == 0 {
		return nil
	}
	if strings.HasPrefix(args[0], "-") {
		return fmt.Errorf("there is no flag %s", code(args[0]))
	}
	return fmt.Errorf("the argument %s is not understood", code(args[0]))
}

// code shows somebody's words in a code span, in which nothing can be
// mentioned, linked or ended early.
func code(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '`' || r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return "`" + shorten(s, 80) + "`"
}

// shorten cuts a string to at most n bytes, an ellipsis in place of the rest.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-3], "") + "..."
}
