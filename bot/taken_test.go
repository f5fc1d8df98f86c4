package bot_test

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"lockkeeper/bot"
	"lockkeeper/forge/people"
)

// takeOver takes the runs of a key away from this process, as a replica does
// that believes it dead, and has the key worked anew.
func (h *house) takeOver(key string) {
	h.t.Helper()
	h.take(key, fmt.Sprintf("due = %d", h.forge.Now().UnixMicro()))
}

// take takes the runs of a key away from this process and sets the rest of its
// work so.
func (h *house) take(key, set string) {
	h.t.Helper()
	db, err := sql.Open("sqlite", "file:"+h.dir+"/lockkeeper.db?_txlock=immediate&_pragma=busy_timeout(10000)")
	h.must(err)
	defer func() { h.must(db.Close()) }()
	tx, err := db.BeginTx(h.t.Context(), nil)
	h.must(err)
	_, err = tx.ExecContext(h.t.Context(), "DELETE FROM river_job WHERE state = 'running' AND args->>'key' = ?", key)
	h.must(err)
	_, err = tx.ExecContext(h.t.Context(), "UPDATE work SET run = run + 1, "+set+" WHERE key = ?", key)
	h.must(err)
	h.must(tx.Commit())
}

// A process that was stopped in the midst of an apply and goes on, though others
// have taken over since, writes no other object: what it was allowed may be
// allowed no more.
func TestApplyEndsWhenItsRunWasTakenOver(t *testing.T) {
	h := newHouse(t, build{Files: map[string]string{"deploy/b.yaml": configMap("b", "one")}})
	h.seedLive()
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two"), "deploy/z.yaml": stuck})
	h.say(reviewer, n, "/approve")
	var once sync.Once
	then := func(at bot.Step) {
		if at.Name == "apply/update" && at.Done {
			once.Do(func() {
				h.push(opener, "change", map[string]string{"deploy/b.yaml": configMap("b", "two")}) // which voids the approval
				h.takeOver(fmt.Sprintf("pull/%d/%d", h.repo.ID, n))
			})
		}
	}
	h.at.Store(&then)
	h.say(second, n, "/apply")
	if h.value("a") != "two" {
		t.Error("nothing was applied before the run was taken over")
	}
	_, err := h.kube.AppsV1().Deployments(h.ns).Get(t.Context(), "z", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("an object was written after the run was taken over: %v", err)
	}
}

// The report is as the one wrote it who took an apply over, whatever progress the
// one before still sees (threat 28).
func TestReportIsLeftAloneByARunThatWasTakenOver(t *testing.T) {
	h := newHouse(t, build{})
	h.seedLive()
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.say(reviewer, n, "/approve")
	var once sync.Once
	var shown []people.Comment
	then := func(at bot.Step) {
		if at.Name == "apply/update" && at.Done {
			once.Do(func() {
				h.until("the progress is shown", func() bool { return strings.Contains(h.sticky(n), "Applying") })
				h.take(fmt.Sprintf("pull/%d/%d", h.repo.ID, n), "done = wanted") // the other one is done with it
				h.advance(time.Minute)                                           // so that it is time to show more
				shown = h.comments(n)
			})
		}
	}
	h.at.Store(&then)
	_, err := h.as(second).Comment(t.Context(), shop, n, "/apply")
	h.must(err)
	h.until("the run is over", func() bool { return h.logged("whose work is another's") > 0 })
	if now := h.comments(n); !slices.Equal(now, shown) {
		t.Errorf("the conversation was changed from\n%+v\nto\n%+v", shown, now)
	}
}
