package clustertest

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// echo starts a server that answers everything with the same.
func echo(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}

func linkTo(t *testing.T, target string, rtt time.Duration) *Link {
	t.Helper()
	l, err := newLink(target, rtt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// exchange sends messages at once, each by a write of its own, over one new
// connection, and returns how long it took until all had come back.
func exchange(t *testing.T, l *Link, messages int) time.Duration {
	t.Helper()
	start := time.Now()
	conn, err := net.Dial("tcp", l.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	message := bytes.Repeat([]byte{'x'}, 16<<10)
	var sending sync.WaitGroup
	sending.Go(func() {
		for range messages {
			if _, err := conn.Write(message); err != nil {
				t.Error(err)
			}
		}
		_ = conn.(*net.TCPConn).CloseWrite()
	})
	got, err := io.ReadAll(conn)
	sending.Wait()
	if err != nil || len(got) != messages*len(message) {
		t.Fatalf("came back: %d bytes, %v; want %d", len(got), err, messages*len(message))
	}
	return time.Since(start)
}

func TestLinkDelaysWithoutLimitingThroughput(t *testing.T) {
	const rtt = 50 * time.Millisecond
	l := linkTo(t, echo(t), rtt)
	one := exchange(t, l, 1)
	if one < 2*rtt {
		t.Fatalf("one message took %s, want the handshake's round trip and its own, %s", one, 2*rtt)
	}
	// One after the other, 400 messages would wait 200 round trips each way.
	if many := exchange(t, l, 400); many > 40*one {
		t.Fatalf("400 messages under way at once took %s, one took %s: the link serialises", many, one)
	}
	want := Traffic{Connections: 2, Up: 401 * 16 << 10, Down: 401 * 16 << 10}
	if got := l.Traffic(); got != want {
		t.Fatalf("traffic: got %+v, want %+v", got, want)
	}
}

func TestCutLinkResetsAndRefuses(t *testing.T) {
	l := linkTo(t, echo(t), 0)
	conn, err := net.Dial("tcp", l.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := l.Cut(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Fatalf("reading from a cut connection: got %v, want a reset", err)
	}
	if second, err := net.Dial("tcp", l.addr); err == nil {
		_ = second.Close()
		t.Fatal("a cut link accepts connections")
	}
	if err := l.Restore(); err != nil {
		t.Fatal(err)
	}
	exchange(t, l, 1)
}

// A server that is not there looks through a link as it does without one: the
// client's connection ends at once.
func TestLinkToNobodyEndsConnections(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", linkTo(t, target, 0).addr)
	if err != nil {
		return // the reset may come before Dial is done
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Fatal("read something from nobody")
	}
}
