package gitlab_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	gl "gitlab.com/gitlab-org/api/client-go"

	server "lockkeeper/forge/forgetest/gitlab"
	"lockkeeper/forge/people"
)

// events flushes, and lists the kinds of what arrived since the last call.
func (w *world) events() []string {
	w.t.Helper()
	w.must(w.Settle(w.ctx))
	w.mu.Lock()
	defer w.mu.Unlock()
	var kinds []string
	for _, r := range w.received {
		kind := r.header.Get("X-Gitlab-Event")
		if object, isObject := parsed(w.t, r.body).(map[string]any)["object_attributes"].(map[string]any); isObject && object["action"] != nil {
			kind += " " + object["action"].(string)
		}
		kinds = append(kinds, kind)
	}
	w.received = nil
	return kinds
}

// Every payload has the keys that are documented, and GitLab's client reads it.
func TestWebhooksAreShapedAsDocumented(t *testing.T) {
	w := newWorld(t, server.Options{})
	w.listen(func(int) int { return http.StatusOK })
	n := w.open("ann", "x")
	_, err := w.As("bob").Comment(w.ctx, shop, n, "hello")
	w.must(err)
	head, err := w.Head(w.ctx, shop, "x")
	w.must(err)
	w.must(w.As("bob").Status(w.ctx, shop, head, "build", "success"))
	w.must(w.Settle(w.ctx))
	examples := map[string]struct {
		file    string
		missing []string
	}{
		"Push Hook":          {"webhooks/push.json", nil},
		"Merge Request Hook": {"webhooks/merge_request.json", []string{"object_attributes.last_edited_at", "object_attributes.last_edited_by_id", "object_attributes.human_total_time_spent", "object_attributes.human_time_change", "object_attributes.human_time_estimate", "object_attributes.system", "object_attributes.system_action", "changes"}},
		"Note Hook":          {"webhooks/note_merge_request.json", []string{"merge_request.position", "merge_request.assignee"}},
		"Pipeline Hook":      {"webhooks/pipeline.json", []string{"builds", "object_attributes.variables", "object_attributes.stages", "source_pipeline"}},
	}
	seen := map[string]bool{}
	for _, r := range w.received {
		kind := r.header.Get("X-Gitlab-Event")
		seen[kind] = true
		like(parsed(t, r.body), example(t, examples[kind].file), examples[kind].missing, func(problem string) { t.Errorf("%s: %s", kind, problem) })
		if _, err := gl.ParseWebhook(gl.EventType(kind), r.body); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		for _, header := range []string{"Idempotency-Key", "X-Gitlab-Event-UUID", "X-Gitlab-Webhook-UUID", "X-Gitlab-Instance"} {
			if r.header.Get(header) == "" {
				t.Errorf("%s has no %s", kind, header)
			}
		}
		if r.header.Get("X-Gitlab-Token") != "hook secret" {
			t.Errorf("%s came with the token %q", kind, r.header.Get("X-Gitlab-Token"))
		}
	}
	if len(seen) != len(examples) {
		t.Errorf("arrived: %v", seen)
	}
}

func TestWhatPeopleDoIsDelivered(t *testing.T) {
	w := newWorld(t, server.Options{})
	w.listen(func(int) int { return http.StatusNoContent })
	n := w.open("ann", "x")
	bob, ann := w.As("bob"), w.As("ann")
	id, err := bob.Review(w.ctx, shop, n, "approved", "")
	w.must(err)
	w.must(bob.Dismiss(w.ctx, shop, n, id))
	_, err = ann.Push(w.ctx, shop, "x", "", people.Commit{Message: "More", Files: map[string]string{"b": "1\n"}})
	w.must(err)
	w.must(ann.Close(w.ctx, shop, n))
	w.must(ann.Reopen(w.ctx, shop, n))
	_, err = bob.Merge(w.ctx, shop, n, "squash")
	w.must(err)
	const mr = "Merge Request Hook "
	want := []string{"Push Hook", mr + "open", mr + "approved", mr + "unapproved", "Push Hook", mr + "update", mr + "close", mr + "reopen", "Push Hook", mr + "merge"}
	if got := w.events(); !slices.Equal(got, want) {
		t.Errorf("delivered %q\nwant %q", got, want)
	}
}

// GitLab stops sending to those who answer with errors, for a while.
func TestAHookThatFailsIsSwitchedOffForAWhile(t *testing.T) {
	w := newWorld(t, server.Options{})
	w.listen(func(n int) int {
		if n <= 4 {
			return http.StatusBadRequest
		}
		return http.StatusOK
	})
	n := w.open("ann", "x") // two
	say := func() {
		t.Helper()
		_, err := w.As("bob").Comment(w.ctx, shop, n, "hello")
		w.must(err)
		w.must(w.Settle(w.ctx))
	}
	w.must(w.Settle(w.ctx))
	for range 4 { // two more, and two that are not sent
		say()
	}
	if got := len(w.received); got != 4 {
		t.Errorf("%d deliveries before the hook was switched off, want 4", got)
	}
	w.Advance(2 * time.Minute)
	say()
	if got := len(w.received); got != 5 {
		t.Errorf("%d deliveries after the pause, want 5", got)
	}
	say()
	if got := len(w.received); got != 6 {
		t.Errorf("%d deliveries after one that was answered well, want 6", got)
	}
}

// Group and system hooks bring the same as a project's.
func TestGroupsAndTheSystemHaveHooksToo(t *testing.T) {
	w := newWorld(t, server.Options{})
	w.listen(func(int) int { return http.StatusOK })
	w.Server.Mu.Lock()
	p := w.Server.MustProject(shop)
	url := p.Hooks[0].URL
	p.Hooks = nil
	w.Server.AddHook(nil, w.Server.MustGroup("acme"), url, "group's", "merge_request")
	w.Server.AddHook(nil, nil, url, "system's", "merge_request", "note")
	w.Server.Mu.Unlock()
	n := w.open("ann", "x")
	_, err := w.As("bob").Comment(w.ctx, shop, n, "hello")
	w.must(err)
	if got, want := w.events(), []string{"Merge Request Hook open", "System Hook open"}; !slices.Equal(got, want) {
		t.Errorf("delivered %q, want %q", got, want)
	}
}
