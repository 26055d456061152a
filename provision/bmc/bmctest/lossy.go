package bmctest

import (
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Faults are what a network does to datagrams. Probabilities are per datagram
// and direction.
type Faults struct {
	Loss      float64
	Duplicate float64
	Reorder   float64 // held back until the next has gone, or a little while
	Corrupt   float64 // a copy of a packet in a session, with a byte changed, goes ahead of it
	Delay     time.Duration
	// Hostile, if not nil, is called for every answer; what it returns is sent
	// to the client before it.
	Hostile func(answer []byte) [][]byte
	Seed    uint64
}

// Lossy is a network between a client and a controller.
type Lossy struct {
	Addr *net.UDPAddr

	front  *net.UDPConn
	server *net.UDPAddr
	faults Faults

	mu     sync.Mutex // guards what follows
	random *rand.Rand
	back   map[string]*net.UDPConn
	closed bool
	wg     sync.WaitGroup
}

// NewLossy stands before a controller. The caller closes it.
func NewLossy(server *net.UDPAddr, f Faults) (*Lossy, error) {
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	l := &Lossy{
		Addr:  front.LocalAddr().(*net.UDPAddr), //nolint:forcetypeassert // a UDP socket has no other
		front: front, server: server, faults: f, back: map[string]*net.UDPConn{},
		random: rand.New(rand.NewPCG(f.Seed, 7)), //nolint:gosec // repeatable
	}
	l.wg.Add(1)
	go l.forward()
	return l, nil
}

// Close ends the network.
func (l *Lossy) Close() {
	l.mu.Lock()
	l.closed = true
	_ = l.front.Close()
	for _, b := range l.back {
		_ = b.Close()
	}
	l.mu.Unlock()
	l.wg.Wait()
}

func (l *Lossy) forward() {
	defer l.wg.Done()
	buf := make([]byte, 4096)
	up := &lane{l: l}
	for {
		n, client, err := l.front.ReadFromUDP(buf)
		if err != nil {
			return
		}
		back, err := l.backOf(client)
		if err != nil {
			return
		}
		up.send(append([]byte(nil), buf[:n]...), func(b []byte) { _, _ = back.Write(b) })
	}
}

func (l *Lossy) backOf(client *net.UDPAddr) (*net.UDPConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.back[client.String()]; b != nil {
		return b, nil
	}
	if l.closed {
		return nil, net.ErrClosed
	}
	b, err := net.DialUDP("udp", nil, l.server)
	if err != nil {
		return nil, err
	}
	l.back[client.String()] = b
	l.wg.Add(1)
	go l.backward(b, client)
	return b, nil
}

func (l *Lossy) backward(b *net.UDPConn, client *net.UDPAddr) {
	defer l.wg.Done()
	buf := make([]byte, 4096)
	down := &lane{l: l}
	write := func(b []byte) { _, _ = l.front.WriteToUDP(b, client) }
	for {
		n, err := b.Read(buf)
		if err != nil {
			if l.isClosed() {
				return
			}
			time.Sleep(time.Millisecond) // refused: the controller is away
			continue
		}
		answer := append([]byte(nil), buf[:n]...)
		if l.faults.Hostile != nil {
			for _, evil := range l.faults.Hostile(answer) {
				write(evil)
			}
		}
		down.send(answer, write)
	}
}

func (l *Lossy) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

func (l *Lossy) chance(p float64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return p > 0 && l.random.Float64() < p
}

func (l *Lossy) pick(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.random.IntN(n)
}

// inSession says whether a packet has an authentication code (IPMI 2.0, table
// 13-8). Others are not corrupted: the network's checksum drops what is broken
// by accident, and what an attacker does to a handshake is denial in any case.
func inSession(b []byte) bool { return len(b) > 16 && b[4] == 0x06 && b[5]&0x40 != 0 }

// A lane is one direction.
type lane struct {
	l    *Lossy
	mu   sync.Mutex // guards held
	held []byte
}

// holdTime is how long a packet waits for one to overtake it.
const holdTime = 10 * time.Millisecond

func (d *lane) send(b []byte, write func([]byte)) {
	f := d.l.faults
	if d.l.chance(f.Loss) {
		return
	}
	if inSession(b) && d.l.chance(f.Corrupt) {
		bad := append([]byte(nil), b...)
		bad[d.l.pick(len(bad))] ^= byte(1 + d.l.pick(255)) //nolint:gosec // a byte
		write(bad)
	}
	if d.l.chance(f.Reorder) && d.hold(b) {
		time.AfterFunc(holdTime, func() { d.release(write) })
		return
	}
	d.pass(b, write)
	if d.l.chance(f.Duplicate) {
		d.pass(b, write)
	}
	d.release(write)
}

func (d *lane) hold(b []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held != nil {
		return false
	}
	d.held = b
	return true
}

func (d *lane) release(write func([]byte)) {
	d.mu.Lock()
	b := d.held
	d.held = nil
	d.mu.Unlock()
	if b != nil {
		d.pass(b, write)
	}
}

func (d *lane) pass(b []byte, write func([]byte)) {
	if d.l.faults.Delay <= 0 {
		write(b)
		return
	}
	time.AfterFunc(d.l.faults.Delay, func() { write(b) })
}
