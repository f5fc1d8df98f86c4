package github

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v4"
)

// doorkeeper answers who asks, and remembers with what.
func doorkeeper(t *testing.T) (api string, last func() string) {
	t.Helper()
	var authorization string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		authorization = strings.TrimPrefix(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), "token ")
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/api/v3/app":
			_, _ = w.Write([]byte(`{"id": 7, "slug": "lockkeeper"}`))
		default:
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"message": "Not Found"}`))
		}
	}))
	t.Cleanup(server.Close)
	return server.URL + "/api/v3", func() string { return authorization }
}

func newKey(t *testing.T) (*rsa.PrivateKey, []byte) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

func TestTokenRotates(t *testing.T) {
	api, last := doorkeeper(t)
	f, err := New(t.Context(), Config{APIURL: api, Token: "the-old-token"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		next Config
		ok   bool
		used string
	}{
		{Config{Token: "the-new-token"}, true, "the-new-token"},
		{Config{}, false, "the-new-token"},
		{Config{AppID: 7, PrivateKey: []byte("no key")}, false, "the-new-token"},
		{Config{Token: "the-last-token"}, true, "the-last-token"},
	} {
		if err := f.Rotate(tt.next); (err == nil) != tt.ok {
			t.Errorf("Rotate: %v", err)
		}
		_, _ = f.Self(t.Context()) // refused, which is no matter
		if last() != tt.used {
			t.Errorf("asked with %q, want %q", last(), tt.used)
		}
	}
}

func TestKeyOfTheAppRotates(t *testing.T) {
	api, last := doorkeeper(t)
	old, oldPEM := newKey(t)
	next, nextPEM := newKey(t)
	f, err := New(t.Context(), Config{APIURL: api, AppID: 7, PrivateKey: oldPEM})
	if err != nil {
		t.Fatal(err)
	}
	signedBy := func(key *rsa.PrivateKey) bool {
		_, _ = f.Self(t.Context()) // the installations are not there, which is no matter
		_, err := jwt.Parse(last(), func(*jwt.Token) (any, error) { return &key.PublicKey, nil })
		return err == nil
	}
	if !signedBy(old) {
		t.Fatal("the first key is not used")
	}
	if err := f.Rotate(Config{AppID: 8, PrivateKey: nextPEM}); err == nil || signedBy(next) {
		t.Errorf("another App's key is taken up: %v", err)
	}
	if err := f.Rotate(Config{AppID: 7, PrivateKey: nextPEM}); err != nil || !signedBy(next) {
		t.Errorf("the new key is not used: %v", err)
	}
}
