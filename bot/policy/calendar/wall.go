package calendar

import "time"

// A wall time is what a clock on the wall shows, kept as a time in UTC, where
// no hour is skipped or shown twice.

// wall is what clocks show at t.
func wall(t time.Time, zone *time.Location) time.Time {
	t = t.In(zone)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// latest is the latest time that clocks have shown up to t: ahead of what they
// show now while an hour repeats.
func latest(t time.Time, zone *time.Location) time.Time {
	now := wall(t, zone)
	if start, _ := t.In(zone).ZoneBounds(); !start.IsZero() {
		if before := wall(start.Add(-1), zone); before.After(now) {
			return before
		}
	}
	return now
}

// first is the first moment at which clocks show w or more.
func first(w time.Time, zone *time.Location) time.Time {
	early, _ := readings(w, zone)
	return early
}

// last is the moment from which on clocks show w or more for good.
func last(w time.Time, zone *time.Location) time.Time {
	_, late := readings(w, zone)
	return late
}

// readings are the first and the last moment at which clocks show w; for a time
// that they skip, both are the moment of the jump.
func readings(w time.Time, zone *time.Location) (early, late time.Time) {
	t := time.Date(w.Year(), w.Month(), w.Day(), w.Hour(), w.Minute(), w.Second(), w.Nanosecond(), zone)
	start, end := t.ZoneBounds()
	switch shown := wall(t, zone); {
	case shown.After(w):
		return start, start
	case shown.Before(w):
		return end, end
	}
	early, late = t, t
	// The same time under the offset before, and under the one behind.
	if !start.IsZero() {
		if u := w.Add(-offset(start.Add(-1), zone)); u.Before(start) {
			early = u
		}
	}
	if !end.IsZero() {
		if u := w.Add(-offset(end, zone)); !u.Before(end) {
			late = u
		}
	}
	return early, late
}

func offset(t time.Time, zone *time.Location) time.Duration {
	_, seconds := t.In(zone).Zone()
	return time.Duration(seconds) * time.Second
}
