package forgetest_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"lockkeeper/forge/forgetest"
)

func TestDeliveriesAreSignedAndNamed(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	w.pull("ann", "feature", map[string]string{"a": "a"})
	w.must(w.Flush(w.ctx))
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := map[string]bool{}
	for _, r := range w.received {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(r.body)
		if want := "sha256=" + hex.EncodeToString(mac.Sum(nil)); r.header.Get("X-Hub-Signature-256") != want {
			t.Errorf("%s: signature %q, want %q", r.event, r.header.Get("X-Hub-Signature-256"), want)
		}
		guid := r.header.Get("X-GitHub-Delivery")
		if len(guid) != 36 || seen[guid] {
			t.Errorf("%s: delivery id %q", r.event, guid)
		}
		seen[guid] = true
		if !strings.Contains(string(r.body), `"installation":{`) {
			t.Errorf("%s does not name its installation", r.event)
		}
	}
	if len(seen) == 0 {
		t.Error("nothing was delivered")
	}
}

func TestDeliveriesCanBeLostDoubledAndShuffled(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	n := w.pull("ann", "feature", map[string]string{"a": "a"})
	w.events()
	comment := func() {
		_, err := w.As("ann").Comment(w.ctx, shop, n, "x")
		w.must(err)
	}
	w.SetDelivery(forgetest.DeliveryMode{Drop: func(d forgetest.Delivery) bool { return d.Event == "issue_comment" }})
	comment()
	if got := w.events(); len(got) != 0 {
		t.Errorf("dropped deliveries arrived: %q", got)
	}
	all := w.Deliveries()
	lost := all[len(all)-1]
	if !lost.Dropped {
		t.Errorf("the last delivery is not marked as dropped: %+v", lost)
	}
	w.SetDelivery(forgetest.DeliveryMode{Copies: 2})
	comment()
	if got := w.events(); len(got) != 2 {
		t.Errorf("doubled: %q, want two", got)
	}
	w.SetDelivery(forgetest.DeliveryMode{})
	w.must(w.Redeliver(lost.ID))
	w.must(w.Flush(w.ctx))
	w.mu.Lock()
	again := w.received[0].header.Get("X-GitHub-Delivery")
	w.received = nil
	w.mu.Unlock()
	if again != lost.GUID {
		t.Errorf("redelivered as %s, want %s", again, lost.GUID)
	}
	w.SetDelivery(forgetest.DeliveryMode{Hold: true, Shuffle: 7})
	for range 3 {
		comment()
		_, err := w.As("bob").Review(w.ctx, shop, n, "COMMENT", "y")
		w.must(err)
	}
	got := w.events()
	straight := []string{"issue_comment created", "pull_request_review submitted"}
	if want := slices.Repeat(straight, 3); slices.Equal(got, want) || len(got) != len(want) {
		t.Errorf("shuffled: %q", got)
	}
}

func TestBotsOwnActsAreDeliveredToo(t *testing.T) {
	w := newWorld(t, forgetest.Options{})
	n := w.pull("ann", "feature", map[string]string{"a": "a"})
	w.events()
	_, err := w.bot().Comment(w.ctx, shop, n, "plan")
	w.must(err)
	if got := w.events(); !slices.Equal(got, []string{"issue_comment created"}) {
		t.Errorf("events: %q", got)
	}
}
