package clustertest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"lockkeeper/testdata/pinned"
)

// Link is a road to the API server that is as long as one wishes, and that can
// be cut: a TCP proxy on loopback. Its Access leads over it.
type Link struct {
	*Access

	target string
	rtt    time.Duration
	addr   string

	mu       sync.Mutex
	listener net.Listener // nil while cut
	open     map[*net.TCPConn]struct{}
	running  sync.WaitGroup

	connections, up, down atomic.Int64
}

// Traffic is what went over a link since it was made.
type Traffic struct {
	Connections int64 // accepted
	Up, Down    int64 // bytes to and from the API server
}

// Delay makes a link that adds rtt to every round trip, half of it each way,
// without limiting how much is under way. A new connection is one round trip
// late, as TCP's handshake would make it. The link ends with Close or Stop.
func (c *ControlPlane) Delay(rtt time.Duration) (*Link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, err := newLink(fmt.Sprintf("127.0.0.1:%d", c.port), rtt)
	if err != nil {
		return nil, err
	}
	file := fmt.Sprintf("kubeconfig-link-%d", len(c.links)+1)
	l.Access, err = c.newAccess(file, c.Context, "https://"+l.addr, c.config.BearerToken)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	c.links = append(c.links, l)
	return l, nil
}

func newLink(target string, rtt time.Duration) (*Link, error) {
	port, err := pinned.FreePort()
	if err != nil {
		return nil, err
	}
	l := &Link{
		target: target, rtt: rtt,
		addr: fmt.Sprintf("127.0.0.1:%d", port), open: map[*net.TCPConn]struct{}{},
	}
	return l, l.Restore()
}

// Traffic tells what went over the link so far.
func (l *Link) Traffic() Traffic {
	return Traffic{Connections: l.connections.Load(), Up: l.up.Load(), Down: l.down.Load()}
}

// Cut resets all connections; new ones are refused until Restore.
func (l *Link) Cut() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	if l.listener != nil {
		err = l.listener.Close()
		l.listener = nil
	}
	for conn := range l.open {
		_ = conn.SetLinger(0) // a reset, not an orderly end
		_ = conn.Close()
	}
	return err
}

// Restore lets connections through again, at the same address.
func (l *Link) Restore() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener != nil {
		return nil
	}
	listener, err := net.Listen("tcp", l.addr)
	if err != nil {
		return fmt.Errorf("open a link to the API server: %w", err)
	}
	l.listener = listener
	l.running.Go(func() { l.accept(listener) })
	return nil
}

// Close cuts the link for good and waits until nothing of it runs.
func (l *Link) Close() error {
	err := l.Cut()
	l.running.Wait()
	return err
}

func (l *Link) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		l.connections.Add(1)
		l.running.Go(func() { l.carry(conn.(*net.TCPConn)) })
	}
}

// carry joins a client's connection with one of ours to the API server.
func (l *Link) carry(client *net.TCPConn) {
	defer client.Close()
	open := time.Now().Add(l.rtt)
	conn, err := net.Dial("tcp", l.target)
	if err != nil {
		_ = client.SetLinger(0)
		return
	}
	server := conn.(*net.TCPConn)
	defer server.Close()
	if !l.track(client, server) {
		return
	}
	defer l.forget(client, server)
	var both sync.WaitGroup
	both.Go(func() { l.forward(server, client, open, &l.up) })
	both.Go(func() { l.forward(client, server, open, &l.down) })
	both.Wait()
}

// track makes connections known to Cut; false says that it came before us.
func (l *Link) track(conns ...*net.TCPConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range conns {
		l.open[conn] = struct{}{}
	}
	return l.listener != nil
}

func (l *Link) forget(conns ...*net.TCPConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range conns {
		delete(l.open, conn)
	}
}

type parcel struct {
	due  time.Time
	data []byte
}

// forward copies from one end to the other. Reading does not wait for writing:
// parcels under way queue up with the time at which they arrive.
func (l *Link) forward(to, from *net.TCPConn, open time.Time, count *atomic.Int64) {
	underway := make(chan parcel, 4096)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(underway)
		for {
			data := make([]byte, 32<<10)
			n, err := from.Read(data)
			due := time.Now()
			if due.Before(open) {
				due = open
			}
			underway <- parcel{due: due.Add(l.rtt / 2), data: data[:n]}
			if err != nil {
				if !errors.Is(err, io.EOF) { // reset: the other end must hear of it
					_ = to.SetLinger(0)
					_ = to.Close()
				}
				return
			}
		}
	})
	for p := range underway {
		time.Sleep(time.Until(p.due))
		n, err := to.Write(p.data)
		count.Add(int64(n))
		if err != nil {
			_ = from.Close() // ends the reading; what is queued drains above
		}
	}
	_ = to.CloseWrite()
	reading.Wait()
}
