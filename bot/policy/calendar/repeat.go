package calendar

import (
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	cron "github.com/netresearch/go-cron"
)

// repeat is a window that comes again. Its starts are looked up on wall times,
// so that the cron library never meets a clock that jumps.
type repeat struct {
	starts cron.Schedule
	lasts  time.Duration // by the wall
	zone   *time.Location
}

// longest is the most that a repetition can last: a month. It also bounds how
// far back a start is looked for.
const longest = 31 * 24 * time.Hour

// end is when the repetition that covers t is over; false if none does.
func (r *repeat) end(t time.Time) (time.Time, bool) {
	// Of those that have begun, the last to begin is the last to end.
	shown := latest(t, r.zone)
	start, ok := r.last(shown.Add(-r.lasts-dayAndMore), shown)
	if !ok {
		return time.Time{}, false
	}
	end := last(start.Add(r.lasts), r.zone)
	return end, t.Before(end)
}

// dayAndMore is more than any clock was ever put forward or back.
const dayAndMore = 26 * time.Hour

// last is the last start in (from, to], by wall times.
func (r *repeat) last(from, to time.Time) (time.Time, bool) {
	none := func(t time.Time) bool {
		next := r.starts.Next(t)
		return next.IsZero() || next.After(to)
	}
	if none(from) {
		return time.Time{}, false
	}
	minutes := int(to.Sub(from)/time.Minute) + 1
	n := sort.Search(minutes, func(i int) bool { return none(from.Add(time.Duration(i) * time.Minute)) })
	return r.starts.Next(from.Add(time.Duration(n-1) * time.Minute)), true
}

var fiveFields = cron.MustNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.DowOrDom)

// parseCron reads five fields.
func parseCron(s string) (cron.Schedule, error) {
	if n := len(strings.Fields(s)); n != 5 || strings.Contains(s, "=") {
		return nil, fmt.Errorf("got %q, want five fields (minute, hour, day of month, month, day of week), such as `0 18 * * FRI`; the time zone is the key zone", s)
	}
	schedule, err := fiveFields.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("got %q: %w", s, err)
	}
	// From the beginning of a leap year, every date that there is comes soon.
	if schedule.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("got %q, a day that never comes", s)
	}
	return schedule, nil
}

func parseFor(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case s == "":
		return 0, errors.New("missing; say how long it lasts, such as 62h")
	case err != nil:
		return 0, fmt.Errorf("got %q, want a duration such as 90m or 62h", s)
	case d < time.Minute || d > longest:
		return 0, fmt.Errorf("got %s, want at least 1m and at most %dh", s, int(longest.Hours()))
	}
	return d, nil
}
