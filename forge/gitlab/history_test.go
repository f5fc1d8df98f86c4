package gitlab

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"lockkeeper/forge"
)

// An address is an account only where GitLab says so; a name never is.
func TestCommitsAreAttributedByGitLabAlone(t *testing.T) {
	c := func(sha, author, committer, message string) string {
		return fmt.Sprintf(`{"id":%q,"parent_ids":[%q],"title":"cut…","message":%q,"author_name":"Alice","author_email":%q,"committer_name":"Alice","committer_email":%q}`, sha, shaBase, message, author, committer)
	}
	first, second := strings.Repeat("a", 40), strings.Repeat("b", 40)
	list := `[` + strings.Join([]string{
		c(shaHead, "stranger@x", "bot@x", "Third"),
		c(second, "bob@x", "alice@x", "Second\n\nCo-authored-by: Alice <alice@x>\nco-authored-by: Nobody <nobody@x>\n"),
		c(first, "alice@x", "alice@x", "First, with a subject that is longer than what GitLab calls a title\n\nWhy."),
	}, ",") + `]`
	var asked string
	f := driver(t, answers{
		"GET /projects/7/repository/commits": func(w http.ResponseWriter, r *http.Request) {
			asked = r.URL.Query().Get("ref_name") + " " + r.URL.Query().Get("order")
			ok(list)(w, r)
		},
		"QUERY commits(": ok(`{"data":{"projects":{"nodes":[{"mergeRequest":{"commits":{"nodes":[
			{"sha":"` + first + `","authorEmail":"alice@x","author":{"id":"gid://gitlab/User/1","username":"alice","bot":false}},
			{"sha":"` + second + `","authorEmail":"bob@x","author":{"id":"gid://gitlab/User/2","username":"bob","bot":false}},
			{"sha":"` + shaHead + `","authorEmail":"stranger@x","author":null}],"pageInfo":{"hasNextPage":false}}}}]}}}`),
	})
	p := forge.Pull{Number: 3, Base: forge.Branch{SHA: shaBase}, Head: forge.Branch{SHA: shaHead}}
	got, err := f.Commits(t.Context(), shop, p)
	if err != nil || len(got) != 3 || asked != shaBase+".."+shaHead+" topo" {
		t.Fatalf("%+v, %v, %s", got, err, asked)
	}
	alice, bob, nobody := user(1, "alice"), user(2, "bob"), forge.User{Type: forge.Deleted}
	for i, want := range []struct {
		author, committer forge.User
		also              []forge.User
	}{{alice, alice, nil}, {bob, alice, []forge.User{alice, {Login: "nobody@x", Type: forge.Deleted}}}, {nobody, nobody, nil}} {
		if g := got[i]; g.Author != want.author || g.Committer != want.committer || fmt.Sprint(g.CoAuthors) != fmt.Sprint(want.also) || g.Verified {
			t.Errorf("commit %d: %+v", i, g)
		}
	}
	if !strings.HasSuffix(got[0].Subject, "a title") {
		t.Errorf("subject %q", got[0].Subject)
	}
	list = `[` + c(second, "x", "x", "x") + `]`
	_, err = f.Commits(t.Context(), shop, p)
	wantCode(t, "a list without the head (threat 20)", err, forge.Unavailable)
	p.Base.SHA = ""
	_, err = f.Commits(t.Context(), shop, p)
	wantCode(t, "a base that is gone", err, forge.Invalid)
}

func push(id int, action, branch, from, to string, by int, clock string) string {
	hash := func(s string) string {
		if s == "" {
			return "null"
		}
		return `"` + s + `"`
	}
	return fmt.Sprintf(`{"id":%d,"author_id":%d,"author":{"id":%d,"username":"user%d"},"created_at":"2026-05-04T%sZ","push_data":{"action":%q,"ref_type":"branch","ref":%q,"commit_from":%s,"commit_to":%s}}`,
		id, by, by, by, clock, action, branch, hash(from), hash(to))
}

// withEvents is a driver for a project with these events, newest first. Everything
// is grown out of shaBase, and nothing out of anything else.
func withEvents(t *testing.T, tip string, events ...string) *Forge {
	t.Helper()
	return driver(t, answers{
		"GET /projects/7/events": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("action") != "pushed" {
				t.Errorf("asked for %s", r.URL.RawQuery)
			}
			ok(`[`+strings.Join(events, ",")+`]`)(w, r)
		},
		"GET /projects/7/repository/branches/x": ok(`{"commit":{"id":"` + tip + `"}}`),
		"GET /projects/7/repository/merge_base": func(w http.ResponseWriter, r *http.Request) {
			refs := r.URL.Query()["refs[]"]
			if refs[0] == shaBase || refs[1] == shaHead {
				ok(`{"id":"`+refs[0]+`"}`)(w, r)
				return
			}
			say(404, `{"message":"404 Merge Base Not Found"}`)(w, r)
		},
		"GET /projects/7/repository/commits/" + shaOld + "/merge_requests":  ok(`[]`),
		"GET /projects/7/repository/commits/" + shaHead + "/merge_requests": ok(`[` + strings.Replace(mr("merged", "not_open", `,"merge_commit_sha":"`+shaHead+`"`), `"target_branch":"main"`, `"target_branch":"x"`, 1) + `]`),
	})
}

func TestWhoMovedABranch(t *testing.T) {
	f := withEvents(t, shaHead,
		push(15, "pushed", "x", shaOld, shaHead, 2, "15:00:00"),
		push(14, "pushed", "other", shaBase, shaOld, 3, "14:00:00"),
		push(13, "pushed", "x", shaBase, shaOld, 95, "13:00:00"),
		push(12, "created", "x", "", shaBase, 2, "12:00:00"),
		push(11, "removed", "x", shaHead, "", 2, "11:00:00"),
		push(10, "created", "x", "", shaHead, 2, "10:00:00"))
	list, told, err := f.BranchPushes(t.Context(), shop, "x", time.Time{})
	if err != nil || !told || len(list) != 5 {
		t.Fatalf("%+v, %v, %v", list, told, err)
	}
	for i, want := range []forge.PushKind{forge.PullMerge, forge.PlainPush, forge.BranchCreation, forge.BranchDeletion, forge.BranchCreation} {
		if list[i].Kind != want {
			t.Errorf("push %d: %s, want %s", i, list[i].Kind, want)
		}
	}
	if list[1].By != (forge.User{ID: 95, Login: "user95", Type: forge.Bot}) || list[2].Before != "" || list[3].After != "" {
		t.Errorf("%+v", list)
	}
	if list, told, err = f.BranchPushes(t.Context(), shop, "x", at("13:00:00")); err != nil || !told || len(list) != 2 {
		t.Errorf("since: %+v, %v, %v", list, told, err)
	}
	p := forge.Pull{Number: 3, Head: forge.Branch{Name: "x", SHA: shaHead, RepoID: 7}}
	if list, told, err = f.Pushes(t.Context(), shop, p); err != nil || !told || len(list) != 3 || list[0].By.ID != 2 || list[0].Kind != forge.PlainPush {
		t.Errorf("of the pull: %+v, %v, %v", list, told, err)
	}
	p.Head.SHA = shaOld // read before the last push
	if list, told, err = f.Pushes(t.Context(), shop, p); err != nil || !told || len(list) != 2 || list[0].By.ID != 95 {
		t.Errorf("of the pull as it was: %+v, %v, %v", list, told, err)
	}
	for _, id := range []int64{0, 9} { // a fork that is gone, one that we do not see
		p.Head.RepoID = id
		if _, told, err = f.Pushes(t.Context(), shop, p); told || err != nil {
			t.Errorf("project %d: %v, %v", id, told, err)
		}
	}
}

// Threats 27 and 34: history that was thrown away is told from history that grew.
func TestAForcedPushIsToldFromOthers(t *testing.T) {
	f := withEvents(t, shaOld, push(11, "pushed", "x", shaHead, shaOld, 2, "11:00:00"), push(10, "created", "x", "", shaHead, 2, "10:00:00"))
	list, told, err := f.BranchPushes(t.Context(), shop, "x", time.Time{})
	if err != nil || !told || len(list) != 2 || list[0].Kind != forge.ForcePush {
		t.Errorf("%+v, %v, %v", list, told, err)
	}
}

// GitLab makes one event without details of a push of many branches, and forgets
// events in the end.
func TestGapsAreNotToldAsWhole(t *testing.T) {
	made := push(10, "created", "x", "", shaBase, 2, "10:00:00")
	last := push(12, "pushed", "x", shaOld, shaHead, 2, "12:00:00")
	p := forge.Pull{Number: 3, Head: forge.Branch{Name: "x", SHA: shaHead, RepoID: 7}}
	for name, events := range map[string][]string{
		"one missing between": {last, made},
		"the last missing":    {push(11, "pushed", "x", shaBase, shaOld, 2, "11:00:00"), made},
		"the first missing":   {last, push(11, "pushed", "x", shaBase, shaOld, 2, "11:00:00")},
		"none":                {},
		"a bulk push":         {`{"id":12,"push_data":{"action":"pushed","ref_type":"branch","ref":null,"ref_count":5}}`, made},
		"a tag":               {`{"id":12,"push_data":{"action":"pushed","ref_type":"tag","ref":"x","commit_from":"` + shaBase + `","commit_to":"` + shaHead + `"}}`, made},
	} {
		f := withEvents(t, shaHead, events...)
		if _, told, err := f.Pushes(t.Context(), shop, p); told || err != nil {
			t.Errorf("%s: of the pull: %v, %v", name, told, err)
		}
		_, told, err := f.BranchPushes(t.Context(), shop, "x", time.Time{})
		if err != nil || told != (name == "none" || name == "the first missing") {
			t.Errorf("%s: of the branch: %v, %v", name, told, err)
		}
	}
}
