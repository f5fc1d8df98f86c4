package bot_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/config"
	"lockkeeper/bot/secret"
	"lockkeeper/bot/store"
	"lockkeeper/bot/store/pgtest"
	"lockkeeper/forge"
)

// What every story plants, and nobody must be told (threats 7 and 8). Values of
// Secrets begin with gitMark if a manifest has them, and with liveMark if only
// the cluster does: those must not get into Git either.
const (
	hookSecret = "planted-7d1c-secret-of-the-webhook"
	gitMark    = "S3cr3t-in-git-"
	liveMark   = "S3cr3t-live-"
)

// ears hear what the bot tells the forge, whatever becomes of it there, and
// which tokens it is given.
type ears struct {
	mu     sync.Mutex
	heard  []said
	tokens []string
}

// said is a text that got out, and where.
type said struct {
	where, text string
	// content is of files, which may be what others have written to Git.
	content bool
}

// RoundTrip listens and passes on.
func (e *ears) RoundTrip(r *http.Request) (*http.Response, error) {
	where := r.Method + " " + r.URL.String()
	all := []said{{where: where, text: where}}
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
		all = append(all, sentences(where, body)...)
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, all...)
	if err == nil && strings.HasSuffix(r.URL.Path, "/access_tokens") {
		answer, err := io.ReadAll(res.Body)
		if err != nil {
			return nil, err
		}
		res.Body = io.NopCloser(bytes.NewReader(answer))
		var minted struct{ Token string }
		if json.Unmarshal(answer, &minted) == nil && minted.Token != "" {
			e.tokens = append(e.tokens, minted.Token)
		}
	}
	return res, err
}

// sentences are the texts in a request, with the contents of files apart.
func sentences(where string, body []byte) []said {
	var doc any
	if json.Unmarshal(body, &doc) != nil {
		return []said{{where: where, text: string(body)}}
	}
	var all []said
	var walk func(name string, v any)
	walk = func(name string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, x := range v {
				walk(k, x)
			}
		case []any:
			for _, x := range v {
				walk(name, x)
			}
		case string:
			s := said{where: where + " " + name, text: v, content: name == "contents" || name == "content"}
			if plain, err := base64.StdEncoding.DecodeString(v); s.content && err == nil {
				s.text = string(plain)
			}
			all = append(all, s)
		}
	}
	walk("", doc)
	return all
}

// record is the log of a story.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write keeps a line, and shows it to whoever asks for it.
func (r *record) Write(p []byte) (int, error) {
	if os.Getenv("LOCKKEEPER_TEST_LOG") != "" {
		fmt.Fprint(os.Stderr, string(p))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

// String is all that was written; the queue's end may be told still.
func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// warnings are the lines that tell of trouble: most of why a story failed.
func (r *record) warnings() string {
	var out strings.Builder
	for line := range strings.Lines(r.String()) {
		if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
			out.WriteString(line)
		}
	}
	return out.String()
}

// planted are the secrets of a story: what the operator gave, what was minted,
// and what Secrets hold.
func (h *house) planted() []secret.Secret {
	h.t.Helper()
	a := h.forge.Access()
	// How the tokens of a program are handed to Git, whatever they are.
	all := []secret.Secret{hookSecret, secret.Secret(a.Key), secret.Secret(a.Token), liveMark, "x-access-token:ghs_"}
	for _, t := range h.ears.tokens {
		all = append(all, secret.Secret(t))
	}
	for _, c := range h.server.Clusters {
		file, err := clientcmd.LoadFromFile(c.Kubeconfig)
		h.must(err)
		for _, u := range file.AuthInfos {
			all = append(all, secret.Secret(u.Token), secret.Secret(u.Password), secret.Secret(u.ClientKeyData))
		}
	}
	ctx := context.WithoutCancel(h.t.Context())
	for ns, prefix := range map[string]string{h.ns: "", "lockkeeper-system": "lockkeeper-key"} {
		live, err := h.kube.CoreV1().Secrets(ns).List(ctx, metav1.ListOptions{})
		h.must(err)
		for _, s := range live.Items {
			if !strings.HasPrefix(s.Name, prefix) {
				continue
			}
			for _, v := range s.Data {
				if !bytes.Contains(v, []byte(gitMark)) { // that is looked for by its mark
					all = append(all, secret.Secret(v))
				}
			}
		}
	}
	return all
}

// told is all that got out of the bot: to the log, to the forge, to Git, to the
// database and to the metrics.
func (h *house) told() []said {
	h.t.Helper()
	all := slices.Clone(h.ears.heard)
	for line := range strings.Lines(h.said.String()) {
		all = append(all, said{where: "log", text: line})
	}
	all = append(all, said{where: "commit message", text: h.git(h.clone(), "log", "--all", "--author="+h.login, "--format=%an %ae%n%B")})
	w := httptest.NewRecorder()
	h.page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	all = append(all, said{where: "metrics", text: w.Body.String()})
	all = append(all, h.rows("sqlite", h.dir+"/lockkeeper.db", "SELECT name FROM sqlite_master WHERE type = 'table'")...)
	return append(all, h.toldByPrograms()...)
}

// process is a bot in a process of its own: where its log is, and its database.
type process struct{ log, store string }

// toldByPrograms is what got out of them: nobody listened to what they sent, so
// that what stands on the forge in the end counts.
func (h *house) toldByPrograms() (all []said) {
	h.t.Helper()
	seen := map[string]bool{}
	for _, p := range h.programs {
		if !seen[p.log] {
			text, err := os.ReadFile(p.log)
			h.must(err)
			all = append(all, said{where: "log of a program", text: string(text)})
		}
		if strings.HasPrefix(p.store, "postgres") && !seen[p.store] {
			all = append(all, h.rows("pgx", p.store, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")...)
		}
		seen[p.log], seen[p.store] = true, true
	}
	if len(h.programs) == 0 {
		return all
	}
	ctx := context.WithoutCancel(h.t.Context())
	pulls, err := h.forge.As(opener).Pulls(ctx, shop)
	h.must(err)
	for _, p := range pulls {
		page, err := h.forge.As(opener).Comments(ctx, shop, p.Number)
		h.must(err)
		for _, c := range page {
			all = append(all, said{where: fmt.Sprintf("a comment on #%d", p.Number), text: c.Body})
		}
	}
	return all
}

// rows are all rows of all tables of a database of the bot's, which must be closed.
func (h *house) rows(driver, source, tablesOf string) []said {
	h.t.Helper()
	db, err := sql.Open(driver, source)
	h.must(err)
	defer db.Close()
	query := func(q string, each func(rows *sql.Rows) error) {
		rows, err := db.Query(q)
		h.must(err)
		defer rows.Close()
		for rows.Next() {
			h.must(each(rows))
		}
		h.must(rows.Err())
	}
	var tables []string
	query(tablesOf, func(rows *sql.Rows) error {
		tables = append(tables, "")
		return rows.Scan(&tables[len(tables)-1])
	})
	var all []said
	for _, table := range tables {
		query(`SELECT * FROM "`+table+`"`, func(rows *sql.Rows) error {
			columns, err := rows.Columns()
			if err != nil {
				return err
			}
			row := make([]any, len(columns))
			for i := range row {
				row[i] = new(any)
			}
			if err := rows.Scan(row...); err != nil {
				return err
			}
			for i, v := range row {
				text := fmt.Sprint(*v.(*any))
				if b, ok := (*v.(*any)).([]byte); ok {
					text = string(b)
				}
				all = append(all, said{where: driver + " table " + table + ", " + columns[i], text: text})
			}
			return nil
		})
	}
	return all
}

// leaks are the planted secrets that got out, in whatever form, said without
// saying them again.
func (h *house) leaks() []string {
	h.t.Helper()
	planted := h.planted()
	var any, text secret.Redactor
	any.Register(planted...)
	text.Register(append(planted, gitMark)...)
	var found []string
	for _, s := range h.told() {
		look := &text
		if s.content {
			look = &any
		}
		if clean := look.Redact(s.text); clean != s.text {
			at := strings.Index(clean, secret.Mark)
			found = append(found, fmt.Sprintf("%s: %q", s.where, clean[max(0, at-80):min(len(clean), at+80)]))
		}
	}
	return found
}

// tell fails a story in which a secret got out.
func (h *house) tell() {
	if h.leaky {
		return
	}
	for _, l := range h.leaks() {
		h.t.Errorf("a planted secret got out: %s", l)
	}
}

// The check that every story ends with finds what it is there to find.
func TestLeaksAreFoundWhereverTheyAre(t *testing.T) {
	h := newHouse(t, build{})
	h.leaky = true
	n := h.open(opener, "change", map[string]string{"deploy/a.yaml": configMap("a", "two")})
	ctx, repo := t.Context(), h.server.Repositories[0].Ref()
	key, token, wrote := h.forge.Access().Token, h.forge.Access().Token, []string{"/comments body: ", "/statuses/", " description: "}
	switch h.forge.Kind() {
	case config.OnGitHub:
		if len(h.ears.tokens) == 0 {
			t.Fatal("no token was minted, so that none is looked for")
		}
		key = strings.Split(h.forge.Access().Key, "\n")[3] // a line of it gives it away
		token, wrote = h.ears.tokens[0], []string{"/comments body: ", "/check-runs title: "}
	case config.OnGitLab:
		wrote[0] = "/notes body: "
	}
	h.log.Info("a line of the key", "key", key)
	_, err := h.driver.CreateComment(ctx, repo, n, "in base64: "+base64.StdEncoding.EncodeToString([]byte("password "+gitMark+"value")))
	h.must(err)
	_, err = h.driver.SetCheck(ctx, repo, forge.Check{Name: "other", SHA: h.pull(n).Head.SHA, Title: token, State: forge.Success})
	h.must(err)
	_, err = h.store.AppendRecord(ctx, audit.Record{Type: audit.Hold, Reason: hookSecret, Time: h.forge.Now()})
	h.must(err)
	h.metrics.Step(liveMark + "step")
	h.stop()
	h.programs = append(h.programs, h.tattler())
	found := strings.Join(h.leaks(), "\n")
	mustContain(t, found, wrote...)
	mustContain(t, found, "log: ", "sqlite table records, ", "metrics: ", "log of a program: ", "pgx table records, ", "a comment on #")
	mustNotContain(t, found, hookSecret, gitMark, liveMark, key, token)
}

// tattler is a program that tells, in its log and in a database that replicas
// share.
func (h *house) tattler() process {
	h.t.Helper()
	p := process{log: h.dir + "/serve.log"}
	h.must(os.WriteFile(p.log, []byte("the secret is "+hookSecret+"\n"), 0o600))
	server, err := pgtest.Shared()
	h.must(err)
	p.store, err = server.Database(h.t.Context())
	h.must(err)
	s, err := store.Open(h.t.Context(), p.store, store.Options{})
	h.must(err)
	_, err = s.AppendRecord(h.t.Context(), audit.Record{Type: audit.Hold, Reason: hookSecret, Time: h.forge.Now()})
	h.must(err)
	h.must(s.Close())
	return p
}

// Secrets through their whole life: what they hold is in Git and on the cluster,
// and nowhere else, whatever is wrong with the manifest and whoever touches them
// (threats 7 and 8).
func TestWhatSecretsHoldIsNeverTold(t *testing.T) {
	named := func(name, field, value string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata:\n  name: " + name + "\n  namespace: NS\n" + field + ": " + value + "\n"
	}
	manifest := func(field, value string) string { return named("db", field, value) }
	encoded := func(text string) string {
		return "{password: " + base64.StdEncoding.EncodeToString([]byte(gitMark+text)) + "}"
	}
	h := newHouse(t, build{Files: map[string]string{"deploy/s.yaml": manifest("data", encoded("first"))}})
	h.seedLive()
	for branch, files := range map[string]map[string]string{
		"no-yaml": {"deploy/s.yaml": manifest("stringData", "{password: "+gitMark+"open")},
		"twice":   {"deploy/s.yaml": manifest("stringData", "{password: "+gitMark+"one, password: "+gitMark+"two}")},
		"refused": { // each by the server, for a reason of its own
			"deploy/s1.yaml": named("s1", "data", "{password: "+gitMark+"plain!}"),
			"deploy/s2.yaml": named("s2", "stringData", gitMark+"alone"),
			"deploy/s3.yaml": named("s3", "stringData", "{password: ["+gitMark+"listed]}"),
			"deploy/s4.yaml": named("s4", "stringDatum", "{password: "+gitMark+"typo}"),
			"deploy/s5.yaml": named("s5", "type", "kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: '"+gitMark+"json'}"),
			"deploy/s6.yaml": named("s6", "stringData", "{'a b': "+gitMark+"named}"),
		},
	} {
		n := h.open(opener, branch, files)
		report := h.sticky(n)
		for file := range files {
			if !strings.Contains(report, file) && !strings.Contains(report, strings.TrimSuffix(path.Base(file), ".yaml")) {
				t.Errorf("%s: nothing is told of %s:\n%s", branch, file, report)
			}
		}
		h.must(h.as(opener).Close(t.Context(), shop, n))
	}
	h.settle()

	n := h.open(opener, "second", map[string]string{"deploy/s.yaml": manifest("stringData", "{password: "+gitMark+"second}")})
	h.approve(reviewer, n)
	mustContain(t, h.say(second, n, "/apply"), "🚀")
	mustContain(t, h.sticky(n), "Secret")

	h.kubectl("-n", h.ns, "patch", "secret", "db", "--type=merge", "-p", `{"stringData":{"password":"`+liveMark+`by-hand","more":"`+liveMark+`more"},"metadata":{"labels":{"by":"hand"}}}`)
	h.lookForDrift()
	if n := len(h.driftPulls()); n != 0 {
		t.Errorf("%d pulls would write a live Secret to Git", n)
	}
	if got := h.issues("open"); len(got) != 1 {
		t.Errorf("issues: %+v", got)
	}

	back := h.say(second, n, "/rollback")
	mustContain(t, back, "#")
}
