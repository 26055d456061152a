// Package ssh logs in to machines over SSH, runs commands on them, and copies
// files there and back. It knows no node: whoever calls it says where a
// machine is, who we are, and whether its host key is the right one.
package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// A Target is a machine and how to get in.
type Target struct {
	Addr     string // host:port
	User     string
	Password string // tried after the keys; empty: none
	Keys     []Key
	// Check is shown the SHA-256 of the machine's host key, as ssh-keygen -l
	// prints it, before anything secret is sent. Its error is Dial's.
	Check func(ctx context.Context, fingerprint string) error
	// Connect opens the TCP connection, through a proxy for instance; nil:
	// directly.
	Connect func(ctx context.Context, addr string) (net.Conn, error)
	// Timeout bounds connecting and logging in; zero: 20 s.
	Timeout time.Duration
}

// The classes of Dial's errors.
var (
	ErrUnreachable = errors.New("unreachable")
	ErrDenied      = errors.New("neither key nor password is accepted")
)

const defaultTimeout = 20 * time.Second

// How a machine that has gone silent is told from one that has nothing to say.
const (
	aliveEvery = 15 * time.Second
	aliveWait  = 30 * time.Second
)

// A Client is a connection to one machine, for many goroutines.
type Client struct{ c *ssh.Client }

// Dial connects and logs in. What ctx ends after that is each call's own.
func Dial(ctx context.Context, t Target) (*Client, error) {
	limit := t.Timeout
	if limit <= 0 {
		limit = defaultTimeout
	}
	wait, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	connect := t.Connect
	if connect == nil {
		connect = func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	}
	conn, err := connect(wait, t.Addr)
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	stop := context.AfterFunc(wait, func() { conn.Close() })
	cfg, checked := t.config(wait)
	sc, chans, reqs, err := ssh.NewClientConn(conn, t.Addr, cfg)
	if !stop() && err == nil {
		err = wait.Err()
	}
	if err != nil {
		conn.Close()
		return nil, explain(ctx, t, err, checked())
	}
	c := &Client{ssh.NewClient(sc, chans, reqs)}
	go c.alive()
	return c, nil
}

func unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("no answer")
	}
	return fmt.Errorf("%w: %v", ErrUnreachable, err)
}

func explain(ctx context.Context, t Target, err, checked error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case checked != nil:
		return checked
	case denied(err):
		return fmt.Errorf("as %s: %w", t.User, ErrDenied)
	}
	return unreachable(ctx, err)
}

// denied says whether a log-in was refused. The library says so in two ways: a
// sshd that offers keyboard-interactive log-in and has nothing to ask with, as
// Debian's is without PAM, refuses where a question is due.
func denied(err error) bool {
	return strings.Contains(err.Error(), "unable to authenticate") || strings.Contains(err.Error(), "unexpected message type 51 (expected 60)")
}

// config is what we offer; checked returns what Check came to.
func (t Target) config(ctx context.Context) (cfg *ssh.ClientConfig, checked func() error) {
	var verdict error
	cfg = &ssh.ClientConfig{
		Config:            algorithms(),
		User:              t.User,
		ClientVersion:     "SSH-2.0-margay",
		HostKeyAlgorithms: append(ssh.SupportedAlgorithms().HostKeys, ssh.KeyAlgoRSA),
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			verdict = t.Check(ctx, ssh.FingerprintSHA256(key))
			return verdict
		},
	}
	if len(t.Keys) > 0 {
		cfg.Auth = append(cfg.Auth, ssh.PublicKeys(t.Keys...))
	}
	if t.Password == "" {
		return cfg, func() error { return verdict }
	}
	// ESXi asks for passwords in both ways, by version.
	cfg.Auth = append(cfg.Auth, ssh.Password(t.Password), ssh.KeyboardInteractive(func(_, _ string, asks []string, echos []bool) ([]string, error) {
		answers := make([]string, len(asks))
		for i := range asks {
			if !echos[i] {
				answers[i] = t.Password
			}
		}
		return answers, nil
	}))
	return cfg, func() error { return verdict }
}

// algorithms are the library's, and behind them what the sshd of ESXi before
// 6.5 has alone: SHA-1 in key exchange, MAC and RSA host keys. Hosts are known
// by their pinned keys, and whatever is newer is taken first.
func algorithms() ssh.Config {
	s := ssh.SupportedAlgorithms()
	behind := func(list []string, old ...string) []string {
		for _, a := range old {
			if !slices.Contains(list, a) {
				list = append(list, a)
			}
		}
		return list
	}
	return ssh.Config{
		KeyExchanges: behind(s.KeyExchanges, ssh.InsecureKeyExchangeDH14SHA1),
		MACs:         behind(s.MACs, ssh.HMACSHA1),
		Ciphers:      s.Ciphers,
	}
}

// errSeen ends a connection once the host key was shown.
var errSeen = errors.New("seen")

// HostKey returns the fingerprint of a machine's host key, without logging in.
func HostKey(ctx context.Context, addr string) (string, error) {
	var seen string
	c, err := Dial(ctx, Target{Addr: addr, User: "none", Check: func(_ context.Context, fp string) error {
		seen = fp
		return errSeen
	}})
	if err == nil {
		c.Close()
	}
	if errors.Is(err, errSeen) {
		return seen, nil
	}
	return "", err
}

// alive asks now and then, so that a machine that lost its power is noticed.
// It ends with the connection.
func (c *Client) alive() {
	ended := make(chan struct{})
	go func() {
		c.c.Wait()
		close(ended)
	}()
	tick := time.NewTicker(aliveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		if !c.Alive() {
			return
		}
	}
}

// Alive asks the machine whether the connection is still there. One that says
// nothing for long is closed.
func (c *Client) Alive() bool {
	lost := time.AfterFunc(aliveWait, func() { c.c.Close() })
	defer lost.Stop()
	_, _, err := c.c.SendRequest("keepalive@openssh.com", true, nil)
	return err == nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.c.Close() }

// Wait returns when the connection has ended.
func (c *Client) Wait() error { return c.c.Wait() }
