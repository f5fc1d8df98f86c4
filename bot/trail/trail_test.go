package trail_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"strings"
	"testing"

	"lockkeeper/bot/trail"
)

// record logs once and returns the record as JSON decodes it. A doubled name
// would be lost on the way, so that they are counted in the text.
func record(t *testing.T, log func(*slog.Logger)) map[string]any {
	t.Helper()
	var out bytes.Buffer
	drop := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}
	log(slog.New(trail.NewHandler(slog.NewJSONHandler(&out, &slog.HandlerOptions{ReplaceAttr: drop}))))
	got := map[string]any{}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	for name := range got {
		if n := strings.Count(out.String(), `"`+name+`":`); n != 1 {
			t.Errorf("%s stands %d times in %s", name, n, out.String())
		}
	}
	return got
}

func TestRecordsSayWhatTheirWorkIsAbout(t *testing.T) {
	ctx := trail.With(t.Context(), slog.String(trail.Key, "pull/1/7"), slog.Int(trail.Pull, 7))
	ctx = trail.With(ctx, slog.String(trail.Operation, "op-1"))
	inner := trail.With(ctx, slog.String(trail.Operation, "op-2"))
	for name, tt := range map[string]struct {
		ctx  context.Context
		log  func(context.Context, *slog.Logger)
		want map[string]any
	}{
		"nothing":              {t.Context(), func(c context.Context, l *slog.Logger) { l.InfoContext(c, "m", "a", "b") }, map[string]any{"a": "b"}},
		"all of it":            {ctx, func(c context.Context, l *slog.Logger) { l.InfoContext(c, "m") }, map[string]any{"key": "pull/1/7", "pull": 7.0, "operation": "op-1"}},
		"the later value":      {inner, func(c context.Context, l *slog.Logger) { l.InfoContext(c, "m") }, map[string]any{"key": "pull/1/7", "pull": 7.0, "operation": "op-2"}},
		"the outer is as was":  {ctx, func(c context.Context, l *slog.Logger) { l.InfoContext(c, "m", "x", 1) }, map[string]any{"key": "pull/1/7", "pull": 7.0, "operation": "op-1", "x": 1.0}},
		"the record's own":     {ctx, func(c context.Context, l *slog.Logger) { l.InfoContext(c, "m", "key", "k") }, map[string]any{"key": "k", "pull": 7.0, "operation": "op-1"}},
		"the logger's own":     {ctx, func(c context.Context, l *slog.Logger) { l.With("pull", 8).InfoContext(c, "m") }, map[string]any{"key": "pull/1/7", "pull": 8.0, "operation": "op-1"}},
		"without cancellation": {context.WithoutCancel(ctx), func(c context.Context, l *slog.Logger) { l.InfoContext(c, "m") }, map[string]any{"key": "pull/1/7", "pull": 7.0, "operation": "op-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.want["msg"] = "m"
			if got := record(t, func(l *slog.Logger) { tt.log(tt.ctx, l) }); !maps.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestGroupsAndLevelsAreKept(t *testing.T) {
	ctx := trail.With(t.Context(), slog.Int(trail.Pull, 7))
	got := record(t, func(l *slog.Logger) {
		l.DebugContext(ctx, "too quiet")
		l.WithGroup("g").InfoContext(ctx, "m", "a", "b")
	})
	if group, _ := got["g"].(map[string]any); group["a"] != "b" || group["pull"] != 7.0 {
		t.Errorf("got %v", got)
	}
}

func TestKeysOfWorkTellWhatTheyAreAbout(t *testing.T) {
	name := func(id int64) string { return map[int64]string{7: "acme/shop"}[id] }
	for key, want := range map[string]map[string]any{
		"pull/7/12":      {"repo": "acme/shop", "pull": 12.0},
		"pull/8/12":      {"pull": 12.0},
		"base/7/main":    {"repo": "acme/shop"},
		"base/7/12":      {"repo": "acme/shop"}, // a branch of that name
		"sweep/7":        {"repo": "acme/shop"},
		"drift/main/eu1": {"cluster": "main/eu1"},
		"odd":            {},
	} {
		want["key"], want["msg"], want["delivery"] = key, "m", "d-1"
		got := record(t, func(l *slog.Logger) { l.InfoContext(trail.OfWork(t.Context(), key, "d-1", name), "m") })
		if !maps.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", key, got, want)
		}
	}
}
