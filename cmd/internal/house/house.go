// Package house puts a whole lockkeeper together for cmd/replay, cmd/bench and
// cmd/soak: the look-alike of the forge with one repository, a control plane of
// clustertest, and the real `lockkeeper serve` between them, as a process of
// its own. Whoever uses it acts as people would, over HTTP and Git, and waits
// for what the bot makes of it.
package house

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"lockkeeper/bot/config"
	"lockkeeper/bot/plan"
	"lockkeeper/bot/reconcile"
	"lockkeeper/bot/store"
	"lockkeeper/cluster/clustertest"
	"lockkeeper/cmd/internal/child"
	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/github"
)

// The people. All may write.
const (
	Opener   = "ann"
	Reviewer = "bob"
	Applier  = "cho"
)

// Cluster is what the operator's file calls the control plane.
const Cluster = "main"

// Environment is the one that targets may name; it asks for one approval.
const Environment = "production"

// poll is how often things that nobody tells us about are looked at.
const poll = 20 * time.Millisecond

// patience bounds every wait: generous, because it only matters when
// something is wrong.
const patience = 10 * time.Minute

// Options say what to build around.
type Options struct {
	// Binary is lockkeeper; see child.Build.
	Binary string
	// Plane is running already, and is not stopped by Close.
	Plane *clustertest.ControlPlane
	// Repo is the repository; its owner becomes an organisation.
	Repo forgetest.NewRepo
	// MaxDeletes is how many objects one pull may delete.
	MaxDeletes int
	// Store is where the bot keeps its state; "" is a SQLite file of the house.
	Store string
	// Sweep is how often the bot compares open pulls with what it knows; 0 is
	// its default.
	Sweep time.Duration
	// Unchecked leaves the look-alike's answers unchecked against GitHub's
	// schemas, which takes longer than the answers.
	Unchecked bool
}

// Road is how one replica reaches what it talks to.
type Road struct {
	// Forge is the base URL, Store the database, Kubeconfig the cluster's.
	Forge, Store, Kubeconfig string
}

// House is a running lockkeeper and what it talks to.
type House struct {
	Forge *forgetest.Server
	App   *forgetest.App
	// Repo is owner/name of the repository.
	Repo string
	// ServerFile is the operator's.
	ServerFile string
	// Operator is its entry about the repository.
	Operator config.Repository

	options Options
	dir     string
	secret  string       // of webhooks
	store   *store.Store // the bot's, read beside it
	bot     *child.Process

	mu         sync.Mutex
	violations []string // of GitHub's schemas by the look-alike
}

// Start builds a house. The one it returns is to be closed even when there is
// an error.
func Start(ctx context.Context, o Options) (*House, error) {
	h, err := Found(ctx, o)
	if err != nil {
		return h, err
	}
	return h, h.serve(ctx)
}

// Found builds a house in which no bot runs yet. It is to be closed even when
// there is an error.
func Found(ctx context.Context, o Options) (*House, error) {
	h := &House{Repo: o.Repo.Owner + "/" + o.Repo.Name, options: o, secret: rand.Text()}
	var err error
	if h.dir, err = os.MkdirTemp("", "lockkeeper-house-"); err != nil {
		return h, err
	}
	if err := h.seed(ctx, o); err != nil {
		return h, err
	}
	h.Operator = config.Repository{
		ID: h.Forge.RepoID(h.Repo), Name: h.Repo,
		Allow: []config.Allowance{{
			Paths: []string{"**"}, Clusters: []string{Cluster}, Environments: []string{Environment},
			Namespaces: []string{"*", "kube-*"}, ClusterKinds: []string{"*"},
		}},
	}
	return h, nil
}

func (h *House) seed(ctx context.Context, o Options) error {
	repo, opt := o.Repo, forgetest.Options{RealTime: true, RateLimit: 10_000_000}
	if !o.Unchecked {
		opt.Validate = func(v string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.violations = append(h.violations, v)
		}
	}
	var err error
	if h.Forge, err = forgetest.New(opt); err != nil {
		return err
	}
	for _, login := range []string{"owner", Opener, Reviewer, Applier} {
		h.Forge.AddUser(login)
	}
	h.Forge.AddOrg(repo.Owner, "owner")
	if _, err := h.Forge.AddRepo(ctx, repo); err != nil {
		return err
	}
	for _, login := range []string{Opener, Reviewer, Applier} {
		h.Forge.AddMember(repo.Owner, login)
		h.Forge.Grant(h.Repo, login, "write")
	}
	m, err := github.Manifest("http://127.0.0.1", "http://127.0.0.1/done", "lockkeeper")
	if err != nil {
		return err
	}
	if h.App, err = h.Forge.AddApp(repo.Owner, "lockkeeper", m.DefaultPermissions, m.DefaultEvents...); err != nil {
		return err
	}
	h.Forge.Install(h.App, repo.Owner, h.Repo)
	return nil
}

// Configure writes an operator's file for one replica into a new directory and
// returns its path. The replica keeps all that is its own there.
func (h *House) Configure(name string, road Road) (string, error) {
	dir := filepath.Join(h.dir, name)
	file, err := yaml.Marshal(config.Server{
		Listen: "127.0.0.1:0", Store: road.Store, Cache: "mirrors", MaxDeletes: h.options.MaxDeletes, Sweep: config.Duration(h.options.Sweep),
		Forges: config.Forges{GitHub: &config.GitHub{
			APIURL: road.Forge + "/api/v3", App: &config.App{ID: h.App.ID, PrivateKeyFile: "app.pem"},
			Dealings: config.Dealings{WebhookSecretFiles: []string{"webhook-secret"}},
		}},
		Clusters:     map[string]config.Cluster{Cluster: {Kubeconfig: road.Kubeconfig}},
		Repositories: []config.Repository{h.Operator},
	})
	if err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	for name, content := range map[string]string{"server.yaml": string(file), "app.pem": h.App.Key, "webhook-secret": h.secret} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "server.yaml"), nil
}

// Database is where the bots of this house keep their state.
func (h *House) Database() string {
	return cmp.Or(h.options.Store, filepath.Join(h.dir, "lockkeeper.db"))
}

// Hook has webhooks delivered to the door at an address.
func (h *House) Hook(address string) {
	h.Forge.SetWebhook(h.App, "http://"+address+"/webhook", h.secret)
}

func (h *House) serve(ctx context.Context) (err error) {
	road := Road{Forge: h.Forge.URL, Store: h.Database(), Kubeconfig: h.options.Plane.Kubeconfig}
	if h.ServerFile, err = h.Configure("bot", road); err != nil {
		return err
	}
	if err := h.Restart(ctx); err != nil {
		return err
	}
	h.store, err = store.Open(ctx, h.Database(), store.Options{})
	return err
}

// Restart starts the bot, again if it ended.
func (h *House) Restart(ctx context.Context) (err error) {
	if h.bot, err = child.Serve(h.options.Binary, h.ServerFile, filepath.Join(h.dir, "lockkeeper.log")); err != nil {
		return err
	}
	address, err := h.bot.Address(ctx)
	if err == nil {
		h.Hook(address)
	}
	return err
}

// Door is where webhooks go.
func (h *House) Door() string { return h.App.WebhookURL }

// Bot is the running process.
func (h *House) Bot() *child.Process { return h.bot }

// Close ends everything in order: first the bot, then what it talks to. It is
// an error if the bot did not end well, or if the look-alike said what GitHub
// would not.
func (h *House) Close() error {
	errs := []error{h.bot.Stop()}
	if h.store != nil {
		errs = append(errs, h.store.Close())
	}
	if h.Forge != nil {
		errs = append(errs, h.Forge.Close())
	}
	if len(h.violations) > 0 {
		errs = append(errs, fmt.Errorf("the look-alike broke GitHub's schemas %d times: %s", len(h.violations), h.violations[0]))
	}
	return errors.Join(append(errs, os.RemoveAll(h.dir))...)
}

// Log is the end of the bot's log.
func (h *House) Log(lines int) string { return h.bot.LastLines(lines) }

// Settle waits until every webhook is delivered and everything they led to is
// done.
func (h *House) Settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("lockkeeper still has work after %s", patience))
	defer cancel()
	for {
		before := len(h.Forge.Deliveries())
		if err := h.Forge.Flush(ctx); err != nil {
			return err
		}
		if err := h.idle(ctx); err != nil {
			return err
		}
		if len(h.Forge.Deliveries()) == before {
			return nil
		}
	}
}

func (h *House) idle(ctx context.Context) error {
	for {
		n, err := h.store.Waiting(ctx)
		if err != nil || n == 0 {
			return err
		}
		if err := h.bot.Ended(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w\n%s", context.Cause(ctx), h.Log(10))
		case <-time.After(poll):
		}
	}
}

// Say comments on a pull, waits, and returns what the bot replied to it.
func (h *House) Say(ctx context.Context, login string, number int, body string) (string, error) {
	id, err := h.Forge.As(login).Comment(ctx, h.Repo, number, body)
	if err != nil {
		return "", err
	}
	if err := h.Settle(ctx); err != nil {
		return "", fmt.Errorf("%s: %w", body, err)
	}
	comments, err := h.comments(ctx, number)
	if err != nil {
		return "", err
	}
	marker := fmt.Sprintf("<!-- lockkeeper:reply/%d/", id)
	for _, c := range comments {
		if strings.HasPrefix(c, marker) {
			return c, nil
		}
	}
	return "", fmt.Errorf("nobody answered %s on #%d\n%s", body, number, h.Log(10))
}

// Report is the bot's report on a pull, all its parts; "" while there is none.
func (h *House) Report(ctx context.Context, number int) (string, error) {
	parts, err := h.Reports(ctx, number)
	return strings.Join(parts, ""), err
}

// Reports are the comments that carry the bot's report on a pull.
func (h *House) Reports(ctx context.Context, number int) ([]string, error) {
	comments, err := h.comments(ctx, number)
	return slices.DeleteFunc(comments, func(c string) bool { return !strings.HasPrefix(c, "<!-- lockkeeper:pull/") }), err
}

func (h *House) comments(ctx context.Context, number int) ([]string, error) {
	var page []struct{ Body string }
	err := h.Forge.As(Opener).Do(ctx, "GET", fmt.Sprintf("/repos/%s/issues/%d/comments?per_page=100", h.Repo, number), nil, &page)
	out := make([]string, len(page))
	for i, c := range page {
		out[i] = c.Body
	}
	return out, err
}

// Merged reports whether a pull was merged.
func (h *House) Merged(ctx context.Context, number int) (bool, error) {
	var p struct{ Merged bool }
	err := h.Forge.As(Opener).Do(ctx, "GET", fmt.Sprintf("/repos/%s/pulls/%d", h.Repo, number), nil, &p)
	return p.Merged, err
}

// Planned says which plan of a pull is the current one.
func (h *House) Planned(ctx context.Context, number int) (*reconcile.Planned, error) {
	doc, _, err := h.store.LoadPull(ctx, h.Operator.ID, number)
	if err != nil {
		return nil, err
	}
	memory, err := reconcile.DecodeMemory(doc)
	if err != nil || memory.Plan == nil {
		return nil, errors.Join(fmt.Errorf("#%d has no plan\n%s", number, h.Log(10)), err)
	}
	return memory.Plan, nil
}

// Plan is the pull's current plan, as the bot keeps it.
func (h *House) Plan(ctx context.Context, number int) (*plan.Output, error) {
	current, err := h.Planned(ctx, number)
	if err != nil {
		return nil, err
	}
	row, err := h.store.Plan(ctx, current.ID)
	if err != nil {
		return nil, err
	}
	var out plan.Output
	return &out, json.Unmarshal(row.Body, &out)
}

// Operations are those of a pull, oldest first.
func (h *House) Operations(ctx context.Context, number int) ([]store.Operation, error) {
	return h.store.Operations(ctx, h.Operator.ID, number)
}
