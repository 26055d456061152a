package ipmi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"margay/provision/bmc"

	"github.com/bougou/go-ipmi/pkg/types"
)

// A conn is a socket to one BMC. A goroutine reads it until it is closed, and
// passes on what is authentic.
type conn struct {
	udp      *net.UDPConn
	patience time.Duration
	inbox    chan payload
	done     chan struct{} // closed when the reader has ended

	session atomic.Pointer[secured] // nil: no session yet
	gone    error                   // set before done is closed
}

// secured is what the reader must know of a session. The window is the
// reader's own.
type secured struct {
	id   uint32 // ours: what the BMC addresses us by
	keys *keys
	in   window
}

// A payload is what an authentic packet carried. Packets outside a session
// have session 0.
type payload struct {
	kind    types.PayloadType
	session uint32
	plus    bool
	data    []byte
}

func dial(ctx context.Context, t bmc.Target) (*conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", t.HostPort(623))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.Address, bmc.Timeout(err))
	}
	udp, ok := c.(*net.UDPConn)
	if !ok {
		return nil, fmt.Errorf("%s: not a UDP socket", t.Address)
	}
	x := &conn{udp: udp, patience: t.Patience(), inbox: make(chan payload, 32), done: make(chan struct{})}
	go x.read()
	return x, nil
}

func (c *conn) close() error {
	err := c.udp.Close()
	<-c.done
	return err
}

// read passes on packets until the socket is closed. When nobody fetches them
// they are dropped, as the network would.
func (c *conn) read() {
	defer close(c.done)
	buf := make([]byte, maxPacket)
	for {
		n, err := c.udp.Read(buf)
		if errors.Is(err, syscall.ECONNREFUSED) {
			continue // nobody listens; it may be starting, so ask again in time
		}
		if err != nil {
			c.gone = err
			return
		}
		p, err := c.accept(append([]byte(nil), buf[:n]...))
		if err != nil {
			continue
		}
		select {
		case c.inbox <- p:
		default:
		}
	}
}

// accept believes a packet or not.
func (c *conn) accept(b []byte) (payload, error) {
	p, err := parsePacket(b)
	if err != nil {
		return payload{}, err
	}
	out := payload{kind: p.payload, session: p.session, plus: p.plus, data: p.body}
	if p.session == 0 {
		if p.encrypted || p.authenticated {
			return payload{}, errForged
		}
		return out, nil
	}
	s := c.session.Load()
	if s == nil || !p.plus || p.session != s.id {
		return payload{}, errForged
	}
	if out.data, err = s.keys.open(p); err != nil {
		return payload{}, err
	}
	if !s.in.accept(p.sequence) {
		return payload{}, fmt.Errorf("sequence %d again: %w", p.sequence, errForged)
	}
	return out, nil
}

// How a request is repeated: after firstWait, then each time half as much
// again, until the patience is spent. Controllers need up to half a second to
// answer, and a repeated request costs them as much as a new one.
const (
	firstWait = 500 * time.Millisecond
	maxWait   = 3 * time.Second
)

// ask sends what next makes until take accepts an answer. next is called for
// every repetition, since a repeated packet has a sequence number of its own.
// limit bounds the silence; zero is the target's patience.
func (c *conn) ask(ctx context.Context, limit time.Duration, next func() ([]byte, error), take func(payload) (bool, error)) error {
	if limit <= 0 {
		limit = c.patience
	}
	end := time.Now().Add(limit)
	wait := min(firstWait, limit)
	resume := func(context.Context) error { return nil }
	for try := 0; ; try++ {
		b, err := next()
		if err != nil {
			return err
		}
		if _, err := c.udp.Write(b); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("send: %w", err)
		}
		got, err := c.await(ctx, wait, take)
		if err != nil {
			return err
		}
		if got {
			return resume(ctx)
		}
		if try == 0 {
			resume = bmc.Pause(ctx)
		}
		left := time.Until(end)
		if left <= 0 {
			return bmc.ErrTimeout
		}
		wait = min(wait*3/2, maxWait, left)
	}
}

// await takes payloads for a while, until one is the answer.
func (c *conn) await(ctx context.Context, wait time.Duration, take func(payload) (bool, error)) (bool, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case p := <-c.inbox:
			if ok, err := take(p); ok || err != nil {
				return ok, err
			}
		case <-timer.C:
			return false, nil
		case <-ctx.Done():
			return false, bmc.Timeout(context.Cause(ctx))
		case <-c.done:
			return false, fmt.Errorf("connection: %w", c.gone)
		}
	}
}
