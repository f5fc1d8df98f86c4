package github

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"lockkeeper/forge"
	"lockkeeper/forge/people"
)

func TestManifestAsksForWhatIsUsed(t *testing.T) {
	m, err := Manifest("https://keeper.example/", "http://127.0.0.1:1/done", "lockkeeper")
	if err != nil {
		t.Fatal(err)
	}
	if m.HookAttributes.URL != "https://keeper.example/webhook" || !m.HookAttributes.Active || m.Public {
		t.Errorf("%+v", m)
	}
	for name := range fillers {
		if !strings.HasPrefix(name, "installation") && !slices.Contains(m.DefaultEvents, name) {
			t.Errorf("event %s is parsed but not asked for", name)
		}
	}
	for _, name := range m.DefaultEvents {
		if fillers[name] == nil {
			t.Errorf("event %s is asked for but not parsed", name)
		}
	}
	if m.DefaultPermissions["administration"] != "" || m.DefaultPermissions["checks"] != "write" {
		t.Errorf("permissions %v", m.DefaultPermissions)
	}
	for _, bad := range [][3]string{
		{"keeper.example", "http://127.0.0.1/", "x"}, {"https://keeper.example", "javascript:alert(1)", "x"},
		{"https://keeper.example", "http://127.0.0.1/", ""}, {"https://keeper.example", "http://127.0.0.1/", strings.Repeat("x", 35)},
	} {
		if _, err := Manifest(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// The credentials that the flow yields have to work, once.
func TestConvertedManifestIsAWorkingApp(t *testing.T) {
	l := newLookalike(t, false)
	m, err := Manifest("https://keeper.example", "http://127.0.0.1:1/done", "keeper")
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := browser.PostForm(l.world.URL()+"/organizations/"+l.Repo(t, "shop").Owner+"/settings/apps/new", url.Values{"manifest": {asJSON(t, m)}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	creds, err := ConvertManifest(t.Context(), nil, l.world.URL()+"/api/v3", back.Query().Get("code"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := New(t.Context(), Config{APIURL: l.world.URL() + "/api/v3", AppID: creds.AppID, PrivateKey: creds.PrivateKey})
	if err != nil {
		t.Fatal(err)
	}
	if me, err := f.Self(t.Context()); err != nil || me.Login != "keeper[bot]" || me.Type != forge.Bot {
		t.Errorf("%+v, %v", me, err)
	}
	if _, err := ConvertManifest(t.Context(), nil, l.world.URL()+"/api/v3", back.Query().Get("code")); forge.CodeOf(err) != forge.NotFound {
		t.Errorf("the code worked twice: %v", err)
	}
}

func TestConversionIsChecked(t *testing.T) {
	srv := serve(t, answers{"POST /app-manifests/c0de/conversions": say(201,
		`{"id":42,"slug":"keeper","html_url":"https://x/apps/keeper","pem":"KEY","webhook_secret":"S","client_id":"I","client_secret":"C"}`)})
	got, err := ConvertManifest(t.Context(), nil, srv.URL, "c0de")
	if err != nil || got.AppID != 42 || got.Slug != "keeper" || string(got.PrivateKey) != "KEY" || string(got.WebhookSecret) != "S" || got.ClientSecret != "C" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := ConvertManifest(t.Context(), nil, srv.URL, "used"); forge.CodeOf(err) != forge.NotFound {
		t.Errorf("a used code: %v", err)
	}
	for _, code := range []string{"", "../../user", "a b", strings.Repeat("x", 200)} {
		if _, err := ConvertManifest(t.Context(), nil, srv.URL, code); err == nil {
			t.Errorf("code %q was accepted", code)
		}
	}
	poor := serve(t, answers{"POST /app-manifests/c0de/conversions": say(201, `{"id":42}`)})
	if _, err := ConvertManifest(t.Context(), nil, poor.URL, "c0de"); err == nil {
		t.Error("an App without key was accepted")
	}
}

// A delivery of the look-alike passes the door that GitHub's deliveries pass.
func TestLookalikesDeliveryVerifiesAndParses(t *testing.T) {
	type delivery struct {
		head http.Header
		body []byte
	}
	got := make(chan delivery, 16)
	hook := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- delivery{r.Header, b}
	}))
	l := newLookalike(t, true)
	l.world.Server.SetWebhook(l.world.App, hook.URL, "hush")
	ref := l.Repo(t, "shop")
	if _, err := l.world.AddRepo(t.Context(), people.NewRepo{Owner: ref.Owner, Name: "other"}); err != nil {
		t.Fatal(err)
	}
	alice := l.Person(t, "alice")
	l.Grant(t, ref, alice, forge.Write)
	n := openOne(t, l, ref, alice)
	for {
		d := <-got
		if err := Verify(d.head, d.body, [][]byte{[]byte("new"), []byte("hush")}); err != nil {
			t.Fatal(err)
		}
		ev, err := ParseEvent(d.head, d.body)
		if err != nil {
			t.Fatal(err)
		}
		if ev.Type != "pull_request" {
			continue
		}
		if ev.Pull != n || ev.Repo != ref || ev.Delivery == "" || !json.Valid(d.body) {
			t.Errorf("%+v", ev)
		}
		return
	}
}
