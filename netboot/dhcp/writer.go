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
	areas [2]area // the fields that may hold options, in RFC 3396's order
}

// An area is a field of the header that holds options.
type area struct {
	bit      byte // of option 52
	at, next int  // where it begins, and where its next option goes
	end      int  // where it ends, less the end option
}

// start clears the header and writes the cookie.
func (w *writer) start(buf []byte, limit int, over map[uint8][]byte) {
	*w = writer{buf: buf[:atOptions], limit: min(limit, cap(buf)), over: over}
	clear(w.buf)
	binary.BigEndian.PutUint32(w.buf[atCookie:], magicCookie)
}

// overload has options for which there is no room elsewhere in some fields of the
// header.
func (w *writer) overload(fields byte) {
	if fields == 0 {
		return
	}
	w.limit -= optionSize([]byte{fields}) // option 52
	if fields&overloadFile != 0 {
		w.areas[0] = area{overloadFile, atFile, atFile, atCookie - 1}
	}
	if fields&overloadName != 0 {
		w.areas[1] = area{overloadName, atSName, atSName, atFile - 1}
	}
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
		if !w.spill(code, data) {
			w.lost = append(w.lost, code)
		}
		return
	}
	for len(data) > 255 {
		data = w.piece(code, data, 255)
	}
	w.piece(code, data, len(data))
}

// piece writes the first n octets of an option and gives what is left.
func (w *writer) piece(code uint8, data []byte, n int) []byte {
	w.buf = append(append(w.buf, code, byte(n)), data[:n]...)
	return data[n:]
}

// spill writes an option into the first field of the header that has room for it.
// Where none has, it goes in pieces into all that is left, which those who read it
// put together again (RFC 3396, 5); but some clients do not. False: there is no
// room for it.
func (w *writer) spill(code uint8, data []byte) bool {
	room := 0
	for i := range w.areas {
		a := &w.areas[i]
		if a.room() >= len(data) {
			w.field52(a, code, data)
			return true
		}
		room += max(a.room(), 0)
	}
	if room == 0 {
		return false
	}
	own := w.limit - len(w.buf)
	own -= 2 * ((own + 256) / 257) // a piece of 255 octets takes 257
	if max(own, 0)+room < len(data) {
		return false
	}
	for own > 0 {
		n := min(own, 255)
		data, own = w.piece(code, data, n), own-n
	}
	for i := range w.areas {
		if a := &w.areas[i]; a.room() > 0 && len(data) > 0 {
			n := min(a.room(), len(data))
			w.field52(a, code, data[:n])
			data = data[n:]
		}
	}
	return true
}

// room is how long an option an area still has room for; below zero: for none.
func (a *area) room() int { return a.end - a.next - 2 }

// field52 writes an option into a field of the header.
func (w *writer) field52(a *area, code uint8, data []byte) {
	b := w.buf[a.next:a.end]
	b[0], b[1] = code, byte(len(data))
	a.next += 2 + copy(b[2:], data)
}

// overloaded ends the fields that hold options, and says which they are.
func (w *writer) overloaded() {
	fields := byte(0)
	for _, a := range w.areas {
		if a.next > a.at {
			fields |= a.bit
			w.buf[a.next] = optEnd
		}
	}
	if fields != 0 {
		w.putByte(optOverload, fields)
	}
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
	w.overloaded()
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
