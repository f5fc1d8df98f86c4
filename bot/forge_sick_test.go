package bot_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/people"
)

// logged counts the lines of the bot's log that say something.
func (h *house) logged(what string) int {
	return strings.Count(h.said.String(), what)
}

// pass lets time go by while work may fail for good.
func (h *house) pass(d time.Duration) {
	h.t.Helper()
	const step = time.Minute
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range d / step {
		h.advance(step)
		// Planning anything has the store look at the clock.
		h.must(h.store.WantAt(h.t.Context(), "sweep/0", h.forge.Now().Add(1000*time.Hour)))
		<-tick.C
	}
}

// botCalls are the requests of the bot since the last ForgetCalls, reads apart.
func (h *house) botCalls() (reads int, writes []string) {
	for _, c := range h.hub(counted).Calls(h.login, h.app().Slug) {
		if c.Method == http.MethodGet {
			reads++
		} else if !strings.HasSuffix(c.Path, "/access_tokens") {
			writes = append(writes, c.String())
		}
	}
	return reads, writes
}

// TestCommandsOfAnOutageAreRunOrAnswered (threat 15): the bot is away for hours.
// What people said lately is done, what they said long before is answered with
// "please repeat", and webhooks that no sweep replaces are had again.
func TestCommandsOfAnOutageAreRunOrAnswered(t *testing.T) {
	h := newHouse(t, build{})
	merged := h.open(opener, "first", map[string]string{"deploy/a.yaml": configMap("a", "first")})
	h.say(reviewer, merged, "/approve")
	mustContain(t, h.say(second, merged, "/apply"), "Merged as")
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	old := h.open(opener, "old", map[string]string{"deploy/b.yaml": configMap("b", "two")})
	h.stop()
	comment := func(login string, number int, body string) int64 {
		t.Helper()
		id, err := h.as(login).Comment(t.Context(), shop, number, body)
		h.must(err)
		return id
	}
	late := comment(reviewer, old, "/approve")
	h.advance(4 * time.Hour)
	approve, apply := comment(reviewer, n, "/approve"), comment(second, n, "/apply")
	onMerged := comment(second, merged, "/help") // no sweep looks at a pull that is over
	unseen, err := h.as(opener).Push(t.Context(), shop, "new", "main", people.Commit{Message: "new", Files: map[string]string{"deploy/c.yaml": h.in(configMap("c", "one"))}})
	h.must(err)
	fresh, err := h.as(opener).OpenPull(t.Context(), shop, "main", "new", "New", "")
	h.must(err)
	h.must(h.hub(bent).Flush(t.Context())) // nobody is there
	h.advance(30 * time.Minute)
	before := len(h.hub(bent).Deliveries())
	h.start()
	h.must(h.bot.WantAll(t.Context()))
	h.settle()

	expect(t, "recent", h.replyTo(n, approve), "approved")
	expect(t, "recent", h.replyTo(n, apply), "Merged as")
	expect(t, "old", h.replyTo(old, late), "epeat")
	expect(t, "on a merged pull", h.replyTo(merged, onMerged), "/apply")
	mustContain(t, h.sticky(fresh), "not yet allowed")
	mustContain(t, h.sticky(old), "not yet allowed")
	if h.value("a") != "two" || h.check(unseen) == "missing" {
		t.Errorf("a is %q, the check on the new pull %q", h.value("a"), h.check(unseen))
	}
	for id, number := range map[int64]int{approve: n, apply: n, late: old, onMerged: merged} {
		if h.replies(number, id) != 1 {
			t.Errorf("%d replies to comment %d", h.replies(number, id), id)
		}
	}
	var again []string
	for _, d := range h.hub(bent).Deliveries()[before:] {
		if d.Redelivery {
			again = append(again, d.GUID)
		}
	}
	all := len(again)
	slices.Sort(again)
	if all == 0 || len(slices.Compact(again)) != all {
		t.Errorf("%d deliveries were sent again, %d different ones", all, len(slices.Compact(again)))
	}
	// All arrived: a restart asks for nothing more.
	h.stop()
	h.start()
	before = len(h.hub(bent).Deliveries())
	h.must(h.bot.WantAll(t.Context()))
	h.settle()
	for _, d := range h.hub(bent).Deliveries()[before:] {
		if d.Redelivery {
			t.Errorf("%s %s was sent again although it had arrived", d.Event, d.GUID)
		}
	}
	if len(h.records(audit.ApplyStart)) != 2 {
		t.Errorf("%d applies", len(h.records(audit.ApplyStart)))
	}
	h.chain()
}

// TestDeliveryThatAlwaysFailsIsGivenUp: five attempts, over hours, and only of
// what concerns the operator's repositories.
func TestDeliveryThatAlwaysFailsIsGivenUp(t *testing.T) {
	h := newHouse(t, build{})
	h.settle()
	h.hub(bent).SetDelivery(forgetest.DeliveryMode{Drop: func(d forgetest.Delivery) bool { return d.Event == "issue_comment" }})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	_, err := h.as(second).Comment(t.Context(), shop, n, "hello")
	h.must(err)
	h.settle()
	for range 8 {
		h.must(h.bot.WantAll(t.Context()))
		h.settle()
		h.advance(time.Hour)
	}
	attempts := map[string]int{}
	for _, d := range h.hub(bent).Deliveries() {
		if d.Event == "issue_comment" {
			attempts[d.GUID]++
		}
	}
	for guid, n := range attempts {
		if n != 5 {
			t.Errorf("delivery %s was tried %d times, want 5", guid, n)
		}
	}
	if len(attempts) == 0 {
		t.Error("nothing was lost")
	}
}

// TestRepositoryIsFollowedWhereverItGoes: a repository is renamed, transferred,
// given another default branch, archived; the App is taken off it and put back,
// its tokens revoked. The server file keeps the old name, and the number decides.
func TestRepositoryIsFollowedWhereverItGoes(t *testing.T) {
	h := newHouse(t, build{})
	var pulls []int
	for i := range 5 {
		name := string(rune('b' + i))
		pulls = append(pulls, h.open(opener, "change-"+name, map[string]string{"deploy/" + name + ".yaml": configMap(name, "new")}))
	}
	apply := func(what string, i int) {
		t.Helper()
		n, name := pulls[i], string(rune('b'+i))
		mustContain(t, h.unsettled(reviewer, n, "/approve"), "approved")
		mustContain(t, h.unsettled(second, n, "/apply"), "Merged as")
		// The report, two commands and their replies; one more command came while
		// nobody listened to the last pull.
		if h.value(name) != "new" || len(h.comments(n)) < 5 || len(h.comments(n)) > 7 {
			t.Errorf("%s: %s is %q, %d comments", what, name, h.value(name), len(h.comments(n)))
		}
	}
	owner := "acme"
	t.Cleanup(func() { // what is looked at after the story goes by the name
		if owner != "acme" {
			h.hub(fates).TransferRepo(owner+"/store", "acme")
		}
		h.hub(fates).RenameRepo("acme/store", "shop")
	})
	h.hub(fates).RenameRepo(shop, "store")
	apply("renamed", 0)
	if n := h.logged("another name now"); n != 1 {
		t.Errorf("the log tells of the new name %d times", n)
	}

	h.hub(fates).AddOrg("umbrella", "owner")
	for _, login := range []string{opener, reviewer, second} {
		h.hub(fates).AddMember("umbrella", login) // else they are outsiders now
	}
	h.hub(programs).Install(h.app(), "umbrella")
	h.hub(fates).TransferRepo("acme/store", "umbrella")
	owner = "umbrella"
	apply("transferred", 1)

	h.must(h.as("owner").CreateBranch(t.Context(), "umbrella/store", "trunk", "main"))
	h.hub(fates).SetDefaultBranch("umbrella/store", "trunk")
	h.recover()
	h.must(h.as(opener).Retarget(t.Context(), "umbrella/store", pulls[2], "trunk"))
	h.recover()
	mustContain(t, h.unsettled(reviewer, pulls[2], "/approve"), "approved")
	if got := h.unsettled(reviewer, pulls[3], "/approve"); got != "" {
		t.Errorf("a pull against what is no longer a base branch of ours is answered: %s", got)
	}
	h.hub(fates).SetDefaultBranch("umbrella/store", "main")

	h.hub(fates).ArchiveRepo("umbrella/store")
	h.recover()
	h.hub(counted).ForgetCalls()
	for range 5 {
		h.advance(time.Hour)
		h.must(h.bot.WantAll(t.Context()))
		h.recover()
	}
	if reads, writes := h.botCalls(); len(writes) > 0 || reads > 60 {
		t.Errorf("archived: %d reads, writes %v", reads, writes)
	}
	if n := h.logged("is archived: it is left alone"); n != 1 {
		t.Errorf("the log tells of the archive %d times", n)
	}
	h.hub(fates).UnarchiveRepo("umbrella/store") // a webhook tells
	h.recover()
	apply("unarchived", 3)

	h.hub(programs).Revoke(h.login)
	mustContain(t, h.unsettled(reviewer, pulls[4], "/hold"), "held")

	h.hub(programs).Uninstall(h.app(), "umbrella")
	h.hub(counted).ForgetCalls()
	h.must(h.bot.WantAll(t.Context()))
	h.pass(3 * time.Hour)
	told := h.logged("a repository cannot be reached")
	if reads, writes := h.botCalls(); len(writes) > 0 || reads > 3*180+20 || told < 1 || told > 4 {
		t.Errorf("uninstalled for three hours: %d reads, writes %v, %d lines in the log", reads, writes, told)
	}
	h.hub(programs).Install(h.app(), "umbrella")
	h.recover()
	mustContain(t, h.unsettled(reviewer, pulls[4], "/unhold"), "lifted")
	mustContain(t, h.unsettled(reviewer, pulls[4], "/approve"), "approved")
	h.chain()
}

// unsettled is say where work may fail on the way.
func (h *house) unsettled(login string, number int, body string) string {
	h.t.Helper()
	id, err := h.as(login).Comment(h.t.Context(), shop, number, body)
	h.must(err)
	h.recover()
	return h.replyTo(number, id)
}

// TestWhatWasSaidTwiceIsThereOnce: a holder that stalled may get one more comment
// out. The older of two with one marker stays, whichever the bot remembers, and
// nobody else's comment goes.
func TestWhatWasSaidTwiceIsThereOnce(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	id, err := h.as(reviewer).Comment(t.Context(), shop, n, "/approve")
	h.must(err)
	h.settle()
	ours := h.hub(programs).AsApp(h.app(), shop)
	before := h.comments(n)
	for _, c := range before {
		if c.Author == h.login {
			_, err := ours.Comment(t.Context(), shop, n, c.Body)
			h.must(err)
		}
	}
	forged, err := h.as(outsider).Comment(t.Context(), shop, n, before[0].Body)
	h.must(err)
	h.settle()
	after := h.comments(n)
	var want, got []int64
	for _, c := range before {
		want = append(want, c.ID)
	}
	for _, c := range after {
		got = append(got, c.ID)
	}
	if want = append(want, forged); !slices.Equal(got, want) || h.replies(n, id) != 1 {
		t.Errorf("comments %v, want %v", got, want)
	}
	// The memory knows the younger: the older one is taken up and written anew.
	body := fmt.Sprintf("<!-- lockkeeper:pull/%d/%d part=1 -->\nstale", h.server.Repositories[0].ID, n)
	h.stop()
	h.must(ours.EditComment(t.Context(), shop, before[0].ID, body))
	h.start()
	h.must(h.bot.WantAll(t.Context()))
	h.settle()
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	if report := h.comments(n)[0]; report.ID != before[0].ID || strings.Contains(report.Body, "stale") {
		t.Errorf("the report is comment %d: %s", report.ID, report.Body)
	}
	h.chain()
}

// TestSpentLimitIsWaitedForWithoutARequest: the forge grants nothing more this
// hour. Work is put off, not slept on, and asks for nothing until then.
func TestSpentLimitIsWaitedForWithoutARequest(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.fail(func(r *http.Request) *forgetest.Fault {
		if !asksLockkeeper(r) || strings.Contains(r.URL.Path, ".git/") {
			return nil
		}
		return &forgetest.Fault{Status: 403, Message: "API rate limit exceeded", Header: http.Header{
			"X-Ratelimit-Limit": {"5000"}, "X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {fmt.Sprint(time.Now().Add(time.Hour).Unix())}}}
	})
	ids := []int64{}
	say := func(login, body string) {
		t.Helper()
		id, err := h.as(login).Comment(t.Context(), shop, n, body)
		h.must(err)
		ids = append(ids, id)
		h.must(h.hub(bent).Flush(t.Context()))
	}
	say(reviewer, "/approve")
	h.until("work is put off", func() bool { return h.logged("the forge asks to slow down") > 0 })
	h.must(h.bot.WantAll(t.Context()))
	h.pass(5 * time.Minute)
	h.hub(counted).ForgetCalls()
	say(second, "/apply")
	h.must(h.bot.WantAll(t.Context()))
	h.pass(45 * time.Minute)
	if reads, writes := h.botCalls(); reads+len(writes) > 0 {
		t.Errorf("while nothing is granted: %d reads, writes %v", reads, writes)
	}
	h.fail(nil)
	h.pass(15 * time.Minute)
	h.recover()
	expect(t, "approve", h.replyTo(n, ids[0]), "approved")
	expect(t, "apply", h.replyTo(n, ids[1]), "Merged as")
	if h.replies(n, ids[0]) != 1 || h.replies(n, ids[1]) != 1 || len(h.comments(n)) != 5 {
		t.Errorf("%d comments", len(h.comments(n)))
	}
	h.chain()
}

// TestSweepsLeaveTheLastCallsToPeople: little is left of what the forge grants.
// What nobody waits for is put off, and a person is answered at once.
func TestSweepsLeaveTheLastCallsToPeople(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.grants(52)
	h.say(second, n, "/help") // the bot hears of it
	h.must(h.bot.WantAll(t.Context()))
	h.until("work is put off", func() bool { return h.logged("are kept for people") > 0 })
	id, err := h.as(reviewer).Comment(t.Context(), shop, n, "/approve")
	h.must(err)
	h.until("a person is answered", func() bool { return h.answered(n, id) })
	h.grants(5000)
	expect(t, "approve", h.replyTo(n, id), "approved")
	h.pass(62 * time.Minute)
	h.recover()
}
