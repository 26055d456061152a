package dhcp

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"time"
)

// A writer puts a message together in a buffer that is not its own. An option
// that does not fit is left out and remembered, so what matters most is
// written first.
type writer struct {
	buf   []byte
	limit int              // of the message, less what is kept for the options at its end
	over  map[uint8][]byte // the operator's own, in place of ours
	done  codes            // already written
	lost  []uint8
}

// start clears the header and writes the cookie.
func (w *writer) start(buf []byte, limit int, over map[uint8][]byte) {
	*w = writer{buf: buf[:atOptions], limit: min(limit, cap(buf)), over: over}
	clear(w.buf)
	binary.BigEndian.PutUint32(w.buf[atCookie:], magicCookie)
}

// put writes an option unless the operator has one in its place.
func (w *writer) put(code uint8, data []byte) {
	if _, ok := w.over[code]; ok && !reserved(code) {
		return
	}
	w.raw(code, data)
}

// raw writes an option once; a second one of the same code is ignored. One of
// more than 255 octets is cut into several (RFC 3396).
func (w *writer) raw(code uint8, data []byte) {
	if w.done.has(code) {
		return
	}
	w.done.add(code)
	pieces := max(1, (len(data)+254)/255)
	if len(w.buf)+len(data)+2*pieces > w.limit {
		w.lost = append(w.lost, code)
		return
	}
	for len(data) > 255 {
		w.buf = append(append(w.buf, code, 255), data[:255]...)
		data = data[255:]
	}
	w.buf = append(append(w.buf, code, byte(len(data))), data...)
}

func (w *writer) putByte(code, v uint8) { w.put(code, []byte{v}) }

func (w *writer) putUint16(code uint8, v uint16) {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	w.put(code, b[:])
}

// putSeconds writes a time as DHCP counts it; what does not fit is for ever
// (RFC 2131, 3.3).
func (w *writer) putSeconds(code uint8, d time.Duration) {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], seconds(d))
	w.put(code, b[:])
}

const forever = 1<<32 - 1

func seconds(d time.Duration) uint32 {
	return uint32(min(max(int64(d/time.Second), 1), forever))
}

func (w *writer) putAddr(code uint8, a netip.Addr) {
	if !a.Is4() {
		return
	}
	b := a.As4()
	w.put(code, b[:])
}

// putAddrs writes a list of addresses; RFC 2132 has no empty ones, and IPv6
// does not belong here.
func (w *writer) putAddrs(code uint8, addrs []netip.Addr) {
	var room [64]byte
	b := room[:0]
	for _, a := range addrs {
		if a.Is4() {
			four := a.As4()
			b = append(b, four[:]...)
		}
	}
	if len(b) > 0 {
		w.put(code, b)
	}
}

// putString writes text; an empty one is not allowed (RFC 2132, 2).
func (w *writer) putString(code uint8, s string) {
	if s == "" {
		return
	}
	var room [256]byte
	w.put(code, append(room[:0], s...))
}

// putNames writes domain names as RFC 3397 wants them, without compression,
// which is allowed and which every client reads.
func (w *writer) putNames(code uint8, names []string) {
	var b []byte
	for _, name := range names {
		wire, ok := wireName(name)
		if ok {
			b = append(b, wire...)
		}
	}
	if len(b) > 0 {
		w.put(code, b)
	}
}

// wireName is a domain name as DNS sends it (RFC 1035, 3.1).
func wireName(name string) ([]byte, bool) {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 {
		return nil, false
	}
	var b []byte
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return nil, false
		}
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0), true
}

// field writes text into one of the header's fields if it fits with the
// zero that ends it.
func (w *writer) field(at, size int, s string) {
	if len(s) < size {
		copy(w.buf[at:at+size], s)
	}
}

func (w *writer) addr(at int, a netip.Addr) {
	if a.Is4() {
		b := a.As4()
		copy(w.buf[at:], b[:])
	}
}

// end closes the message with the options that come last, for which room
// left room, and fills it up to the least size that every client takes.
func (w *writer) end(clientID, relay []byte) []byte {
	w.limit = cap(w.buf)
	if len(clientID) > 0 {
		w.raw(optClientID, clientID)
	}
	if len(relay) > 0 {
		w.raw(optRelay, relay)
	}
	w.buf = append(w.buf, optEnd)
	for len(w.buf) < minSize {
		w.buf = append(w.buf, optPad)
	}
	return w.buf
}

// room is how long the message may be before end has its part. The relay takes
// its option away again, so that one does not count against the client's limit
// (RFC 3046, 2.1.1).
func (r *request) room() int { return r.limit - 1 - optionSize(r.clientID) }

func optionSize(data []byte) int {
	if len(data) == 0 {
		return 0
	}
	return len(data) + 2*((len(data)+254)/255)
}
