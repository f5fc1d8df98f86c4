package secret

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
)

// Handler is a slog.Handler that redacts messages and attributes before it
// hands them on.
type Handler struct {
	next   slog.Handler
	redact *Redactor
}

// Handler wraps next so that no registered value gets through it.
func (r *Redactor) Handler(next slog.Handler) *Handler { return &Handler{next, r} }

// Enabled asks the wrapped handler.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle redacts a copy of the record.
func (h *Handler) Handle(ctx context.Context, rec slog.Record) error {
	clean := slog.NewRecord(rec.Time, rec.Level, h.redact.Redact(rec.Message), rec.PC)
	rec.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(h.attr(a))
		return true
	})
	return h.next.Handle(ctx, clean)
}

// WithAttrs redacts the attributes with what is registered by now.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = h.attr(a)
	}
	return &Handler{h.next.WithAttrs(clean), h.redact}
}

// WithGroup wraps the handler's group.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{h.next.WithGroup(h.redact.Redact(name)), h.redact}
}

func (h *Handler) attr(a slog.Attr) slog.Attr {
	a.Key = h.redact.Redact(a.Key)
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(h.redact.Redact(v.String()))
	case slog.KindGroup:
		group := v.Group()
		clean := make([]slog.Attr, len(group))
		for i, g := range group {
			clean[i] = h.attr(g)
		}
		a.Value = slog.GroupValue(clean...)
	case slog.KindAny:
		a.Value = h.any(v)
	default:
		a.Value = v // numbers, times and booleans hold no secret
	}
	return a
}

// any keeps a value that shows no secret in either of the ways handlers write
// it, and replaces one that does by its redacted text.
func (h *Handler) any(v slog.Value) slog.Value {
	if err, isErr := v.Any().(error); isErr {
		return slog.StringValue(h.redact.Redact(err.Error()))
	}
	if raw, isBytes := v.Any().([]byte); isBytes {
		return slog.StringValue(h.redact.Redact(string(raw)))
	}
	text := fmt.Sprintf("%+v", v.Any())
	clean := h.redact.Redact(text)
	if clean != text {
		return slog.StringValue(clean)
	}
	if doc, err := json.Marshal(v.Any()); err == nil && h.redact.Redact(string(doc)) != string(doc) {
		return slog.StringValue(clean)
	}
	return v
}
