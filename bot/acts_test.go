package bot_test

import (
	"encoding/json"
	"regexp"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/policy"
	"lockkeeper/forge"
	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/people"
	lookalike "lockkeeper/forge/people/github"
)

// What people do in several stories.

// approve approves with a review rather than with a command.
func (h *house) approve(login string, number int) {
	h.t.Helper()
	_, err := h.as(login).Review(h.t.Context(), shop, number, forge.Approved, "")
	h.must(err)
	h.settle()
}

// land brings files to the base branch by a pull that the owner approves and
// somebody else merges: the way of changes that touch no object.
func (h *house) land(branch string, files map[string]string) {
	h.t.Helper()
	n := h.open(opener, branch, files)
	h.approve("owner", n)
	if got := h.check(h.pull(n).Head.SHA); got != "success" {
		h.t.Fatalf("check of #%d concluded %q:\n%s", n, got, h.sticky(n))
	}
	_, err := h.as(second).Merge(h.t.Context(), shop, n, "squash")
	h.must(err)
	h.settle()
}

// mergePast merges past the rules of the base branch, as administrators can: on
// some forges by lifting them.
func (h *house) mergePast(login string, number int) {
	h.t.Helper()
	_, err := h.as(login).Merge(h.t.Context(), shop, number, "squash")
	if forge.CodeOf(err) == forge.Conflict {
		h.must(h.forge.Protect(h.t.Context(), shop, "main", people.Protection{}))
		_, err = h.as(login).Merge(h.t.Context(), shop, number, "squash")
	}
	h.must(err)
	h.settle()
}

// live brings the base branch to the cluster, as the owner, with the approvals
// that the story's policy asks for.
func (h *house) live(approvers ...string) {
	h.t.Helper()
	n := h.open(opener, "seed", map[string]string{"README.md": "seed\n"})
	h.say("owner", n, "/sync "+h.ns)
	for _, a := range approvers {
		h.say(a, n, "/approve")
	}
	mustContain(h.t, h.say("owner", n, "/apply"), "🚀")
	h.must(h.as(opener).Close(h.t.Context(), shop, n))
	h.settle()
}

// refused checks that an apply is refused for these reasons, and that the
// cluster does not have what the pull would bring.
func (h *house) refused(login string, number int, unwanted string, reasons ...string) {
	h.t.Helper()
	mustContain(h.t, h.say(login, number, "/apply"), append([]string{"refused"}, reasons...)...)
	if got := h.value("a"); got == unwanted {
		h.t.Fatalf("the cluster has %q, which nobody let through", got)
	}
}

// applied checks that an apply and its merge succeed.
func (h *house) applied(login string, number int, value string) {
	h.t.Helper()
	mustContain(h.t, h.say(login, number, "/apply"), "Merged as")
	if got := h.value("a"); got != value {
		h.t.Fatalf("the cluster has %q, want %q", got, value)
	}
}

// gateFacts are the facts and the outcome of the last record of the gate.
func (h *house) gateFacts() (policy.Facts, audit.Record) {
	h.t.Helper()
	all := h.records(audit.Gate)
	if len(all) == 0 {
		h.t.Fatal("the gate left no record")
	}
	last := all[len(all)-1]
	var doc struct{ Facts policy.Facts }
	h.must(json.Unmarshal(last.Facts, &doc))
	return doc.Facts, last
}

// mergeBranch merges one branch into another, as git does on somebody's desk.
func (h *house) mergeBranch(login, into, other string) {
	h.t.Helper()
	ctx := h.t.Context()
	local := &bare.Repo{Dir: h.clone()}
	who := bare.Person{Name: login, Email: login + "@example.com", When: h.forge.Now()}
	sha, err := local.Merge(ctx, h.head(into), h.head(other), "Merge "+other, who, who)
	h.must(err)
	h.must(h.pushFrom(login, local.Dir, sha+":refs/heads/"+into))
}

// pushAs commits to a branch what somebody else is named for.
func (h *house) pushAs(login, branch string, c people.Commit) {
	h.t.Helper()
	c.Files = map[string]string{"deploy/" + branch + ".yaml": h.in(configMap(branch, c.Message[:3]))}
	_, err := h.as(login).Push(h.t.Context(), shop, branch, "main", c)
	h.must(err)
}

// update brings the base branch into a pull, as the forge's button does where
// there is one.
func (h *house) update(login string, number int) {
	h.t.Helper()
	if l, is := h.forge.(*lookalike.Forge); is {
		_, err := l.Server.As(login).UpdateBranch(h.t.Context(), shop, number)
		h.must(err)
	} else {
		h.mergeBranch(login, h.pull(number).Head.Ref, "main")
	}
	h.settle()
}

var digests = regexp.MustCompile("digest `([0-9a-f]{8})`")

// digest is what the report calls the plan.
func (h *house) digest(number int) string {
	h.t.Helper()
	m := digests.FindStringSubmatch(h.sticky(number))
	if m == nil {
		h.t.Fatalf("the report names no digest:\n%s", h.sticky(number))
	}
	return m[1]
}
