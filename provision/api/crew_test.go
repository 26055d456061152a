package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestCrewOrder: what only looks goes first, but not before a change that came
// long before it; what rests goes last, unless it has rested for long.
func TestCrewOrder(t *testing.T) {
	now := time.Now()
	at := func(ms int) *turn { return &turn{came: now.Add(time.Duration(ms) * time.Millisecond)} }
	old, young, first, second, late := at(0), at(2), at(1), at(3), at(40)
	c := &crew{}
	for _, x := range []*turn{old, young} {
		c.others.push(x)
	}
	for _, x := range []*turn{first, second, late} {
		c.looking.push(x)
	}
	rested, resting := at(-int(time.Hour.Milliseconds())), at(int(time.Hour.Milliseconds()))
	c.resting.push(rested)
	c.resting.push(resting)
	for i, want := range []*turn{rested, first, second, old, young, late, resting, nil} {
		if got := c.first(); got != want {
			t.Fatalf("the %d. is another one: %v, want %v", i, got, want)
		}
	}
}

// TestCrewLong: commands that take long, or say that they wait, leave their
// places to others, and no more than there are places go on at once.
func TestCrewLong(t *testing.T) {
	for _, yield := range []bool{false, true} {
		c := &crew{}
		stop, quick := make(chan bool), make(chan bool)
		var wg sync.WaitGroup
		for range 4 * crewSize() {
			wg.Add(1)
			c.add(true, func(own *turn) {
				defer wg.Done()
				if yield {
					own.end()
				} else {
					defer time.AfterFunc(turnLong, own.end).Stop()
				}
				<-stop
			})
		}
		c.add(false, func(*turn) { close(quick) })
		select {
		case <-quick:
		case <-time.After(time.Minute):
			t.Fatal("a command waits for those that wait")
		}
		close(stop)
		wg.Wait()
		c.empty(t)
	}
}

// TestCrewRest: commands that rest let others go before, whether they still had
// their places or had lost them, and have places again afterwards.
func TestCrewRest(t *testing.T) {
	for _, lost := range []bool{false, true} {
		c := &crew{}
		var quick atomic.Bool
		var wg, begun sync.WaitGroup
		begun.Add(crewSize())
		for i := range 3 * crewSize() {
			wg.Add(1)
			c.add(true, func(own *turn) {
				defer wg.Done()
				if i < crewSize() {
					begun.Done()
				}
				for !quick.Load() {
					own.rest()
					if lost {
						own.end()
					}
				}
				own.rest()
			})
		}
		begun.Wait() // now all places are taken, for good unless they rest
		c.add(true, func(*turn) { quick.Store(true) })
		done := make(chan struct{})
		go func() { wg.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatal("those that rest do not let others go before, or rest for ever")
		}
		c.empty(t)
	}
}

// empty waits until all places are free, and fails if they never are.
func (c *crew) empty(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		going := c.going
		c.mu.Unlock()
		if going == 0 {
			return
		}
		if going < 0 || time.Now().After(deadline) {
			t.Fatalf("%d places are taken", going)
		}
	}
}

// TestCrewAtOnce: no more commands go on at once than there are places.
func TestCrewAtOnce(t *testing.T) {
	c := &crew{}
	var mu sync.Mutex
	going, most := 0, 0
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Add(1)
		c.add(i%2 == 0, func(*turn) {
			defer wg.Done()
			mu.Lock()
			going++
			most = max(most, going)
			mu.Unlock()
			time.Sleep(100 * time.Microsecond)
			mu.Lock()
			going--
			mu.Unlock()
		})
	}
	wg.Wait()
	if most > crewSize() {
		t.Errorf("%d at once, want %d at most", most, crewSize())
	}
}

// TestManyAtOnce: many clients come at once, with much to read, and some words
// come late or in pieces.
func TestManyAtOnce(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 64<<10)
	c := serve(t, func(_ context.Context, r *Request, c *Conn) int {
		c.Send(Frame{Kind: FrameOut, Text: strings.Join(r.Args, " ")})
		if r.Args[0] == "long" {
			c.Send(Frame{Kind: FrameRaw, Text: long})
		}
		if r.Args[0] == "echo" {
			text, _ := io.ReadAll(c)
			c.Send(Frame{Kind: FrameRaw, Text: string(text)})
		}
		return len(r.Args)
	})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			args, want, in := []string{"short", fmt.Sprint(i)}, "", ""
			switch i % 10 {
			case 0:
				args[0], want = "long", long
			case 1:
				args[0], in = "echo", fmt.Sprint("in ", i)
				want = in
			case 2: // more than is taken in at once
				args[1] = strings.Repeat("x", 2*helloMost)
			}
			want = strings.Join(args, " ") + "\n" + want
			own := &Client{Socket: c.Socket}
			if i%10 == 3 {
				own.Dial = func(context.Context) (net.Conn, error) {
					conn, err := net.Dial("unix", c.Socket)
					return slowConn{conn}, err
				}
			}
			var out bytes.Buffer
			if code, err := own.Run(t.Context(), &Request{Args: args}, strings.NewReader(in), &out, io.Discard); err != nil || code != 2 || out.String() != want {
				t.Errorf("%.40s: code %d, %v, %d bytes, want %d", args, code, err, out.Len(), len(want))
			}
		})
	}
	wg.Wait()
}

// A slowConn writes byte by byte.
type slowConn struct{ net.Conn }

func (c slowConn) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// TestAfterEnd: what a command still says when it has ended reaches nobody, not
// the next client either, whose connection has the same number.
func TestAfterEnd(t *testing.T) {
	var last *Conn
	c := serve(t, func(_ context.Context, r *Request, c *Conn) int {
		if last != nil {
			if err := last.Send(Frame{Kind: FrameOut, Text: "from the grave"}); err == nil {
				t.Error("a command that has ended is heard")
			}
			last.Flush()
			if n, err := last.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("and hears: %d %v", n, err)
			}
		}
		last = c
		c.Send(Frame{Kind: FrameOut, Text: "alive"})
		return 0
	})
	for range 3 {
		var out bytes.Buffer
		if code, err := c.Run(t.Context(), &Request{Args: []string{"x"}}, nil, &out, io.Discard); err != nil || code != 0 || out.String() != "alive\n" {
			t.Errorf("code %d, %v, %q", code, err, out.String())
		}
	}
}

// TestDoorShut: the socket goes with the server.
func TestDoorShut(t *testing.T) {
	path := t.TempDir() + "/s"
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- (&Server{Run: func(context.Context, *Request, *Conn) int { return 0 }}).Serve(ctx, l) }()
	if code, err := (&Client{Socket: path}).Run(t.Context(), &Request{Args: []string{"x"}}, nil, io.Discard, io.Discard); code != 0 || err != nil {
		t.Errorf("code %d, %v", code, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}
