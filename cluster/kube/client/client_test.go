package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// against is a client of a server that answers with h.
func against(t *testing.T, cfg Config, h http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	cfg.Name, cfg.REST = "shop-1", &rest.Config{Host: server.URL}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRequestsBytesAndWarningsAreCounted(t *testing.T) {
	const body = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`
	c := against(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Warning", `299 - "b is deprecated"`)
		w.Header().Add("Warning", `299 - "a is deprecated"`)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, body)
	})
	ctx, tally := Counted(t.Context())
	for range 2 {
		if _, err := c.Get(ctx, configMaps, "shop", "a"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Get(t.Context(), configMaps, "shop", "a"); err != nil {
		t.Fatal(err)
	}
	if s := tally.Stats(); s.Requests != 2 || s.Bytes != 2*int64(len(body)) {
		t.Errorf("%+v, want 2 requests of %d bytes", s, len(body))
	}
	if w := strings.Join(tally.Warnings(), ","); w != "a is deprecated,b is deprecated" {
		t.Errorf("warnings %q", w)
	}
}

func TestNoMoreRequestsAreUnderWayThanAllowed(t *testing.T) {
	c := against(t, Config{Concurrency: 1}, nil)
	began, end, done := make(chan bool), make(chan bool), make(chan error)
	go func() {
		done <- c.Request(t.Context(), func(context.Context) error { close(began); <-end; return nil })
	}()
	<-began
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := c.Request(ctx, func(context.Context) error { t.Error("a second request began"); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(end)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestErrorsAreInPeoplesWords(t *testing.T) {
	status := func(code int, reason, message string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			fmt.Fprintf(w, `{"apiVersion":"v1","kind":"Status","status":"Failure","code":%d,"reason":%q,"message":%q}`, code, reason, message)
		}
	}
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"credentials": {status(401, "Unauthorized", "Unauthorized"), "refused lockkeeper's credentials"},
		"rights":      {status(403, "Forbidden", "configmaps is forbidden"), "extend its RBAC rules"},
		"quota":       {status(403, "Forbidden", "exceeded quota: small"), "raise the ResourceQuota"},
		"other":       {status(404, "NotFound", "there is none"), "cluster shop-1: there is none"},
	} {
		t.Run(name, func(t *testing.T) {
			c := against(t, Config{}, tc.answer)
			obj, err := c.Get(t.Context(), configMaps, "shop", "a")
			if err = c.Explain(err); obj != nil || err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "shop-1") {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestServerThatDoesNotAnswerIsGivenUp(t *testing.T) {
	c := against(t, Config{Timeout: 50 * time.Millisecond}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	_, err := c.Get(t.Context(), configMaps, "shop", "a")
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "did not answer within 50ms") {
		t.Errorf("got %v", err)
	}
}

func TestContextsOfAKubeconfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	err := os.WriteFile(file, []byte("apiVersion: v1\nkind: Config\ncontexts: [{name: a, context: {cluster: c}}, {name: b, context: {cluster: d}}]\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if got := Contexts(file); len(got) != 2 || !got["a"] || !got["b"] {
		t.Errorf("got %v", got)
	}
	if got := Contexts(file + ".none"); len(got) != 0 {
		t.Errorf("a file that is not there has contexts %v", got)
	}
}
