// Package calendar says whether a freeze window is active at a moment. Windows
// are plain data; nothing here reads a clock.
//
// Times without an offset are what clocks on the wall show in the window's
// zone, also on the days when these are put forward or back: a time that they
// skip is the moment of the jump, and a window whose edge they show twice
// covers both. Zones come from the machine's database, or from one built in.
package calendar

import (
	"time"
	_ "time/tzdata" // machines without a database of zones decide alike
)

// Window is a freeze: either one range (From and To), or a repetition (Cron and
// For). Its JSON form is part of a compiled policy.
type Window struct {
	// Name is shown to people.
	Name string `yaml:"name,omitempty" json:"name,omitempty"`
	// From is when it begins: a date, a local time (2026-12-20T18:00), or RFC
	// 3339 with an offset.
	From string `yaml:"from,omitempty" json:"from,omitempty"`
	// To is when it ends, written alike; a date is included.
	To string `yaml:"to,omitempty" json:"to,omitempty"`
	// Cron is when each repetition begins: minute, hour, day of month, month,
	// day of week. As in crontab(5), a day matches either of its two fields if
	// both are given.
	Cron string `yaml:"cron,omitempty" json:"cron,omitempty"`
	// For is how long each lasts by the clock on the wall, such as 62h; at most
	// 744h.
	For string `yaml:"for,omitempty" json:"for,omitempty"`
	// Zone is an IANA time zone, such as Europe/Berlin; needed unless all times
	// have an offset.
	Zone string `yaml:"zone,omitempty" json:"zone,omitempty"`
	// Except are times at which the window does not hold.
	Except []Range `yaml:"except,omitempty" json:"except,omitempty"`
}

// Range is a time from From to To, both written as those of a window.
type Range struct {
	From string `yaml:"from" json:"from"`
	To   string `yaml:"to" json:"to"`
}

// Active reports whether the window holds at t, and until when. The zero time
// means that no end is in sight: it is frozen for years to come, or it is not a
// valid window (see Check), which is always active, so that a mistake freezes
// rather than thaws.
func (w Window) Active(t time.Time) (until time.Time, active bool) {
	r, problems := w.read()
	if len(problems) > 0 {
		return time.Time{}, true
	}
	return r.active(t)
}

// window is a Window that was read.
type window struct {
	span            // of a single range
	repeats *repeat // nil for a single range
	except  []span
}

// span is a half-open interval.
type span struct{ from, to time.Time }

func (s span) has(t time.Time) bool { return !t.Before(s.from) && t.Before(s.to) }

func (w window) active(t time.Time) (until time.Time, active bool) {
	if !w.holds(t) {
		return time.Time{}, false
	}
	for _, e := range w.except {
		if e.has(t) {
			return time.Time{}, false
		}
		if e.from.After(t) && e.from.Before(e.to) && (until.IsZero() || e.from.Before(until)) {
			until = e.from
		}
	}
	if end := w.end(t); until.IsZero() || !end.IsZero() && end.Before(until) {
		until = end
	}
	return until, true
}

func (w window) holds(t time.Time) bool {
	if w.repeats == nil {
		return w.span.has(t)
	}
	_, ok := w.repeats.end(t)
	return ok
}

// chained bounds how many repetitions that run into each other are followed.
const chained = 1000

// end is when it is over after t, at which it holds, exceptions aside; zero if
// repetitions run into each other for too long.
func (w window) end(t time.Time) time.Time {
	if w.repeats == nil {
		return w.to
	}
	for range chained {
		end, ok := w.repeats.end(t)
		if !ok {
			return t
		}
		t = end
	}
	return time.Time{}
}
