package github

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"lockkeeper/forge"
)

// blocked answers for a pull that GitHub calls blocked; each case changes some
// of it.
func blocked(over answers) answers {
	a := answers{
		"GET /repos/acme/shop/rules/branches/main":                say(200, `[]`),
		"GET /repos/acme/shop/branches/main":                      say(200, `{"name":"main","protected":false}`),
		"POST /graphql":                                           say(200, `{"data":{"repository":{"pullRequest":{"reviewDecision":null,"reviewThreads":{"totalCount":0,"nodes":[]},"baseRef":{"refUpdateRule":null}}}}}`),
		"GET /repos/acme/shop/commits/" + shaHead + "/check-runs": say(200, `{"total_count":0,"check_runs":[]}`),
		"GET /repos/acme/shop/commits/" + shaHead + "/status":     say(200, `{"state":"pending","statuses":[]}`),
	}
	for k, v := range over {
		a[k] = v
	}
	return a
}

func conversation(decision string, open, total int, rule string) http.HandlerFunc {
	var nodes []string
	for range open {
		nodes = append(nodes, `{"isResolved":false}`)
	}
	return say(200, fmt.Sprintf(`{"data":{"repository":{"pullRequest":{"reviewDecision":%s,"reviewThreads":{"totalCount":%d,"nodes":[%s]},"baseRef":{"refUpdateRule":%s}}}}}`,
		decision, total, strings.Join(nodes, ","), rule))
}

func rules(list string) http.HandlerFunc { return say(200, list) }

func needs(checks string) http.HandlerFunc {
	return rules(`[{"type":"deletion"},{"type":"a_rule_of_tomorrow","parameters":{"x":[1]}},{"type":"required_status_checks","parameters":{"required_status_checks":[` + checks + `]}}]`)
}

const (
	ruleURL   = "GET /repos/acme/shop/rules/branches/main"
	branchURL = "GET /repos/acme/shop/branches/main"
	runsURL   = "GET /repos/acme/shop/commits/" + shaHead + "/check-runs"
	statusURL = "GET /repos/acme/shop/commits/" + shaHead + "/status"
)

func TestBlockersAreNamed(t *testing.T) {
	yes, no := true, false
	pull := func(f func(*forge.Pull)) forge.Pull {
		p := forge.Pull{Number: 3, State: forge.Open, Mergeable: &yes, MergeState: "blocked", WebURL: "https://x/3",
			Base: forge.Branch{Name: "main", SHA: shaBase}, Head: forge.Branch{SHA: shaHead}}
		if f != nil {
			f(&p)
		}
		return p
	}
	state := func(word string) forge.Pull { return pull(func(p *forge.Pull) { p.MergeState = word }) }
	own := `{"context":"lockkeeper"}`
	for name, c := range map[string]struct {
		pull forge.Pull
		over answers
		want string // "" is free
	}{
		"still computing":            {pull(func(p *forge.Pull) { p.Mergeable = nil }), nil, "still computing"},
		"unknown":                    {state("unknown"), nil, "still computing"},
		"conflict":                   {pull(func(p *forge.Pull) { p.Mergeable = &no }), nil, "conflicts with main"},
		"dirty":                      {state("dirty"), nil, "conflicts with main"},
		"draft":                      {pull(func(p *forge.Pull) { p.Draft = true }), nil, "draft"},
		"behind":                     {state("behind"), nil, "behind main"},
		"clean":                      {state("clean"), nil, ""},
		"unstable":                   {state("unstable"), nil, ""},
		"with hooks":                 {state("has_hooks"), nil, ""},
		"a state of tomorrow":        {state("quantum"), nil, `"quantum"`},
		"queue though clean":         {state("clean"), answers{ruleURL: rules(`[{"type":"merge_queue"}]`)}, "merge queue"},
		"no rulesets":                {state("clean"), answers{ruleURL: nil}, ""},
		"blocked for nothing":        {pull(nil), nil, "does not say why"},
		"only our own check":         {pull(nil), answers{ruleURL: needs(own)}, ""},
		"our own, classic":           {pull(nil), answers{branchURL: say(200, `{"protection":{"required_status_checks":{"contexts":["lockkeeper"]}}}`)}, ""},
		"our own already good":       {pull(nil), answers{ruleURL: needs(own), runsURL: say(200, `{"check_runs":[{"name":"lockkeeper","status":"completed","conclusion":"success","app":{"id":42}}]}`)}, "does not say why"},
		"our own, faked (threat 25)": {pull(nil), answers{ruleURL: needs(own), runsURL: say(200, `{"check_runs":[{"name":"lockkeeper","status":"completed","conclusion":"success","app":{"id":666}}]}`)}, ""},
		"our own, from another App":  {pull(nil), answers{ruleURL: needs(`{"context":"lockkeeper","integration_id":666}`)}, "expected from another App"},
		"missing":                    {pull(nil), answers{ruleURL: needs(own + `,{"context":"build"}`)}, `"build" is missing`},
		"failed":                     {pull(nil), answers{ruleURL: needs(`{"context":"build"}`), runsURL: say(200, `{"check_runs":[{"name":"build","status":"completed","conclusion":"failure","app":{"id":5}}]}`)}, `"build" is failure`},
		"running":                    {pull(nil), answers{ruleURL: needs(`{"context":"build"}`), runsURL: say(200, `{"check_runs":[{"name":"build","status":"in_progress","app":{"id":5}}]}`)}, `"build" is in_progress`},
		"status pending":             {pull(nil), answers{branchURL: say(200, `{"protection":{"required_status_checks":{"checks":[{"context":"build","app_id":null}]}}}`), statusURL: say(200, `{"statuses":[{"context":"build","state":"pending"}]}`)}, `"build" is pending`},
		"pinned, faked (threat 25)":  {pull(nil), answers{ruleURL: needs(own + `,{"context":"build","integration_id":5}`), runsURL: say(200, `{"check_runs":[{"name":"build","status":"completed","conclusion":"success","app":{"id":666}}]}`)}, `"build" is missing`},
		"pinned, good":               {pull(nil), answers{ruleURL: needs(own + `,{"context":"build","integration_id":5}`), runsURL: say(200, `{"check_runs":[{"name":"build","status":"completed","conclusion":"neutral","app":{"id":5}}]}`)}, ""},
		"reviews":                    {pull(nil), answers{ruleURL: needs(own), "POST /graphql": conversation(`"REVIEW_REQUIRED"`, 0, 0, "null")}, "more approving reviews"},
		"changes":                    {pull(nil), answers{ruleURL: needs(own), "POST /graphql": conversation(`"CHANGES_REQUESTED"`, 0, 0, "null")}, "requests changes"},
		"threads":                    {pull(nil), answers{ruleURL: rules(`[{"type":"pull_request","parameters":{"required_review_thread_resolution":true}}]`), "POST /graphql": conversation("null", 2, 2, "null")}, "2 review conversations"},
		"threads, classic":           {pull(nil), answers{"POST /graphql": conversation("null", 1, 1, `{"requiresConversationResolution":true,"viewerCanPush":true}`)}, "1 review conversations"},
		"threads unseen":             {pull(nil), answers{"POST /graphql": conversation("null", 0, 3, `{"requiresConversationResolution":true,"viewerCanPush":true}`)}, "3 review conversations"},
		"threads not required":       {pull(nil), answers{ruleURL: needs(own), "POST /graphql": conversation("null", 2, 2, "null")}, ""},
		"push restricted":            {pull(nil), answers{ruleURL: needs(own), "POST /graphql": conversation("null", 0, 0, `{"viewerCanPush":false}`)}, "listed accounts only"},
		"update restricted":          {pull(nil), answers{ruleURL: rules(`[{"type":"update"}]`)}, "restricts who may update"},
		"unsigned commit": {pull(nil), answers{ruleURL: rules(`[{"type":"required_signatures"}]`),
			"GET /repos/acme/shop/compare/" + shaBase + "..." + shaHead: say(200, `{"total_commits":1,"commits":[{"sha":"`+shaHead+`","commit":{"verification":{"verified":false}}}]}`)}, "no verified signature"},
		"rules hidden":      {pull(nil), answers{ruleURL: say(403, `{"message":"no"}`), branchURL: say(200, `{"protection":{"required_status_checks":{"contexts":["lockkeeper"]}}}`)}, "may not read the rules of main"},
		"protection hidden": {pull(nil), answers{ruleURL: needs(own), branchURL: say(403, `{"message":"no"}`)}, "may not read the protection of main"},
		"checks hidden":     {pull(nil), answers{ruleURL: needs(own), runsURL: say(403, `{"message":"no"}`)}, "may not read the checks"},
		"reviews hidden":    {pull(nil), answers{ruleURL: needs(own), "POST /graphql": say(200, `{"data":null,"errors":[{"type":"FORBIDDEN","message":"no"}]}`)}, "may not read the state of the reviews"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newAppForge()
			for k, v := range blocked(c.over) {
				srv.answers[k] = v
			}
			got, err := withApp(t, srv).MergeBlockers(t.Context(), shop, c.pull, "lockkeeper")
			if err != nil {
				t.Fatal(err)
			}
			text := strings.Join(got, "; ")
			if c.want == "" && text != "" || !strings.Contains(text, c.want) {
				t.Errorf("blockers %q, want %q", got, c.want)
			}
		})
	}
}

func TestUnreadableBlockersAreAnError(t *testing.T) {
	for _, path := range []string{ruleURL, branchURL, "POST /graphql", runsURL, statusURL} {
		srv := newAppForge()
		for k, v := range blocked(answers{ruleURL: needs(`{"context":"build"}`), path: say(500, `{}`)}) {
			srv.answers[k] = v
		}
		yes := true
		p := forge.Pull{Number: 3, State: forge.Open, Mergeable: &yes, MergeState: "blocked", Base: forge.Branch{Name: "main", SHA: shaBase}, Head: forge.Branch{SHA: shaHead}}
		if got, err := withApp(t, srv).MergeBlockers(t.Context(), shop, p, "lockkeeper"); forge.CodeOf(err) != forge.Unavailable {
			t.Errorf("%s failing: %q, %v", path, got, err)
		}
	}
}
