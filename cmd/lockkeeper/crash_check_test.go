package main

import (
	"fmt"
	"slices"
	"strings"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/command"
	"lockkeeper/bot/store"
	"lockkeeper/forge"
	"lockkeeper/forge/people"
)

// nothingLost checks what holds after a story, wherever the bot died: nothing is
// left to do, every command has one outcome, one reply and one record, every
// operation one start and one end, nothing was said twice, nothing is held that
// nobody holds, and the audit trail is whole. held are the pulls that hold
// targets still.
func (h *crashHouse) nothingLost(held ...int) {
	h.t.Helper()
	ctx := h.t.Context()
	if n, err := h.store.Waiting(ctx); err != nil || n > 0 {
		h.t.Errorf("%d keys have work left: %v", n, err)
	}
	if running, err := h.store.RunningOperations(ctx); err != nil || len(running) > 0 {
		h.t.Errorf("operations that nobody carries out: %+v, %v", running, err)
	}
	leases, err := h.store.Leases(ctx)
	h.must(err)
	for _, l := range leases {
		if !strings.HasPrefix(l.Key, "target/") {
			continue // who watches the cluster
		}
		if !slices.ContainsFunc(held, func(n int) bool { return l.Holder == fmt.Sprintf("pull/%d/%d", h.repo, n) }) {
			h.t.Errorf("a stale lease: %+v", l)
		}
	}
	records, err := h.store.Records(ctx, store.Filter{})
	h.must(err)
	if _, err := audit.Verify(audit.Genesis, records); err != nil {
		h.t.Errorf("the audit trail is broken: %v", err)
	}
	h.operationsEnded(records)
	for _, p := range h.pulls() {
		h.commandsEnded(p.Number, records)
		h.saidOnce(p.Number)
	}
	h.openedOnce()
	if h.t.Failed() {
		for _, r := range records {
			h.t.Logf("%d %s #%d %s %s: %s", r.Seq, r.Type, r.Pull, r.Operation, r.Outcome, r.Reason)
		}
	}
}

func (h *crashHouse) operationsEnded(records []audit.Record) {
	h.t.Helper()
	starts, ends, merges := map[string]int{}, map[string]int{}, map[string]int{}
	for _, r := range records {
		switch {
		case r.Type == audit.ApplyStart:
			starts[r.Operation]++
		case r.Type == audit.ApplyEnd:
			ends[r.Operation]++
		case r.Type == audit.Merge:
			merges[fmt.Sprintf("#%d", r.Pull)]++
		}
	}
	for id, n := range starts {
		if n != 1 || ends[id] != 1 {
			h.t.Errorf("operation %s has %d records of its start and %d of its end", id, n, ends[id])
		}
	}
	for id := range ends {
		if starts[id] == 0 {
			h.t.Errorf("operation %s ended and never began", id)
		}
	}
	for pull, n := range merges {
		if n != 1 {
			h.t.Errorf("%d records of the merge of %s", n, pull)
		}
	}
}

// commandsEnded looks at all that people said on a pull.
func (h *crashHouse) commandsEnded(number int, records []audit.Record) {
	h.t.Helper()
	known, err := h.store.Commands(h.t.Context(), h.repo, number)
	h.must(err)
	comments := h.comments(number)
	for _, c := range comments {
		if c.Author == h.bot() {
			continue
		}
		for i, p := range command.Parse(c.Body) {
			at := slices.IndexFunc(known, func(k store.Command) bool { return k.CommentID == c.ID && k.Index == i })
			if at < 0 || known[at].Finished.IsZero() {
				h.t.Errorf("%q of %s on #%d was lost", p.Line, c.Author, number)
				continue
			}
			replies := count(comments, fmt.Sprintf("<!-- lockkeeper:reply/%d/%d ", c.ID, i))
			told := 0
			for _, r := range records {
				if r.CommentID == c.ID && (r.Type == audit.Command || r.Type == audit.Refusal) && strings.HasPrefix(r.Reason, p.Line) {
					told++
				}
			}
			if replies != 1 || told != 1 {
				h.t.Errorf("%q of %s on #%d has %d replies and %d records of its end", p.Line, c.Author, number, replies, told)
			}
		}
	}
}

func count(comments []people.Comment, prefix string) int {
	n := 0
	for _, c := range comments {
		if strings.HasPrefix(c.Body, prefix) {
			n++
		}
	}
	return n
}

// saidOnce: there is one report, one check, and no remark twice.
func (h *crashHouse) saidOnce(number int) {
	h.t.Helper()
	seen := map[string]int{}
	for _, c := range h.comments(number) {
		marker, _, found := strings.Cut(c.Body, "-->")
		if c.Author != h.bot() || !found {
			continue
		}
		if strings.Contains(marker, "lockkeeper:remark/") {
			marker = c.Body // it may remark on several things
		}
		if seen[marker]++; seen[marker] > 1 {
			h.t.Errorf("said twice on #%d: %s", number, c.Body)
		}
	}
	checks, err := h.as("ann").Checks(h.lasting(), shop, h.pull(number).HeadSHA)
	h.must(err)
	if len(checks) > 1 {
		h.t.Errorf("checks on the head of #%d: %+v", number, checks)
	}
}

// openedOnce: the bot has one open pull a branch, and one open issue a matter.
func (h *crashHouse) openedOnce() {
	h.t.Helper()
	seen := map[string]int{}
	for _, p := range h.pulls() {
		if p.Author == h.bot() && p.State == forge.Open {
			seen["the branch "+p.Head]++
		}
	}
	for _, i := range h.issues(forge.Open) {
		marker, _, _ := strings.Cut(i.Body, "-->")
		seen["the issue "+marker]++
	}
	for what, n := range seen {
		if n != 1 {
			h.t.Errorf("%s is open %d times", what, n)
		}
	}
}

// issues are the bot's in one of these states.
func (h *crashHouse) issues(states ...forge.PullState) []people.Issue {
	h.t.Helper()
	all, err := h.as("ann").Issues(h.lasting(), shop)
	h.must(err)
	return slices.DeleteFunc(all, func(i people.Issue) bool { return !slices.Contains(states, i.State) || i.Author != h.bot() })
}
