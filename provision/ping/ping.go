// Package ping says which machines answer: by ICMP where we may, else by
// whether they take or refuse TCP connections.
package ping

import (
	"context"
	"crypto/rand"
	"errors"
	"iter"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// A Sweep asks many addresses at a time.
type Sweep struct {
	// Wait is how long one may take to answer, from when it is first asked;
	// zero: 2 s. It is asked three times in that time.
	Wait time.Duration
	// TCP asks by TCP alone.
	TCP bool
}

const (
	defaultWait = 2 * time.Second
	tries       = 3
	pace        = 200 * time.Microsecond // between two packets: 5,000 a second
	fanout      = 256                    // TCP connections at a time
)

// ports are those that a refusal or a connection is looked for at.
var ports = []int{22, 443, 80, 902}

// All asks every address and yields each once: at once when it answers, at the
// end of the wait if it does not. Where ctx ends, the rest is not yielded.
func (s Sweep) All(ctx context.Context, addrs []netip.Addr) iter.Seq2[netip.Addr, bool] {
	if s.Wait <= 0 {
		s.Wait = defaultWait
	}
	return func(yield func(netip.Addr, bool) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		left := map[netip.Addr]bool{}
		for _, a := range addrs {
			left[a.Unmap()] = true
		}
		lists := [2][]netip.Addr{family(left, false), family(left, true)}
		answers := make(chan netip.Addr, 64)
		go func() {
			defer close(answers)
			var wg sync.WaitGroup
			defer wg.Wait()
			for i, list := range lists {
				if len(list) > 0 {
					wg.Go(func() { s.family(ctx, list, i == 1, answers) })
				}
			}
		}()
		more := true
		for a := range answers {
			if !left[a] {
				continue
			}
			delete(left, a)
			if more && !yield(a, true) {
				more = false
				cancel()
			}
		}
		if ctx.Err() != nil {
			return
		}
		for _, a := range addrs {
			if a = a.Unmap(); left[a] {
				delete(left, a)
				if !yield(a, false) {
					return
				}
			}
		}
	}
}

func family(all map[netip.Addr]bool, six bool) []netip.Addr {
	var list []netip.Addr
	for a := range all {
		if a.Is6() == six {
			list = append(list, a)
		}
	}
	return list
}

// family asks the addresses of one family.
func (s Sweep) family(ctx context.Context, list []netip.Addr, six bool, answers chan<- netip.Addr) {
	if !s.TCP {
		if c, err := open(six); err == nil {
			defer c.Close()
			s.echo(ctx, c, list, answers)
			return
		}
	}
	s.connect(ctx, list, answers)
}

// echo asks by ICMP, all over one socket.
func (s Sweep) echo(ctx context.Context, c *conn, list []netip.Addr, answers chan<- netip.Addr) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cookie := make([]byte, 16) // by which an answer to another program is told from ours
	rand.Read(cookie)
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()

	var mu sync.Mutex // guards heard
	heard := map[netip.Addr]bool{}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for {
			from, err := c.answer(cookie)
			if err != nil {
				return
			}
			mu.Lock()
			heard[from] = true
			all := len(heard) >= len(list)
			mu.Unlock()
			answers <- from
			if all {
				cancel()
				return
			}
		}
	})
	waits := s.Wait / (tries + 1)
	for try := range tries {
		for _, a := range list {
			mu.Lock()
			known := heard[a]
			mu.Unlock()
			if known {
				continue
			}
			c.ask(a, try, cookie) // what cannot be sent is not answered
			if !sleep(ctx, pace) {
				return
			}
		}
		if !sleep(ctx, waits) {
			return
		}
	}
	sleep(ctx, waits)
	cancel()
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// connect asks by TCP. A refusal is an answer too.
func (s Sweep) connect(ctx context.Context, list []netip.Addr, answers chan<- netip.Addr) {
	turns := make(chan struct{}, fanout/len(ports))
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, a := range list {
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
			return
		}
		wg.Go(func() {
			defer func() { <-turns }()
			if s.takes(ctx, a) {
				answers <- a
			}
		})
	}
}

func (s Sweep) takes(ctx context.Context, a netip.Addr) bool {
	ctx, cancel := context.WithTimeout(ctx, s.Wait)
	defer cancel()
	found := make(chan bool, len(ports))
	for _, p := range ports {
		go func() { // ends with ctx
			c, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(a.String(), strconv.Itoa(p)))
			if err == nil {
				c.Close()
			}
			found <- err == nil || errors.Is(err, syscall.ECONNREFUSED)
		}()
	}
	for range ports {
		if <-found {
			return true
		}
	}
	return false
}
