package web

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// readiness answers /readyz: 200 when every check passes, else 503. The
// answer names checks; only the log says why one failed.
type readiness struct {
	checks map[string]func(context.Context) error
	log    *slog.Logger
}

// readyWait bounds each check. They are few and quick.
const readyWait = 2 * time.Second

// ServeHTTP runs the checks.
func (h *readiness) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, lines := http.StatusOK, []string{"ready"}
	for _, name := range slices.Sorted(maps.Keys(h.checks)) {
		ctx, cancel := context.WithTimeout(r.Context(), readyWait)
		err := h.checks[name](ctx)
		cancel()
		if err == nil {
			lines = append(lines, name+": ok")
			continue
		}
		status, lines[0] = http.StatusServiceUnavailable, "not ready"
		lines = append(lines, fmt.Sprintf("%s: failed (see the log)", name))
		h.log.WarnContext(r.Context(), "not ready", "check", name, "err", err)
	}
	reply(w, status, strings.Join(lines, "\n"))
}
