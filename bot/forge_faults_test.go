package bot_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/config"
	"lockkeeper/forge"
	"lockkeeper/forge/forgetest"
)

// asksLockkeeper tells the bot's requests from those of people.
func asksLockkeeper(r *http.Request) bool {
	return r.UserAgent() == "lockkeeper-test" || strings.Contains(r.URL.RawQuery+r.URL.Path, "git-upload-pack")
}

// reacts tells the requests that put a reaction on a comment.
func reacts(r *http.Request) bool {
	return strings.HasSuffix(r.URL.Path, "/reactions") || strings.HasSuffix(r.URL.Path, "/award_emoji")
}

var numbers = regexp.MustCompile(`[0-9a-f]{40}|[0-9]+`)

// onceEach breaks the first request to every route, and tells which it broke.
func onceEach(fault forgetest.Fault, skip ...string) (func(*http.Request) *forgetest.Fault, func() []string) {
	var mu sync.Mutex
	seen := map[string]bool{}
	var broken []string
	return func(r *http.Request) *forgetest.Fault {
			route := r.Method + " " + numbers.ReplaceAllString(r.URL.Path, "N")
			mu.Lock()
			defer mu.Unlock()
			if !asksLockkeeper(r) || seen[route] || fault.After && r.Method == http.MethodGet {
				return nil
			}
			for _, s := range skip {
				if strings.HasSuffix(route, s) || strings.Contains(route, s+"/") {
					return nil
				}
			}
			seen[route] = true
			broken = append(broken, route)
			return &fault
		}, func() []string {
			mu.Lock()
			defer mu.Unlock()
			return broken
		}
}

// recover is settle while work fails: time goes on until all of it is done.
func (h *house) recover() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 10*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		h.must(h.forge.Settle(ctx))
		n, err := h.store.Waiting(ctx)
		h.must(err)
		if n == 0 {
			h.settle()
			return
		}
		h.advance(5 * time.Second)
		// Planning anything has the store look at the clock.
		h.must(h.store.WantAt(ctx, fmt.Sprintf("sweep/%d", h.server.Repositories[0].ID), h.forge.Now().Add(1000*time.Hour)))
		select {
		case <-ctx.Done():
			h.t.Fatal("the work does not end")
		case <-tick.C:
		}
	}
}

// replies counts the replies to a comment.
func (h *house) replies(n int, id int64) int {
	h.t.Helper()
	return strings.Count(h.replyTo(n, id), "<!-- lockkeeper:reply/")
}

// TestEveryForgeRequestMayFailOnce takes a pull from its opening to its merge
// while the first request to every route of the forge is answered badly, or is
// carried out with its answer lost. It ends as if nothing had been: one report,
// one reply to each command, one apply.
func TestEveryForgeRequestMayFailOnce(t *testing.T) {
	h := newHouse(t, build{RealTime: true})
	for i, row := range []struct {
		name  string
		fault forgetest.Fault
		// skip are routes where this answer has a meaning of its own.
		skip []string
	}{
		{name: "401", fault: forgetest.Fault{Status: 401, Message: "Bad credentials"}},
		{name: "403", fault: forgetest.Fault{Status: 403, Message: "Resource not accessible by integration"}, skip: []string{"/merge", "/rules"}},
		{name: "404", fault: forgetest.Fault{Status: 404}, skip: []string{"/permission", "/merge", "/rules", "/members/all"}},
		{name: "422", fault: forgetest.Fault{Status: 422, Message: "Validation Failed"}, skip: []string{"/merge"}},
		{name: "429", fault: forgetest.Fault{Status: 429, Header: http.Header{"Retry-After": {"1"}}}},
		{name: "500", fault: forgetest.Fault{Status: 500}},
		{name: "cut", fault: forgetest.Fault{Cut: true}},
		{name: "lost answer", fault: forgetest.Fault{Cut: true, After: true}},
		{name: "502 after the act", fault: forgetest.Fault{Status: 502, After: true}},
	} {
		began := time.Now()
		value := fmt.Sprint("value-", i)
		branch := fmt.Sprint("change-", i)
		h.push(opener, branch, map[string]string{"deploy/a.yaml": configMap("a", value)})
		h.settle()
		starts := len(h.records(audit.ApplyStart))
		fail, broken := onceEach(row.fault, row.skip...)
		h.fail(fail)
		n, err := h.as(opener).OpenPull(t.Context(), shop, "main", branch, "Change", "")
		h.must(err)
		h.recover()
		mustContain(t, h.sticky(n), "not yet allowed")
		approve, err := h.as(reviewer).Comment(t.Context(), shop, n, "/approve")
		h.must(err)
		h.recover()
		apply, err := h.as(second).Comment(t.Context(), shop, n, "/apply")
		h.must(err)
		h.recover()
		h.fail(nil)
		t.Logf("%s: %d routes broken in %s", row.name, len(broken()), time.Since(began).Round(time.Second))
		expect(t, row.name, h.replyTo(n, approve), "approved")
		expect(t, row.name, h.replyTo(n, apply), "🚀", "Merged as")
		expect(t, row.name, h.sticky(n), "Applied and merged")
		if h.replies(n, approve) != 1 || h.replies(n, apply) != 1 || len(h.comments(n)) != 5 {
			t.Errorf("%s: %d and %d replies, %d comments in all", row.name, h.replies(n, approve), h.replies(n, apply), len(h.comments(n)))
		}
		if got := h.value("a"); got != value || !h.pull(n).Merged {
			t.Errorf("%s: a is %q, merged %t", row.name, got, h.pull(n).Merged)
		}
		if got := h.check(h.pull(n).Head.SHA); got != "success" {
			t.Errorf("%s: check concluded %q", row.name, got)
		}
		ops, err := h.store.Operations(t.Context(), h.server.Repositories[0].ID, n)
		h.must(err)
		if len(ops) != 1 || ops[0].State != "succeeded" {
			t.Errorf("%s: operations %+v (%d starts)", row.name, ops, len(h.records(audit.ApplyStart))-starts)
		}
		leases, err := h.store.Leases(t.Context())
		h.must(err)
		if len(leases) > 0 {
			t.Errorf("%s: leases are left: %+v", row.name, leases)
		}
		if t.Failed() {
			t.Fatalf("%s broke %s", row.name, strings.Join(broken(), "\n"))
		}
	}
	h.chain()
}

// TestLostWebhooksAreMadeUpForBySweeping (threat 15): without any webhook, the
// sweep brings each pull to where it should be.
func TestLostWebhooksAreMadeUpForBySweeping(t *testing.T) {
	h := newHouse(t, build{})
	h.hub(bent).SetDelivery(forgetest.DeliveryMode{Drop: func(forgetest.Delivery) bool { return true }})
	sweep := func() {
		t.Helper()
		h.must(h.bot.WantAll(t.Context()))
		h.settle()
	}
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	if got := len(h.comments(n)); got != 0 {
		t.Fatalf("%d comments although no webhook came", got)
	}
	sweep()
	mustContain(t, h.sticky(n), "not yet allowed")
	_, err := h.as(reviewer).Review(t.Context(), shop, n, forge.Approved, "")
	h.must(err)
	id, err := h.as(second).Comment(t.Context(), shop, n, "/apply")
	h.must(err)
	sweep()
	sweep()
	mustContain(t, h.replyTo(n, id), "Merged as")
	if h.replies(n, id) != 1 || len(h.records(audit.ApplyStart)) != 1 {
		t.Errorf("%d replies, %d applies", h.replies(n, id), len(h.records(audit.ApplyStart)))
	}
	h.chain()
}

// TestCommandIsCarriedOutWhenTheProcessStopsRightAfterTakingItUp: SIGTERM comes
// between the claim of a command and what it asks for.
func TestCommandIsCarriedOutWhenTheProcessStopsRightAfterTakingItUp(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.say(reviewer, n, "/approve")
	stop := h.cancel
	reached := make(chan struct{})
	var once sync.Once
	h.fail(func(r *http.Request) *forgetest.Fault {
		if !asksLockkeeper(r) || !reacts(r) {
			return nil
		}
		once.Do(func() { stop(); close(reached) })
		return &forgetest.Fault{Cut: true}
	})
	id, err := h.as(second).Comment(t.Context(), shop, n, "/apply")
	h.must(err)
	<-reached
	h.stop()
	if got := h.replyTo(n, id); got != "" {
		t.Fatalf("the command was answered before the stop: %s", got)
	}
	h.fail(nil)
	h.start()
	h.must(h.bot.WantAll(t.Context()))
	h.recover()
	mustContain(t, h.replyTo(n, id), "Merged as")
	if h.replies(n, id) != 1 || len(h.records(audit.ApplyEnd)) != 1 {
		t.Errorf("%d replies, %d applies", h.replies(n, id), len(h.records(audit.ApplyEnd)))
	}
	h.chain()
}

// TestOnlyPlainLinesOfPeopleAreCommands (threat 22): what is quoted, shown as
// code, hidden, or said by a bot does nothing; two commands in one comment are
// two commands.
func TestOnlyPlainLinesOfPeopleAreCommands(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	for _, body := range []string{
		"```\n/apply\n```", "    /apply\n", "> /apply\n", "<!-- /apply -->", "see `/apply` there", "- /apply", "<details>\n/apply\n</details>",
	} {
		if got := h.say(second, n, body); strings.Contains(got, "refused") || strings.Contains(got, "🚀") {
			t.Errorf("%q was taken for a command:\n%s", body, got)
		}
	}
	// The bot's own words, said by the bot's own account, are never a command.
	for _, c := range h.comments(n) {
		if c.Author == h.login && h.replies(n, c.ID) > 0 {
			t.Errorf("the bot answered itself: %s", c.Body)
		}
	}
	got := h.say(reviewer, n, "Looks good.\n\n/approve\n\n/hold until noon")
	mustContain(t, got, "approved", "held", "until noon")
	if strings.Count(got, "<!-- lockkeeper:reply/") != 2 {
		t.Errorf("two commands got these replies:\n%s", got)
	}
	h.nothingWritten("no command")
	h.chain()
}

// TestReportComesBackAfterItWasDeletedAndThePullAfterItWasClosed.
func TestReportComesBackAfterItWasDeletedAndThePullAfterItWasClosed(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.say(reviewer, n, "/approve")
	var report int64
	for _, c := range h.comments(n) {
		if strings.HasPrefix(c.Body, "<!-- lockkeeper:pull/") {
			report = c.ID
		}
	}
	h.must(h.as("owner").DeleteComment(t.Context(), shop, n, report))
	if h.forge.Kind() == config.OnGitLab { // which tells nobody of it
		h.sweep()
	}
	h.settle()
	mustContain(t, h.sticky(n), "ready for `/apply`")

	h.must(h.as(opener).Close(t.Context(), shop, n))
	h.settle()
	mustContain(t, h.sticky(n), "losed")
	mustContain(t, h.say(second, n, "/apply"), "refused", "closed")
	h.must(h.as(opener).Reopen(t.Context(), shop, n))
	h.settle()
	mustContain(t, h.sticky(n), "ready for `/apply`")
	h.nothingWritten("closed")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	h.chain()
}
