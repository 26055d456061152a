package vspc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Telnet's commands (RFC 854) and the options that are spoken of.
const (
	iac  = 255
	dont = 254
	do   = 253
	wont = 252
	will = 251
	sb   = 250
	se   = 240

	optBinary  = 0
	optEcho    = 1
	optGoAhead = 3
	optVMware  = 232
	maxBody    = 4096
)

// What option 232 says ("Using a Proxy with vSphere Virtual Serial Ports").
const (
	knownSuboptions1 = 0
	knownSuboptions2 = 1
	unknownReceived1 = 2
	unknownReceived2 = 3
	vmotionBegin     = 40
	vmotionGoAhead   = 41
	vmotionNotNow    = 43
	vmotionPeer      = 44
	vmotionPeerOK    = 45
	vmotionComplete  = 46
	vmotionAbort     = 48
	doProxy          = 70
	willProxy        = 71
	wontProxy        = 73
	vmVCUUID         = 80
	getVMVCUUID      = 81
	vmName           = 82
	getVMName        = 83
)

func suboptions() []byte {
	return []byte{
		knownSuboptions1, knownSuboptions2, unknownReceived1, unknownReceived2, vmotionBegin, vmotionGoAhead, vmotionNotNow,
		vmotionPeer, vmotionPeerOK, vmotionComplete, vmotionAbort, doProxy, willProxy, wontProxy, vmVCUUID, getVMVCUUID, vmName, getVMName,
	}
}

// A conn is one line: Read gives what the guest says, Write types.
type conn struct {
	s  *Server
	nc net.Conn
	r  *bufio.Reader

	guest    Guest
	proxied  bool // the host was told that its line is taken
	named    bool // the guest's name is known, or will not be
	isPeer   bool // a host to which a guest moves
	moved    bool // the move is over
	early    []byte
	secret   string           // of its last move; guarded by s.mu
	agreed   map[[2]byte]bool // what was answered already, so that no answer answers an answer
	binary   bool             // the host sends bytes as they are
	lastCR   bool
	closing  sync.Once
	writeMu  sync.Mutex // one telnet sentence at a time
	closeErr error
}

func newConn(s *Server, nc net.Conn) *conn {
	return &conn{s: s, nc: nc, r: bufio.NewReader(nc), agreed: map[[2]byte]bool{}}
}

// greet talks to the host until it is known whose line it is. What the guest
// says meanwhile is kept for the first Read.
func (c *conn) greet() error {
	for !c.known() {
		b, data, err := c.next()
		if err != nil {
			return err
		}
		if data {
			if len(c.early) >= maxBody {
				return errors.New("says much and not who it is")
			}
			c.early = append(c.early, b)
		}
	}
	return nil
}

func (c *conn) known() bool {
	if c.isPeer {
		return c.moved
	}
	return c.proxied && c.named
}

// Read gives what the guest says.
func (c *conn) Read(p []byte) (int, error) {
	if n := copy(p, c.early); n > 0 {
		c.early = c.early[n:]
		return n, nil
	}
	n := 0
	for n < len(p) && (n == 0 || c.r.Buffered() > 0) {
		b, data, err := c.next()
		if err != nil {
			if n > 0 {
				return n, nil
			}
			return 0, err
		}
		if data {
			p[n] = b
			n++
		}
	}
	return n, nil
}

// Write types.
func (c *conn) Write(p []byte) (int, error) {
	out := make([]byte, 0, len(p)+8)
	for _, b := range p {
		out = append(out, b)
		if b == iac {
			out = append(out, iac)
		}
	}
	if err := c.send(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close ends the line; the host tries to connect again while the guest runs.
func (c *conn) Close() error {
	c.closing.Do(func() {
		c.s.forget(c)
		c.closeErr = c.nc.Close()
	})
	return c.closeErr
}

// send writes within a time: a host that takes nothing must not hold up who
// types.
func (c *conn) send(b []byte) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	_ = c.nc.SetWriteDeadline(time.Now().Add(greeting))
	_, err := c.nc.Write(b)
	return err
}

// say sends a suboption of option 232.
func (c *conn) say(code byte, data ...byte) error {
	out := []byte{iac, sb, optVMware, code}
	for _, b := range data {
		out = append(out, b)
		if b == iac {
			out = append(out, iac)
		}
	}
	return c.send(append(out, iac, se))
}

// next reads one byte of what the guest says, or one sentence of telnet's,
// which it answers.
func (c *conn) next() (b byte, data bool, err error) {
	if b, err = c.r.ReadByte(); err != nil {
		return 0, false, err
	}
	if b != iac {
		// RFC 854 has a bare CR sent as CR NUL, unless bytes go as they are.
		nul := b == 0 && c.lastCR && !c.binary
		c.lastCR = b == '\r'
		return b, !nul, nil
	}
	if b, err = c.r.ReadByte(); err != nil {
		return 0, false, err
	}
	switch b {
	case iac:
		c.lastCR = false
		return iac, true, nil
	case will, wont, do, dont:
		opt, err := c.r.ReadByte()
		if err != nil {
			return 0, false, err
		}
		return 0, false, c.option(b, opt)
	case sb:
		return 0, false, c.suboption()
	}
	return 0, false, nil // a command without a meaning here: NOP, AYT, GA
}

// option answers an offer or a wish, once each.
func (c *conn) option(verb, opt byte) error {
	if verb == will && opt == optBinary {
		c.binary = true
	}
	if verb == wont || verb == dont || c.agreed[[2]byte{verb, opt}] {
		return nil
	}
	c.agreed[[2]byte{verb, opt}] = true
	yes := opt == optBinary || opt == optGoAhead
	answer := byte(dont)
	switch {
	case verb == will && (yes || opt == optVMware):
		answer = do
	case verb == do && (yes || opt == optEcho):
		answer = will
	case verb == do:
		answer = wont
	}
	return c.send([]byte{iac, answer, opt})
}

func (c *conn) suboption() error {
	var body []byte
	for {
		b, err := c.r.ReadByte()
		if err != nil {
			return err
		}
		if b == iac {
			if b, err = c.r.ReadByte(); err != nil {
				return err
			}
			if b == se {
				break
			}
			if b != iac {
				return fmt.Errorf("telnet: command %d within a suboption", b)
			}
		}
		if len(body) >= maxBody {
			return errors.New("telnet: a suboption without end")
		}
		body = append(body, b)
	}
	if len(body) < 2 || body[0] != optVMware {
		return nil
	}
	return c.vmware(body[1], body[2:])
}

// vmware answers one sentence of option 232.
func (c *conn) vmware(code byte, data []byte) error {
	switch code {
	case knownSuboptions1:
		return c.greeted(data)
	case unknownReceived1:
		c.named = c.named || bytes.IndexByte(data, getVMName) >= 0 // it does not say
		return nil
	case knownSuboptions2, unknownReceived2:
		return nil
	case doProxy:
		return c.proxy(data)
	case vmName:
		c.guest.Name, c.named = clip(data), true
		return nil
	case vmVCUUID:
		c.guest.UUID = clip(data)
		return nil
	case vmotionBegin:
		return c.say(vmotionGoAhead, append(append([]byte{}, data...), c.s.begin(c)...)...)
	case vmotionPeer:
		return c.peer(data)
	case vmotionComplete:
		c.moved = true
		return nil
	case vmotionAbort:
		c.s.forget(c)
		return nil
	}
	return c.say(unknownReceived1, code)
}

// greeted says what we know, and asks who it is.
func (c *conn) greeted(theirs []byte) error {
	if err := c.say(knownSuboptions2, suboptions()...); err != nil {
		return err
	}
	c.named = true
	for _, code := range theirs {
		if code == getVMName || code == vmName {
			c.named = false
		}
	}
	if !c.named {
		if err := c.say(getVMName); err != nil {
			return err
		}
	}
	if err := c.say(getVMVCUUID); err != nil {
		return err
	}
	return c.send([]byte{iac, will, optBinary, iac, do, optBinary, iac, will, optGoAhead, iac, do, optGoAhead})
}

// proxy takes the line: "S" is a port that waits to be called, "C" one that
// calls; either way we are the other end.
func (c *conn) proxy(data []byte) error {
	if len(data) == 0 || data[0] != 'S' && data[0] != 'C' {
		_ = c.say(wontProxy)
		return errors.New("wants to be something else than a serial port")
	}
	c.guest.URI, c.proxied = clip(data[1:]), true
	return c.say(willProxy)
}

// sequence is how long the number is that names a move to its host.
const sequence = 4

// peer is said by the host that a guest moves to: from now on the move may
// take its time.
func (c *conn) peer(data []byte) error {
	if len(data) <= sequence {
		return errors.New("a move without its secret")
	}
	g, ok := c.s.peer(data[sequence:])
	if !ok {
		return errors.New("a move that nobody began")
	}
	g.Host = c.guest.Host
	c.guest, c.isPeer = g, true
	_ = c.nc.SetDeadline(time.Now().Add(moving))
	return c.say(vmotionPeerOK, data[:sequence]...)
}

// clip is text from the wire, within bounds.
func clip(b []byte) string {
	const most = 256
	if len(b) > most {
		b = b[:most]
	}
	return string(b)
}
