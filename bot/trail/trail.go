// Package trail carries what a piece of work is about from where it begins to
// every log record that it leads to: the attributes travel in the context, and
// a slog.Handler adds them at the sink.
package trail

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
)

// The attributes by which operators follow work through the logs of all
// replicas.
const (
	Repo      = "repo"      // owner/name
	Pull      = "pull"      // its number
	Delivery  = "delivery"  // the webhook that asked for the work last
	Operation = "operation" // id of an apply, rollback, sync or heal
	Key       = "key"       // of the work queue
	Replica   = "replica"   // name of the process
	Cluster   = "cluster"   // as the server file calls it
)

type contextKey struct{}

// With returns a context whose work is about attrs too. A later value of a name
// replaces an earlier one.
func With(ctx context.Context, attrs ...slog.Attr) context.Context {
	var all []slog.Attr
	for _, a := range From(ctx) {
		if !has(attrs, a.Key) {
			all = append(all, a)
		}
	}
	return context.WithValue(ctx, contextKey{}, append(all, attrs...))
}

// From returns what the work of a context is about.
func From(ctx context.Context) []slog.Attr {
	attrs, _ := ctx.Value(contextKey{}).([]slog.Attr)
	return attrs
}

// OfWork returns a context for the work behind a key of the queue, which a
// delivery asked for last ("" if none did). Keys begin with a kind and the
// repository's number, or with "drift" and a cluster.
func OfWork(ctx context.Context, key, delivery string, repo func(id int64) string) context.Context {
	about := []slog.Attr{slog.String(Key, key)}
	if delivery != "" {
		about = append(about, slog.String(Delivery, delivery))
	}
	kind, rest, _ := strings.Cut(key, "/")
	if kind == "drift" {
		return With(ctx, append(about, slog.String(Cluster, rest))...)
	}
	first, second, _ := strings.Cut(rest, "/")
	if id, err := strconv.ParseInt(first, 10, 64); err == nil && repo(id) != "" {
		about = append(about, slog.String(Repo, repo(id)))
	}
	if number, err := strconv.Atoi(second); err == nil && kind == "pull" {
		about = append(about, slog.Int(Pull, number))
	}
	return With(ctx, about...)
}

func has(attrs []slog.Attr, key string) bool {
	return slices.ContainsFunc(attrs, func(a slog.Attr) bool { return a.Key == key })
}

// Handler is a slog.Handler that adds to each record what its context is about.
type Handler struct {
	next slog.Handler
	with []slog.Attr
}

// NewHandler wraps next.
func NewHandler(next slog.Handler) *Handler { return &Handler{next: next} }

// Enabled asks the wrapped handler.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle adds the attributes that neither the record nor its logger gives.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	about := slices.DeleteFunc(slices.Clone(From(ctx)), func(a slog.Attr) bool { return has(h.with, a.Key) })
	r.Attrs(func(own slog.Attr) bool {
		about = slices.DeleteFunc(about, func(a slog.Attr) bool { return a.Key == own.Key })
		return true
	})
	if len(about) > 0 {
		r = r.Clone()
		r.AddAttrs(about...)
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs gives the attributes to the wrapped handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{h.next.WithAttrs(attrs), append(slices.Clip(h.with), attrs...)}
}

// WithGroup opens a group, in which what is added later stands too.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{h.next.WithGroup(name), h.with}
}
