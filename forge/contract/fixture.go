package contract

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"testing"

	"lockkeeper/forge"
	"lockkeeper/forge/people"
)

// Fixture is a forge for one case of the suite, and the people on it. Its methods
// fail the test when they cannot do what was asked. Organisation and repositories
// are the case's own, so that cases can share a forge.
type Fixture struct {
	// Traits are the forge's.
	Traits Traits
	world  people.Forge
	driver Driver
	org    string
}

// Driver makes the driver under test, acting as the bot. With wrap, every request
// goes through the transport that it returns.
type Driver func(t *testing.T, wrap func(http.RoundTripper) http.RoundTripper) forge.Forge

// On makes the fixture of one case on a forge. Worlds of forges whose Traits say
// Reregister have a method DeletePerson(ctx, login) error, and those whose Traits
// say Apps a method AppCheck(ctx, repo, sha, name string, good bool) (int64, error),
// which writes another App's result for a commit and returns the App's number.
func On(t *testing.T, world people.Forge, driver Driver, traits Traits) *Fixture {
	t.Helper()
	f := &Fixture{Traits: traits, world: world, driver: driver, org: unique("acme")}
	f.Person(t, owner)
	ok(t, world.AddOrg(t.Context(), f.org, owner))
	return f
}

// owner owns every organisation.
const owner = "owner"

// unique is a name that no other case uses.
func unique(name string) string { return name + "-" + strings.ToLower(rand.Text()[:8]) }

func (f *Fixture) settle(t *testing.T) {
	t.Helper()
	ok(t, f.world.Settle(t.Context()))
}

// Driver is the driver under test.
func (f *Fixture) Driver(t *testing.T, wrap func(http.RoundTripper) http.RoundTripper) forge.Forge {
	t.Helper()
	return f.driver(t, wrap)
}

// Person registers an account with the e-mail address Email(login).
func (f *Fixture) Person(t *testing.T, login string) forge.User {
	t.Helper()
	return must[forge.User](t)(f.world.AddPerson(t.Context(), login, Email(login)))
}

// Reregister deletes the account and registers its login for somebody else.
func (f *Fixture) Reregister(t *testing.T, u forge.User) forge.User {
	t.Helper()
	ok(t, f.world.(interface {
		DeletePerson(ctx context.Context, login string) error
	}).DeletePerson(t.Context(), u.Login))
	return f.Person(t, u.Login)
}

// Repo makes a private repository of the organisation, with a branch main that
// holds README.md and into which the bot may merge. Its name begins as given.
func (f *Fixture) Repo(t *testing.T, name string) forge.RepoRef {
	t.Helper()
	ref := must[forge.RepoRef](t)(f.world.AddRepo(t.Context(), people.NewRepo{Owner: f.org, Name: unique(name), Private: true,
		Files: map[string]string{"README.md": "hello\n"}}))
	ok(t, f.world.Admit(t.Context(), ref.String()))
	return ref
}

// Move gives a repository another name and another owner.
func (f *Fixture) Move(t *testing.T, ref forge.RepoRef) forge.RepoRef {
	t.Helper()
	to := forge.RepoRef{ID: ref.ID, Owner: unique("umbrella"), Name: unique("store")}
	ok(t, f.world.AddOrg(t.Context(), to.Owner, owner))
	ok(t, f.world.MoveRepo(t.Context(), ref.String(), to.String()))
	ok(t, f.world.Admit(t.Context(), to.String()))
	return to
}

// Grant gives somebody a permission.
func (f *Fixture) Grant(t *testing.T, ref forge.RepoRef, u forge.User, p forge.Permission) {
	t.Helper()
	ok(t, f.world.Grant(t.Context(), ref.String(), u.Login, p))
}

// Team makes a team in the repository's organisation, below parent if any.
func (f *Fixture) Team(t *testing.T, ref forge.RepoRef, slug, parent string, members ...forge.User) forge.Team {
	t.Helper()
	var logins []string
	for _, m := range members {
		logins = append(logins, m.Login)
	}
	ok(t, f.world.AddTeam(t.Context(), ref.Owner, slug, parent, logins...))
	return forge.Team{Org: ref.Owner, Slug: slug}
}

// RenameTeam gives a team another slug.
func (f *Fixture) RenameTeam(t *testing.T, team forge.Team, to string) forge.Team {
	t.Helper()
	ok(t, f.world.RenameTeam(t.Context(), team.Org, team.Slug, to))
	return forge.Team{Org: team.Org, Slug: to}
}

// Member makes somebody a member of the repository's organisation.
func (f *Fixture) Member(t *testing.T, ref forge.RepoRef, u forge.User) {
	t.Helper()
	ok(t, f.world.AddMember(t.Context(), ref.Owner, u.Login))
}

// GrantTeam gives a team write access.
func (f *Fixture) GrantTeam(t *testing.T, ref forge.RepoRef, team forge.Team) {
	t.Helper()
	ok(t, f.world.GrantTeam(t.Context(), ref.String(), team.Slug))
}

// Fork copies the repository to the person's account.
func (f *Fixture) Fork(t *testing.T, ref forge.RepoRef, by forge.User) forge.RepoRef {
	t.Helper()
	fork := must[forge.RepoRef](t)(f.world.As(by.Login).Fork(t.Context(), ref.String()))
	f.settle(t)
	return fork
}

// Push makes commits, pushes them and returns the new tip.
func (f *Fixture) Push(t *testing.T, ref forge.RepoRef, by forge.User, p Push) string {
	t.Helper()
	tip := gitPush(t, f.world.CloneURL(ref.String()), f.world.As(by.Login).GitAuth(), p)
	f.settle(t)
	return tip
}

// OpenPull opens a pull and returns its number.
func (f *Fixture) OpenPull(t *testing.T, ref forge.RepoRef, by forge.User, p NewPull) int {
	t.Helper()
	head, open := p.Head, f.world.As(by.Login).OpenPull
	if p.HeadRepo.ID != 0 {
		head = p.HeadRepo.Owner + ":" + head
	}
	if p.Draft {
		open = f.world.As(by.Login).OpenDraft
	}
	return must[int](t)(open(t.Context(), ref.String(), p.Base, head, p.Title, p.Body))
}

// EditPull changes a pull.
func (f *Fixture) EditPull(t *testing.T, ref forge.RepoRef, number int, by forge.User, e PullEdit) {
	t.Helper()
	ctx, repo, as := t.Context(), ref.String(), f.world.As(by.Login)
	if e.Ready {
		ok(t, as.MarkReady(ctx, repo, number))
	}
	if e.Title != "" {
		ok(t, as.EditPull(ctx, repo, number, e.Title, must[people.Pull](t)(as.Pull(ctx, repo, number)).Body))
	}
	if e.Base != "" {
		ok(t, as.Retarget(ctx, repo, number, e.Base))
	}
	switch e.State {
	case forge.Closed:
		ok(t, as.Close(ctx, repo, number))
	case forge.Open:
		ok(t, as.Reopen(ctx, repo, number))
	}
	f.settle(t)
}

// Comment writes a comment and returns its ID.
func (f *Fixture) Comment(t *testing.T, ref forge.RepoRef, number int, by forge.User, body string) int64 {
	t.Helper()
	return must[int64](t)(f.world.As(by.Login).Comment(t.Context(), ref.String(), number, body))
}

// EditComment replaces a comment's body.
func (f *Fixture) EditComment(t *testing.T, ref forge.RepoRef, number int, id int64, by forge.User, body string) {
	t.Helper()
	ok(t, f.world.As(by.Login).EditComment(t.Context(), ref.String(), number, id, body))
}

// Review submits a review of the pull's present head.
func (f *Fixture) Review(t *testing.T, ref forge.RepoRef, number int, by forge.User, s forge.ReviewState, body string) int64 {
	t.Helper()
	return must[int64](t)(f.world.As(by.Login).Review(t.Context(), ref.String(), number, s, body))
}

// Dismiss takes a review back.
func (f *Fixture) Dismiss(t *testing.T, ref forge.RepoRef, number int, review int64, by forge.User) {
	t.Helper()
	ok(t, f.world.As(by.Login).Dismiss(t.Context(), ref.String(), number, review))
}

// MergePull merges as a person and returns the commit on the base.
func (f *Fixture) MergePull(t *testing.T, ref forge.RepoRef, number int, by forge.User, m forge.MergeMethod) string {
	t.Helper()
	sha := must[string](t)(f.world.As(by.Login).Merge(t.Context(), ref.String(), number, string(m)))
	f.settle(t)
	return sha
}

// OpenIssue opens an issue as a person and returns its number.
func (f *Fixture) OpenIssue(t *testing.T, ref forge.RepoRef, by forge.User, title string) int {
	t.Helper()
	return must[int](t)(f.world.As(by.Login).OpenIssue(t.Context(), ref.String(), title))
}

// Reactions counts a comment's reactions.
func (f *Fixture) Reactions(t *testing.T, ref forge.RepoRef, number int, comment int64) map[forge.Reaction]int {
	t.Helper()
	counts := map[forge.Reaction]int{}
	for r, who := range must[map[forge.Reaction][]string](t)(f.world.As(owner).Reactions(t.Context(), ref.String(), number, comment)) {
		counts[r] = len(who)
	}
	return counts
}

// Protect demands checks by name and a number of approving reviews.
func (f *Fixture) Protect(t *testing.T, ref forge.RepoRef, branch string, checks []string, reviews int) {
	t.Helper()
	ok(t, f.world.Protect(t.Context(), ref.String(), branch, people.Protection{Checks: checks, Reviews: reviews}))
}

// Status is another system's result for a commit.
func (f *Fixture) Status(t *testing.T, ref forge.RepoRef, sha, name string, good bool) {
	t.Helper()
	state := map[bool]forge.CheckState{true: forge.Success, false: forge.Failure}[good]
	ok(t, f.world.As(owner).Status(t.Context(), ref.String(), sha, name, state))
}

// AppCheck is the result of another App for a commit; it returns the App's number.
func (f *Fixture) AppCheck(t *testing.T, ref forge.RepoRef, sha, name string, good bool) int64 {
	t.Helper()
	return must[int64](t)(f.world.(interface {
		AppCheck(ctx context.Context, repo, sha, name string, good bool) (int64, error)
	}).AppCheck(t.Context(), ref.String(), sha, name, good))
}

// Checks lists what is shown under the name on a commit now. States that not
// every forge tells are folded into Failure.
func (f *Fixture) Checks(t *testing.T, ref forge.RepoRef, sha, name string) []people.Shown {
	t.Helper()
	var out []people.Shown
	for _, s := range must[[]people.Shown](t)(f.world.As(owner).Checks(t.Context(), ref.String(), sha)) {
		if s.Name != name {
			continue
		}
		if s.State != forge.Pending && s.State != forge.Success {
			s.State = forge.Failure
		}
		out = append(out, s)
	}
	return out
}

// ok is for what has to work.
func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
