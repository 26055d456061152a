package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// largestQuery is more than any question by UDP; what is longer is cut off
	// and so not understood.
	largestQuery = 1232
	// inHand is how many questions may wait for an upstream at once.
	inHand = 512
)

// serveUDP reads with as many goroutines as there are processors. What the
// table knows they answer at once; what has to be asked elsewhere gets a
// goroutine of its own, of which there are not more than inHand.
func (s *Server) serveUDP(ctx context.Context, c *Conn) error {
	defer context.AfterFunc(ctx, func() { c.udp.Close() })()
	slots := make(chan struct{}, inHand)
	var readers, waiting sync.WaitGroup
	errs := make([]error, runtime.GOMAXPROCS(0))
	for i := range errs {
		readers.Go(func() { errs[i] = s.readUDP(ctx, c, slots, &waiting) })
	}
	readers.Wait()
	waiting.Wait()
	return errors.Join(errs...)
}

func (s *Server) readUDP(ctx context.Context, c *Conn, slots chan struct{}, waiting *sync.WaitGroup) error {
	var in [largestQuery]byte
	var oob [64]byte
	out := make([]byte, 0, 4096)
	var q query
	for {
		n, oobn, _, from, err := c.udp.ReadMsgUDPAddrPort(in[:], oob[:])
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			continue // an ICMP error about an earlier answer
		}
		back := source(oob[:oobn])
		msg, v := s.reply(out, in[:n], from.Addr(), 0, &q)
		switch v {
		case replied:
			s.send(c, msg, back, from)
		case whole:
			s.send(c, s.transferUDP(out, &q, from.Addr()), back, from)
		case later:
			select {
			case slots <- struct{}{}:
			default:
				s.count.dropped.Add(1) // the asker asks again
				continue
			}
			raw, keep := append([]byte(nil), in[:n]...), append([]byte(nil), back...)
			waiting.Add(1)
			go func() {
				defer func() { <-slots; waiting.Done() }()
				s.send(c, s.passOn(ctx, raw, 0), keep, from)
			}()
		}
	}
}

func (s *Server) send(c *Conn, msg, oob []byte, to netip.AddrPort) {
	if len(msg) == 0 {
		return
	}
	if _, _, err := c.udp.WriteMsgUDPAddrPort(msg, oob, to); err != nil && !errors.Is(err, net.ErrClosed) {
		s.log().Debug("dns: cannot send", "to", to, "err", err)
	}
}

// source makes of the control message that came with a question the one by
// which the answer leaves from the address that was asked. The interface is
// left to the routing table, but for link-local addresses, which need it.
func source(oob []byte) []byte {
	h, data, _, err := unix.ParseOneSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	switch {
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		binary.NativeEndian.PutUint32(data, 0)
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		if data[0] != 0xfe || data[1]&0xc0 != 0x80 {
			binary.NativeEndian.PutUint32(data[16:], 0)
		}
	default:
		return nil
	}
	return oob
}
