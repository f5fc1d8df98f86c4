// Package fault spoils connections: a road between two processes, on loopback,
// that can be made slow, be cut, fall silent or damage what goes over it.
package fault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Dial opens a connection to what is at the other end of a Link.
type Dial func(ctx context.Context) (net.Conn, error)

// To dials an address, such as ("tcp", "127.0.0.1:80").
func To(network, address string) Dial {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
}

// State is how a road is. The zero State is a good one.
type State struct {
	// Delay is added each way to whatever is sent.
	Delay time.Duration
	// Cut resets all connections, and new ones at once.
	Cut bool
	// Silent takes everything and hands on nothing, until the state changes.
	Silent bool
	// Damage, if not 0, overwrites some bytes with zeros each time so many
	// bytes went one way. Zeros are in no valid HTTP header and in no JSON text,
	// and no TLS record survives them: the receiver can always tell.
	Damage int
}

// String is the state in a few words.
func (s State) String() string {
	switch {
	case s.Cut:
		return "cut"
	case s.Silent:
		return "silent"
	case s.Damage > 0:
		return fmt.Sprintf("damaged every %d bytes", s.Damage)
	case s.Delay > 0:
		return fmt.Sprintf("slower by %s each way", s.Delay)
	}
	return "good"
}

// Link is a TCP proxy on loopback. It is safe for concurrent use.
type Link struct {
	dial     Dial
	listener net.Listener
	ctx      context.Context // ends with Close
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu      sync.Mutex
	state   State
	changed chan struct{} // closed and replaced when the state is
	open    map[net.Conn]struct{}
}

// NewLink makes a good road; Close ends it, and so does the end of ctx.
func NewLink(ctx context.Context, dial Dial) (*Link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open a link: %w", err)
	}
	l := &Link{dial: dial, listener: listener, changed: make(chan struct{}), open: map[net.Conn]struct{}{}}
	l.ctx, l.stop = context.WithCancel(ctx)
	l.running.Go(l.accept)
	context.AfterFunc(l.ctx, func() { listener.Close() }) //nolint:errcheck // ends accept
	return l, nil
}

// Address is where the road begins: host and port.
func (l *Link) Address() string { return l.listener.Addr().String() }

// Set changes how the road is, also for the connections that are open.
func (l *Link) Set(s State) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = s
	close(l.changed)
	l.changed = make(chan struct{})
	if s.Cut {
		for conn := range l.open {
			reset(conn)
		}
	}
}

// Close cuts the road for good and waits until nothing of it runs.
func (l *Link) Close() {
	l.stop()
	l.Set(State{Cut: true})
	l.running.Wait()
}

func (l *Link) look() (State, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state, l.changed
}

// reset ends a connection as a router that forgot it would.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0) //nolint:errcheck // it is closed in any case
	}
	conn.Close() //nolint:errcheck // nobody waits for it
}

func (l *Link) accept() {
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.running.Go(func() { l.carry(conn) })
	}
}

// carry joins a client's connection with one of ours.
func (l *Link) carry(client net.Conn) {
	defer client.Close()
	if !l.track(client) {
		reset(client)
		return
	}
	defer l.forget(client)
	server, err := l.dial(l.ctx)
	if err != nil {
		reset(client)
		return
	}
	defer server.Close()
	if !l.track(server) {
		reset(client)
		return
	}
	defer l.forget(server)
	var both sync.WaitGroup
	both.Go(func() { l.forward(server, client) })
	both.Go(func() { l.forward(client, server) })
	both.Wait()
}

// track makes a connection known to Set; false says that the road is cut.
func (l *Link) track(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.Cut || l.ctx.Err() != nil {
		return false
	}
	l.open[conn] = struct{}{}
	return true
}

func (l *Link) forget(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, conn)
}

// forward copies one way until an end closes.
func (l *Link) forward(to, from net.Conn) {
	data, carried := make([]byte, 32<<10), 0
	for {
		n, err := from.Read(data)
		if n > 0 {
			if !l.pass(data[:n], &carried) {
				reset(to)
				reset(from)
				return
			}
			if _, err := to.Write(data[:n]); err != nil {
				reset(from)
				return
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			closeWrite(to)
			return
		case err != nil:
			reset(to)
			return
		}
	}
}

// closeWrite hands on the end of one direction.
func closeWrite(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite() //nolint:errcheck // the other end finds out by reading
		return
	}
	conn.Close() //nolint:errcheck // likewise
}

// pass lets a parcel wait and come to harm as the state says; false says that
// the road was cut meanwhile.
func (l *Link) pass(data []byte, carried *int) bool {
	late := time.Duration(0)
	for {
		s, changed := l.look()
		switch {
		case s.Cut || l.ctx.Err() != nil:
			return false
		case !s.Silent && s.Delay <= late:
			if s.Damage > 0 {
				damage(data, carried, s.Damage)
			}
			return true
		}
		var wait <-chan time.Time
		if !s.Silent {
			timer := time.NewTimer(s.Delay)
			defer timer.Stop()
			wait = timer.C
		}
		select {
		case <-wait:
			late = s.Delay
		case <-changed:
		case <-l.ctx.Done():
		}
	}
}

// damaged is how many bytes are overwritten at a time.
const damaged = 8

func damage(data []byte, carried *int, every int) {
	for at := every - *carried%every; at <= len(data); at += every {
		end := min(at+damaged, len(data))
		copy(data[at:end], bytes.Repeat([]byte{0}, damaged))
	}
	*carried += len(data)
}
