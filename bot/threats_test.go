package bot_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/config"
	"lockkeeper/bot/secret"
	"lockkeeper/bot/store"
	"lockkeeper/bot/web"
	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/github"
)

// Attacks, by their row of the threat table, each through the whole bot. Rows
// whose attack is a story of its own are in story_test.go and review_test.go
// under the same kind of name.

// storied are the rows of the threat table that need a story here.
var storied = []int{1, 2, 10, 11, 12, 13, 16, 17, 18, 21, 22, 25, 26, 27, 29, 30, 32, 34}

func TestEveryThreatHasItsStory(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func TestThreat(\d+)[A-Z]`).FindAllSubmatch(text, -1) {
			found[string(m[1])] = true
		}
	}
	for _, row := range storied {
		if !found[fmt.Sprint(row)] {
			t.Errorf("no test named TestThreat%d...", row)
		}
	}
}

// world is all that a story sees change: comments, the pull, the live value and
// how much was recorded.
func (h *house) world(n int) string {
	h.t.Helper()
	all, err := h.store.Records(h.t.Context(), store.Filter{})
	h.must(err)
	var b strings.Builder
	fmt.Fprintf(&b, "%+v, a is %q, %d records\n", h.pull(n), h.value("a"), len(all))
	for _, c := range h.comments(n) {
		fmt.Fprintf(&b, "%d by %s: %s\n", c.ID, c.Author, c.Body)
	}
	return b.String()
}

// post delivers a webhook by hand and returns the status of the answer.
func (h *house) post(header http.Header, body []byte) int {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, h.app().WebhookURL, bytes.NewReader(body))
	h.must(err)
	r.Header = header
	res, err := http.DefaultClient.Do(r)
	h.must(err)
	h.must(res.Body.Close())
	return res.StatusCode
}

// ours are the comments of the bot's account that begin so.
func (h *house) ours(n int, prefix string) []string {
	h.t.Helper()
	var out []string
	for _, c := range h.comments(n) {
		if c.Author == h.login && strings.HasPrefix(c.Body, prefix) {
			out = append(out, c.Body)
		}
	}
	return out
}

// once runs an act at the bot's first request that the match picks, before the
// forge answers it.
func (h *house) once(match func(*http.Request) bool, act func()) {
	var once sync.Once
	h.fail(func(r *http.Request) *forgetest.Fault {
		if asksLockkeeper(r) && match(r) {
			once.Do(act)
		}
		return nil
	})
}

func (h *house) untouched() {
	h.t.Helper()
	if got := h.value("a"); got != "" {
		h.t.Fatalf("a is %q, and nothing should have been applied", got)
	}
	if got := len(h.records(audit.ApplyStart)); got > 0 {
		h.t.Fatalf("%d applies began", got)
	}
}

// TestThreat2PolicyOfTheHeadDoesNotCount: a pull that drops the approvals,
// names its opener owner of everything and changes an object is judged by the
// policy that it would replace, and the policy's owners have a say.
func TestThreat2PolicyOfTheHeadDoesNotCount(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{
		"deploy/a.yaml":    configMap("a", "two"),
		config.RepoFile:    strings.Replace(plainConfig, "required: 1", "required: 0", 1) + "owners: {users: [" + opener + "]}\n",
		"CODEOWNERS":       "* @" + opener + "\n",
		".github/words.md": "words\n",
	})
	mustContain(t, h.say(opener, n, "/apply"), "refused", "1 approval")
	mustContain(t, h.sticky(n), "CODEOWNERS", "production")
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(opener, n, "/apply"), "refused", "policy:")
	h.say(opener, n, "/approve")
	mustContain(t, h.say(opener, n, "/apply"), "refused", "policy:")
	h.untouched()
	h.say("owner", n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	h.chain()
}

// TestThreat10ForgedReportsAndRepliesAreOnlyText: our markers and the words of
// an approval, in comments of others and edited into our own.
func TestThreat10ForgedReportsAndRepliesAreOnlyText(t *testing.T) {
	h := newHouse(t, build{})
	h.stop() // the forgeries are there before lockkeeper looks
	h.push(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	n, err := h.as(opener).OpenPull(t.Context(), shop, "main", "change", "Change", "")
	h.must(err)
	marker := fmt.Sprintf("<!-- lockkeeper:pull/%d/%d part=1 -->", h.server.Repositories[0].ID, n)
	forged := marker + "\n### ✅ lockkeeper: ready for `/apply`\n\nApproved by @" + reviewer + ".\n"
	_, err = h.as(outsider).Comment(t.Context(), shop, n, forged)
	h.must(err)
	id, err := h.as(second).Comment(t.Context(), shop, n, "/apply")
	h.must(err)
	_, err = h.as(outsider).Comment(t.Context(), shop, n, fmt.Sprintf("<!-- lockkeeper:reply/%d/0 part=1 -->\n🚀 applied, Merged as 0123456", id))
	h.must(err)
	h.start()
	h.must(h.bot.WantAll(t.Context()))
	h.settle()

	if got := h.ours(n, marker); len(got) != 1 || !strings.Contains(got[0], "not yet allowed") {
		t.Fatalf("the bot's own reports: %q", got)
	}
	if got := h.ours(n, fmt.Sprintf("<!-- lockkeeper:reply/%d/", id)); len(got) != 1 || !strings.Contains(got[0], "refused") {
		t.Fatalf("the bot's own replies: %q", got)
	}
	h.untouched()

	// Who may edit the bot's comment may lie in it, until it is looked at.
	for _, c := range h.comments(n) {
		if c.Author == h.login && strings.HasPrefix(c.Body, marker) {
			h.must(h.as("owner").EditComment(t.Context(), shop, n, c.ID, forged))
		}
	}
	h.settle()
	if got := h.ours(n, marker); len(got) != 1 || strings.Contains(got[0], "Approved by") || !strings.Contains(got[0], "+ data.key: two") {
		t.Errorf("the doctored report stands: %q", got)
	}
	if got := h.records(audit.Forge); len(got) != 1 {
		t.Errorf("%d records of the doctored report", len(got))
	}
	mustContain(t, h.say(second, n, "/apply"), "refused", "1 approval")
	h.untouched()
	mustContain(t, h.say(reviewer, n, "/approve"), "approved")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	h.chain()
}

// TestThreat11CommentEditedIntoAnApprovalIsNone: by its author, and by an
// administrator in somebody else's name.
func TestThreat11CommentEditedIntoAnApprovalIsNone(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	for _, editor := range []string{reviewer, "owner"} {
		id, err := h.as(reviewer).Comment(t.Context(), shop, n, "Looks good to me")
		h.must(err)
		h.settle()
		h.must(h.as(editor).EditComment(t.Context(), shop, n, id, "/approve"))
		h.settle()
		if got := h.replyTo(n, id); got != "" {
			t.Errorf("edited by %s, it was answered: %s", editor, got)
		}
	}
	mustContain(t, h.say(second, n, "/apply"), "refused", "1 approval")
	h.untouched()
}

// TestThreat12ReplayedWebhooksChangeNothing sends every webhook again, under
// its own id and, because no signature covers the headers, under a new one.
func TestThreat12ReplayedWebhooksChangeNothing(t *testing.T) {
	h := newHouse(t, build{})
	h.hub(bent).SetDelivery(forgetest.DeliveryMode{Copies: 2})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	replay := func() {
		t.Helper()
		before := h.world(n)
		for i, d := range h.hub(bent).Deliveries() {
			if d.App != h.app().ID {
				continue
			}
			for _, guid := range []string{d.GUID, fmt.Sprintf("%s-again-%d", d.GUID, i)} {
				header := d.Header.Clone()
				header.Set("X-GitHub-Delivery", guid)
				if got := h.post(header, d.Payload); got != http.StatusAccepted {
					t.Fatalf("replay of %s: %d", d.Event, got)
				}
			}
		}
		h.settle()
		if after := h.world(n); after != before {
			t.Fatalf("replays changed\n%s\nto\n%s", before, after)
		}
	}
	id, err := h.as(reviewer).Comment(t.Context(), shop, n, "/approve")
	h.must(err)
	h.settle()
	mustContain(t, h.sticky(n), "ready for")
	h.must(h.as(reviewer).DeleteComment(t.Context(), shop, n, id))
	h.settle()
	mustContain(t, h.say(second, n, "/apply"), "refused")
	replay() // an approval that was taken back, and an apply that was refused
	mustContain(t, h.sticky(n), "not yet allowed")
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	h.kubectl("-n", h.ns, "delete", "configmap", "a") // a second apply would bring it back
	replay()
	if got := len(h.records(audit.ApplyStart)); got != 1 {
		t.Errorf("%d applies for one command", got)
	}
	h.chain()
}

// TestThreat13UnsignedAndForgedWebhooksChangeNothing: the same delivery is
// refused unsigned and wrongly signed, and does its work signed.
func TestThreat13UnsignedAndForgedWebhooksChangeNothing(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	h.say(reviewer, n, "/approve")
	h.hub(bent).SetDelivery(forgetest.DeliveryMode{Drop: func(forgetest.Delivery) bool { return true }})
	_, err := h.as(second).Comment(t.Context(), shop, n, "/apply")
	h.must(err)
	h.settle()
	all := h.hub(bent).Deliveries()
	d := all[len(all)-1]
	if d.Event != "issue_comment" {
		t.Fatalf("the last webhook is a %s", d.Event)
	}
	good := forgetest.Sign(hookSecret, d.Payload)
	other := bytes.Replace(d.Payload, []byte("/apply"), []byte("/hold "), 1)
	before := h.world(n)
	h.hub(counted).ForgetCalls()
	for name, forgery := range map[string]struct {
		header, sum string
		body        []byte
	}{
		"unsigned":          {"", "", d.Payload},
		"empty":             {"X-Hub-Signature-256", "", d.Payload},
		"no digest":         {"X-Hub-Signature-256", "sha256=", d.Payload},
		"wrong secret":      {"X-Hub-Signature-256", forgetest.Sign("guessed", d.Payload), d.Payload},
		"empty secret":      {"X-Hub-Signature-256", forgetest.Sign("", d.Payload), d.Payload},
		"of another body":   {"X-Hub-Signature-256", good, other},
		"cut short":         {"X-Hub-Signature-256", good[:len(good)-2], d.Payload},
		"in the old header": {"X-Hub-Signature", good, d.Payload},
		"called SHA-1":      {"X-Hub-Signature", strings.Replace(good, "sha256=", "sha1=", 1), d.Payload},
	} {
		header := d.Header.Clone()
		header.Del("X-Hub-Signature-256")
		header.Set("X-GitHub-Delivery", strings.ReplaceAll("forged "+name, " ", "-"))
		if forgery.header != "" {
			header.Set(forgery.header, forgery.sum)
		}
		if got := h.post(header, forgery.body); got != http.StatusUnauthorized {
			t.Errorf("%s: answered %d", name, got)
		}
	}
	h.settle()
	if calls := h.hub(counted).Calls(h.login, h.app().Slug); len(calls) > 0 {
		t.Errorf("forged webhooks led to calls: %v", calls)
	}
	if after := h.world(n); after != before {
		t.Fatalf("forged webhooks changed\n%s\nto\n%s", before, after)
	}
	header := d.Header.Clone()
	header.Set("X-Hub-Signature-256", good)
	if got := h.post(header, d.Payload); got != http.StatusAccepted {
		t.Fatalf("the true delivery is answered %d", got)
	}
	h.hub(bent).SetDelivery(forgetest.DeliveryMode{})
	h.settle()
	if !h.pull(n).Merged {
		t.Error("the true delivery did nothing")
	}
	for _, secrets := range [][]secret.Secret{nil, {""}} {
		if _, err := web.New(web.Config{
			Forge: "github", Secrets: secrets, Parse: github.ParseEvent, Wants: h.bot.Wants, Deliver: h.store.AddDelivery,
			Verify: func(http.Header, []byte, [][]byte) error { return nil },
		}); err == nil {
			t.Errorf("the door opens with the secrets %q", secrets)
		}
	}
}

// TestThreat16PushBetweenApplyAndTheRun pushes at the worst moments after an
// approved `/apply` was received. Before the gate, nothing may be applied;
// after it, what was approved is applied and not merged.
func TestThreat16PushBetweenApplyAndTheRun(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		at    func(*http.Request) bool
		value string
		wants []string
	}{
		"as the command is taken up": {reacts, "", []string{"refused"}},
		"as it is merged": {func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/merge")
		}, "two", []string{"NOT merged"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, build{})
			n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
			h.say(reviewer, n, "/approve")
			mustContain(t, h.sticky(n), "ready for")
			before := h.head("main")
			h.once(row.at, func() {
				if _, err := h.as(opener).Push(t.Context(), shop, "change", "", textCommit(map[string]string{"deploy/a.yaml": h.in(configMap("a", "evil"))})); err != nil {
					t.Error(err)
				}
			})
			mustContain(t, h.say(second, n, "/apply"), row.wants...)
			if got := h.value("a"); got != row.value {
				t.Errorf("a is %q, want %q", got, row.value)
			}
			if h.pull(n).Merged || h.head("main") != before {
				t.Error("merged what nobody approved")
			}
			mustContain(t, h.say(second, n, "/apply"), "refused", "1 approval", "the head is now")
			if got := h.value("a"); got != row.value {
				t.Errorf("a is %q, want %q", got, row.value)
			}
			h.chain()
		})
	}
}

// gitAt commits a file on a branch of the repository, all clocks of the commit
// set to a moment, and pushes it.
func (h *house) gitAt(login, branch, file, text, moment string) {
	h.t.Helper()
	dir := h.t.TempDir()
	git := func(args ...string) {
		h.t.Helper()
		cmd := exec.CommandContext(h.t.Context(), "git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_AUTHOR_DATE="+moment, "GIT_COMMITTER_DATE="+moment, "GIT_CONFIG_GLOBAL=/dev/null",
			"GIT_AUTHOR_NAME="+login, "GIT_AUTHOR_EMAIL="+login+"@example.com", "GIT_COMMITTER_NAME="+login, "GIT_COMMITTER_EMAIL="+login+"@example.com")
		cmd.Env = append(cmd.Env, h.gitAs(login)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			h.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	git("clone", "-q", "--branch", branch, h.forge.CloneURL(shop), ".")
	h.must(os.WriteFile(filepath.Join(dir, file), []byte(h.in(text)), 0o600))
	git("commit", "-q", "-a", "-m", "back then")
	h.must(h.pushFrom(login, filepath.Join(dir, ".git"), "HEAD:refs/heads/"+branch))
}

// TestThreat17BackdatedCommitsDoNotKeepAnApproval: the commit claims to be
// older than the approval, and the clocks go backwards; SHAs are compared.
func TestThreat17BackdatedCommitsDoNotKeepAnApproval(t *testing.T) {
	h := newHouse(t, build{})
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	for _, row := range []struct {
		moment string
		clock  time.Duration
	}{{"2001-01-01T00:00:00Z", 0}, {"2099-01-01T00:00:00Z", 0}, {"2001-01-01T00:00:00Z", -time.Hour}} {
		mustContain(t, h.say(reviewer, n, "/approve"), "approved")
		mustContain(t, h.sticky(n), "ready for")
		h.advance(row.clock)
		h.gitAt(opener, "change", "deploy/a.yaml", configMap("a", "evil-"+row.moment[:4]+row.clock.String()), row.moment)
		h.settle()
		mustContain(t, h.say(second, n, "/apply"), "refused", "the head is now")
		h.untouched()
	}
	mustContain(t, h.say(reviewer, n, "/approve"), "approved")
	mustContain(t, h.say(second, n, "/apply"), "Merged as")
	h.chain()
}

// elsewhere is another repository, which the helpers of a house know nothing of.
type elsewhere struct {
	h    *house
	repo string
}

func (e elsewhere) open(login string, files map[string]string) int {
	e.h.t.Helper()
	filled := map[string]string{}
	for path, text := range files {
		filled[path] = e.h.in(text)
	}
	_, err := e.h.as(login).Push(e.h.t.Context(), e.repo, "change", "main", textCommit(filled))
	e.h.must(err)
	n, err := e.h.as(login).OpenPull(e.h.t.Context(), e.repo, "main", "change", "Change", "")
	e.h.must(err)
	e.h.settle()
	return n
}

// say comments, and returns all that the bot has said on the pull.
func (e elsewhere) say(login string, n int, body string) string {
	e.h.t.Helper()
	_, err := e.h.as(login).Comment(e.h.t.Context(), e.repo, n, body)
	e.h.must(err)
	e.h.settle()
	all, err := e.h.as(login).Comments(e.h.t.Context(), e.repo, n)
	e.h.must(err)
	var out []string
	for _, c := range all {
		if c.Author == e.h.login {
			out = append(out, c.Body)
		}
	}
	return strings.Join(out, "\n")
}

// TestThreat18AnotherRepositoryDoesNotReachTheCluster: a repository with the
// same path, target, cluster and namespace, and a policy without approvals,
// gets what the operator gave its id: nothing, then another namespace, then the
// same one, where the objects are another's; and nothing for taking the name.
func TestThreat18AnotherRepositoryDoesNotReachTheCluster(t *testing.T) {
	h := newHouse(t, build{})
	h.seedLive()
	h.hub(fates).AddOrg("evil", outsider)
	free := map[string]string{config.RepoFile: h.in(strings.Replace(plainConfig, "required: 1", "required: 0", 1)), "deploy/a.yaml": h.in(configMap("a", "begun"))}
	add := func(org, name string) int64 {
		t.Helper()
		id, err := h.hub(fates).AddRepo(t.Context(), forgetest.NewRepo{Owner: org, Name: name, Files: free})
		h.must(err)
		h.hub(fates).Grant(org+"/"+name, outsider, "admin")
		h.hub(programs).Install(h.app(), org, org+"/"+name)
		return id
	}
	live := func(when string) {
		t.Helper()
		if got := h.value("a"); got != "one" {
			t.Fatalf("%s: a is %q", when, got)
		}
	}
	change := map[string]string{"deploy/a.yaml": configMap("a", "stolen"), "deploy/new.yaml": configMap("new", "stolen")}
	id := add("evil", "shop")
	e := elsewhere{h, "evil/shop"}
	n := e.open(outsider, change)
	if got := e.say(outsider, n, "/apply"); got != "" {
		t.Errorf("a repository that the operator does not list was answered: %s", got)
	}
	live("not listed")

	for _, row := range []struct{ namespace, want string }{
		{h.ns + "-other", "outside the target's fence"},
		{h.ns, "belongs to target " + h.ns},
	} {
		h.stop()
		h.server.Repositories = append(h.server.Repositories[:1:1], config.Repository{
			ID: id, Name: "evil/shop", Apply: config.ApplyOnComment, Merge: "squash",
			Allow: []config.Allowance{{Paths: []string{"**"}, Clusters: []string{"main"}, Environments: []string{"production"}, Namespaces: []string{row.namespace}}},
		})
		h.start()
		h.must(h.bot.WantAll(t.Context()))
		h.settle()
		mustContain(t, e.say(outsider, n, "/apply"), row.want, "refused")
		live(row.want)
		if h.value("new") != "" {
			t.Error("new was made")
		}
	}

	// The name of a repository is up for grabs once it is renamed.
	h.hub(fates).RenameRepo(shop, "old")
	add("acme", "shop")
	e = elsewhere{h, shop}
	n = e.open(outsider, change)
	if got := e.say(outsider, n, "/apply"); got != "" {
		t.Errorf("whoever took the repository's name was answered: %s", got)
	}
	live("name taken")
}

// TestThreat34MergeThatWasRewrittenAwayIsNotApplied: what an administrator
// forces off the base branch does not come to a cluster by an approval that
// arrives late, and a new head of the branch does not bring approvals back.
func TestThreat34MergeThatWasRewrittenAwayIsNotApplied(t *testing.T) {
	h := newHouse(t, build{Server: func(s *config.Server) { s.Repositories[0].Apply = config.ApplyOnMerge }})
	h.must(h.as("owner").CreateBranch(t.Context(), shop, "start", "main"))
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	_, err := h.as("owner").Merge(t.Context(), shop, n, "merge")
	h.must(err)
	h.settle()
	mustContain(t, h.sticky(n), "not applied yet")
	_, err = h.as("owner").ForcePush(t.Context(), shop, "main", "start", textCommit(map[string]string{"less.md": "less\n"}))
	h.must(err)
	h.settle()
	h.say(reviewer, n, "/approve")
	mustContain(t, h.say(second, n, "/apply"), "refused", "main was rewritten")
	mustContain(t, h.sticky(n), "main was rewritten")
	h.must(h.bot.WantAll(t.Context()))
	h.settle()
	h.untouched()
	h.chain()
}
