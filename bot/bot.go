package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/bypass"
	"lockkeeper/bot/config"
	"lockkeeper/bot/drift"
	"lockkeeper/bot/evidence"
	"lockkeeper/bot/names"
	"lockkeeper/bot/plan"
	"lockkeeper/bot/reconcile"
	"lockkeeper/bot/repositories"
	"lockkeeper/bot/rollback"
	"lockkeeper/bot/store"
	"lockkeeper/bot/sweep"
	"lockkeeper/bot/talk"
	"lockkeeper/bot/trail"
	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest/writeback"
	"lockkeeper/forge"
	"lockkeeper/forge/git"
)

// Config is what a Bot works with. All fields are required unless they say
// otherwise.
type Config struct {
	Server   *config.Server
	Forge    forge.Forge
	Store    *store.Store
	Mirrors  *git.Cache
	Renderer plan.Renderer
	// Clusters by the names of the server file.
	Clusters map[string]cluster.Cluster
	Log      *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Version of lockkeeper, for records.
	Version string
	// CheckName is how the check on a head is called; "" means "lockkeeper".
	CheckName string
	// Step, if not nil, is told what is about to be done, and what was done.
	Step func(context.Context, Step)
	// Progress is the least time between two edits of a comment while an
	// operation runs; 0 means 3 seconds.
	Progress time.Duration
}

// Step is a moment in the work on a key: just before something is done that the
// outside may see or that has to survive, or just after.
type Step struct {
	Key  string // of the queue
	Name string // reconcile.Name of an action, for example
	Done bool
}

// Bot reconciles pulls. It is safe for concurrent use; the store sees to it
// that one pull is reconciled once at a time.
type Bot struct {
	server    *config.Live
	forge     forge.Forge
	store     *store.Store
	mirrors   *git.Cache
	planner   *plan.Planner
	bypass    *bypass.Watcher
	drift     *drift.Watcher
	evidence  *evidence.Reader
	rollbacks *rollback.Maker
	talk      *talk.Speaker
	sweeper   *sweep.Sweeper
	repos     *repositories.Reader
	clusters  map[string]cluster.Cluster
	log       *slog.Logger
	now       func() time.Time
	version   string
	checkName string
	progress  time.Duration
	steps     func(context.Context, Step)
	self      forge.User

	mu    sync.Mutex
	ready map[string]bool // clusters whose namespace and key are there
}

// New makes a Bot and asks the forge who it is.
func New(ctx context.Context, c Config) (*Bot, error) {
	self, err := c.Forge.Self(ctx)
	if err != nil {
		return nil, fmt.Errorf("find out which account the bot has: %w", err)
	}
	b := &Bot{
		server: config.NewLive(c.Server), forge: c.Forge, store: c.Store, mirrors: c.Mirrors, clusters: c.Clusters,
		log: c.Log, now: c.Now, version: c.Version, checkName: c.CheckName, progress: c.Progress, steps: c.Step,
		self: self, ready: map[string]bool{},
	}
	if b.now == nil {
		b.now = time.Now
	}
	if b.checkName == "" {
		b.checkName = "lockkeeper"
	}
	if b.progress == 0 {
		b.progress = 3 * time.Second
	}
	b.repos = &repositories.Reader{Forge: b.forge, Log: b.log, Now: b.now}
	b.planner = &plan.Planner{Renderer: c.Renderer, Clusters: b.cluster, MaxDeletes: c.Server.MaxDeletes}
	b.bypass = &bypass.Watcher{
		Forge: b.forge, Store: b.store, Mirrors: b.mirrors, Planner: b.planner, Log: b.log, Now: b.now,
		Repository: b.repos.Get,
		Record: func(ctx context.Context, by forge.User, r audit.Record) error {
			r.Actor = b.actor(by)
			return b.write(ctx, r)
		},
	}
	b.evidence = &evidence.Reader{Server: b.server, Forge: b.forge, Store: b.store, Bypass: b.bypass, Cluster: b.cluster}
	b.rollbacks = &rollback.Maker{Forge: b.forge, Mirrors: b.mirrors, Repository: b.repos.Get}
	b.drift = &drift.Watcher{
		Server: b.server, Forge: b.forge, Store: b.store, Mirrors: b.mirrors, Renderer: c.Renderer,
		Writer: &writeback.Writer{Renderer: c.Renderer}, Clusters: b.clusters, Log: b.log, Now: b.now, Self: b.self,
		Repository: b.repos.Get, Record: b.bypass.Record, Approver: b.approver, Heal: b.heal, Step: b.step,
	}
	b.talk = &talk.Speaker{
		Forge: b.forge, Store: b.store, Log: b.log,
		Completed: func(p *reconcile.State, by forge.User, r audit.Record) audit.Record {
			r.Actor = b.actor(by)
			return b.completed(p, r)
		},
	}
	b.sweeper = &sweep.Sweeper{
		Server: b.server, Forge: b.forge, Store: b.store, Bypass: b.bypass, Clusters: b.clusters, Log: b.log, Now: b.now,
		CheckName: b.checkName, Self: b.self, Repository: b.repos.Get,
	}
	return b, nil
}

// WantAll has everything looked at: at start, and then by itself at the interval
// of the server file.
func (b *Bot) WantAll(ctx context.Context) error { return b.sweeper.WantAll(ctx) }

// Watch follows the clusters until ctx ends, and has what changes there looked
// at.
func (b *Bot) Watch(ctx context.Context) error { return b.drift.Watch(ctx) }

// Standing tells what is known of every cluster's drift.
func (b *Bot) Standing(ctx context.Context) ([]drift.Standing, error) { return b.drift.Standing(ctx) }

// Reload puts another server file in force: what is judged from now on is judged
// by it, and all that is open is looked at anew. Clusters and MaxDeletes stay
// those that the Bot was made with.
func (b *Bot) Reload(ctx context.Context, server *config.Server) error {
	b.server.Store(server)
	return b.WantAll(ctx)
}

// Server is the server file in force.
func (b *Bot) Server() *config.Server { return b.server.Load() }

// approver reports whether an account's approval could count for a pull in an
// environment.
func (b *Bot) approver(ctx context.Context, repo int64, number int, environment string, who forge.User) (bool, error) {
	g, err := b.gather(ctx, names.PullKey{Repo: repo, Number: number})
	if err != nil || g == nil {
		return false, err
	}
	return b.evidence.Eligible(ctx, g.State, g.targets, environment, who)
}

// cluster finds a cluster by name.
func (b *Bot) cluster(name string) (cluster.Cluster, error) {
	c, ok := b.clusters[name]
	if !ok {
		return nil, fmt.Errorf("the server file names no cluster %q", name)
	}
	return c, nil
}

// Bootstrap makes lockkeeper's namespace and key on every cluster. Clusters
// that cannot be reached are tried again before the next operation.
func (b *Bot) Bootstrap(ctx context.Context) {
	for name := range b.clusters {
		if err := b.bootstrap(ctx, name); err != nil {
			b.log.WarnContext(ctx, "the cluster cannot be used yet: check its kubeconfig and the rights of its account; it is tried again before it is needed", trail.Cluster, name, "error", err)
		}
	}
}

func (b *Bot) bootstrap(ctx context.Context, name string) error {
	b.mu.Lock()
	done := b.ready[name]
	b.mu.Unlock()
	if done {
		return nil
	}
	c, err := b.cluster(name)
	if err != nil {
		return err
	}
	if err := c.Bootstrap(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	b.ready[name] = true
	b.mu.Unlock()
	return nil
}

// Wants names the work that an event asks for.
func (b *Bot) Wants(e forge.Event) []string {
	b.repos.Heard(e)
	return b.sweeper.Wants(e)
}

// Handle does the work behind a key of the store's queue.
func (b *Bot) Handle(ctx context.Context, key string) error {
	ctx, release := git.Hold(trail.OfWork(ctx, key, store.Cause(ctx), func(repo int64) string {
		op, _ := b.server.Load().Repository(repo)
		return op.Name
	}))
	defer release()
	// What no webhook wanted, nobody waits for; what was begun is finished as if
	// somebody did.
	if store.Cause(ctx) == "" && !b.begun(ctx, key) {
		ctx = forge.Background(ctx)
	}
	if name := drift.Cluster(key); name != "" {
		return b.resting(ctx, key, b.lookForDrift(ctx, name))
	}
	if key == sweep.DeliveriesKey {
		return b.resting(ctx, key, b.sweeper.Deliveries(ctx))
	}
	kind, rest, _ := strings.Cut(key, "/")
	first, second, _ := strings.Cut(rest, "/")
	var repo int64
	if _, err := fmt.Sscan(first, &repo); err != nil {
		return fmt.Errorf("work key %q: %w", key, err)
	}
	if op, ok := b.server.Load().Repository(repo); ok && kind != "sweep" {
		// From an archived repository no command can come, and nothing can be
		// written to it. The sweep finds out when that is over.
		if r, err := b.repos.Get(ctx, op); err != nil || r.Archived {
			return b.resting(ctx, key, err)
		}
	}
	var err error
	switch kind {
	case "pull":
		var number int
		if _, err = fmt.Sscan(second, &number); err == nil {
			err = b.Reconcile(ctx, repo, number)
		}
	case "base":
		err = b.sweeper.Moved(ctx, repo, second)
	case "sweep":
		err = b.sweeper.Sweep(ctx, repo)
	case "commit":
		err = b.sweeper.Head(ctx, repo, second)
	case "group":
		err = b.sweeper.Group(ctx, repo, second)
	default:
		err = fmt.Errorf("work key %q: unknown kind", key)
	}
	return b.resting(ctx, key, err)
}

// begun reports whether a key is that of a pull with an operation that is not
// over.
func (b *Bot) begun(ctx context.Context, key string) bool {
	var repo int64
	var number int
	if _, err := fmt.Sscanf(key, "pull/%d/%d", &repo, &number); err != nil {
		return false
	}
	ops, err := b.store.Operations(ctx, repo, number)
	return err != nil || slices.ContainsFunc(ops, func(o store.Operation) bool { return o.Finished.IsZero() })
}

// lookForDrift looks at a cluster, after what a look before it left undone.
func (b *Bot) lookForDrift(ctx context.Context, clusterName string) error {
	if err := b.endHeals(ctx, clusterName); err != nil {
		return err
	}
	return b.drift.Look(ctx, clusterName, false)
}

// following returns a function that turns the progress of an apply into steps:
// the write of each object, the wait for it, and what is taken away.
func (b *Bot) following(ctx context.Context, key string) func(cluster.Step) {
	under := map[cluster.Ref][]func(){}
	end := func(ref cluster.Ref) {
		for _, done := range under[ref] {
			done()
		}
		delete(under, ref)
	}
	return func(s cluster.Step) {
		switch s.State {
		case cluster.Applying:
			name := "apply/" + string(s.Action)
			if s.Action == cluster.Delete {
				name = "prune"
			}
			under[s.Ref] = append(under[s.Ref], b.step(ctx, key, name))
		case cluster.Applied:
			end(s.Ref)
			under[s.Ref] = append(under[s.Ref], b.step(ctx, key, "wait"))
		case cluster.Healthy, cluster.Unhealthy, cluster.Failed:
			end(s.Ref)
		}
	}
}

// step tells that something is about to be done, and done tells that it is.
func (b *Bot) step(ctx context.Context, key, name string) (done func()) {
	if b.steps == nil {
		return func() {}
	}
	b.steps(ctx, Step{Key: key, Name: name})
	return func() { b.steps(ctx, Step{Key: key, Name: name, Done: true}) }
}

// resting turns a rate limit into a later try, and logs what failed.
func (b *Bot) resting(ctx context.Context, key string, err error) error {
	if err == nil {
		return nil
	}
	var fe *forge.Error
	if errors.As(err, &fe) && fe.Code == forge.RateLimited && fe.RetryAfter.After(b.now()) {
		b.log.WarnContext(ctx, "the forge asks to slow down: the work rests", "until", fe.RetryAfter)
		at := fe.RetryAfter.Add(rand.N(20 * time.Second)) // not all at once
		if forge.IsBackground(ctx) {
			return store.LaterUnlessWanted(err, at) // there may be calls left for people
		}
		return store.Later(err, at)
	}
	var gone *repositories.Unreachable
	if errors.As(err, &gone) { // the log was told, and is again in an hour
		b.log.DebugContext(ctx, "work waits for a repository", "error", err)
		return err
	}
	if ctx.Err() != nil {
		b.log.InfoContext(ctx, "work stops half-way and is taken up again", "why", context.Cause(ctx))
		return err
	}
	b.log.ErrorContext(ctx, "work failed and is tried again", "error", err)
	return err
}

// Reconcile leads one pull to the state it should be in.
func (b *Bot) Reconcile(ctx context.Context, repo int64, number int) error {
	g, err := b.gather(ctx, names.PullKey{Repo: repo, Number: number})
	if err != nil || g == nil {
		return err
	}
	if len(g.Commands) > 0 || g.Operation != nil {
		ctx = forge.Awaited(ctx) // somebody waits, however that was found out
	}
	if err := b.talk.Single(ctx, g.State); err != nil {
		return err
	}
	for range reconcile.MaxRounds {
		actions := reconcile.Decide(g.State)
		if len(actions) == 0 {
			return errors.Join(b.save(ctx, g), b.comeBack(ctx, g), b.drift.Seen(ctx, g.key.Repo, g.Pull))
		}
		if g.Memory.Resolve(actions) {
			if err := b.save(ctx, g); err != nil {
				return err
			}
		}
		for _, a := range actions {
			done := b.step(ctx, g.key.String(), reconcile.Name(a))
			if g, err = b.run(ctx, g, a); err != nil {
				return fmt.Errorf("%s: %w", reconcile.Name(a), err)
			}
			done()
		}
		if err := b.save(ctx, g); err != nil {
			return err
		}
	}
	return fmt.Errorf("pull %d of repository %d does not come to rest", number, repo)
}

// comeBack has the pull looked at again when its plan has to be made anew, or
// when the verdict may be another one by itself: a freeze ends, an override
// expires.
func (b *Bot) comeBack(ctx context.Context, g *gathered) error {
	if g.Memory.Plan == nil || !g.Wanted() || !g.Plannable() {
		return nil
	}
	for _, at := range []time.Time{g.Memory.Plan.Again, g.Verdict().Again} {
		if at.IsZero() {
			continue
		}
		if err := b.store.WantAt(ctx, g.key.String(), at); err != nil {
			return err
		}
	}
	return nil
}

// save stores what the bot knows of the pull.
func (b *Bot) save(ctx context.Context, g *gathered) error {
	doc, err := json.Marshal(g.Memory)
	if err != nil {
		return fmt.Errorf("save what is known of %s: %w", g.key, err)
	}
	version, err := b.store.SavePull(context.WithoutCancel(ctx), g.key.Repo, g.key.Number, doc, g.version, g.notes...)
	if err == nil {
		g.version, g.notes = version, nil
	}
	return err
}

// note keeps a record of what the memory of a pull tells until both are stored,
// together: a process that dies loses neither, and the next one doubles neither.
func (b *Bot) note(g *gathered, r audit.Record) {
	g.notes = append(g.notes, b.completed(g.State, r))
}

// record appends to the audit trail at once.
func (b *Bot) record(ctx context.Context, p *reconcile.State, r audit.Record) error {
	_, err := b.store.AppendRecord(context.WithoutCancel(ctx), b.completed(p, r))
	return err
}

// completed is a record with what every one of a pull carries.
func (b *Bot) completed(p *reconcile.State, r audit.Record) audit.Record {
	r.Repo, r.Pull = p.Operator.Ref(), p.Pull.Number
	if r.Head == "" {
		r.Head = p.Pull.Head.SHA
	}
	if r.Base == "" {
		r.Base = p.BaseSHA
	}
	if r.PlanDigest == "" && p.Memory.Plan != nil {
		r.PlanDigest = p.Memory.Plan.Digest
	}
	r.PolicyRevision, r.Tool, r.Time = p.Policy.Revision(), b.version, b.now()
	return r
}

// write appends to the audit trail.
func (b *Bot) write(ctx context.Context, r audit.Record) error {
	r.Tool, r.Time = b.version, b.now()
	_, err := b.store.AppendRecord(context.WithoutCancel(ctx), r)
	return err
}

// actor names an account in a record.
func (b *Bot) actor(u forge.User) audit.Actor {
	if u.ID == 0 {
		return audit.Actor{}
	}
	return audit.Actor{Forge: b.forge.Kind(), ID: u.ID, Login: u.Login}
}
