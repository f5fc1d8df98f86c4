package calendar_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/policy/calendar"
)

type (
	window = calendar.Window
	span   = calendar.Range
)

func at(t *testing.T, s string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

var (
	holidays = window{Name: "holidays", From: "2026-12-20", To: "2027-01-03", Zone: "Europe/Berlin"}
	weekends = window{Name: "weekends", Cron: "0 18 * * FRI", For: "62h", Zone: "Europe/Berlin"}
)

// In Berlin, clocks went forward on 2026-03-29 from 02:00 to 03:00, and go back
// on 2026-10-25 from 03:00 to 02:00.
func TestWhenAWindowHolds(t *testing.T) {
	nightly := func(cron, lasts string) window { return window{Cron: cron, For: lasts, Zone: "Europe/Berlin"} }
	tests := []struct {
		name   string
		window window
		at     string
		until  string // "" while it does not hold
	}{
		{"the day before", holidays, "2026-12-19T23:59:59+01:00", ""},
		{"from midnight in its zone", holidays, "2026-12-20T00:00:00+01:00", "2027-01-04T00:00:00+01:00"},
		{"the last day is included", holidays, "2027-01-03T23:59:59+01:00", "2027-01-04T00:00:00+01:00"},
		{"the day after", holidays, "2027-01-04T00:00:00+01:00", ""},
		{"asked in another zone", holidays, "2026-12-19T23:30:00Z", "2027-01-04T00:00:00+01:00"},

		{"local times", window{From: "2026-07-01T18:00", To: "2026-07-02 06:00:30", Zone: "America/New_York"}, "2026-07-02T06:00:29-04:00", "2026-07-02T06:00:30-04:00"},
		{"a local end is not included", window{From: "2026-07-01T18:00", To: "2026-07-02T06:00", Zone: "America/New_York"}, "2026-07-02T06:00:00-04:00", ""},
		{"offsets need no zone", window{From: "2026-07-01T18:00:00Z", To: "2026-07-01T21:00:00+02:00"}, "2026-07-01T18:30:00Z", "2026-07-01T19:00:00Z"},

		{"a weekend", weekends, "2026-06-05T18:00:00+02:00", "2026-06-08T08:00:00+02:00"},
		{"just before it", weekends, "2026-06-05T17:59:59+02:00", ""},
		{"its end", weekends, "2026-06-08T08:00:00+02:00", ""},
		{"midweek", weekends, "2026-06-10T12:00:00+02:00", ""},
		{"a weekend that loses an hour ends at eight", weekends, "2026-03-30T07:59:59+02:00", "2026-03-30T08:00:00+02:00"},
		{"and not later", weekends, "2026-03-30T08:00:00+02:00", ""},
		{"a weekend that gains an hour ends at eight", weekends, "2026-10-26T07:59:59+01:00", "2026-10-26T08:00:00+01:00"},
		{"and not earlier", weekends, "2026-10-26T07:30:00+01:00", "2026-10-26T08:00:00+01:00"},

		{"a start that clocks skip is the jump", nightly("30 2 * * *", "1h"), "2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"},
		{"which is not before it", nightly("30 2 * * *", "1h"), "2026-03-29T01:59:59+01:00", ""},
		{"an end that clocks skip is the jump", nightly("0 1 * * *", "90m"), "2026-03-29T01:59:59+01:00", "2026-03-29T03:00:00+02:00"},
		{"after which it is over", nightly("0 1 * * *", "90m"), "2026-03-29T03:00:00+02:00", ""},
		{"clocks skip all of it", nightly("10 2 * * *", "20m"), "2026-03-29T03:00:00+02:00", ""},
		{"the first of two starts", nightly("30 2 * * *", "20m"), "2026-10-25T02:30:00+02:00", "2026-10-25T02:50:00+01:00"},
		{"between two readings", nightly("30 2 * * *", "20m"), "2026-10-25T02:10:00+01:00", "2026-10-25T02:50:00+01:00"},
		{"the second of two ends", nightly("30 2 * * *", "20m"), "2026-10-25T02:50:00+01:00", ""},
		{"an edge of a range that clocks show twice", window{From: "2026-10-25T02:30", To: "2026-10-25T02:40", Zone: "Europe/Berlin"}, "2026-10-25T02:39:59+01:00", "2026-10-25T02:40:00+01:00"},

		{"midnight that is skipped", window{From: "2018-11-04", To: "2018-11-04", Zone: "America/Sao_Paulo"}, "2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00"},
		{"a day that is skipped", window{From: "2011-12-30", To: "2011-12-31", Zone: "Pacific/Apia"}, "2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"},
		{"half an hour of summer", window{Cron: "0 2 4 10 *", For: "1h", Zone: "Australia/Lord_Howe"}, "2026-10-04T02:30:00+11:00", "2026-10-04T03:00:00+11:00"},

		{"repetitions that touch end together", nightly("0 * * * MON", "1h"), "2026-06-08T12:00:00+02:00", "2026-06-09T00:00:00+02:00"},
		{"repetitions that overlap", nightly("0 9,10 * * *", "90m"), "2026-06-08T09:15:00+02:00", "2026-06-08T11:30:00+02:00"},
		{"either day field counts, as in crontab", nightly("0 0 1 * MON", "1h"), "2026-07-01T00:30:00+02:00", "2026-07-01T01:00:00+02:00"},
		{"the last of the month, long ago", nightly("0 0 1 1 *", "744h"), "2026-01-31T23:59:00+01:00", "2026-02-01T00:00:00+01:00"},
		{"a leap day", nightly("0 0 29 2 *", "24h"), "2028-02-29T12:00:00+01:00", "2028-03-01T00:00:00+01:00"},
		{"no leap day", nightly("0 0 29 2 *", "24h"), "2027-03-01T00:00:00+01:00", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if p := tt.window.Check(); len(p) > 0 {
				t.Fatal(p)
			}
			until, active := tt.window.Active(at(t, tt.at))
			if active != (tt.until != "") || active && !until.Equal(at(t, tt.until)) {
				t.Errorf("at %s: %v until %v, want until %q", tt.at, active, until, tt.until)
			}
		})
	}
}

func TestExceptions(t *testing.T) {
	w := weekends
	w.Except = []span{{From: "2026-06-06", To: "2026-06-06"}, {From: "2026-06-07T10:00:00Z", To: "2026-06-07T14:00"}}
	for _, tt := range []struct{ at, until string }{
		{"2026-06-05T20:00:00+02:00", "2026-06-06T00:00:00+02:00"}, // until the exception begins
		{"2026-06-06T12:00:00+02:00", ""},
		{"2026-06-07T00:00:00+02:00", "2026-06-07T12:00:00+02:00"},
		{"2026-06-07T13:59:00+02:00", ""},
		{"2026-06-07T14:00:00+02:00", "2026-06-08T08:00:00+02:00"},
		{"2026-06-12T18:00:00+02:00", "2026-06-15T08:00:00+02:00"}, // the next weekend has none
	} {
		until, active := w.Active(at(t, tt.at))
		if active != (tt.until != "") || active && !until.Equal(at(t, tt.until)) {
			t.Errorf("at %s: %v until %v, want until %q", tt.at, active, until, tt.until)
		}
	}
	// An exception is as short as it can be: from the second 02:30 to the first
	// 02:40 there is nothing.
	w = window{From: "2026-10-25", To: "2026-10-25", Zone: "Europe/Berlin", Except: []span{{From: "2026-10-25T02:30", To: "2026-10-25T02:40"}}}
	if p := w.Check(); len(p) > 0 {
		t.Fatal(p)
	}
	for _, moment := range []string{"2026-10-25T02:35:00+02:00", "2026-10-25T02:35:00+01:00"} {
		if until, active := w.Active(at(t, moment)); !active || !until.Equal(at(t, "2026-10-26T00:00:00+01:00")) {
			t.Errorf("at %s: %v until %v", moment, active, until)
		}
	}
}

func TestAWindowWithoutEndSaysSo(t *testing.T) {
	w := window{Cron: "* * * * *", For: "1h", Zone: "UTC"}
	if until, active := w.Active(at(t, "2026-06-05T20:00:00Z")); !active || !until.IsZero() {
		t.Errorf("%v until %v", active, until)
	}
}

func TestAMistakeFreezes(t *testing.T) {
	for _, w := range []window{{}, {From: "2026-01-01", To: "2026-01-02"}, {Cron: "nonsense", For: "1h", Zone: "UTC"}} {
		if until, active := w.Active(at(t, "2031-01-01T00:00:00Z")); !active || !until.IsZero() {
			t.Errorf("%+v: %v until %v", w, active, until)
		}
	}
}

func TestProblemsNameTheField(t *testing.T) {
	z := "Europe/Berlin"
	tests := []struct {
		window window
		want   string // all problems
	}{
		{window{}, ": says nothing; give it from and to, or cron and for"},
		{window{Zone: z}, ": says nothing; give it from and to, or cron and for"},
		{window{From: "2026-01-01", To: "2026-01-02", Cron: "0 0 * * *", Zone: z}, ": a window has from and to, or cron and for; not both"},
		{window{From: "2026-01-01", Zone: z}, "to: missing; give a date"},
		{window{To: "2026-01-01", Zone: z}, "from: missing; give a date"},
		{window{From: "2026-01-01", To: "2026-01-02T00:00:00Z"}, `from: got "2026-01-01", a local time without a zone`},
		{window{From: "2026-02-30", To: "20260303", Zone: z}, `from: got "2026-02-30", want a date such as 2026-12-20, a local time such as 2026-12-20T18:00, or RFC 3339|to: got "20260303"`},
		{window{From: "2026-01-03", To: "2026-01-01", Zone: z}, `to: got "2026-01-01", which is not after from (2026-01-03)`},
		{window{From: "2026-01-01T10:00", To: "2026-01-01T10:00", Zone: z}, "to: got"},
		{window{From: "2026-01-01", To: "2026-01-02", Zone: "Berlin"}, `zone: got "Berlin", want an IANA time zone`},
		{window{From: "2026-01-01", To: "2026-01-02", Zone: "Local"}, `zone: got "Local"`},
		{window{From: "2026-01-01", To: "2026-01-02", Zone: "../../etc/passwd"}, `zone: got`},
		{window{Cron: "0 18 * * FRI", Zone: z}, "for: missing"},
		{window{For: "1h", Zone: z}, "cron: missing"},
		{window{Cron: "0 18 * * FRI", For: "1h"}, "zone: missing"},
		{window{Cron: "0 18 * * FRI", For: "1d", Zone: z}, `for: got "1d", want a duration`},
		{window{Cron: "0 18 * * FRI", For: "30s", Zone: z}, `for: got 30s, want at least 1m and at most 744h`},
		{window{Cron: "0 18 * * FRI", For: "745h", Zone: z}, `for: got 745h, want`},
		{window{Cron: "0 18 * * FRI", For: "-1h", Zone: z}, `for: got -1h, want`},
		{window{Cron: "18 * * FRI", For: "1h", Zone: z}, "cron: got \"18 * * FRI\", want five fields"},
		{window{Cron: "@weekly", For: "1h", Zone: z}, "cron: got \"@weekly\", want five fields"},
		{window{Cron: "TZ=UTC 18 * * FRI", For: "1h", Zone: z}, "cron: got"},
		{window{Cron: "61 18 * * FRI", For: "1h", Zone: z}, `cron: got "61 18 * * FRI": `},
		{window{Cron: "0 0 30 2 *", For: "1h", Zone: z}, `cron: got "0 0 30 2 *", a day that never comes`},
		{window{From: "2026-01-01", To: "2026-01-09", Zone: z, Except: []span{{From: "2026-01-02", To: "2026-01-03"}, {From: "soon", To: "2026-01-03"}, {From: "2026-01-05", To: "2026-01-03"}}},
			`except[1].from: got "soon"|except[2].to: got "2026-01-03", which is before from (2026-01-05)`},
		{window{From: "2026-01-01", To: "2026-01-09", Zone: z, Except: make([]span, 1001)}, "except: got 1001 exceptions, want at most 1000"},
	}
	for _, tt := range tests {
		var got []string
		for _, p := range tt.window.Check() {
			got = append(got, p.Field()+": "+p.Message)
		}
		want := strings.Split(tt.want, "|")
		ok := len(got) == len(want)
		for i := range got {
			ok = ok && strings.HasPrefix(got[i], want[i])
		}
		if !ok {
			t.Errorf("%+v\n got %q\nwant %q", tt.window, got, want)
		}
	}
}

func TestAWindowReadsBackFromJSON(t *testing.T) {
	w := weekends
	w.Except = []span{{From: "2026-06-06", To: "2026-06-06"}}
	b, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"name":"weekends","cron":"0 18 * * FRI","for":"62h","zone":"Europe/Berlin","except":[{"from":"2026-06-06","to":"2026-06-06"}]}`
	if string(b) != want {
		t.Errorf("got %s", b)
	}
}

// Around both changes of clocks, the answer is that of looking at the clock on
// the wall, or stricter while it shows an hour twice.
func TestTheAnswerAgreesWithTheClockOnTheWall(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	w := window{Cron: "30 1 * * SUN", For: "75m", Zone: "Europe/Berlin"}
	differs := 0
	for now := time.Date(2026, 3, 1, 0, 0, 0, 0, zone); now.Year() == 2026; now = now.Add(15 * time.Minute) {
		if now.Month() != time.March && now.Month() != time.October {
			continue
		}
		minutes := now.Hour()*60 + now.Minute()
		want := now.Weekday() == time.Sunday && minutes >= 90 && minutes < 165
		if until, got := w.Active(now); got != want {
			differs++
			if !got || now.Month() != time.October || !until.After(now) {
				t.Errorf("at %v: %v, want %v", now, got, want)
			}
		}
	}
	if differs != 1 { // 02:45, before clocks go back
		t.Errorf("differs at %d moments", differs)
	}
}

func FuzzWindow(f *testing.F) {
	f.Add("2026-12-20", "2027-01-03", "", "", "Europe/Berlin", "2026-12-24", "2026-12-24", int64(1_790_000_000))
	f.Add("", "", "0 18 * * FRI", "62h", "America/Sao_Paulo", "2026-12-24T10:00", "2026-12-24T11:00:00Z", int64(1_790_000_000))
	f.Add("", "", "*/7 */3 1-7 1,2 MON-FRI", "1m", "Pacific/Apia", "", "", int64(1_325_200_000))
	f.Fuzz(func(t *testing.T, from, to, cron, lasts, zone, exFrom, exTo string, unix int64) {
		w := window{From: from, To: to, Cron: cron, For: lasts, Zone: zone}
		if exFrom+exTo != "" {
			w.Except = []span{{From: exFrom, To: exTo}}
		}
		now := time.Unix(unix%(1<<33), 0)
		until, active := w.Active(now)
		if active && !until.IsZero() && !until.After(now) {
			t.Fatalf("%+v holds at %v, until %v", w, now, until)
		}
		if !active && len(w.Check()) > 0 {
			t.Fatalf("%+v has problems and does not freeze", w)
		}
		if _, still := w.Active(until); active && !until.IsZero() && still {
			t.Fatalf("%+v holds at %v until %v, where it holds", w, now, until)
		}
	})
}

func BenchmarkActive(b *testing.B) {
	now := time.Date(2026, 6, 10, 12, 0, 0, 0, time.UTC)
	for b.Loop() {
		if _, active := weekends.Active(now); active {
			b.Fatal("active")
		}
	}
}

func ExampleWindow_Active() {
	w := calendar.Window{Name: "weekends", Cron: "0 18 * * FRI", For: "62h", Zone: "Europe/Berlin"}
	until, active := w.Active(time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC))
	fmt.Println(active, until)
	// Output: true 2026-11-23 08:00:00 +0100 CET
}
