package fault

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// echo is a server that sends back what it gets.
func echo(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn) //nolint:errcheck // the test sees what is missing
			}()
		}
	}()
	return listener.Addr().String()
}

func open(t *testing.T) (*Link, func() net.Conn) {
	l, err := NewLink(t.Context(), To("tcp", echo(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l, func() net.Conn {
		conn, err := net.Dial("tcp", l.Address())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
}

// ask sends text and returns what comes back within a time.
func ask(conn net.Conn, text []byte, within time.Duration) ([]byte, error) {
	if _, err := conn.Write(text); err != nil {
		return nil, err
	}
	conn.SetReadDeadline(time.Now().Add(within)) //nolint:errcheck // reading fails then
	got := make([]byte, len(text))
	_, err := io.ReadFull(conn, got)
	return got, err
}

func TestAGoodRoadCarriesEverything(t *testing.T) {
	_, dial := open(t)
	text := bytes.Repeat([]byte("lock keeper "), 100_000)
	conn := dial()
	go conn.Write(text) //nolint:errcheck // reading fails then
	got := make([]byte, len(text))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, text) {
		t.Fatalf("%d bytes came back otherwise (%v)", len(text), err)
	}
}

func TestASlowRoadIsLateEachWay(t *testing.T) {
	l, dial := open(t)
	l.Set(State{Delay: 30 * time.Millisecond})
	begin := time.Now()
	if _, err := ask(dial(), []byte("hello"), time.Minute); err != nil || time.Since(begin) < 60*time.Millisecond {
		t.Fatalf("there and back took %s (%v), want 60 ms or more", time.Since(begin), err)
	}
}

func TestACutRoadResetsWhatIsOpenAndRefusesWhatIsNew(t *testing.T) {
	l, dial := open(t)
	conn := dial()
	if _, err := ask(conn, []byte("hello"), time.Minute); err != nil {
		t.Fatal(err)
	}
	l.Set(State{Cut: true})
	if got, err := ask(conn, []byte("hello"), time.Minute); err == nil {
		t.Fatalf("a cut connection still carried %q", got)
	}
	if conn, err := net.Dial("tcp", l.Address()); err == nil {
		defer conn.Close()
		if got, err := ask(conn, []byte("hello"), time.Minute); err == nil {
			t.Fatalf("a new connection over a cut road carried %q", got)
		}
	}
	l.Set(State{})
	if _, err := ask(dial(), []byte("hello"), time.Minute); err != nil {
		t.Fatalf("after the road was mended: %v", err)
	}
}

func TestASilentRoadHandsOnLater(t *testing.T) {
	l, dial := open(t)
	l.Set(State{Silent: true})
	conn := dial()
	if got, err := ask(conn, []byte("hello"), 50*time.Millisecond); err == nil {
		t.Fatalf("a silent road carried %q", got)
	}
	l.Set(State{})
	conn.SetReadDeadline(time.Now().Add(time.Minute)) //nolint:errcheck // reading fails then
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Fatalf("after the silence came %q (%v)", got, err)
	}
}

func TestDamageIsDoneWhereItWasAskedFor(t *testing.T) {
	l, dial := open(t)
	l.Set(State{Damage: 100})
	text := bytes.Repeat([]byte("x"), 300)
	got, err := ask(dial(), text, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(got, []byte{0}); n < damaged || n > 6*damaged {
		t.Fatalf("%d bytes are zero of %d, want some", n, len(got))
	}
}

func TestCloseEndsEverything(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l, err := NewLink(ctx, To("tcp", echo(t)))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", l.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	l.Set(State{Silent: true})
	cancel()
	l.Close()
	if got, err := ask(conn, []byte("hello"), time.Minute); err == nil {
		t.Fatalf("a closed link carried %q", got)
	}
}
