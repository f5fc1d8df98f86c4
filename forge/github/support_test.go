package github

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"lockkeeper/forge"
)

const (
	shaBase = "1111111111111111111111111111111111111111"
	shaHead = "2222222222222222222222222222222222222222"
	secret  = "ghp_topsecretvalue"
)

var shop = forge.RepoRef{ID: 7, Owner: "acme", Name: "shop"}

// answers is a server that gives recorded shapes by "METHOD /path".
type answers map[string]http.HandlerFunc

func say(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := a[r.Method+" "+r.URL.Path]; h != nil {
		h(w, r)
		return
	}
	say(404, fmt.Sprintf(`{"message":"no answer recorded for %s %s"}`, r.Method, r.URL.Path))(w, r)
}

func serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// withToken is a driver over recorded answers, with a personal token.
func withToken(t *testing.T, h http.Handler) *Forge {
	t.Helper()
	f, err := New(t.Context(), Config{APIURL: serve(t, h).URL, Token: secret})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// appKey is made once: RSA keys take long to find.
var appKey = sync.OnceValue(func() []byte {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)})
})

func withApp(t *testing.T, h http.Handler) *Forge {
	t.Helper()
	f, err := New(t.Context(), Config{APIURL: serve(t, h).URL, AppID: 42, PrivateKey: appKey()})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// calls is the number of requests that went out.
func calls(f *Forge) int {
	n := 0
	for _, c := range f.Calls() {
		n += c
	}
	return n
}
