// Package blockers finds out what keeps GitHub from merging a pull.
package blockers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sort"

	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge"
	"lockkeeper/forge/github/internal/commits"
	"lockkeeper/forge/github/internal/sdk"
)

// Pull is a pull whose merge is asked about.
type Pull struct {
	Repo commits.Repo
	forge.Pull
	// Own is the name of our check, and AppID our App, 0 for a token.
	Own   string
	AppID int64
}

// Find lists what keeps GitHub from merging p now, besides our own check.
func Find(ctx context.Context, p Pull) ([]string, error) {
	b := &blockers{Pull: p}
	err := b.find(ctx)
	return b.found, err
}

// Plain are the ones that the pull itself shows.
func Plain(p forge.Pull) []string {
	switch {
	case p.Merged:
		return []string{"the pull request is merged already"}
	case p.State != forge.Open:
		return []string{"the pull request is closed"}
	case p.Mergeable == nil || p.MergeState == "unknown" || p.MergeState == "":
		return []string{"the forge is still computing whether it can be merged"}
	case !*p.Mergeable || p.MergeState == "dirty":
		return []string{fmt.Sprintf("it conflicts with %s; merge or rebase and push again", p.Base.Name)}
	case p.Draft || p.MergeState == "draft":
		return []string{"the pull request is a draft"}
	case p.MergeState == "behind":
		return []string{fmt.Sprintf("the branch is behind %s and has to be brought up to date first", p.Base.Name)}
	}
	return nil
}

// blockers collects the causes behind the state "blocked".
type blockers struct {
	Pull
	found []string
	// ownExplains is set when our own check is required and not yet green.
	ownExplains bool
}

func (b *blockers) add(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(b.found, s) {
		b.found = append(b.found, s)
	}
}

// unless records an unreadable cause as a blocker and passes other errors on.
func (b *blockers) unless(err error, what string) error {
	if forge.CodeOf(sdk.Fail("", err)) != forge.Forbidden {
		return err
	}
	b.add("our credential may not read %s, so what blocks the merge is unknown", what)
	return nil
}

// find reads the rules for every pull, because a required merge queue does not
// show in the state, and the rest only for a blocked one.
func (b *blockers) find(ctx context.Context) error {
	d, err := b.duties(ctx)
	if err != nil {
		return err
	}
	if d.queue {
		b.add("%s is merged through a merge queue only; set apply: merge for this repository", b.Base.Name)
	}
	switch b.MergeState {
	case "clean", "unstable", "has_hooks":
		return nil
	case "blocked":
		return b.blocked(ctx, d)
	}
	b.add("the forge calls its state %q", b.MergeState)
	return nil
}

func (b *blockers) blocked(ctx context.Context, d duties) error {
	if d.locked {
		b.add("a rule restricts who may update %s, and we may not be among them", b.Base.Name)
	}
	if err := b.protection(ctx, d.checks); err != nil {
		return err
	}
	if err := b.conversation(ctx, d); err != nil {
		return err
	}
	if err := b.checks(ctx, d.checks); err != nil {
		return err
	}
	if len(b.found) == 0 && !b.ownExplains {
		b.add("the forge blocks the merge and does not say why; its page shows the reason: %s", b.WebURL)
	}
	return nil
}

// duties is what the rulesets of the base branch demand.
type duties struct {
	queue, signed, resolved, locked bool
	checks                          requiredChecks
}

func (b *blockers) duties(ctx context.Context) (duties, error) {
	d := duties{checks: requiredChecks{}}
	rules, err := b.rules(ctx)
	for _, r := range rules {
		switch r.Type {
		case "merge_queue":
			d.queue = true
		case "required_signatures":
			d.signed = true
		case "update":
			d.locked = true
		case "pull_request":
			d.resolved = d.resolved || r.Parameters.ReviewThreadResolution
		case "required_status_checks":
			for _, k := range r.Parameters.Checks {
				d.checks.add(k.Context, k.IntegrationID)
			}
		}
	}
	return d, err
}

type rule struct {
	Type       string `json:"type"`
	Parameters struct {
		ReviewThreadResolution bool `json:"required_review_thread_resolution"`
		Checks                 []struct {
			Context       string `json:"context"`
			IntegrationID int64  `json:"integration_id"`
		} `json:"required_status_checks"`
	} `json:"parameters"`
}

// rules reads the active rules of the base branch from all rulesets. Types of
// rules come and go, so unknown ones must not fail (go-github's decoder does).
func (b *blockers) rules(ctx context.Context) ([]rule, error) {
	var rules []rule
	path := fmt.Sprintf("repos/%s/%s/rules/branches/%s?per_page=%d", b.Repo.Ref.Owner, b.Repo.Ref.Name, url.PathEscape(b.Base.Name), sdk.PerPage)
	raw, err := sdk.Pages(func(o gh.ListOptions) ([]json.RawMessage, *gh.Response, error) {
		req, err := b.Repo.Client.NewRequest(http.MethodGet, fmt.Sprintf("%s&page=%d", path, o.Page), nil)
		if err != nil {
			return nil, nil, err
		}
		var some []json.RawMessage
		resp, err := b.Repo.Client.Do(ctx, req, &some)
		return some, resp, err
	})
	if forge.CodeOf(sdk.Fail("", err)) == forge.NotFound {
		return nil, nil // Enterprise Server before 3.11 has no rulesets
	}
	if err != nil {
		return nil, b.unless(err, "the rules of "+b.Base.Name)
	}
	for _, m := range raw {
		var r rule
		if err := json.Unmarshal(m, &r); err != nil {
			return nil, fmt.Errorf("rule of %s: %w", b.Base.Name, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// protection reads the summary of classic branch protection; the full text is
// for administrators only.
func (b *blockers) protection(ctx context.Context, need requiredChecks) error {
	path := fmt.Sprintf("repos/%s/%s/branches/%s", b.Repo.Ref.Owner, b.Repo.Ref.Name, url.PathEscape(b.Base.Name))
	req, err := b.Repo.Client.NewRequest(http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	var branch struct {
		Protection struct {
			Checks struct {
				Contexts []string `json:"contexts"`
				Checks   []struct {
					Context string `json:"context"`
					AppID   int64  `json:"app_id"`
				} `json:"checks"`
			} `json:"required_status_checks"`
		} `json:"protection"`
	}
	if _, err := b.Repo.Client.Do(ctx, req, &branch); err != nil {
		return b.unless(err, "the protection of "+b.Base.Name)
	}
	for _, k := range branch.Protection.Checks.Checks {
		need.add(k.Context, k.AppID)
	}
	for _, name := range branch.Protection.Checks.Contexts {
		need.add(name, 0)
	}
	return nil
}

const conversationQuery = `query($owner:String!,$name:String!,$number:Int!){repository(owner:$owner,name:$name){pullRequest(number:$number){reviewDecision reviewThreads(first:100){totalCount nodes{isResolved}} baseRef{refUpdateRule{requiresConversationResolution requiresSignatures viewerCanPush}}}}}`

type conversationAnswer struct {
	Repository struct {
		PullRequest struct {
			ReviewDecision string `json:"reviewDecision"`
			ReviewThreads  struct {
				TotalCount int `json:"totalCount"`
				Nodes      []struct {
					IsResolved bool `json:"isResolved"`
				} `json:"nodes"`
			} `json:"reviewThreads"`
			BaseRef struct {
				RefUpdateRule *struct {
					RequiresConversationResolution bool `json:"requiresConversationResolution"`
					RequiresSignatures             bool `json:"requiresSignatures"`
					ViewerCanPush                  bool `json:"viewerCanPush"`
				} `json:"refUpdateRule"`
			} `json:"baseRef"`
		} `json:"pullRequest"`
	} `json:"repository"`
}

// conversation looks at what only GraphQL tells: the decision of the reviews,
// open threads, and the part of branch protection that everyone may see.
func (b *blockers) conversation(ctx context.Context, d duties) error {
	var a conversationAnswer
	vars := map[string]any{"owner": b.Repo.Ref.Owner, "name": b.Repo.Ref.Name, "number": b.Number}
	if err := sdk.Query(ctx, b.Repo.Wire, b.Repo.Client, conversationQuery, vars, &a); err != nil {
		if forge.CodeOf(sdk.Fail("", err)) == forge.Invalid { // a field that it does not have
			b.add("this release of GitHub does not tell the state of the reviews, so what blocks the merge is unknown")
			return nil
		}
		return b.unless(err, "the state of the reviews")
	}
	pr := a.Repository.PullRequest
	switch pr.ReviewDecision {
	case "REVIEW_REQUIRED":
		b.add("the forge's branch rules need more approving reviews")
	case "CHANGES_REQUESTED":
		b.add("a review requests changes")
	}
	if r := pr.BaseRef.RefUpdateRule; r != nil {
		d.signed = d.signed || r.RequiresSignatures
		d.resolved = d.resolved || r.RequiresConversationResolution
		if !r.ViewerCanPush {
			b.add("%s accepts pushes from listed accounts only, and we are not among them", b.Base.Name)
		}
	}
	open := max(0, pr.ReviewThreads.TotalCount-len(pr.ReviewThreads.Nodes)) // unseen ones count as open
	for _, t := range pr.ReviewThreads.Nodes {
		if !t.IsResolved {
			open++
		}
	}
	if d.resolved && open > 0 {
		b.add("%d review conversations are not resolved", open)
	}
	if d.signed {
		return b.signatures(ctx)
	}
	return nil
}

func (b *blockers) signatures(ctx context.Context) error {
	commits, err := b.Repo.Compare(ctx, b.Base.SHA, b.Head.SHA)
	if err != nil {
		return err
	}
	for _, c := range commits {
		if !c.GetCommit().GetVerification().GetVerified() {
			b.add("%s takes signed commits only, and %.7s has no verified signature", b.Base.Name, c.GetSHA())
		}
	}
	return nil
}

// requiredChecks holds the names of required checks with the App each is
// pinned to, 0 for any.
type requiredChecks map[string]int64

func (r requiredChecks) add(name string, app int64) {
	if name != "" {
		r[name] = max(r[name], app, 0) // GitHub sends -1 for "any App"
	}
}

// checkState is the newest result under one name.
type checkState struct {
	app  int64 // 0 for a commit status, which does not tell its App
	word string
}

func (s checkState) good() bool {
	return s.word == "success" || s.word == "neutral" || s.word == "skipped"
}

func (b *blockers) checks(ctx context.Context, need requiredChecks) error {
	if len(need) == 0 {
		return nil
	}
	have, err := b.results(ctx)
	if err != nil {
		return b.unless(err, "the checks of "+b.Head.SHA)
	}
	for _, name := range sortedKeys(need) {
		app := need[name]
		if name == b.Own {
			b.ownCheck(name, app, have[name])
			continue
		}
		state := "missing"
		for _, s := range have[name] {
			if app != 0 && s.app != 0 && s.app != app {
				continue // somebody else's check under that name (threat 25)
			}
			state = s.word
			if !s.good() {
				break
			}
		}
		if !(checkState{word: state}).good() {
			b.add("the required check %q is %s", name, state)
		}
	}
	return nil
}

func (b *blockers) ownCheck(name string, app int64, have []checkState) {
	me := b.AppID
	if app != 0 && app != me {
		b.add("the required check %q is expected from another App (id %d), which ours cannot answer for", name, app)
	}
	good := false
	for _, s := range have {
		good = good || s.good() && (s.app == 0 || s.app == me)
	}
	b.ownExplains = !good
}

// results reads the newest check runs and commit statuses of the head.
func (b *blockers) results(ctx context.Context) (map[string][]checkState, error) {
	have := map[string][]checkState{}
	runs, err := sdk.Pages(func(o gh.ListOptions) ([]*gh.CheckRun, *gh.Response, error) {
		res, resp, err := b.Repo.Client.Checks.ListCheckRunsForRef(ctx, b.Repo.Ref.Owner, b.Repo.Ref.Name, b.Head.SHA,
			&gh.ListCheckRunsOptions{Filter: gh.String("latest"), ListOptions: o})
		if err != nil {
			return nil, resp, err
		}
		return res.CheckRuns, resp, nil
	})
	if err != nil {
		return nil, err
	}
	for _, r := range runs {
		word := r.GetConclusion()
		if r.GetStatus() != "completed" {
			word = r.GetStatus()
		}
		have[r.GetName()] = append(have[r.GetName()], checkState{app: r.GetApp().GetID(), word: word})
	}
	statuses, err := sdk.Pages(func(o gh.ListOptions) ([]*gh.RepoStatus, *gh.Response, error) {
		res, resp, err := b.Repo.Client.Repositories.GetCombinedStatus(ctx, b.Repo.Ref.Owner, b.Repo.Ref.Name, b.Head.SHA, &o)
		if err != nil {
			return nil, resp, err
		}
		return res.Statuses, resp, nil
	})
	if err != nil {
		return nil, err
	}
	for _, s := range statuses {
		have[s.GetContext()] = append(have[s.GetContext()], checkState{word: s.GetState()})
	}
	return have, nil
}

func sortedKeys(m requiredChecks) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
