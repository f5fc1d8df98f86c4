package clustertest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// Sick is a road to the API server on which requests fare as one wishes: unlike
// a Link it understands them. Its Access leads over it.
type Sick struct {
	*Access

	server *http.Server
	served sync.WaitGroup
	next   *httputil.ReverseProxy

	plane *ControlPlane

	mu     sync.Mutex
	shown  tls.Certificate
	ills   []*Ill
	healed chan struct{} // closed by Heal
	met    []time.Time
}

// Ill is what becomes of requests. What of Status, Hang, Lose and Cut is set is
// done; without any, requests only count as met.
type Ill struct {
	// Of picks the requests; nil picks all.
	Of func(*http.Request) bool
	// Times is how many of them it befalls; 0 means all, until Heal.
	Times int
	// Status is answered in place of the API server, with Message, and with
	// RetryAfter in seconds unless that is 0.
	Status, RetryAfter int
	Message            string
	// Hang answers nothing until the client gives up, or Heal.
	Hang bool
	// Lose lets the API server carry the request out, and loses its answer.
	Lose bool
	// Cut ends the answer after so many bytes of its body, without saying so.
	Cut int64
}

// Sick makes a road that is well to begin with. It ends with Close or Stop.
func (c *ControlPlane) Sick() (*Sick, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	target, err := url.Parse(c.url())
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("make a sick road to the API server: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.ca)
	s := &Sick{plane: c, healed: make(chan struct{})}
	if s.shown, err = tls.LoadX509KeyPair(c.key("serving.crt"), c.key("serving.key")); err != nil {
		return nil, errors.Join(fmt.Errorf("make a sick road to the API server: %w", err), listener.Close())
	}
	s.next = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 64},
		FlushInterval: -1, // watches
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:      log.New(io.Discard, "", 0),
	}
	s.server = &http.Server{
		Handler: s, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{GetCertificate: s.certificate},
	}
	s.served.Go(func() { _ = s.server.ServeTLS(listener, "", "") }) // until Close
	s.Access, err = c.newAccess(fmt.Sprintf("kubeconfig-sick-%d", len(c.sicks)+1), c.Context, "https://"+listener.Addr().String(), c.config.BearerToken)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	c.sicks = append(c.sicks, s)
	return s, nil
}

// Fall makes requests that begin from now on fare ill, beside what ails them
// already. The first that fits a request is done.
func (s *Sick) Fall(i Ill) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ills = append(s.ills, &i)
}

// Expire makes the road show a certificate that expired an hour ago to those who
// connect from now on.
func (s *Sick) Expire() error {
	template := servingCertificate()
	template.NotBefore, template.NotAfter = time.Now().Add(-24*time.Hour), time.Now().Add(-time.Hour)
	cert, key, err := s.plane.sign(template)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown, err = tls.X509KeyPair(cert, key)
	return err
}

func (s *Sick) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	shown := s.shown
	return &shown, nil
}

// Heal ends all ills. Requests that hang are let through.
func (s *Sick) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ills = nil
	close(s.healed)
	s.healed = make(chan struct{})
}

// Met are the moments at which requests met an ill, since the road was made.
func (s *Sick) Met() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Time(nil), s.met...)
}

// Close ends the road and everything on it.
func (s *Sick) Close() error {
	s.Heal()
	err := s.server.Close()
	s.served.Wait()
	s.next.Transport.(*http.Transport).CloseIdleConnections()
	return err
}

// befalls finds what ails a request.
func (s *Sick) befalls(r *http.Request) (i Ill, healed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, ill := range s.ills {
		if ill.Of != nil && !ill.Of(r) {
			continue
		}
		if ill.Times > 0 {
			if ill.Times--; ill.Times == 0 {
				s.ills = append(s.ills[:n:n], s.ills[n+1:]...)
			}
		}
		s.met = append(s.met, time.Now())
		return *ill, s.healed
	}
	return Ill{}, nil
}

// ServeHTTP implements http.Handler.
func (s *Sick) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i, healed := s.befalls(r)
	switch {
	case i.Hang:
		select {
		case <-r.Context().Done():
			return
		case <-healed:
		}
	case i.Status != 0:
		if i.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(i.RetryAfter))
		}
		http.Error(w, i.Message, i.Status)
		return
	case i.Lose:
		s.next.ServeHTTP(&lost{header: http.Header{}}, r)
		panic(http.ErrAbortHandler)
	case i.Cut > 0:
		w = &cut{ResponseWriter: w, left: i.Cut}
	}
	s.next.ServeHTTP(w, r)
}

// lost takes an answer that nobody gets.
type lost struct{ header http.Header }

func (l *lost) Header() http.Header         { return l.header }
func (l *lost) Write(p []byte) (int, error) { return len(p), nil }
func (l *lost) WriteHeader(int)             {}

// cut lets through the beginning of an answer.
type cut struct {
	http.ResponseWriter
	left int64
}

func (c *cut) Write(p []byte) (int, error) {
	if int64(len(p)) <= c.left {
		c.left -= int64(len(p))
		return c.ResponseWriter.Write(p)
	}
	_, _ = c.ResponseWriter.Write(p[:c.left]) // the client may be gone
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

// Unwrap lets the proxy flush what a watch sends.
func (c *cut) Unwrap() http.ResponseWriter { return c.ResponseWriter }
