package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// What accepts connections and says nothing, not even in TLS, holds up nobody:
// neither a request nor the beginning of a watch.
func TestAServerThatOnlyAcceptsIsGivenUp(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c, err := New(Config{Name: "shop-1", REST: &rest.Config{Host: "https://" + listener.Addr().String()}, Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), configMaps, "shop", "a"); !errors.Is(err, context.DeadlineExceeded) || !Passing(err) {
		t.Errorf("get: %v", err)
	}
	if _, err := c.Resource(configMaps, "shop").Watch(t.Context(), metav1.ListOptions{}); err == nil || !strings.Contains(err.Error(), "no answer within 50ms") || !Passing(err) {
		t.Errorf("watch: %v", err)
	}
}

// A watch that the server was told to end, and that does not, is ended here.
func TestAWatchThatDoesNotEndIsEnded(t *testing.T) {
	c := against(t, Config{Timeout: 50 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	w, err := c.Resource(configMaps, "shop").Watch(t.Context(), metav1.ListOptions{TimeoutSeconds: new(int64(1))})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for end := time.After(time.Minute); ; {
		select {
		case _, more := <-w.ResultChan():
			if !more {
				return
			}
		case <-end:
			t.Fatal("it goes on")
		}
	}
}

// Only what may be answered otherwise soon is asked again, and not for ever.
func TestWhatIsAskedAgain(t *testing.T) {
	for code, want := range map[int]int64{200: 1, 404: 1, 403: 1, 500: 3, 503: 3} {
		var asked atomic.Int64
		c := against(t, Config{}, func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			fmt.Fprint(w, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`)
		})
		_, err := c.Get(t.Context(), configMaps, "shop", "a")
		if asked.Load() != want || Passing(err) != (code >= 500) {
			t.Errorf("%d: asked %d times, %v", code, asked.Load(), err)
		}
	}
}
