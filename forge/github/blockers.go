package github

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
	"lockkeeper/forge/github/internal/wire"
)

// MergeBlockers lists what keeps GitHub from merging p now, besides the check
// named own. It judges p as given (Mergeable and MergeState come from Pull)
// and asks further only where GitHub says "blocked" without saying why. What
// cannot be found out is itself a blocker: a merge that fails after an apply
// is worse than one that waits.
func (f *Forge) MergeBlockers(ctx context.Context, ref forge.RepoRef, p forge.Pull, own string) ([]string, error) {
	op := fmt.Sprintf("find what blocks the merge of pull %s#%d", ref, p.Number)
	if simple := plainBlockers(p); len(simple) > 0 {
		return simple, nil
	}
	c, err := f.repo(ctx, ref)
	if err != nil {
		return nil, wire.Fail(op, err)
	}
	b := &blockers{f: f, c: c, ref: ref, pull: p, own: own}
	if err := b.find(ctx); err != nil {
		return nil, wire.Fail(op, err)
	}
	return b.found, nil
}

// plainBlockers are the ones that the pull itself shows.
func plainBlockers(p forge.Pull) []string {
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
	f     *Forge
	c     *gh.Client
	ref   forge.RepoRef
	pull  forge.Pull
	own   string
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
	if forge.CodeOf(wire.Fail("", err)) == forge.Forbidden {
		b.add("our credential may not read %s, so what blocks the merge is unknown", what)
		return nil
	}
	return err
}

// find reads the rules for every pull, because a required merge queue does not
// show in the state, and the rest only for a blocked one.
func (b *blockers) find(ctx context.Context) error {
	d, err := b.duties(ctx)
	if err != nil {
		return err
	}
	if d.queue {
		b.add("%s is merged through a merge queue only; set apply: merge for this repository", b.pull.Base.Name)
	}
	switch b.pull.MergeState {
	case "clean", "unstable", "has_hooks":
		return nil
	case "blocked":
		return b.blocked(ctx, d)
	}
	b.add("the forge calls its state %q", b.pull.MergeState)
	return nil
}

func (b *blockers) blocked(ctx context.Context, d duties) error {
	if d.locked {
		b.add("a rule restricts who may update %s, and we may not be among them", b.pull.Base.Name)
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
		b.add("the forge blocks the merge and does not say why; its page shows the reason: %s", b.pull.WebURL)
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
	path := fmt.Sprintf("repos/%s/%s/rules/branches/%s?per_page=%d", b.ref.Owner, b.ref.Name, url.PathEscape(b.pull.Base.Name), perPage)
	raw, err := pages(func(o gh.ListOptions) ([]json.RawMessage, *gh.Response, error) {
		req, err := b.c.NewRequest(http.MethodGet, fmt.Sprintf("%s&page=%d", path, o.Page), nil)
		if err != nil {
			return nil, nil, err
		}
		var some []json.RawMessage
		resp, err := b.c.Do(ctx, req, &some)
		return some, resp, err
	})
	if forge.CodeOf(wire.Fail("", err)) == forge.NotFound {
		return nil, nil // Enterprise Server before 3.11 has no rulesets
	}
	if err != nil {
		return nil, b.unless(err, "the rules of "+b.pull.Base.Name)
	}
	for _, m := range raw {
		var r rule
		if err := json.Unmarshal(m, &r); err != nil {
			return nil, fmt.Errorf("rule of %s: %w", b.pull.Base.Name, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// protection reads the summary of classic branch protection; the full text is
// for administrators only.
func (b *blockers) protection(ctx context.Context, need requiredChecks) error {
	path := fmt.Sprintf("repos/%s/%s/branches/%s", b.ref.Owner, b.ref.Name, url.PathEscape(b.pull.Base.Name))
	req, err := b.c.NewRequest(http.MethodGet, path, nil)
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
	if _, err := b.c.Do(ctx, req, &branch); err != nil {
		return b.unless(err, "the protection of "+b.pull.Base.Name)
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
	vars := map[string]any{"owner": b.ref.Owner, "name": b.ref.Name, "number": b.pull.Number}
	if err := b.f.query(ctx, b.c, conversationQuery, vars, &a); err != nil {
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
			b.add("%s accepts pushes from listed accounts only, and we are not among them", b.pull.Base.Name)
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
	commits, err := compare(ctx, b.c, b.ref, b.pull.Base.SHA, b.pull.Head.SHA)
	if err != nil {
		return err
	}
	for _, c := range commits {
		if !c.GetCommit().GetVerification().GetVerified() {
			b.add("%s takes signed commits only, and %.7s has no verified signature", b.pull.Base.Name, c.GetSHA())
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
		return b.unless(err, "the checks of "+b.pull.Head.SHA)
	}
	for _, name := range sortedKeys(need) {
		app := need[name]
		if name == b.own {
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
	me := b.f.creds.appID()
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
	runs, err := pages(func(o gh.ListOptions) ([]*gh.CheckRun, *gh.Response, error) {
		res, resp, err := b.c.Checks.ListCheckRunsForRef(ctx, b.ref.Owner, b.ref.Name, b.pull.Head.SHA,
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
	statuses, err := pages(func(o gh.ListOptions) ([]*gh.RepoStatus, *gh.Response, error) {
		res, resp, err := b.c.Repositories.GetCombinedStatus(ctx, b.ref.Owner, b.ref.Name, b.pull.Head.SHA, &o)
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
