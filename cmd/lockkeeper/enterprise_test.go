package main

import (
	"bytes"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// enterprise puts a forge behind HTTPS, with a certificate of its owner's own
// authority, as a server in a company's network has it. It returns the address
// and the file of the authority.
func enterprise(t *testing.T, inner string) (address, authority string) {
	t.Helper()
	to, err := url.Parse(inner)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Header.Del("Accept-Encoding") }}
	front := httptest.NewTLSServer(proxy)
	t.Cleanup(front.Close)
	// The forge tells addresses as its users know them. Packs are left alone.
	proxy.ModifyResponse = func(res *http.Response) error {
		for name, values := range res.Header {
			for i, v := range values {
				res.Header[name][i] = strings.ReplaceAll(v, inner, front.URL)
			}
		}
		if strings.HasPrefix(res.Header.Get("Content-Type"), "application/x-git") {
			return nil
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return err
		}
		body = bytes.ReplaceAll(body, []byte(inner), []byte(front.URL))
		res.Body = io.NopCloser(bytes.NewReader(body))
		res.ContentLength = int64(len(body))
		res.Header.Set("Content-Length", strconv.Itoa(len(body)))
		return nil
	}
	authority = filepath.Join(t.TempDir(), "authority.pem")
	write(t, authority, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw})))
	return front.URL, authority
}

func TestSetupFindsThePagesOfAnAPI(t *testing.T) {
	for api, want := range map[string]string{
		"":                                  "https://github.com",
		"https://github.example.com/api/v3": "https://github.example.com",
		"https://api.acme.ghe.com":          "https://acme.ghe.com",
	} {
		if got, err := pagesOf(api); got != want || err != nil {
			t.Errorf("%s: %s, %v", api, got, err)
		}
	}
	if got, err := pagesOf("github.example.com"); err == nil {
		t.Errorf("got %s", got)
	}
}
