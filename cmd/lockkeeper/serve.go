package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"lockkeeper/bot"
	"lockkeeper/bot/config"
	"lockkeeper/bot/secret"
	"lockkeeper/bot/store"
	"lockkeeper/bot/web"
	"lockkeeper/cluster"
	"lockkeeper/cluster/kube"
	"lockkeeper/cluster/manifest"
	"lockkeeper/forge/git"
	"lockkeeper/forge/github"
)

// workers is how many pulls are reconciled at once. Work is mostly waiting for
// forges and clusters.
const workers = 8

func serve(ctx context.Context, c *call) error {
	path := c.flags.String("config", "", "the operator's `FILE`")
	debug := c.flags.Bool("debug", false, "log every action")
	if err := c.parse(); err != nil {
		return err
	}
	if *path == "" {
		return errors.New("serve: --config is missing; name the operator's file")
	}
	server, err := readServer(*path)
	if err != nil {
		return err
	}
	redact := &secret.Redactor{}
	level := slog.LevelInfo
	if *debug {
		level = slog.LevelDebug
	}
	log := slog.New(redact.Handler(slog.NewJSONHandler(c.stderr, &slog.HandlerOptions{Level: level})))
	s, err := open(ctx, server, redact, log)
	if err != nil {
		return err
	}
	defer s.close()
	listener, err := net.Listen("tcp", server.Listen)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return s.run(ctx, listener)
}

// readServer reads the operator's file; relative paths in it are relative to
// its directory.
func readServer(path string) (*config.Server, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the server file: %w", err)
	}
	s, err := config.ParseServer(path, data)
	if err != nil {
		return nil, err
	}
	s.Resolve(filepath.Dir(path))
	return s, nil
}

// service is everything that serve wires together.
type service struct {
	bot      *bot.Bot
	store    *store.Store
	mirrors  *git.Cache
	renderer *manifest.Renderer
	metrics  *web.Metrics
	handler  http.Handler
	log      *slog.Logger
}

func open(ctx context.Context, server *config.Server, redact *secret.Redactor, log *slog.Logger) (*service, error) {
	secrets, gh, err := credentials(server.GitHub, redact)
	if err != nil {
		return nil, err
	}
	s := &service{log: log, metrics: web.NewMetrics(), renderer: manifest.New(manifest.Limits{})}
	gh.UserAgent = "lockkeeper/" + buildVersion()
	gh.HTTPClient = &http.Client{Transport: counted{s.metrics}, Timeout: 30 * time.Second}
	forge, err := github.New(ctx, gh)
	if err != nil {
		return nil, err
	}
	if s.store, err = store.Open(ctx, server.Store, store.Options{Logger: log}); err != nil {
		return nil, err
	}
	if s.mirrors, err = git.OpenCache(ctx, server.Cache, git.Options{}); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	clusters, err := connect(server)
	if err == nil {
		s.bot, err = bot.New(ctx, bot.Config{
			Server: server, Forge: forge, Store: s.store, Mirrors: s.mirrors, Renderer: s.renderer,
			Clusters: clusters, Log: log, Version: buildVersion(), Step: s.step,
		})
	}
	if err == nil {
		s.metrics.Clusters(func() ([]web.ClusterState, error) { return s.standing(ctx) })
		s.handler, err = s.door(secrets)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// step logs what the bot does, and counts what it did.
func (s *service) step(ctx context.Context, at bot.Step) {
	s.log.DebugContext(ctx, "step", "key", at.Key, "step", at.Name, "done", at.Done)
	if at.Done {
		s.metrics.Step(at.Name)
	}
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

// counted is the default transport, with each request to the forge counted.
type counted struct{ metrics *web.Metrics }

// RoundTrip sends the request.
func (c counted) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := http.DefaultTransport.RoundTrip(r)
	status := 0
	if res != nil {
		status = res.StatusCode
	}
	c.metrics.ForgeRequest(r.Method, status)
	return res, err
}

func connect(server *config.Server) (map[string]cluster.Cluster, error) {
	out := map[string]cluster.Cluster{}
	for name, k := range server.Clusters {
		c, err := kube.New(kube.Config{Name: name, Kubeconfig: k.Kubeconfig, Context: k.Context})
		if err != nil {
			return nil, err
		}
		out[name] = c
	}
	return out, nil
}

// door is the webhook door of the service, with health and metrics.
func (s *service) door(secrets []secret.Secret) (http.Handler, error) {
	return web.New(web.Config{
		Forge: "github", Secrets: secrets, Logger: s.log, Metrics: s.metrics,
		Verify: func(h http.Header, body []byte, keys [][]byte) error {
			return github.Verify(body, h.Get("X-Hub-Signature-256"), keys)
		},
		Parse: github.ParseEvent, Wants: s.bot.Wants, Deliver: s.store.AddDelivery,
		Ready: map[string]func(context.Context) error{"store": s.store.Ping},
	})
}

// credentials reads the files that hold secrets, and has them redacted from
// everything that is logged.
func credentials(g config.GitHub, redact *secret.Redactor) ([]secret.Secret, github.Config, error) {
	out := github.Config{APIURL: g.APIURL}
	var secrets []secret.Secret
	for _, path := range g.WebhookSecretFiles {
		b, err := secretFile("webhook secret", path)
		if err != nil {
			return nil, out, err
		}
		secrets = append(secrets, secret.Secret(b))
	}
	redact.Register(secrets...)
	if g.App != nil {
		key, err := secretFile("private key of the GitHub App", g.App.PrivateKeyFile)
		if err != nil {
			return nil, out, err
		}
		out.AppID, out.PrivateKey = g.App.ID, key
		redact.Register(secret.Secret(key))
		return secrets, out, nil
	}
	token, err := secretFile("token", g.TokenFile)
	if err != nil {
		return nil, out, err
	}
	out.Token = string(token)
	redact.Register(secret.Secret(token))
	return secrets, out, nil
}

func secretFile(what, path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the %s: %w", what, err)
	}
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		return nil, fmt.Errorf("the %s: %s is empty", what, path)
	}
	return b, nil
}

// run serves until ctx ends, then drains: no more webhooks, then no more jobs.
func (s *service) run(ctx context.Context, l net.Listener) error {
	s.log.InfoContext(ctx, "listening", "address", l.Addr().String(), "version", buildVersion())
	http := web.Server("", s.handler, s.log)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := http.Serve(l); !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "Server closed") {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return http.Shutdown(stop)
	})
	g.Go(func() error {
		s.bot.Bootstrap(ctx)
		if err := s.bot.WantAll(ctx); err != nil {
			return err
		}
		return s.store.Run(ctx, workers, s.timed(s.bot.Handle))
	})
	g.Go(func() error { return s.bot.Watch(ctx) })
	return g.Wait()
}

// timed measures each job.
func (s *service) timed(handle func(context.Context, string) error) func(context.Context, string) error {
	return func(ctx context.Context, key string) error {
		start := time.Now()
		err := handle(ctx, key)
		kind, _, _ := strings.Cut(key, "/")
		outcome := "done"
		if err != nil {
			outcome = "failed"
		}
		s.metrics.Job(kind, outcome, time.Since(start))
		return err
	}
}

func (s *service) close() {
	s.renderer.Close()
	if s.mirrors != nil {
		if err := s.mirrors.Close(); err != nil {
			s.log.Warn("closing the mirrors", "error", err)
		}
	}
	if s.store != nil {
		if err := s.store.Close(); err != nil {
			s.log.Warn("closing the store", "error", err)
		}
	}
}
