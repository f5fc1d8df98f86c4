package bot_test

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lockkeeper/bot/config"
	"lockkeeper/forge"
	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/forgetest/bare"
	teaserver "lockkeeper/forge/forgetest/gitea"
	labserver "lockkeeper/forge/forgetest/gitlab"
	"lockkeeper/forge/gitea"
	"lockkeeper/forge/github"
	"lockkeeper/forge/gitlab"
	"lockkeeper/forge/people"
	teapeople "lockkeeper/forge/people/gitea"
	lookalike "lockkeeper/forge/people/github"
	labpeople "lockkeeper/forge/people/gitlab"
)

// venue is a kind of forge that the stories can be told on.
type venue struct {
	// open starts one for a story.
	open func(t *testing.T, b build) (people.Forge, error)
	// driver makes the bot's way in.
	driver func(ctx context.Context, a people.Access, h *http.Client, now func() time.Time) (forge.Forge, error)
	verify func(header http.Header, body []byte, secrets [][]byte) error
	parse  func(header http.Header, body []byte) (forge.Event, error)
	// section is the forge's part of the operator's file.
	section func(people.Access) config.Forges
}

// venues by what Forge.Kind says.
var venues = map[string]venue{
	config.OnGitHub: {
		open: func(t *testing.T, b build) (people.Forge, error) {
			m, err := github.Manifest("http://127.0.0.1", "http://127.0.0.1/done", "lockkeeper")
			if err != nil {
				return nil, err
			}
			return lookalike.New(lookalike.Options{
				Options:     forgetest.Options{RealTime: b.RealTime, LazyMergeable: b.Lazy, Validate: func(v string) { t.Errorf("the look-alike broke GitHub's schema: %s", v) }},
				Permissions: m.DefaultPermissions, Events: m.DefaultEvents,
			})
		},
		driver: func(ctx context.Context, a people.Access, h *http.Client, now func() time.Time) (forge.Forge, error) {
			return github.New(ctx, github.Config{APIURL: a.APIURL, AppID: a.AppID, PrivateKey: []byte(a.Key), UserAgent: "lockkeeper-test", HTTPClient: h, Now: now})
		},
		verify: github.Verify, parse: github.ParseEvent,
		section: func(people.Access) config.Forges {
			return config.Forges{GitHub: &config.GitHub{Dealings: config.Dealings{ServiceAccounts: []int64{config.GitHubWebFlow}}}}
		},
	},
	config.OnGitLab: {
		open: func(_ *testing.T, b build) (people.Forge, error) {
			return labpeople.New(labserver.Options{RealTime: b.RealTime})
		},
		driver: func(ctx context.Context, a people.Access, h *http.Client, now func() time.Time) (forge.Forge, error) {
			return gitlab.New(ctx, gitlab.Config{URL: a.APIURL, Token: a.Token, UserAgent: "lockkeeper-test", HTTPClient: h, Now: now})
		},
		verify: gitlab.Verify, parse: gitlab.ParseEvent,
		section: func(a people.Access) config.Forges { return config.Forges{GitLab: &config.Host{URL: a.APIURL}} },
	},
	// A Gitea of its own for each story: what they are called is theirs.
	config.OnGitea: {
		open: func(t *testing.T, _ build) (people.Forge, error) {
			return teapeople.Start(t.Context(), teaserver.Options{})
		},
		driver: func(ctx context.Context, a people.Access, h *http.Client, now func() time.Time) (forge.Forge, error) {
			return gitea.New(ctx, gitea.Config{URL: a.APIURL, Token: a.Token, UserAgent: "lockkeeper-test", HTTPClient: h, Now: now})
		},
		verify: gitea.Verify, parse: gitea.ParseEvent,
		section: func(a people.Access) config.Forges { return config.Forges{Gitea: &config.Host{URL: a.APIURL}} },
	},
}

// dealings is what every forge's part of the operator's file has.
func dealings(s *config.Server) *config.Dealings {
	if s.GitHub != nil {
		return &s.GitHub.Dealings
	}
	return &s.Host().Dealings
}

// worker is somebody at work, who says commands as this forge lets them be said.
type worker struct {
	people.Person
	reserved []string
}

func (w worker) Comment(ctx context.Context, repo string, number int, body string) (int64, error) {
	return w.Person.Comment(ctx, repo, number, spell(w.reserved, body))
}

func (w worker) EditComment(ctx context.Context, repo string, number int, id int64, body string) error {
	return w.Person.EditComment(ctx, repo, number, id, spell(w.reserved, body))
}

// spell gives commands that the forge takes for its own their long spelling.
func spell(reserved []string, body string) string {
	lines := strings.Split(body, "\n")
	for i, line := range lines {
		if word, _, _ := strings.Cut(strings.TrimPrefix(line, "/"), " "); strings.HasPrefix(line, "/") && slices.Contains(reserved, word) {
			lines[i] = "/lockkeeper " + line[1:]
		}
	}
	return strings.Join(lines, "\n")
}

// mergeRequest is how GitLab calls a pull.
var mergeRequest = regexp.MustCompile(`(^|[\s(])!(\d+)`)

// plainly is what the bot says, without what differs by forge: stories are told
// in GitHub's words.
func (h *house) plainly(body string) string {
	for _, word := range h.driver.Limits().Reserved {
		body = strings.ReplaceAll(body, "/lockkeeper "+word, "/"+word)
	}
	if h.forge.Kind() == config.OnGitLab {
		body = mergeRequest.ReplaceAllString(body, "$1#$2")
	}
	return body
}

// stage is the forge that a story is told on: the one that the environment names,
// GitHub by default. Below TestStoriesOn it is the one after that.
func stage(t *testing.T) string {
	t.Helper()
	if rest, below := strings.CutPrefix(t.Name(), "TestStoriesOn/"); below {
		kind, _, _ := strings.Cut(rest, "/")
		return kind
	}
	kind := cmp.Or(os.Getenv("LOCKKEEPER_TEST_FORGE"), config.OnGitHub)
	if venues[kind].open == nil {
		t.Fatalf("LOCKKEEPER_TEST_FORGE is %q, want github, gitlab or gitea", kind)
	}
	return kind
}

// TestStoriesOn tells stories on the other forges that TestTheWholeStoryOnGitea
// and the tours of `make demo` leave out. `make stories FORGE=gitea` tells all.
func TestStoriesOn(t *testing.T) {
	if on := os.Getenv("LOCKKEEPER_TEST_FORGE"); on != "" {
		t.Skipf("all stories are told on %s", on)
	}
	for kind, stories := range map[string]map[string]func(*testing.T){
		config.OnGitea: {
			"push after approval":  TestThreat16PushAfterApprovalVoidsIt,
			"separation of duties": TestWant03AuthorApproverAndApplierAreThreePeople,
		},
		config.OnGitLab: {
			"plan, approve, apply, merge": TestPullIsPlannedApprovedAppliedAndMerged,
			"pushed merge":                TestPushedMergeThatHoldsMoreThanThePullWaits,
			"reviews":                     TestReviewApprovesAndRequestForChangesBlocks,
			"rollback":                    TestARollbackIsAPullAndMayNeedFewerApprovals,
		},
	} {
		for name, story := range stories {
			t.Run(kind+"/"+name, story)
		}
	}
}

// What only a look-alike can do, and why a story that needs it is not told on
// another forge.
const (
	clock    = "its clock is the machine's"
	faulty   = "it cannot be told to fail"
	counted  = "it does not list the calls that it answered"
	bent     = "its webhooks cannot be lost, doubled, held back or listed"
	programs = "it has no Apps: programs have accounts like people"
	accounts = "its accounts and teams do not change behind the bot's back"
	fates    = "its repositories are not moved, archived or taken away here"
	queues   = "it has no merge queue"
	fine     = "it has no roles between reading and writing, or no such check"
)

// hub is the look-alike of GitHub with all that it can do. A story that is told
// elsewhere ends here, for the reason given.
func (h *house) hub(why string) *forgetest.Server {
	h.t.Helper()
	if l, is := h.forge.(*lookalike.Forge); is {
		return l.Server
	}
	h.t.Skipf("not told on %s from here: %s", h.forge.Kind(), why)
	return nil
}

// keepingCommits is the method of a merge that puts every commit on main. On GitLab
// the owner chooses it for the whole project.
func (h *house) keepingCommits() string {
	h.t.Helper()
	l, is := h.forge.(*labpeople.Forge)
	if !is {
		return "rebase"
	}
	h.must(l.Server.As("owner").Do(h.t.Context(), http.MethodPut, labserver.ProjectPath(shop), map[string]any{"merge_method": "ff"}, nil))
	return "merge"
}

// app is the bot's App.
func (h *house) app() *forgetest.App {
	h.t.Helper()
	h.hub(programs)
	return h.forge.(*lookalike.Forge).App
}

// fail has the forge answer as f says.
func (h *house) fail(f func(*http.Request) *forgetest.Fault) {
	h.t.Helper()
	l, is := h.forge.(*labpeople.Forge)
	if !is {
		h.hub(faulty).Fail(f)
		return
	}
	if f == nil {
		l.Server.Fail(nil)
		return
	}
	l.Server.Fail(func(r *http.Request) *labserver.Fault { return (*labserver.Fault)(f(r)) })
}

// advance moves the forge's clock on, which is the bot's too.
func (h *house) advance(d time.Duration) {
	h.t.Helper()
	if w, can := h.forge.(interface{ Advance(time.Duration) }); can {
		w.Advance(d)
		return
	}
	h.t.Skipf("not told on %s from here: %s", h.forge.Kind(), clock)
}

// intent remembers what the bot wanted to show on a commit, for forges that have
// fewer states than the bot.
type intent struct {
	forge.Forge
	mu     sync.Mutex
	states map[string]forge.CheckState // by commit
}

// SetCheck notes the state of our check.
func (i *intent) SetCheck(ctx context.Context, ref forge.RepoRef, c forge.Check) (int64, error) {
	id, err := i.Forge.SetCheck(ctx, ref, c)
	if err == nil && c.Name == "lockkeeper" {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.states == nil {
			i.states = map[string]forge.CheckState{}
		}
		i.states[c.SHA] = c.State
	}
	return id, err
}

// check is what our check on a commit says: "" while it is pending, "missing" if
// there is none.
func (h *house) check(sha string) string {
	h.t.Helper()
	all, err := h.forge.As(opener).Checks(h.t.Context(), shop, sha)
	h.must(err)
	for _, c := range all {
		if c.Name != "lockkeeper" {
			continue
		}
		h.driver.mu.Lock()
		meant := h.driver.states[sha]
		h.driver.mu.Unlock()
		switch {
		case c.State == forge.Pending:
			return ""
		case c.State == forge.Failure && meant == forge.ActionRequired:
			return string(meant)
		}
		return string(c.State)
	}
	return "missing"
}

// person registers an account.
func (h *house) person(login string) forge.User {
	h.t.Helper()
	u, err := h.forge.AddPerson(h.t.Context(), login)
	h.must(err)
	return u
}

// id is the number of an account.
func (h *house) id(login string) int64 {
	h.t.Helper()
	return h.person(login).ID // who is there already is returned
}

func (h *house) member(login string) {
	h.t.Helper()
	h.must(h.forge.AddMember(h.t.Context(), "acme", login))
}

func (h *house) team(slug string, members ...string) {
	h.t.Helper()
	h.must(h.forge.AddTeam(h.t.Context(), "acme", slug, "", members...))
}

func (h *house) grant(login string, p forge.Permission) {
	h.t.Helper()
	h.must(h.forge.Grant(h.t.Context(), shop, login, p))
}

// head is where a branch points.
func (h *house) head(branch string) string {
	h.t.Helper()
	sha, err := h.forge.Head(h.t.Context(), shop, branch)
	h.must(err)
	return sha
}

// deaf lets all webhooks come to nobody.
func (h *house) deaf() {
	h.t.Helper()
	h.must(h.forge.Hook(h.t.Context(), "http://127.0.0.1:1/", hookSecret))
}

// gitAs is Git's environment on somebody's desk.
func (h *house) gitAs(login string) []string {
	return []string{"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=http.extraHeader", "GIT_CONFIG_VALUE_0=Authorization: " + h.forge.As(login).GitAuth()}
}

// pushFrom pushes refspecs from a local repository.
func (h *house) pushFrom(login, dir string, refspecs ...string) error {
	h.t.Helper()
	_, err := (&bare.Repo{Dir: dir}).Git(h.t.Context(), h.gitAs(login), "", append([]string{"push", "-q", h.forge.CloneURL(shop)}, refspecs...)...)
	if err != nil {
		return fmt.Errorf("%s: %w", login, err)
	}
	return nil
}
