package gitlab

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"lockkeeper/forge"
)

// Threat 13.
func TestOnlyADeliveryWithOurTokenIsAccepted(t *testing.T) {
	one, two := []byte("first"), []byte("second")
	for name, c := range map[string]struct {
		tokens  []string
		secrets [][]byte
		ok      bool
	}{
		"ours":                        {[]string{"first"}, [][]byte{one}, true},
		"the second of ours":          {[]string{"second"}, [][]byte{one, two}, true},
		"none":                        {nil, [][]byte{one}, false},
		"empty":                       {[]string{""}, [][]byte{one}, false},
		"another":                     {[]string{"third"}, [][]byte{one, two}, false},
		"longer":                      {[]string{"firstt"}, [][]byte{one}, false},
		"shorter":                     {[]string{"firs"}, [][]byte{one}, false},
		"other case":                  {[]string{"First"}, [][]byte{one}, false},
		"two headers":                 {[]string{"first", "first"}, [][]byte{one}, false},
		"one of two headers":          {[]string{"third", "first"}, [][]byte{one}, false},
		"no secret configured":        {[]string{""}, nil, false},
		"none, and no secret":         {nil, nil, false},
		"empty secret":                {[]string{""}, [][]byte{{}}, false},
		"empty secret beside another": {[]string{"first"}, [][]byte{one, {}}, false},
	} {
		err := Verify(http.Header{TokenHeader: c.tokens}, []byte(`{}`), c.secrets)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		for _, s := range append(c.tokens, "first", "second") {
			if err != nil && s != "" && strings.Contains(err.Error(), s) {
				t.Errorf("%s: the error holds a token (threat 8): %v", name, err)
			}
		}
	}
}

// Threat 13: what is signed cannot be changed on its way.
func TestSignedDeliveries(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	secret := []byte("whsec_" + base64.StdEncoding.EncodeToString(key))
	const body = `{"object_kind":"push"}`
	sign := func(key []byte, id, at, body string) string {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(id + "." + at + "." + body))
		return "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
	}
	good := sign(key, "d-1", "1767600000", body)
	for name, c := range map[string]struct {
		signature, id, body string
		secret              []byte
		ok                  bool
	}{
		"signed":                 {good, "d-1", body, secret, true},
		"one of two signatures":  {"v1,AAAA " + good, "d-1", body, secret, true},
		"another body":           {good, "d-1", body + " ", secret, false},
		"another delivery":       {good, "d-2", body, secret, false},
		"another version":        {strings.Replace(good, "v1,", "v2,", 1), "d-1", body, secret, false},
		"no version":             {strings.TrimPrefix(good, "v1,"), "d-1", body, secret, false},
		"cut":                    {good[:20], "d-1", body, secret, false},
		"none":                   {"", "d-1", body, secret, false},
		"by another key":         {sign([]byte("another key of thirty-two bytes!"), "d-1", "1767600000", body), "d-1", body, secret, false},
		"by an empty key":        {sign(nil, "d-1", "1767600000", body), "d-1", body, []byte("whsec_"), false},
		"secret of other kind":   {sign([]byte("plain"), "d-1", "1767600000", body), "d-1", body, []byte("plain"), false},
		"signing token as token": {"", "d-1", body, secret, false},
	} {
		h := http.Header{}
		h.Set("webhook-id", c.id)
		h.Set("webhook-timestamp", "1767600000")
		h.Set("webhook-signature", c.signature)
		if err := Verify(h, []byte(c.body), [][]byte{[]byte("other"), c.secret}); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func delivery(event string) http.Header {
	h := http.Header{}
	h.Set(eventHeader, event)
	h.Set(attemptHeader, "d-1")
	h.Set("Content-Type", "application/json")
	return h
}

const project = `"project":{"id":7,"path_with_namespace":"acme/web/shop"}`

func TestEventsPointAtWhatToLookAt(t *testing.T) {
	acme := forge.RepoRef{ID: 7, Owner: "acme/web", Name: "shop"}
	for name, c := range map[string]struct {
		event, body string
		want        forge.Event
	}{
		"merge request": {"Merge Request Hook", `{"object_kind":"merge_request","user":{"id":2},` + project + `,"object_attributes":{"iid":3,"action":"approved"}}`,
			forge.Event{Repo: acme, Pull: 3, Sender: 2}},
		"note": {"Note Hook", `{"object_kind":"note","user":{"id":2},"project_id":7,` + project + `,"object_attributes":{"id":9,"note":"/plan","noteable_type":"MergeRequest"},"merge_request":{"iid":3}}`,
			forge.Event{Repo: acme, Pull: 3, Sender: 2}},
		// Threat 10: the event of an edit names the note's author, whoever edited it.
		"note edited by another": {"Note Hook", `{"object_kind":"note","user":{"id":2},` + project + `,"object_attributes":{"noteable_type":"MergeRequest","action":"update","author_id":2,"updated_by_id":5},"merge_request":{"iid":3}}`,
			forge.Event{Repo: acme, Pull: 3, Sender: 5}},
		"note changed by nobody": {"Note Hook", `{"object_kind":"note","user":{"id":2},` + project + `,"object_attributes":{"noteable_type":"MergeRequest","action":"update","updated_by_id":null},"merge_request":{"iid":3}}`,
			forge.Event{Repo: acme, Pull: 3}},
		"internal note": {"Confidential Note Hook", `{"object_kind":"note","user":{"id":2},` + project + `,"object_attributes":{"noteable_type":"MergeRequest"},"merge_request":{"iid":3}}`,
			forge.Event{Repo: acme, Pull: 3, Sender: 2}},
		"note on an issue":  {"Note Hook", `{"object_kind":"note",` + project + `,"object_attributes":{"noteable_type":"Issue"},"issue":{"iid":3}}`, forge.Event{Repo: acme}},
		"note on a commit":  {"Note Hook", `{"object_kind":"note",` + project + `,"object_attributes":{"noteable_type":"Commit"},"commit":{"id":"x"}}`, forge.Event{Repo: acme}},
		"note on a snippet": {"Note Hook", `{"object_kind":"note",` + project + `,"object_attributes":{"noteable_type":"Snippet"},"snippet":{"id":53}}`, forge.Event{Repo: acme}},
		"push":              {"Push Hook", `{"object_kind":"push","event_name":"push","ref":"refs/heads/feature/größe","user_id":2,"project_id":7,` + project + `}`, forge.Event{Repo: acme, Branch: "feature/größe", Sender: 2}},
		"tag push":          {"Tag Push Hook", `{"object_kind":"tag_push","ref":"refs/tags/v1","user_id":2,"project_id":7,` + project + `}`, forge.Event{}},
		"pipeline done":     {"Pipeline Hook", `{"object_kind":"pipeline","user":{"id":2},` + project + `,"object_attributes":{"id":31,"status":"success","sha":"` + shaHead + `"},"merge_request":{"iid":3}}`, forge.Event{Repo: acme, Commit: shaHead}},
		"pipeline running":  {"Pipeline Hook", `{"object_kind":"pipeline",` + project + `,"object_attributes":{"status":"running","sha":"` + shaHead + `"}}`, forge.Event{Repo: acme}},
		"job done":          {"Job Hook", `{"object_kind":"build","sha":"` + shaHead + `","build_status":"failed","project_id":7,"user":{"id":2}}`, forge.Event{Repo: forge.RepoRef{ID: 7}, Commit: shaHead, Sender: 2}},
		"job done, no hash": {"Job Hook", `{"object_kind":"build","sha":"main","build_status":"failed","project_id":7}`, forge.Event{Repo: forge.RepoRef{ID: 7}}},
		"issue":             {"Issue Hook", `{"object_kind":"issue",` + project + `,"object_attributes":{"iid":3}}`, forge.Event{}},
		"wiki":              {"Wiki Page Hook", `{"object_kind":"wiki_page","object_attributes":{"slug":"x"}}`, forge.Event{}},
		"emoji":             {"Emoji Hook", `{"object_kind":"emoji","object_attributes":{"id":1}}`, forge.Event{}},
		"shapes of others":  {"Release Hook", `{"object_kind":"release","ref":{"not":"text"},"project_id":"seven"}`, forge.Event{}},
		"event to come":     {"Moon Phase Hook", `{"object_kind":"moon_phase","phase":0.5}`, forge.Event{}},
		"nothing in it":     {"Test Hook", `{}`, forge.Event{}},
		"member of a group": {"Member Hook", `{"event_name":"user_add_to_group","user_id":64,"group_id":100}`, forge.Event{}},
		"project of a group": {"Project Hook", `{"event_name":"project_destroy","project_id":7,"path_with_namespace":"acme/web/shop"}`,
			forge.Event{Repo: acme, Installation: true}},
		"system: rename":        {"System Hook", `{"event_name":"project_rename","project_id":7,"path_with_namespace":"acme/web/shop","old_path_with_namespace":"acme/old"}`, forge.Event{Type: "System Hook: project_rename", Repo: acme, Installation: true}},
		"system: transfer":      {"System Hook", `{"event_name":"project_transfer","project_id":7,"path_with_namespace":"acme/web/shop"}`, forge.Event{Type: "System Hook: project_transfer", Repo: acme, Installation: true}},
		"system: push":          {"System Hook", `{"object_kind":"push","event_name":"push","ref":"refs/heads/main","user_id":2,` + project + `}`, forge.Event{Type: "System Hook: push", Repo: acme, Branch: "main", Sender: 2}},
		"system: merge request": {"System Hook", `{"object_kind":"merge_request","event_type":"merge_request","user":{"id":2},` + project + `,"object_attributes":{"iid":3}}`, forge.Event{Type: "System Hook: merge_request", Repo: acme, Pull: 3, Sender: 2}},
		"system: user":          {"System Hook", `{"event_name":"user_create","user_id":41}`, forge.Event{Type: "System Hook: user_create"}},
		"system: update":        {"System Hook", `{"event_name":"repository_update","project_id":7}`, forge.Event{Type: "System Hook: repository_update"}},
		"odd path":              {"Push Hook", `{"object_kind":"push","ref":"refs/heads/x","project_id":7,"project":{"id":7,"path_with_namespace":"../../etc"}}`, forge.Event{Repo: forge.RepoRef{ID: 7}, Branch: "x"}},
	} {
		c.want.Delivery = "d-1"
		if c.want.Type == "" {
			c.want.Type = c.event
		}
		got, err := ParseEvent(delivery(c.event), []byte(c.body))
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v\nwant %+v", name, got, err, c.want)
		}
	}
}

func TestWhatIsNoDeliveryIsRefused(t *testing.T) {
	form := delivery("Push Hook")
	form.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	for name, c := range map[string]struct {
		h    http.Header
		body string
	}{
		"no event header":   {http.Header{attemptHeader: {"x"}}, `{}`},
		"form":              {form, `payload=%7B%7D`},
		"no JSON":           {delivery("Push Hook"), `{"object_kind":"push"`},
		"null":              {delivery("Push Hook"), `null`},
		"a list":            {delivery("Push Hook"), `[]`},
		"no number":         {delivery("Merge Request Hook"), `{"object_kind":"merge_request",` + project + `}`},
		"a negative number": {delivery("Merge Request Hook"), `{"object_kind":"merge_request",` + project + `,"object_attributes":{"iid":-3}}`},
		"a number as text":  {delivery("Merge Request Hook"), `{"object_kind":"merge_request",` + project + `,"object_attributes":{"iid":"3"}}`},
		"a note on nothing": {delivery("Note Hook"), `{"object_kind":"note",` + project + `,"object_attributes":{"noteable_type":"MergeRequest"}}`},
	} {
		if got, err := ParseEvent(c.h, []byte(c.body)); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Threat 12: a delivery keeps its name however often it is sent.
func TestDeliveriesAreNamed(t *testing.T) {
	h := delivery("Push Hook")
	h.Set(uuidHeader, "u-1")
	name := func(body string) string {
		t.Helper()
		ev, err := ParseEvent(h, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return ev.Delivery
	}
	if got := name(`{}`); got != "d-1" {
		t.Error(got)
	}
	h.Del(attemptHeader)
	if got := name(`{}`); got != "u-1" {
		t.Error(got)
	}
	h.Del(uuidHeader)
	if a, b := name(`{}`), name(`{"x":1}`); a == b || len(a) != 64 || a != name(`{}`) {
		t.Errorf("%s, %s", a, b)
	}
}

// Whatever comes in: no panic, nothing from an unverified sender, and what is
// taken from it is in range.
func FuzzParseEvent(f *testing.F) {
	for _, kind := range []string{"merge_request", "note", "push", "pipeline", "build", "project_rename", "wiki_page"} {
		f.Add("Some Hook", "token", fmt.Sprintf(`{"object_kind":%q,"event_name":%q,%s,"project_id":7,"ref":"refs/heads/x","sha":%q,"build_status":"success","object_attributes":{"iid":3,"noteable_type":"MergeRequest","status":"success","sha":%q},"merge_request":{"iid":3},"user":{"id":2}}`, kind, kind, project, shaHead, shaHead))
	}
	f.Add("System Hook", "secret", `{"event_name":"project_destroy","path_with_namespace":"a/b/../c"}`)
	f.Add("Push Hook", "", `null`)
	f.Fuzz(func(t *testing.T, event, token, body string) {
		h := http.Header{}
		h.Set(eventHeader, event)
		h.Set(TokenHeader, token)
		if err := Verify(h, []byte(body), [][]byte{[]byte("secret")}); (err == nil) != (token == "secret") {
			t.Fatalf("token %q: %v", token, err)
		}
		ev, err := ParseEvent(h, []byte(body))
		if err != nil {
			if ev != (forge.Event{}) {
				t.Fatalf("%v, and %+v", err, ev)
			}
			return
		}
		if ev.Pull < 0 || ev.Repo.ID < 0 || ev.Sender < 0 || ev.Delivery == "" || ev.Commit != "" && len(ev.Commit) != 40 {
			t.Fatalf("%+v", ev)
		}
		if (ev.Repo.Owner == "") != (ev.Repo.Name == "") || strings.Contains(ev.Repo.String(), "..") && strings.Contains("/"+ev.Repo.String()+"/", "/../") {
			t.Fatalf("repository %q", ev.Repo)
		}
	})
}
