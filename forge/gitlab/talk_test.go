package gitlab

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"lockkeeper/forge"
)

func written(id, author, body, more string) string {
	return `{"id":` + id + `,"body":"` + body + `","author":{"id":` + author + `,"username":"user` + author + `"},"created_at":"2026-05-04T10:00:00.000Z","updated_at":"2026-05-04T10:00:00.000Z"` + more + `}`
}

// Threat 22: what is not said to everybody in the conversation is no command.
func TestOnlyTheConversationThatAllSeeCounts(t *testing.T) {
	f := driver(t, answers{"GET /projects/7/merge_requests/3/notes": ok(`[` + strings.Join([]string{
		written("1", "2", "/plan", ""),
		written("2", "2", "added 1 commit", `,"system":true`),
		written("3", "2", "/apply", `,"type":"DiffNote"`),
		written("4", "2", "/apply", `,"internal":true`),
		written("5", "2", "/apply", `,"confidential":true`),
		written("6", "95", "a thread", `,"type":"DiscussionNote","resolvable":true`),
		written("7", "99", `\\/merge`, ""),
		written("8", "2", `\\/merge`, ""),
		written("1", "2", "/plan", ""), // moved onto the next page
	}, ",") + `]`)})
	list, err := f.Comments(t.Context(), shop, 3)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range list {
		got = append(got, c.Author.Login+" "+string(c.Author.Type)+": "+c.Body)
		if c.Edited() {
			t.Errorf("edited: %+v", c)
		}
	}
	if want := []string{"user2 person: /plan", "user95 bot: a thread", "user99 bot: /merge", `user2 person: \/merge`}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if list[0].URL != f.root+"/acme/web/shop/-/merge_requests/3#note_1" {
		t.Error(list[0].URL)
	}
}

// Threat 11: whether a comment was edited is not told by when it was touched,
// which a reaction does too; what cannot be told counts as edited.
func TestEditsAreToldFromOtherTouches(t *testing.T) {
	touched := func(id string) string {
		return strings.Replace(written(id, "2", "/apply", ""), `"updated_at":"2026-05-04T10:00:00`, `"updated_at":"2026-05-04T11:00:00`, 1)
	}
	asked := 0
	f := driver(t, answers{
		"GET /projects/7/merge_requests/3/notes": ok(`[` + strings.Join([]string{touched("1"), touched("2"), touched("3"), touched("4"), written("5", "2", "x", "")}, ",") + `]`),
		"QUERY lastEditedAt": func(w http.ResponseWriter, r *http.Request) {
			asked++
			if asked == 1 {
				ok(`{"data":{"projects":{"nodes":[{"mergeRequest":{"notes":{"nodes":[{"id":"gid://gitlab/Note/1","lastEditedAt":null},{"id":"gid://gitlab/Note/2","lastEditedAt":"2026-05-04T10:30:00Z"}],"pageInfo":{"hasNextPage":true,"endCursor":"x"}}}}]}}}`)(w, r)
				return
			}
			ok(`{"data":{"projects":{"nodes":[{"mergeRequest":{"notes":{"nodes":[{"id":"gid://gitlab/DiscussionNote/3","lastEditedAt":"2026-05-04T10:00:00Z"},{"id":"gid://gitlab/Note/77","lastEditedAt":null}],"pageInfo":{"hasNextPage":false,"endCursor":"y"}}}}]}}}`)(w, r)
		},
	})
	list, err := f.Comments(t.Context(), shop, 3)
	if err != nil || len(list) != 5 || asked != 2 {
		t.Fatalf("%+v, %v, asked %d times", list, err, asked)
	}
	for i, want := range []bool{false, true, true, true, false} {
		if list[i].Edited() != want {
			t.Errorf("comment %d: edited=%v", list[i].ID, list[i].Edited())
		}
	}
	if list[1].UpdatedAt != at("10:30:00") {
		t.Errorf("edited at %v", list[1].UpdatedAt)
	}
}

func TestWhatGitLabMakesNoCommentOfIsAnError(t *testing.T) {
	var body any
	a := answers{"POST /projects/7/merge_requests/3/notes": func(w http.ResponseWriter, r *http.Request) {
		body = sent(r)["body"]
		say(202, `{"commands_changes":{"merge":"x"},"summary":["Merged."]}`)(w, r)
	}}
	f := driver(t, a)
	_, err := f.CreateComment(t.Context(), shop, 3, "/merge")
	wantCode(t, "a comment that is none", err, forge.Invalid)
	if body != `\/merge` {
		t.Errorf("sent %q", body)
	}
	_, err = f.CreateComment(t.Context(), shop, 3, strings.Repeat("x", 1_000_001))
	wantCode(t, "too long", err, forge.Invalid)
}

func TestAMarkThatIsThereAlreadyIsAsGood(t *testing.T) {
	answer := `{"message":"404 Award Emoji Name has already been taken Not Found"}`
	f := driver(t, answers{"POST /projects/7/merge_requests/3/notes/5/award_emoji": func(w http.ResponseWriter, r *http.Request) {
		if name := sent(r)["name"]; name != "rocket" {
			t.Errorf("name %v", name)
		}
		say(404, answer)(w, r)
	}})
	if err := f.React(t.Context(), shop, 3, 5, forge.Rocket); err != nil {
		t.Error(err)
	}
	answer = `{"message":"404 Note Not Found"}`
	wantCode(t, "an unknown comment", f.React(t.Context(), shop, 3, 5, forge.Rocket), forge.NotFound)
}

func TestDeliveriesAreNotTold(t *testing.T) {
	f := driver(t, answers{})
	if _, told, err := f.FailedDeliveries(t.Context(), at("10:00:00")); told || err != nil {
		t.Error(told, err)
	}
	wantCode(t, "another attempt", f.Redeliver(t.Context(), 1), forge.Invalid)
}
