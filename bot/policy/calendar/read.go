package calendar

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Problem is one thing wrong with a window.
type Problem struct {
	// Path leads to the field: keys (string) and indices (int).
	Path    []any
	Message string
}

// Field is the path as people write it: except[0].from.
func (p Problem) Field() string {
	var b strings.Builder
	for _, step := range p.Path {
		if i, ok := step.(int); ok {
			fmt.Fprintf(&b, "[%d]", i)
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		fmt.Fprint(&b, step)
	}
	return b.String()
}

// Check returns all that is wrong with the window.
func (w Window) Check() []Problem {
	_, problems := w.read()
	return problems
}

// maxExcept caps the exceptions of one window.
const maxExcept = 1000

// reader collects the problems of one window.
type reader struct {
	zone     *time.Location // nil if none was given
	problems []Problem
}

func (r *reader) add(err error, path ...any) {
	r.problems = append(r.problems, Problem{Path: path, Message: err.Error()})
}

func (w Window) read() (window, []Problem) {
	r := &reader{}
	var out window
	if w.Zone != "" {
		zone, err := parseZone(w.Zone)
		if err != nil {
			r.add(err, "zone")
			zone = time.UTC // the other fields are checked all the same
		}
		r.zone = zone
	}
	single, repeats := w.From != "" || w.To != "", w.Cron != "" || w.For != ""
	switch {
	case single && repeats:
		r.add(errors.New("a window has from and to, or cron and for; not both"))
	case repeats:
		out.repeats = r.repeat(w)
	case single:
		out.span = r.span(Range{From: w.From, To: w.To}, false)
	default:
		r.add(errors.New("says nothing; give it from and to, or cron and for"))
	}
	if len(w.Except) > maxExcept {
		r.add(fmt.Errorf("got %d exceptions, want at most %d", len(w.Except), maxExcept), "except")
		return out, r.problems
	}
	for i, e := range w.Except {
		out.except = append(out.except, r.span(e, true, "except", i))
	}
	return out, r.problems
}

func (r *reader) repeat(w Window) *repeat {
	out := &repeat{zone: r.zone}
	var err error
	if w.Cron == "" {
		r.add(errors.New("missing; say when it begins, such as `0 18 * * FRI`"), "cron")
	} else if out.starts, err = parseCron(w.Cron); err != nil {
		r.add(err, "cron")
	}
	if out.lasts, err = parseFor(w.For); err != nil {
		r.add(err, "for")
	}
	if r.zone == nil {
		r.add(errNoZone, "zone")
	}
	return out
}

var errNoZone = errors.New("missing; name the time zone, such as Europe/Berlin or UTC")

// span reads a range. Where clocks show an edge twice, a freeze is as long as it
// can be, and an exception as short.
func (r *reader) span(in Range, exception bool, path ...any) span {
	from, okFrom := r.edge(in.From, exception, false, append(path[:len(path):len(path)], "from"))
	to, okTo := r.edge(in.To, !exception, true, append(path[:len(path):len(path)], "to"))
	if okFrom && okTo && !exception && !from.Before(to) {
		r.add(fmt.Errorf("got %q, which is not after from (%s)", in.To, in.From), append(path[:len(path):len(path)], "to")...)
	}
	if okFrom && okTo && exception && to.Before(from) && !r.repeated(from, to) {
		r.add(fmt.Errorf("got %q, which is before from (%s)", in.To, in.From), append(path[:len(path):len(path)], "to")...)
	}
	return span{from, to}
}

// repeated reports whether two moments are out of order only because clocks
// show an hour twice.
func (r *reader) repeated(from, to time.Time) bool {
	return r.zone != nil && !wall(to, r.zone).Before(wall(from, r.zone))
}

// edge reads one end of a range; late takes the later of two readings, and end
// includes a date.
func (r *reader) edge(s string, late, end bool, path []any) (time.Time, bool) {
	if s == "" {
		r.add(errors.New("missing; give a date such as 2026-12-20, a local time such as 2026-12-20T18:00, or RFC 3339"), path...)
		return time.Time{}, false
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, true
	}
	w, ok := parseWall(s, end)
	if !ok {
		r.add(fmt.Errorf("got %q, want a date such as 2026-12-20, a local time such as 2026-12-20T18:00, or RFC 3339", s), path...)
		return time.Time{}, false
	}
	if r.zone == nil {
		r.add(fmt.Errorf("got %q, a local time without a zone; name it in zone, such as Europe/Berlin or UTC", s), path...)
		return time.Time{}, false
	}
	if late {
		return last(w, r.zone), true
	}
	return first(w, r.zone), true
}

func parseWall(s string, end bool) (time.Time, bool) {
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		if end {
			t = t.AddDate(0, 0, 1)
		}
		return t, true
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02 15:04", time.DateTime} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func parseZone(s string) (*time.Location, error) {
	// "Local" would be whatever the machine is set to.
	if s == "Local" {
		return nil, errors.New(`got "Local", want an IANA time zone, such as Europe/Berlin or UTC`)
	}
	zone, err := time.LoadLocation(s)
	if err != nil {
		return nil, fmt.Errorf("got %q, want an IANA time zone, such as Europe/Berlin or UTC", s)
	}
	return zone, nil
}
