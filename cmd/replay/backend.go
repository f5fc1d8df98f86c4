package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// backend answers for every pod that the API server calls. The nodes are fake,
// so that an APIService of the manifests (metrics, say) would never become
// available; with the backend it is, as soon as its pods are ready: the API
// server reaches the cluster's network through a proxy, which is us, and finds
// an aggregated API there that serves its group without any resource.
type backend struct {
	dir      string
	listener net.Listener
	server   *http.Server
	conns    chan net.Conn
}

// egress tells the API server to reach the cluster's network through a socket.
const egress = `apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
  - name: cluster
    connection:
      proxyProtocol: HTTPConnect
      transport:
        uds:
          udsName: %s
`

func startBackend() (*backend, error) {
	dir, err := os.MkdirTemp("", "lockkeeper-replay-")
	if err != nil {
		return nil, err
	}
	b := &backend{dir: dir, conns: make(chan net.Conn)}
	certificate, err := selfSigned()
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "egress.sock")
	if b.listener, err = net.Listen("unix", socket); err != nil {
		return nil, err
	}
	if err := os.WriteFile(b.file(), fmt.Appendf(nil, egress, socket), 0o600); err != nil {
		return nil, err
	}
	b.server = &http.Server{
		Handler: http.HandlerFunc(aggregated), ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
	}
	go b.proxy()
	go func() { _ = b.server.ServeTLS(b, "", "") }() // ends with close
	return b, nil
}

func (b *backend) file() string { return filepath.Join(b.dir, "egress.yaml") }

// flags are what the API server is to be started with.
func (b *backend) flags() []string { return []string{"--egress-selector-config-file=" + b.file()} }

func (b *backend) close() error {
	return errors.Join(b.server.Close(), os.RemoveAll(b.dir))
}

// proxy takes CONNECT requests and hands their connections to the server.
func (b *backend) proxy() {
	defer close(b.conns)
	for {
		conn, err := b.listener.Accept()
		if err != nil {
			return
		}
		request, err := http.ReadRequest(bufio.NewReader(io.LimitReader(conn, 64<<10)))
		if err != nil || request.Method != http.MethodConnect {
			_ = conn.Close()
			continue
		}
		if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
			_ = conn.Close()
			continue
		}
		b.conns <- conn
	}
}

// Accept makes the backend the listener of its own server.
func (b *backend) Accept() (net.Conn, error) {
	conn, ok := <-b.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

// Close ends the proxy.
func (b *backend) Close() error { return b.listener.Close() }

// Addr is the proxy's.
func (b *backend) Addr() net.Addr { return b.listener.Addr() }

// aggregated is an API server of any group and version that is asked for, with
// no resources in it: /apis/GROUP/VERSION.
func aggregated(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(parts) != 3 || parts[0] != "apis" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": "APIResourceList", "apiVersion": "v1",
		"groupVersion": parts[1] + "/" + parts[2], "resources": []any{},
	})
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "replay"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

var _ net.Listener = (*backend)(nil)
