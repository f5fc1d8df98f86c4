package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"lockkeeper/bot"
	"lockkeeper/bot/config"
	"lockkeeper/bot/secret"
	"lockkeeper/bot/store"
	"lockkeeper/bot/trail"
	"lockkeeper/bot/web"
	"lockkeeper/cluster"
	"lockkeeper/cluster/kube"
	"lockkeeper/cluster/manifest"
	"lockkeeper/forge/git"
)

func serve(ctx context.Context, c *call) error {
	path := c.flags.String("config", "", "the operator's `FILE`")
	debug := c.flags.Bool("debug", false, "log every step")
	if err := c.parse(); err != nil {
		return err
	}
	if *path == "" {
		return errors.New("serve: --config is missing; name the operator's file")
	}
	// From the first moment on: a signal that nobody waits for ends the process.
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	level := slog.LevelInfo
	if *debug {
		level = slog.LevelDebug
	}
	redact := &secret.Redactor{}
	sink := slog.NewJSONHandler(c.stderr, &slog.HandlerOptions{Level: level})
	log := slog.New(trail.NewHandler(redact.Handler(sink)))
	s, err := open(ctx, *path, redact, log)
	if err != nil {
		return redact.Error(err)
	}
	defer s.close()
	listener, err := net.Listen("tcp", s.bot.Server().Listen)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return redact.Error(s.run(ctx, listener, reload))
}

// service is everything that serve wires together.
type service struct {
	file     string // the operator's
	bot      *bot.Bot
	road     road
	forge    hosting
	store    *store.Store
	mirrors  *git.Cache
	renderer *manifest.Renderer
	metrics  *web.Metrics
	redact   *secret.Redactor
	door     door
	state    lifecycle
	log      *slog.Logger
	// lent are the credentials that are used until the end: of clusters and of
	// the store, as they were at start.
	lent credentials
}

func open(ctx context.Context, file string, redact *secret.Redactor, log *slog.Logger) (*service, error) {
	server, err := readServer(file)
	if err != nil {
		return nil, err
	}
	creds, err := readCredentials(server, redact)
	if err != nil {
		return nil, err
	}
	s := &service{file: file, redact: redact, log: log, metrics: web.NewMetrics(), renderer: manifest.New(manifest.Limits{}), lent: creds}
	if err := s.open(ctx, server, creds); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// open opens what is used until the end, one after the other.
func (s *service) open(ctx context.Context, server *config.Server, creds credentials) (err error) {
	if s.road, err = newRoad(creds.authorities, server.Cache, s.metrics); err != nil {
		return err
	}
	if s.forge, err = reach(ctx, server.Forges, creds, s.road); err != nil {
		return err
	}
	s.store, err = store.Open(ctx, creds.store, store.Options{Logger: s.log, Drain: time.Duration(server.Drain)})
	if err != nil {
		return err
	}
	if err := s.store.Home(ctx, server.Where()); err != nil {
		return err
	}
	s.log = s.log.With(trail.Replica, s.store.Replica())
	return s.wire(ctx, server, creds)
}

func (s *service) wire(ctx context.Context, server *config.Server, creds credentials) error {
	var err error
	if s.mirrors, err = git.OpenCache(ctx, server.Cache, git.Options{Limit: int64(server.CacheLimit), CAFile: s.road.gitCA}); err != nil {
		return err
	}
	clusters, err := s.connect(server)
	if err != nil {
		return err
	}
	s.bot, err = bot.New(ctx, bot.Config{
		Server: server, Forge: s.forge.Forge, Store: s.store, Mirrors: s.mirrors, Renderer: s.renderer,
		Clusters: clusters, Log: s.log, Version: buildVersion(), Step: s.step, Now: s.store.Now,
	})
	if err != nil {
		return err
	}
	last := context.WithoutCancel(ctx) // metrics are asked for while draining, too
	s.metrics.Waiting(func() float64 { return s.waiting(last) })
	s.metrics.Clusters(func() ([]web.ClusterState, error) { return s.standing(last) })
	h, err := s.handler(creds.webhook)
	s.door.set(h)
	return err
}

// step counts and logs what is done, before and after.
func (s *service) step(ctx context.Context, at bot.Step) {
	s.log.DebugContext(ctx, "step", "step", at.Name, "done", at.Done, trail.Key, at.Key)
	if at.Done {
		s.metrics.Step(at.Name)
	}
}

// deliver stores a delivery with the work that it wants, which is a step as well.
func (s *service) deliver(ctx context.Context, d store.Delivery, wants []string) (fresh bool, err error) {
	s.step(ctx, bot.Step{Name: "webhook"})
	if fresh, err = s.store.AddDelivery(ctx, d, wants); err == nil {
		s.step(ctx, bot.Step{Name: "webhook", Done: true})
	}
	return fresh, err
}

// waiting is how many keys have work; not a number if that cannot be told.
func (s *service) waiting(ctx context.Context) float64 {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	n, err := s.store.Waiting(ctx)
	if err != nil {
		return math.NaN()
	}
	return float64(n)
}

// standing is what the metrics tell of clusters.
func (s *service) standing(ctx context.Context) ([]web.ClusterState, error) {
	all, err := s.bot.Standing(ctx)
	out := make([]web.ClusterState, len(all))
	for i, c := range all {
		out[i] = web.ClusterState(c)
	}
	return out, err
}

func (s *service) connect(server *config.Server) (map[string]cluster.Cluster, error) {
	out := map[string]cluster.Cluster{}
	for name, k := range server.Clusters {
		c, err := kube.New(kube.Config{Name: name, Kubeconfig: k.Kubeconfig, Context: k.Context, Asked: s.metrics.ClusterRequest})
		if err != nil {
			return nil, err
		}
		out[name] = c
	}
	return out, nil
}

// handler is the webhook door of the service, with health and metrics.
func (s *service) handler(secrets []secret.Secret) (http.Handler, error) {
	return web.New(web.Config{
		Forge: s.forge.Kind(), Secrets: secrets, Logger: s.log, Metrics: s.metrics,
		Verify: s.forge.verify, Parse: s.forge.parse, Wants: s.bot.Wants, Deliver: s.deliver,
		Ready: map[string]func(context.Context) error{"store": s.store.Ping, "work": s.state.ready},
		Alive: map[string]func(context.Context) error{"work": s.state.alive},
	})
}

func (s *service) close() {
	s.renderer.Close()
	if s.mirrors != nil {
		if err := s.mirrors.Close(); err != nil {
			s.log.Warn("the mirrors could not be closed", "error", err)
		}
	}
	if s.store != nil {
		if err := s.store.Close(); err != nil {
			s.log.Warn("the store could not be closed", "error", err)
		}
	}
}
