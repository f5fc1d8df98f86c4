package web

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// probe answers /readyz and /healthz: 200 when every check passes, else 503.
// The answer names checks; only the log says why one failed, once, and again
// when it passes.
type probe struct {
	good, bad string
	checks    map[string]func(context.Context) error
	log       *slog.Logger

	mu     sync.Mutex
	failed map[string]bool
}

// probeWait bounds each check. They are few and quick.
const probeWait = 2 * time.Second

// ServeHTTP runs the checks.
func (p *probe) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, lines := http.StatusOK, []string{p.good}
	for _, name := range slices.Sorted(maps.Keys(p.checks)) {
		ctx, cancel := context.WithTimeout(r.Context(), probeWait)
		err := p.checks[name](ctx)
		cancel()
		p.note(r.Context(), name, err)
		if err == nil {
			lines = append(lines, name+": ok")
			continue
		}
		status, lines[0] = http.StatusServiceUnavailable, p.bad
		lines = append(lines, fmt.Sprintf("%s: failed (see the log)", name))
	}
	reply(w, status, strings.Join(lines, "\n"))
}

// note logs how a check fares, if that is news: probes come every few seconds.
func (p *probe) note(ctx context.Context, name string, err error) {
	p.mu.Lock()
	was := p.failed[name]
	p.failed[name] = err != nil
	p.mu.Unlock()
	switch {
	case err != nil && !was:
		p.log.WarnContext(ctx, p.bad, "check", name, "error", err)
	case err == nil && was:
		p.log.InfoContext(ctx, p.good+" again", "check", name)
	}
}
