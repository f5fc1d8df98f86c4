package github

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lockkeeper/forge"
	"lockkeeper/forge/forgetest"
)

// TestFailedDeliveriesAreFoundAndSentAgain: GitHub does not repeat a delivery by
// itself (threat 15).
func TestFailedDeliveriesAreFoundAndSentAgain(t *testing.T) {
	hub, err := forgetest.New(forgetest.Options{Validate: func(v string) { t.Error(v) }})
	done(t, err)
	t.Cleanup(func() { done(t, hub.Close()) })
	hub.AddUser("owner")
	hub.AddOrg("acme", "owner")
	_, err = hub.AddRepo(t.Context(), forgetest.NewRepo{Owner: "acme", Name: "shop", Files: map[string]string{"a": "a"}})
	done(t, err)
	m, err := Manifest("http://127.0.0.1", "http://127.0.0.1/done", "lockkeeper")
	done(t, err)
	app, err := hub.AddApp("acme", "lockkeeper", m.DefaultPermissions, m.DefaultEvents...)
	done(t, err)
	hub.Install(app, "acme", "acme/shop")
	answer := atomic.Int32{}
	answer.Store(202)
	got := make(chan string, 1000)
	door := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Get("X-GitHub-Delivery")
		w.WriteHeader(int(answer.Load()))
	}))
	hub.SetWebhook(app, door.URL, "s")
	f, err := New(t.Context(), Config{APIURL: hub.URL, AppID: app.ID, PrivateKey: []byte(app.Key)})
	done(t, err)
	ann := hub.As("owner")
	n := 0
	act := func(status int32) {
		t.Helper()
		answer.Store(status)
		n++
		_, err := ann.Push(t.Context(), "acme/shop", "main", "", forgetest.Commit{Message: fmt.Sprint(n), Files: map[string][]byte{"a": []byte(fmt.Sprint(n))}})
		done(t, err)
		done(t, hub.Flush(t.Context()))
	}
	list := func(since time.Time) []forge.Delivery {
		t.Helper()
		failed, told, err := f.FailedDeliveries(t.Context(), since)
		if err != nil || !told {
			t.Fatal(told, err)
		}
		return failed
	}
	act(503)
	act(202)
	hub.SetDelivery(forgetest.DeliveryMode{Drop: func(forgetest.Delivery) bool { return true }})
	act(202) // never arrives
	hub.SetDelivery(forgetest.DeliveryMode{})
	failed := list(time.Time{})
	if len(failed) != 2 || failed[0].Status != 0 || failed[1].Status != 503 || failed[0].RepoID != hub.RepoID("acme/shop") || failed[0].Event != "push" {
		t.Fatalf("%+v", failed)
	}
	// A second attempt that fails is the same delivery.
	for len(got) > 0 {
		<-got
	}
	answer.Store(500)
	done(t, f.Redeliver(t.Context(), failed[1].ID))
	done(t, hub.Flush(t.Context()))
	again := list(time.Time{})
	if guid := <-got; guid != failed[1].GUID || len(again) != 2 || again[0].GUID != guid || again[0].Attempts != 2 || again[0].Status != 500 {
		t.Fatalf("%s: %+v", guid, again)
	}
	// One that goes well settles it, though GitHub goes on listing the others.
	answer.Store(202)
	done(t, f.Redeliver(t.Context(), again[0].ID))
	done(t, hub.Flush(t.Context()))
	if left := list(time.Time{}); len(left) != 1 || left[0].GUID != failed[0].GUID {
		t.Errorf("%+v", left)
	}
	if left := list(failed[0].At.Add(time.Second)); len(left) != 0 {
		t.Errorf("older than asked for: %+v", left)
	}
	hub.Advance(73 * time.Hour)
	if left := list(time.Time{}); len(left) != 0 {
		t.Errorf("GitHub keeps three days: %+v", left)
	}
	if err := f.Redeliver(t.Context(), failed[0].ID); forge.CodeOf(err) != forge.NotFound {
		t.Errorf("an old one: %v", err)
	}
}

func done(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The pages are read by their cursors, no more of them than bounded, and half of
// them is no list.
func TestDeliveriesAreReadByCursor(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	var asked []string
	endless := false
	srv := newAppForge()
	srv.answers["GET /app/hook/deliveries"] = func(w http.ResponseWriter, r *http.Request) {
		cursor := r.URL.Query().Get("cursor")
		asked = append(asked, cursor)
		page := 0
		fmt.Sscanf(cursor, "v1_%d", &page)
		if page < 2 || endless {
			w.Header().Set("Link", fmt.Sprintf(`<http://%s/app/hook/deliveries?per_page=100&cursor=v1_%d>; rel="next"`, r.Host, page+1))
		}
		say(200, fmt.Sprintf(`[{"id":%d,"guid":"g%d","delivered_at":%q,"status_code":502,"event":"push","repository_id":7}]`,
			1000-page, page%40, now.Add(-time.Duration(page)*time.Minute).Format(time.RFC3339)))(w, r)
	}
	f := withApp(t, srv)
	failed, told, err := f.FailedDeliveries(t.Context(), now.Add(-time.Hour))
	if err != nil || !told || len(failed) != 3 || !slices.Equal(asked, []string{"", "v1_1", "v1_2"}) || failed[2].ID != 998 {
		t.Errorf("%+v, %v, asked %q", failed, err, asked)
	}
	asked = nil
	if failed, _, err = f.FailedDeliveries(t.Context(), now.Add(-90*time.Second)); err != nil || len(failed) != 2 || len(asked) != 3 {
		t.Errorf("back to a time: %+v, %v, asked %q", failed, err, asked)
	}
	asked, endless = nil, true
	if failed, _, err = f.FailedDeliveries(t.Context(), time.Time{}); err != nil || len(asked) != maxDeliveryPages || len(failed) != 40 || failed[0].Attempts != 2 {
		t.Errorf("%d failed, %v, %d pages", len(failed), err, len(asked))
	}
	srv.answers["GET /app/hook/deliveries"] = say(403, `{"message":"no"}`)
	if failed, told, err = f.FailedDeliveries(t.Context(), time.Time{}); forge.CodeOf(err) != forge.Forbidden || told || failed != nil {
		t.Errorf("%v %t %v", failed, told, err)
	}
	f = withToken(t, answers{})
	if failed, told, err = f.FailedDeliveries(t.Context(), time.Time{}); err != nil || told || failed != nil || calls(f) != 0 {
		t.Errorf("with a token: %v %t %v", failed, told, err)
	}
	if err := f.Redeliver(t.Context(), 1); forge.CodeOf(err) != forge.Invalid || !strings.Contains(err.Error(), "only an App") {
		t.Error(err)
	}
}
