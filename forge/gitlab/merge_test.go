package gitlab

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"lockkeeper/forge"
)

const merger = `{"id":7,"path_with_namespace":"acme/web/shop","merge_method":"merge","squash_option":"default_off"}`

func TestRefusedMergesByWhatGitLabAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		who    int // what asking who we are is answered with
		want   forge.Code
	}{
		"head moved":          {409, `{"message":"SHA does not match HEAD of source branch"}`, 200, forge.Conflict},
		"not mergeable":       {405, `{"message":"405 Method Not Allowed"}`, 200, forge.Conflict},
		"conflict, formerly":  {406, `{"message":"Branch cannot be merged"}`, 200, forge.Conflict},
		"conflict":            {422, `{"message":"Branch cannot be merged"}`, 200, forge.Conflict},
		"bad parameter":       {422, `{"message":"no"}`, 200, forge.Invalid},
		"may not merge there": {401, `{"message":"401 Unauthorized"}`, 200, forge.Forbidden},
		"bad token":           {401, `{"message":"401 Unauthorized"}`, 401, forge.Unauthorized},
		"forbidden":           {403, `{"message":"403 Forbidden"}`, 200, forge.Forbidden},
		"gone":                {404, `{"message":"404 Not found"}`, 200, forge.NotFound},
		"broken":              {502, `bad gateway`, 200, forge.Unavailable},
	} {
		f := driver(t, answers{"GET /projects/7": ok(merger), "GET /user": say(c.who, `{"id":99}`), "PUT /projects/7/merge_requests/3/merge": say(c.status, c.body)})
		_, err := f.Merge(t.Context(), shop, 3, shaHead, forge.MethodMerge)
		wantCode(t, name, err, c.want)
	}
}

// Threat 16: the head is pinned, and nothing that is not merged is called so.
func TestMergePinsTheHead(t *testing.T) {
	var got map[string]any
	answer := mr("merged", "not_open", `,"merge_commit_sha":"`+shaOld+`"`)
	f := driver(t, answers{"GET /projects/7": ok(merger), "PUT /projects/7/merge_requests/3/merge": func(w http.ResponseWriter, r *http.Request) {
		got = sent(r)
		ok(answer)(w, r)
	}})
	sha, err := f.Merge(t.Context(), shop, 3, shaHead, forge.MethodSquash)
	if err != nil || sha != shaOld || got["sha"] != shaHead || got["squash"] != true {
		t.Errorf("%s, %v, %v", sha, err, got)
	}
	if _, err = f.Merge(t.Context(), shop, 3, shaHead, forge.MethodMerge); err != nil || got["squash"] != nil {
		t.Errorf("%v, %v", err, got)
	}
	for name, c := range map[string]struct {
		answer string
		want   forge.Code
	}{
		"still open":    {mr("opened", "mergeable", `,"merge_error":"a hook said no"`), forge.Conflict},
		"being merged":  {mr("locked", "mergeable", ""), forge.Unavailable},
		"no commit":     {strings.ReplaceAll(mr("merged", "not_open", ""), shaHead, ""), forge.Unavailable},
		"half a answer": {`{"state":"merged"`, forge.Unavailable},
	} {
		answer = c.answer
		_, err = f.Merge(t.Context(), shop, 3, shaHead, forge.MethodMerge)
		wantCode(t, name, err, c.want)
	}
}

// GitLab sees some time after the last status that the pipeline has succeeded.
func TestMergeWaitsForWhatGitLabHasYetToNotice(t *testing.T) {
	status := func(state string) string {
		return `[{"id":1,"name":"lockkeeper","status":"` + state + `","author":{"id":99}}]`
	}
	for name, c := range map[string]struct {
		words    []string // of one reading after the other
		statuses string
		merges   int
		want     forge.Code
	}{
		"the pipeline is about to succeed": {[]string{"ci_still_running", "mergeable"}, status("success"), 2, ""},
		"being computed":                   {[]string{"checking", "unchecked", "mergeable"}, status("success"), 2, ""},
		"a check waits":                    {[]string{"ci_still_running"}, status("running"), 1, forge.Conflict},
		"a check failed":                   {[]string{"ci_must_pass"}, status("failed"), 1, forge.Conflict},
		"no check at all":                  {[]string{"ci_must_pass"}, `[]`, 1, forge.Conflict},
		"not approved":                     {[]string{"not_approved"}, status("success"), 1, forge.Conflict},
		"computed, and not approved":       {[]string{"checking", "not_approved"}, status("success"), 1, forge.Conflict},
	} {
		merges, reads := 0, 0
		f := driver(t, answers{"GET /projects/7": ok(merger),
			"GET /projects/7/repository/commits/" + shaHead + "/statuses": ok(c.statuses),
			"GET /projects/7/merge_requests/3": func(w http.ResponseWriter, r *http.Request) {
				ok(mr("opened", c.words[min(reads, len(c.words)-1)], ""))(w, r)
				reads++
			},
			"PUT /projects/7/merge_requests/3/merge": func(w http.ResponseWriter, r *http.Request) {
				if merges++; merges == 1 {
					say(405, `{"message":"405 Method Not Allowed"}`)(w, r)
					return
				}
				ok(mr("merged", "not_open", `,"merge_commit_sha":"`+shaOld+`"`))(w, r)
			}})
		_, err := f.Merge(t.Context(), shop, 3, shaHead, forge.MethodMerge)
		wantCode(t, name, err, c.want)
		if merges != c.merges {
			t.Errorf("%s: %d merges were asked for", name, merges)
		}
	}
}

func TestMethodsThatTheProjectRulesOut(t *testing.T) {
	for settings, good := range map[string][]forge.MergeMethod{
		`"merge_method":"merge","squash_option":"default_on"`:        {forge.MethodMerge, forge.MethodSquash},
		`"merge_method":"rebase_merge","squash_option":"never"`:      {forge.MethodMerge},
		`"merge_method":"ff","squash_option":"default_off"`:          {forge.MethodRebase, forge.MethodSquash},
		`"merge_method":"ff","squash_option":"always"`:               {forge.MethodSquash},
		`"merge_method":"merge","squash_option":"always"`:            {forge.MethodSquash},
		`"merge_method":"some_method_to_come","squash_option":"any"`: {forge.MethodMerge, forge.MethodSquash},
	} {
		f := driver(t, answers{"GET /projects/7": ok(`{"id":7,"path_with_namespace":"a/b",` + settings + `}`),
			"PUT /projects/7/merge_requests/3/merge": ok(mr("merged", "not_open", `,"merge_commit_sha":"`+shaOld+`"`))})
		for _, m := range []forge.MergeMethod{forge.MethodMerge, forge.MethodSquash, forge.MethodRebase} {
			_, err := f.Merge(t.Context(), shop, 3, shaHead, m)
			want := forge.Invalid
			if slices.Contains(good, m) {
				want = ""
			}
			wantCode(t, settings+" "+string(m), err, want)
		}
	}
}

// blocked asks what blocks a merge whose checks GitLab lists.
func blocked(t *testing.T, checks, statuses string) []string {
	t.Helper()
	f := driver(t, answers{
		"QUERY mergeabilityChecks":                                    ok(`{"data":{"projects":{"nodes":[{"mergeRequest":{"mergeabilityChecks":[` + checks + `]}}]}}}`),
		"GET /projects/7/repository/commits/" + shaHead + "/statuses": ok(`[` + statuses + `]`),
		"GET /projects/7/merge_requests/3/approvals":                  ok(`{"approvals_left":2}`),
		"GET /projects/7/merge_requests/3/reviewers":                  ok(`[{"user":{"id":4,"username":"dora"},"state":"requested_changes"}]`),
	})
	can := true
	p := forge.Pull{Number: 3, State: forge.Open, Mergeable: &can, MergeState: "ci_must_pass", Base: forge.Branch{Name: "main"}, Head: forge.Branch{SHA: shaHead}}
	list, err := f.MergeBlockers(t.Context(), shop, p, "lockkeeper")
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func check(identifier, status string) string {
	return `{"identifier":"` + identifier + `","status":"` + status + `"}`
}

// A pull shows the first cause only: behind a pipeline that waits for us alone,
// others may stand.
func TestAllThatBlocksAMergeIsTold(t *testing.T) {
	ci, ours := check("CI_MUST_PASS", "FAILED"), `{"id":1,"name":"lockkeeper","status":"pending","author":{"id":99}}`
	fine := check("NOT_OPEN", "SUCCESS") + "," + check("JIRA_ASSOCIATION_MISSING", "INACTIVE") + "," + check("NEED_REBASE", "WARNING") + ","
	for name, c := range map[string]struct {
		checks, statuses string
		want             []string
	}{
		"our check alone":     {fine + ci, ours, nil},
		"our check, not yet":  {fine + ci, "", nil},
		"another one failed":  {fine + ci, ours + `,{"id":2,"name":"build","status":"failed","author":{"id":2}}`, []string{`the check "build" failed`}},
		"another one waits":   {fine + ci, ours + `,{"id":2,"name":"build","status":"running","author":{"id":2}}`, []string{`the check "build" has not finished`}},
		"may fail":            {fine + ci, ours + `,{"id":2,"name":"lint","status":"failed","allow_failure":true,"author":{"id":2}}`, nil},
		"nobody knows which":  {fine + ci, `{"id":2,"name":"build","status":"success","author":{"id":2}}`, []string{"the pipeline has not succeeded, and the forge does not tell which part"}},
		"approvals behind it": {fine + ci + "," + check("NOT_APPROVED", "FAILED"), ours, []string{"2 approving reviews are missing"}},
		"demands behind it":   {ci + "," + check("REQUESTED_CHANGES", "FAILED"), ours, []string{"dora requests changes"}},
		"several": {check("DISCUSSIONS_NOT_RESOLVED", "FAILED") + "," + check("CONFLICT", "CHECKING") + "," + check("LOCKED_PATHS", "FAILED"), "",
			[]string{"threads are not resolved", "it conflicts with main; merge or rebase and push again", "it changes a path that somebody has locked"}},
		"a word to come":  {check("FULL_MOON", "FAILED"), "", []string{`the forge calls its state "full_moon"`}},
		"a state to come": {check("NOT_OPEN", "PUZZLED"), "", []string{"the pull request is closed"}},
	} {
		if got := blocked(t, c.checks, c.statuses); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestWhatAnOldGitLabCannotTellIsAnError(t *testing.T) {
	f := driver(t, answers{"QUERY mergeabilityChecks": ok(`{"errors":[{"message":"Field 'mergeabilityChecks' doesn't exist on type 'MergeRequest'"}]}`)})
	can := true
	_, err := f.MergeBlockers(t.Context(), shop, forge.Pull{Number: 3, State: forge.Open, Mergeable: &can, MergeState: "ci_must_pass"}, "lockkeeper")
	if forge.CodeOf(err) != forge.Invalid || !strings.Contains(err.Error(), "older than") {
		t.Error(err)
	}
	f = driver(t, answers{"QUERY mergeabilityChecks": ok(`{"data":{"projects":{"nodes":[]}}}`)})
	_, err = f.MergeBlockers(t.Context(), shop, forge.Pull{Number: 3, State: forge.Open, Mergeable: &can, MergeState: "not_approved"}, "lockkeeper")
	wantCode(t, "a pull that GraphQL does not show", err, forge.NotFound)
}
