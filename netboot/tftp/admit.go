package tftp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"margay/netboot"
)

// openTime bounds how long an opener may think.
const openTime = 30 * time.Second

// request answers an RRQ or a WRQ.
func (l *listener) request(p []byte, peer netip.AddrPort, from origin) {
	if opcode(p) == opWRQ {
		l.bar(codeAccess, "this server is read only", peer, from)
		return
	}
	r, err := parseRequest(p[2:])
	switch {
	case errors.Is(err, errMalformed):
		return // noise; an answer would only help a reflector
	case errors.Is(err, errName):
		l.bar(codeAccess, err.Error(), peer, from)
		return
	case err != nil:
		l.bar(codeIllegal, err.Error(), peer, from)
		return
	}
	if t := l.admit(r, string(p), peer, from); t != nil {
		l.opening.Go(func() { l.open(t, r, from) })
	}
}

// bar refuses what was asked wrongly, whoever asks.
func (l *listener) bar(code uint16, why string, peer netip.AddrPort, from origin) {
	l.front.reply(errorPacket(code, why), from.local, peer)
	m := l.s.machine(peer, from)
	l.s.log().Debug("tftp: refused", "addr", m.Addr, "err", why)
	l.s.observe(netboot.Event{Step: netboot.StepRefused, Machine: m, Err: &netboot.Refusal{Reason: why}})
}

// admit makes room for a transfer. It is nil if the request is a copy of one
// that is being answered, or if there is no room: then the machine asks again.
func (l *listener) admit(r *request, asked string, peer netip.AddrPort, from origin) *transfer {
	s := l.s
	s.mu.Lock()
	old := s.byPeer[peer]
	s.mu.Unlock()
	if old != nil && old.repeat(asked) {
		return nil
	}

	t := &transfer{l: l, asked: asked, peer: peer, machine: s.machine(peer, from), name: r.name}
	if why := s.enter(t); why != "" {
		s.observe(netboot.Event{Step: netboot.StepRefused, Machine: t.machine, Err: &netboot.Refusal{Reason: why}})
		return nil
	}
	t.sock.add(t)
	return t
}

// enter counts t in and gives it a socket, or says why there is no room.
func (s *Server) enter(t *transfer) (full string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byPeer == nil {
		s.byPeer = make(map[netip.AddrPort]*transfer)
		s.byAddr = make(map[netip.Addr]int)
	}
	addr := t.peer.Addr()
	switch all, own := or(s.Transfers, DefaultTransfers), or(s.PerAddr, DefaultPerAddr); {
	case len(s.byPeer) >= all:
		s.busy++
		return fmt.Sprintf("%d files are under way in all; not answered, it asks again", all)
	case s.byAddr[addr] >= own:
		s.busy++
		return fmt.Sprintf("%d files are under way to it already; not answered, it asks again", own)
	}
	s.byPeer[t.peer] = t
	s.byAddr[addr]++
	s.turn++
	t.sock = t.l.data[s.turn%len(t.l.data)]
	return ""
}

// leave undoes enter.
func (s *Server) leave(t *transfer) {
	t.sock.remove(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byPeer[t.peer] == t {
		delete(s.byPeer, t.peer)
	}
	addr := t.peer.Addr()
	if s.byAddr[addr]--; s.byAddr[addr] <= 0 {
		delete(s.byAddr, addr)
	}
}

// drop ends what is left of a listener's transfers.
func (s *Server) drop(l *listener) {
	s.mu.Lock()
	var left []*transfer
	for _, t := range s.byPeer {
		if t.l == l {
			left = append(left, t)
		}
	}
	s.mu.Unlock()
	for _, t := range left {
		t.finish(errStopped)
	}
}

// A Load is what a server is busy with.
type Load struct {
	Transfers int    // under way
	Dropped   uint64 // requests that were not answered because of a limit
}

// Load returns what s is busy with.
func (s *Server) Load() Load {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Load{Transfers: len(s.byPeer), Dropped: s.busy}
}

func (s *Server) machine(peer netip.AddrPort, from origin) netboot.Machine {
	return netboot.Machine{
		TFTP:      true,
		Addr:      peer.Addr().Unmap(),
		Local:     from.local,
		Interface: s.mtu(from.index).name,
	}
}

// open asks the opener and starts the transfer, or says why there is none.
func (l *listener) open(t *transfer, r *request, from origin) {
	ctx, cancel := context.WithTimeout(l.ctx, openTime)
	defer cancel()
	f, err := l.s.Opener.Open(ctx, t.machine, r.name)
	if err == nil && r.netascii {
		f, err = toNetascii(f)
	}
	if err != nil {
		l.refuse(t, err)
		return
	}
	lim := limits{block: l.s.blockLimit(from), window: or(l.s.MaxWindow, DefaultWindow)}
	t.start(f, negotiate(r.options, f.Size, lim))
}

// refuse tells the machine why it gets nothing. The observer tells timeline and
// log.
func (l *listener) refuse(t *transfer, err error) {
	var refusal *netboot.Refusal
	e := netboot.Event{Step: netboot.StepRefused, Machine: t.machine, Name: t.name, Err: err}
	p := errorPacket(codeOther, "server error; see the server's log")
	switch {
	case errors.Is(err, netboot.ErrIgnore) || l.ctx.Err() != nil:
		t.finish(errStopped)
		return
	case errors.Is(err, netboot.ErrNotFound):
		p = errorPacket(codeNotFound, "no such file")
	case errors.As(err, &refusal):
		p = errorPacket(codeAccess, refusal.Reason)
		e.Node = refusal.Node
	case l.s.Observer == nil:
		l.s.log().Error("tftp: file does not open", "addr", t.machine.Addr, "file", t.name, "err", err)
	}
	l.s.log().Debug("tftp: refused", "node", e.Node, "addr", t.machine.Addr, "file", t.name, "err", err)
	t.sock.reply(p, t.machine.Local, t.peer)
	t.finish(errStopped)
	l.s.observe(e)
}

// An mtu is what an interface was like, some time ago.
type mtu struct {
	name string
	size int
	read time.Time
}

// mtuAge is how long an interface is taken to be as it was.
const mtuAge = 10 * time.Second

func (s *Server) mtu(index int) mtu {
	s.mu.Lock()
	m, ok := s.mtus[index]
	s.mu.Unlock()
	if ok && time.Since(m.read) < mtuAge {
		return m
	}
	m = mtu{size: 1500, read: time.Now()}
	if ifc, err := net.InterfaceByIndex(index); err == nil {
		m.name, m.size = ifc.Name, ifc.MTU
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mtus == nil || len(s.mtus) > 1000 {
		s.mtus = make(map[int]mtu)
	}
	s.mtus[index] = m
	return m
}

// blockLimit is the largest block that fits a packet of the interface. RFC 2348
// 2 warns of blocks that need fragments; old versions of mboot ask for 4096
// bytes all the same, and many ROMs cannot put fragments together.
func (s *Server) blockLimit(from origin) int {
	if s.MaxBlock > 0 {
		return min(s.MaxBlock, maxBlock)
	}
	overhead := 20 + 8 + header
	if from.local.Is6() {
		overhead += 20
	}
	return max(plainBlock, min(s.mtu(from.index).size-overhead, maxBlock))
}

func or(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// errGone is what a transfer ends with whose machine fell silent.
func errGone(silence time.Duration) error {
	return fmt.Errorf("no answer for %v", silence.Round(time.Second))
}
