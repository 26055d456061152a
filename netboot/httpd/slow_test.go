package httpd

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"margay/netboot"
)

// pipes is a listener whose connections are in memory, so that a test's time
// passes at once.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
}

func (l *pipes) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l *pipes) Close() error {
	l.once.Do(func() { close(l.conns) })
	return nil
}

func (l *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (l *pipes) dial() net.Conn {
	near, far := net.Pipe()
	l.conns <- far
	return near
}

// A client that sends its request, or takes its answer, too slowly is hung up
// on; one that is merely slow is not.
func TestSlowClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{files: map[string][]byte{"boot/x": noise(4 << 20)}}
		l := &pipes{conns: make(chan net.Conn)}
		s := &Server{Opener: w, Observer: w, Receiver: w}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Serve(ctx, l) }()

		began := time.Now()
		c := l.dial() // says nothing
		if _, err := c.Read(make([]byte, 1)); err == nil || time.Since(began) > 2*headerTime {
			t.Errorf("no request: %v after %v", err, time.Since(began))
		}

		c = l.dial() // asks, takes a little, and stops
		io.WriteString(c, "GET /boot/x HTTP/1.1\r\nHost: x\r\n\r\n")
		io.CopyN(io.Discard, c, 1000)
		time.Sleep(2 * stallTime)
		e := lastEvent(w)
		if !e.Done || e.Err == nil || !strings.Contains(e.Err.Error(), "stopped reading") {
			t.Errorf("stopped: %+v", e)
		}
		c.Close()

		began = time.Now()
		c = l.dial() // takes all, over many minutes
		io.WriteString(c, "GET /boot/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		for err := error(nil); err == nil; time.Sleep(10 * time.Second) {
			_, err = io.CopyN(io.Discard, c, 200_000)
		}
		if e := lastEvent(w); e.Err != nil || e.Bytes != 4<<20 || time.Since(began) < 3*time.Minute {
			t.Errorf("slow: %+v after %v", e, time.Since(began))
		}

		began = time.Now()
		c = l.dial() // posts a little, and stops
		io.WriteString(c, "POST /callback/t/state HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
		if _, err := io.Copy(io.Discard, c); time.Since(began) > 3*stallTime {
			t.Errorf("half a post: %v after %v", err, time.Since(began))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func lastEvent(w *world) netboot.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.events) == 0 {
		return netboot.Event{}
	}
	return w.events[len(w.events)-1]
}

// A client that takes nothing keeps its turn from no one else for long; one that
// takes a little all the time does.
func TestSlowTurns(t *testing.T) {
	for _, stops := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			l := &pipes{conns: make(chan net.Conn)}
			s := &Server{Opener: &world{files: map[string][]byte{"boot/x": noise(8 << 20)}}, Sends: 1}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- s.Serve(ctx, l) }()

			slow := l.dial()
			io.WriteString(slow, "GET /boot/x HTTP/1.1\r\nHost: x\r\n\r\n")
			io.CopyN(io.Discard, slow, 1000)
			for range slowTime/time.Second + 10 {
				if !stops {
					io.CopyN(io.Discard, slow, slice/10)
				}
				time.Sleep(time.Second)
			}
			next := l.dial()
			io.WriteString(next, "GET /boot/x HTTP/1.1\r\nHost: x\r\nUser-Agent: iPXE/1.21.1\r\n\r\n")
			first := make([]byte, 12)
			io.ReadFull(next, first)
			if got := string(first) == "HTTP/1.1 200"; got != stops {
				t.Errorf("the first stops: %v; the next one hears %s", stops, first)
			}
			slow.Close()
			next.Close()
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// A client that asks on and on for what it does not get, and reads no answer, is
// hung up on: by a front, and by net/http for what it reads.
func TestDeafClients(t *testing.T) {
	for _, request := range []string{
		"GET /boot/none HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /boot/none HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
		"GET /page HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		synctest.Test(t, func(t *testing.T) {
			l := &pipes{conns: make(chan net.Conn)}
			s := &Server{Opener: &world{}, Fallback: http.NotFoundHandler()}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- s.Serve(ctx, l) }()
			c := l.dial()
			defer c.Close()
			io.WriteString(c, request) // and what answers it waits for its reader
			time.Sleep(stallTime + time.Second)
			synctest.Wait()
			if n := s.Load().Conns; n != 0 {
				t.Errorf("%q: %d connections are open", request, n)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
