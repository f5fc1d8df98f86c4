package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"lockkeeper/bot/store"
	"lockkeeper/bot/trail"
	"lockkeeper/forge"
)

const (
	// maxInFlight bounds how many bodies are held at a time, and slotWait how
	// long a call waits for its turn: bodies come from anybody until verified.
	maxInFlight = 64
	slotWait    = 5 * time.Second
	// storeWait is below the 10 s after which forges give up.
	storeWait = 5 * time.Second
	// retryAfter is what a caller is told when we cannot store, in seconds.
	retryAfter = "10"
	// maxID bounds a delivery's id, a GUID on every forge.
	maxID = 128
)

// door takes webhook deliveries.
type door struct {
	Config
	secrets [][]byte
	slots   chan struct{}
}

// refusal is an answer other than 202: outcome is its name in metrics, why is
// for the caller, err for the log.
type refusal struct {
	status  int
	outcome string
	why     string
	err     error
}

// ServeHTTP answers one delivery.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	event, fresh, no := d.take(w, r)
	attrs := append(about(event), slog.Duration("took", time.Since(begin)))
	if no != nil {
		d.Metrics.delivery(event.Type, no.outcome)
		d.Logger.LogAttrs(r.Context(), slog.LevelWarn, "delivery refused",
			append(attrs, slog.String("outcome", no.outcome), slog.String("from", r.RemoteAddr), slog.Any("error", no.err))...)
		if no.status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", retryAfter)
		}
		if no.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", http.MethodPost)
		}
		reply(w, no.status, no.why)
		return
	}
	outcome, text := "accepted", "accepted"
	if !fresh {
		outcome, text = "doubled", "accepted before"
	}
	d.Metrics.delivery(event.Type, outcome)
	d.Logger.LogAttrs(r.Context(), slog.LevelInfo, "delivery", append(attrs, slog.String("outcome", outcome))...)
	reply(w, http.StatusAccepted, text)
}

// take does everything up to the answer, in the order that matters: cap,
// verify, then parse (threat 14).
func (d *door) take(w http.ResponseWriter, r *http.Request) (forge.Event, bool, *refusal) {
	if r.Method != http.MethodPost {
		return forge.Event{}, false, &refusal{http.StatusMethodNotAllowed, "method", "webhooks are sent with POST", nil}
	}
	leave, no := d.enter(r.Context())
	if no != nil {
		return forge.Event{}, false, no
	}
	defer leave()
	body, no := d.read(w, r)
	if no != nil {
		return forge.Event{}, false, no
	}
	if err := d.Verify(r.Header, body, d.secrets); err != nil {
		return forge.Event{}, false, &refusal{http.StatusUnauthorized, "unsigned", "the signature is missing or wrong: compare the webhook's secret with the server's", err}
	}
	event, err := d.Parse(r.Header, body)
	if err == nil {
		err = checkID(event.Delivery)
	}
	if err != nil {
		return forge.Event{}, false, &refusal{http.StatusBadRequest, "malformed", "the delivery is signed, but not understood", err}
	}
	fresh, no := d.keep(r.Context(), event)
	return event, fresh, no
}

// enter waits for a slot.
func (d *door) enter(ctx context.Context) (leave func(), no *refusal) {
	timer := time.NewTimer(slotWait)
	defer timer.Stop()
	select {
	case d.slots <- struct{}{}:
		return func() { <-d.slots }, nil
	case <-ctx.Done():
	case <-timer.C:
	}
	return nil, &refusal{http.StatusServiceUnavailable, "busy", "too many deliveries at a time; deliver again later", ctx.Err()}
}

func (d *door) read(w http.ResponseWriter, r *http.Request) ([]byte, *refusal) {
	tooLarge := &refusal{http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("the body is larger than %d bytes", d.MaxBody), nil}
	if r.ContentLength > d.MaxBody {
		w.Header().Set("Connection", "close") // what is still to come is not read
		return nil, tooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, d.MaxBody))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLarge
	case err != nil:
		return nil, &refusal{http.StatusBadRequest, "cut", "the body ended too soon", err}
	}
	return body, nil
}

// keep stores the delivery and the work it wants. A failure is answered with
// 503, so that the forge shows it as failed and it can be redelivered; the
// next sweep finds the work in any case.
func (d *door) keep(ctx context.Context, event forge.Event) (bool, *refusal) {
	// A caller that hangs up now has still delivered.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeWait)
	defer cancel()
	fresh, err := d.Deliver(ctx, store.Delivery{
		ID: event.Delivery, Forge: d.Forge, Event: event.Type, Repo: event.Repo, Pull: event.Pull,
	}, d.Wants(event))
	if err != nil {
		return false, &refusal{http.StatusServiceUnavailable, "not_stored", "the delivery could not be stored; deliver it again later", err}
	}
	return fresh, nil
}

// checkID bounds what is stored: no signature covers the headers.
func checkID(id string) error {
	odd := func(c rune) bool { return c <= ' ' || c > '~' }
	if id == "" || len(id) > maxID || strings.ContainsFunc(id, odd) {
		return fmt.Errorf("the delivery's id is not 1 to %d printable ASCII characters", maxID)
	}
	return nil
}

// about is what a delivery is about, as far as it says.
func about(e forge.Event) []slog.Attr {
	var attrs []slog.Attr
	if e.Delivery != "" {
		attrs = append(attrs, slog.String(trail.Delivery, e.Delivery), slog.String("event", e.Type))
	}
	if e.Repo.Name != "" {
		attrs = append(attrs, slog.String(trail.Repo, e.Repo.String()))
	}
	if e.Pull != 0 {
		attrs = append(attrs, slog.Int(trail.Pull, e.Pull))
	}
	return attrs
}
