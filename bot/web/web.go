// Package web is lockkeeper's HTTP side: the door that webhooks come through,
// health, and metrics.
//
// The door does as little as can be done: cap the body, check its signature,
// read what it is about, store the delivery with the work it wants, answer
// 202. A webhook is a hint; whatever it says is read again from the forge.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"lockkeeper/bot/secret"
	"lockkeeper/bot/store"
	"lockkeeper/forge"
)

// DefaultMaxBody is GitHub's own cap on a payload, 25 MB.
const DefaultMaxBody = 25 << 20

// Config is what the handler is built from. Fields without a remark are required.
type Config struct {
	// Forge is the kind of the forge that calls, such as "github".
	Forge string
	// Path of the door; "/webhook" if empty.
	Path string
	// MaxBody caps a payload, in bytes; DefaultMaxBody if 0.
	MaxBody int64
	// Secrets that a delivery may be signed with: one, or two while one is
	// being replaced.
	Secrets []secret.Secret
	// Verify checks the signature of a body, in constant time.
	Verify func(header http.Header, body []byte, secrets [][]byte) error
	// Parse reads a verified delivery.
	Parse func(header http.Header, body []byte) (forge.Event, error)
	// Wants names the work that an event asks for; none is fine.
	Wants func(forge.Event) []string
	// Deliver stores a delivery once, with its work (store.Store.AddDelivery).
	Deliver func(ctx context.Context, d store.Delivery, wants []string) (fresh bool, err error)
	// Ready are the named checks behind /readyz: whether deliveries should be
	// sent here. May be empty.
	Ready map[string]func(context.Context) error
	// Alive are the named checks behind /healthz: whether this process is past
	// help and should be started anew. May be empty.
	Alive map[string]func(context.Context) error
	// Metrics serves /metrics; nil serves none.
	Metrics *Metrics
	// Logger receives one record a delivery; none if nil.
	Logger *slog.Logger
}

// New builds the handler of /webhook, /healthz, /readyz and /metrics. It
// refuses to without a secret: deliveries could not be told from forgeries
// (threat 13).
func New(c Config) (http.Handler, error) {
	secrets, err := revealed(c.Secrets)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Verify == nil, c.Parse == nil, c.Wants == nil, c.Deliver == nil, c.Forge == "":
		return nil, errors.New("web: Forge, Verify, Parse, Wants and Deliver must be set")
	case c.MaxBody < 0:
		return nil, fmt.Errorf("web: the cap on a body is %d bytes; it must be positive", c.MaxBody)
	}
	if c.Path == "" {
		c.Path = "/webhook"
	}
	if c.MaxBody == 0 {
		c.MaxBody = DefaultMaxBody
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	mux := http.NewServeMux()
	mux.Handle(c.Path, &door{Config: c, secrets: secrets, slots: make(chan struct{}, maxInFlight)})
	mux.Handle("GET /healthz", &probe{good: "alive", bad: "not alive", checks: c.Alive, log: c.Logger, failed: map[string]bool{}})
	mux.Handle("GET /readyz", &probe{good: "ready", bad: "not ready", checks: c.Ready, log: c.Logger, failed: map[string]bool{}})
	if c.Metrics != nil {
		mux.Handle("GET /metrics", c.Metrics.handler())
	}
	return mux, nil
}

func revealed(secrets []secret.Secret) ([][]byte, error) {
	if len(secrets) == 0 {
		return nil, errors.New("web: no webhook secret is configured; lockkeeper does not listen without one")
	}
	all := make([][]byte, len(secrets))
	for i, s := range secrets {
		if s.Reveal() == "" {
			return nil, fmt.Errorf("web: webhook secret %d of %d is empty; fill it in or remove it", i+1, len(secrets))
		}
		all[i] = []byte(s.Reveal())
	}
	return all, nil
}

// Server is an http.Server for h on addr with the time-outs that an open door
// needs: a caller that sends slowly or never reads is cut off.
func Server(addr string, h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      40 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

func reply(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, text) // a caller that is gone needs no answer
}
