package bot_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"lockkeeper/bot/store"
)

// grants has the forge grant so many calls more than were made until now, and
// tells by the next answers. Whoever is granted fewer than a hundred in all keeps
// half of them for people, so that a hundred count as made before.
func (h *house) grants(more int) {
	s := h.hub(counted)
	s.Mu.Lock()
	defer s.Mu.Unlock()
	most := 0
	for who := range s.Used {
		s.Used[who] += 100
		most = max(most, s.Used[who])
	}
	s.Opt.RateLimit = most + more
}

// answered reports whether a command has its outcome. The forge, which grants
// little to people too, is not asked.
func (h *house) answered(number int, comment int64) bool {
	h.t.Helper()
	all, err := h.store.Commands(h.t.Context(), h.server.Repositories[0].ID, number)
	h.must(err)
	return slices.ContainsFunc(all, func(c store.Command) bool { return c.CommentID == comment && !c.Finished.IsZero() })
}

// TestPullThatWasPutOffIsThereForPeople: little is left of what the forge grants
// when the base branch moves. That the open pulls are planned again can wait; as
// soon as somebody speaks on one of them, it does not.
func TestPullThatWasPutOffIsThereForPeople(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.grants(52)
	h.push(second, "main", map[string]string{"README.md": "moved\n"})
	h.until("the pull is put off", func() bool {
		for line := range strings.Lines(h.said.String()) {
			if strings.Contains(line, "are kept for people") && strings.Contains(line, "key=pull/") {
				return true
			}
		}
		return false
	})
	id, err := h.as(reviewer).Comment(t.Context(), shop, n, "/approve")
	h.must(err)
	h.until("a person is answered", func() bool { return h.answered(n, id) })
	h.grants(5000)
	expect(t, "approve", h.replyTo(n, id), "approved")
	h.pass(62 * time.Minute)
	h.recover()
	h.chain()
}
