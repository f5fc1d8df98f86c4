package github

import (
	"fmt"
	"net/http"
	"testing"

	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge"
	"lockkeeper/forge/contract"
	"lockkeeper/forge/forgetest"
)

// The suite runs twice: as an App and with a personal token, which differ in
// credentials and in how checks are written.
func TestContractAsApp(t *testing.T)      { contract.Run(t, newLookalike(true)) }
func TestContractWithAToken(t *testing.T) { contract.Run(t, newLookalike(false)) }

// lookalike plays the people on forge/forgetest through GitHub's own API.
type lookalike struct {
	s   *forgetest.Server
	app *forgetest.App // nil: the bot has a personal token
}

const org = "acme"

func newLookalike(asApp bool) func(t *testing.T) contract.Fixture {
	return func(t *testing.T) contract.Fixture {
		s, err := forgetest.New(forgetest.Options{LazyMergeable: true, RateLimit: 100000})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		s.AddUser("owner")
		s.AddOrg(org, "owner")
		l := &lookalike{s: s}
		if !asApp {
			s.AddUser("robot")
			s.AddTeam(org, "robots", "", "robot") // only members of an organisation see its teams
			return l
		}
		if l.app, err = s.AddApp("owner", "keeper", permissions, events...); err != nil {
			t.Fatal(err)
		}
		s.Install(l.app, org)
		return l
	}
}

func (l *lookalike) Traits() contract.Traits {
	return contract.Traits{CoAuthors: true, Pushers: true, ChildTeams: true, Reregister: true, Outside: true, Apps: true, RequestTeams: true, Signs: true,
		Methods: []forge.MergeMethod{forge.MethodMerge, forge.MethodSquash, forge.MethodRebase}}
}

func (l *lookalike) Driver(t *testing.T, wrap func(http.RoundTripper) http.RoundTripper) forge.Forge {
	t.Helper()
	c := Config{APIURL: l.s.URL + "/api/v3"}
	if l.app != nil {
		c.AppID, c.PrivateKey = l.app.ID, []byte(l.app.Key)
	} else {
		c.Token = l.s.Token("robot")
	}
	if wrap != nil {
		c.HTTPClient = &http.Client{Transport: wrap(http.DefaultTransport)}
	}
	f, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (l *lookalike) Person(_ *testing.T, login string) forge.User {
	return forge.User{ID: l.s.AddUser(login, contract.Email(login)), Login: login, Type: forge.Person}
}

func (l *lookalike) Reregister(t *testing.T, u forge.User) forge.User {
	l.s.DeleteUser(u.Login)
	return l.Person(t, u.Login)
}

func (l *lookalike) Repo(t *testing.T, name string) forge.RepoRef {
	t.Helper()
	id, err := l.s.AddRepo(t.Context(), forgetest.NewRepo{Owner: org, Name: name, Private: true, Files: map[string]string{"README.md": "hello\n"}})
	if err != nil {
		t.Fatal(err)
	}
	if l.app == nil {
		l.s.Grant(org+"/"+name, "robot", "write")
	}
	return forge.RepoRef{ID: id, Owner: org, Name: name}
}

func (l *lookalike) Grant(_ *testing.T, ref forge.RepoRef, u forge.User, p forge.Permission) {
	l.s.Grant(ref.String(), u.Login, map[forge.Permission]string{forge.Read: "read", forge.Write: "write", forge.Admin: "admin"}[p])
}

func (l *lookalike) Team(_ *testing.T, ref forge.RepoRef, slug, parent string, members ...forge.User) forge.Team {
	var names []string
	for _, m := range members {
		names = append(names, m.Login)
	}
	l.s.AddTeam(ref.Owner, slug, parent, names...)
	return forge.Team{Org: ref.Owner, Slug: slug}
}

func (l *lookalike) Member(_ *testing.T, ref forge.RepoRef, u forge.User) {
	l.s.AddMember(ref.Owner, u.Login)
}

func (l *lookalike) GrantTeam(_ *testing.T, ref forge.RepoRef, team forge.Team) {
	l.s.GrantTeam(ref.String(), team.Slug, "write")
}

// as is a client for what a person does.
func (l *lookalike) as(t *testing.T, login string) *gh.Client {
	t.Helper()
	c, err := gh.NewClient(nil).WithAuthToken(l.s.Token(login)).WithEnterpriseURLs(l.s.URL, l.s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ok is for calls of people that have to work.
func ok[T any](t *testing.T) func(T, *gh.Response, error) T {
	return func(v T, _ *gh.Response, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (l *lookalike) Fork(t *testing.T, ref forge.RepoRef, by forge.User) forge.RepoRef {
	t.Helper()
	r, _, err := l.as(t, by.Login).Repositories.CreateFork(t.Context(), ref.Owner, ref.Name, nil)
	if _, later := err.(*gh.AcceptedError); err != nil && !later {
		t.Fatal(err)
	}
	return forge.RepoRef{ID: r.GetID(), Owner: by.Login, Name: ref.Name}
}

func (l *lookalike) Push(t *testing.T, ref forge.RepoRef, by forge.User, p contract.Push) string {
	t.Helper()
	return contract.GitPush(t, l.s.CloneURL(ref.String()), contract.BasicAuth(by.Login, l.s.Token(by.Login)), p)
}

func (l *lookalike) OpenPull(t *testing.T, ref forge.RepoRef, by forge.User, p contract.NewPull) int {
	t.Helper()
	head := p.Head
	if p.HeadRepo.ID != 0 {
		head = p.HeadRepo.Owner + ":" + head
	}
	pr := ok[*gh.PullRequest](t)(l.as(t, by.Login).PullRequests.Create(t.Context(), ref.Owner, ref.Name,
		&gh.NewPullRequest{Title: &p.Title, Body: &p.Body, Head: &head, Base: &p.Base, Draft: &p.Draft}))
	return pr.GetNumber()
}

func (l *lookalike) EditPull(t *testing.T, ref forge.RepoRef, number int, by forge.User, e contract.PullEdit) {
	t.Helper()
	c := l.as(t, by.Login)
	edit := &gh.PullRequest{}
	if e.Title != "" {
		edit.Title = &e.Title
	}
	if e.Base != "" {
		edit.Base = &gh.PullRequestBranch{Ref: &e.Base}
	}
	if e.State != "" {
		edit.State = gh.String(string(e.State))
	}
	pr := ok[*gh.PullRequest](t)(c.PullRequests.Edit(t.Context(), ref.Owner, ref.Name, number, edit))
	if !e.Ready {
		return
	}
	// Only GraphQL takes a pull out of draft.
	req, err := c.NewRequest("POST", l.s.URL+"/api/graphql", map[string]any{
		"query":     "mutation($id:ID!){markPullRequestReadyForReview(input:{pullRequestId:$id}){pullRequest{isDraft}}}",
		"variables": map[string]any{"id": pr.GetNodeID()},
	})
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Errors []any }
	if _, err := c.Do(t.Context(), req, &answer); err != nil || len(answer.Errors) > 0 {
		t.Fatal(err, answer.Errors)
	}
}

func (l *lookalike) Comment(t *testing.T, ref forge.RepoRef, number int, by forge.User, body string) int64 {
	t.Helper()
	return ok[*gh.IssueComment](t)(l.as(t, by.Login).Issues.CreateComment(t.Context(), ref.Owner, ref.Name, number, &gh.IssueComment{Body: &body})).GetID()
}

func (l *lookalike) EditComment(t *testing.T, ref forge.RepoRef, _ int, id int64, by forge.User, body string) {
	t.Helper()
	ok[*gh.IssueComment](t)(l.as(t, by.Login).Issues.EditComment(t.Context(), ref.Owner, ref.Name, id, &gh.IssueComment{Body: &body}))
}

func (l *lookalike) Review(t *testing.T, ref forge.RepoRef, number int, by forge.User, s forge.ReviewState, body string) int64 {
	t.Helper()
	event := map[forge.ReviewState]string{forge.Approved: "APPROVE", forge.ChangesRequested: "REQUEST_CHANGES", forge.Commented: "COMMENT"}[s]
	return ok[*gh.PullRequestReview](t)(l.as(t, by.Login).PullRequests.CreateReview(t.Context(), ref.Owner, ref.Name, number,
		&gh.PullRequestReviewRequest{Event: &event, Body: &body})).GetID()
}

func (l *lookalike) Dismiss(t *testing.T, ref forge.RepoRef, number int, review int64, by forge.User) {
	t.Helper()
	ok[*gh.PullRequestReview](t)(l.as(t, by.Login).PullRequests.DismissReview(t.Context(), ref.Owner, ref.Name, number, review,
		&gh.PullRequestReviewDismissalRequest{Message: gh.String("outdated")}))
}

func (l *lookalike) MergePull(t *testing.T, ref forge.RepoRef, number int, by forge.User, m forge.MergeMethod) string {
	t.Helper()
	sha, err := l.s.As(by.Login).Merge(t.Context(), ref.String(), number, string(m))
	if err != nil {
		t.Fatal(err)
	}
	return sha
}

func (l *lookalike) OpenIssue(t *testing.T, ref forge.RepoRef, by forge.User, title string) int {
	t.Helper()
	return ok[*gh.Issue](t)(l.as(t, by.Login).Issues.Create(t.Context(), ref.Owner, ref.Name, &gh.IssueRequest{Title: &title})).GetNumber()
}

func (l *lookalike) AppCheck(t *testing.T, ref forge.RepoRef, sha, name string, good bool) int64 {
	t.Helper()
	app, err := l.s.AddApp("owner", "other", map[string]string{"checks": "write"})
	if err != nil {
		t.Fatal(err)
	}
	l.s.Install(app, ref.Owner)
	conclusion := map[bool]string{true: "success", false: "failure"}[good]
	if _, err := l.s.AsApp(app, ref.String()).Check(t.Context(), ref.String(), sha, name, conclusion); err != nil {
		t.Fatal(err)
	}
	return app.ID
}

func (l *lookalike) Reactions(t *testing.T, ref forge.RepoRef, _ int, comment int64) map[string]int {
	t.Helper()
	got := map[string]int{}
	for _, r := range ok[[]*gh.Reaction](t)(l.as(t, "owner").Reactions.ListIssueCommentReactions(t.Context(), ref.Owner, ref.Name, comment, nil)) {
		got[r.GetContent()]++
	}
	return got
}

func (l *lookalike) Protect(_ *testing.T, ref forge.RepoRef, branch string, checks []string, reviews int) {
	// One form of rules for each kind of credential, so that both are read.
	l.s.Protect(ref.String(), branch, forgetest.Protection{Checks: checks, Reviews: reviews, EnforceAdmins: true, Ruleset: l.app != nil})
}

func (l *lookalike) Status(t *testing.T, ref forge.RepoRef, sha, name string, good bool) {
	t.Helper()
	state := map[bool]string{true: "success", false: "failure"}[good]
	ok[*gh.RepoStatus](t)(l.as(t, "owner").Repositories.CreateStatus(t.Context(), ref.Owner, ref.Name, sha, &gh.RepoStatus{State: &state, Context: &name}))
}

func (l *lookalike) Checks(t *testing.T, ref forge.RepoRef, sha, name string) []contract.Shown {
	t.Helper()
	var shown []contract.Shown
	c := l.as(t, "owner")
	for _, r := range ok[*gh.ListCheckRunsResults](t)(c.Checks.ListCheckRunsForRef(t.Context(), ref.Owner, ref.Name, sha, &gh.ListCheckRunsOptions{CheckName: &name})).CheckRuns {
		s := contract.Shown{State: forge.Pending, Title: r.GetOutput().GetTitle()}
		switch {
		case r.GetConclusion() == "success":
			s.State = forge.Success
		case r.GetStatus() == "completed":
			s.State = forge.Failure
		}
		shown = append(shown, s)
	}
	for _, st := range ok[*gh.CombinedStatus](t)(c.Repositories.GetCombinedStatus(t.Context(), ref.Owner, ref.Name, sha, nil)).Statuses {
		if st.GetContext() == name {
			shown = append(shown, contract.Shown{State: forge.CheckState(st.GetState()), Title: st.GetDescription()})
		}
	}
	return shown
}

// openOne opens a pull of one commit.
func openOne(t *testing.T, l *lookalike, ref forge.RepoRef, by forge.User) int {
	t.Helper()
	l.Push(t, ref, by, contract.Push{Branch: "x", From: "main", Commits: []contract.Commit{{Author: by.Login, Message: "x", Files: map[string]string{"a": "1"}}}})
	return l.OpenPull(t, ref, by, contract.NewPull{Title: "x", Head: "x", Base: "main"})
}

// Gathering one pull must stay cheap: five calls, once a token is at hand.
func TestGatheringAPullTakesFiveCalls(t *testing.T) {
	l := newLookalike(true)(t).(*lookalike)
	ref := l.Repo(t, "shop")
	alice := l.Person(t, "alice")
	l.Grant(t, ref, alice, forge.Write)
	n := openOne(t, l, ref, alice)
	f := l.Driver(t, nil).(*Forge)
	if _, err := f.GitAuth(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	before := calls(f)
	p, err := f.Pull(t.Context(), ref, n)
	if err != nil {
		t.Fatal(err)
	}
	var errs [4]error
	_, errs[0] = f.Commits(t.Context(), ref, p)
	_, errs[1] = f.Comments(t.Context(), ref, n)
	_, errs[2] = f.Reviews(t.Context(), ref, n)
	_, _, errs[3] = f.Pushes(t.Context(), ref, p)
	if errs != [4]error{} {
		t.Fatal(errs)
	}
	if got := calls(f) - before; got != 5 || before != 2 {
		t.Errorf("%d calls to get a token, %d to gather: %s", before, got, fmt.Sprint(f.Calls()))
	}
}
