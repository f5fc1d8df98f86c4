package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"lockkeeper/bot/plan"
	"lockkeeper/cluster"
)

// row is one step.
type row struct {
	name                 string
	actions              map[cluster.Action]int
	changes, fields      int
	planRequests         int
	applyRequests, forge int
	planned, applied     time.Duration
	wrong                []string
}

func newRow(s *state, name string, out *plan.Output) *row {
	r := &row{name: name, actions: map[cluster.Action]int{}}
	if name == "" {
		r.name = fmt.Sprintf("%d %.7s", s.number, s.commit.SHA)
	}
	for _, t := range out.Targets {
		r.planRequests += t.Plan.Stats.Requests
	}
	for _, c := range changesOf(out) {
		r.actions[c.Action]++
		r.changes++
		r.fields += len(c.Fields)
	}
	return r
}

// table prints rows as they come, in Markdown, and keeps the totals.
type table struct {
	w     io.Writer
	file  *os.File
	clock time.Time
	began time.Time
	rows  int
	total row
}

func newTable(w io.Writer, path string) (*table, error) {
	t := &table{w: w, began: time.Now(), total: row{name: "total", actions: map[cluster.Action]int{}}}
	if path != "" {
		var err error
		if t.file, err = os.Create(path); err != nil {
			return nil, err
		}
		t.w = io.MultiWriter(w, t.file)
	}
	return t, nil
}

func (t *table) close() error {
	if t.file == nil {
		return nil
	}
	return t.file.Close()
}

func (t *table) say(format string, args ...any) { fmt.Fprintf(t.w, format, args...) }

func (t *table) begin() { t.clock = time.Now() }

// lap is the time since the last lap.
func (t *table) lap() time.Duration {
	now := time.Now()
	d := now.Sub(t.clock)
	t.clock = now
	return d
}

const columns = "| state | changes | create | update | replace | delete | adopt | fields | cluster requests: plan | apply | forge calls | planned in | applied and merged in | mismatches |\n"

const rule = "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"

// add prints a step, and below it what was not as planned.
func (t *table) add(r *row) {
	if t.rows++; t.rows == 1 {
		t.say(columns + rule)
	}
	t.print(r)
	for _, w := range r.wrong {
		fmt.Fprintln(os.Stderr, "    mismatch:", w)
	}
	sum := &t.total
	for a, n := range r.actions {
		sum.actions[a] += n
	}
	sum.changes += r.changes
	sum.fields += r.fields
	sum.planRequests += r.planRequests
	sum.applyRequests += r.applyRequests
	sum.forge += r.forge
	sum.planned += r.planned
	sum.applied += r.applied
	sum.wrong = append(sum.wrong, r.wrong...)
}

func (t *table) print(r *row) {
	t.say("| %s | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %.2f s | %.2f s | %d |\n", r.name, r.changes,
		r.actions[cluster.Create], r.actions[cluster.Update], r.actions[cluster.Replace], r.actions[cluster.Delete], r.actions[cluster.Adopt],
		r.fields, r.planRequests, r.applyRequests, r.forge, r.planned.Seconds(), r.applied.Seconds(), len(r.wrong))
}

// outcome prints the totals; mismatches make it an error.
func (t *table) outcome() error {
	t.print(&t.total)
	t.say("\n%d pulls planned, approved, applied and merged in %s\n", t.rows, time.Since(t.began).Round(time.Second))
	if n := len(t.total.wrong); n > 0 {
		return fmt.Errorf("%d mismatches between what was planned and what happened", n)
	}
	if t.rows == 0 {
		return errors.New("there was nothing to replay")
	}
	return nil
}
