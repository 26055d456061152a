package ipmi

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/bougou/go-ipmi/pkg/crypto"
	"github.com/bougou/go-ipmi/pkg/types"
)

// The library has codecs for messages and the session's mathematics; what
// comes off the wire is taken apart here. A packet that is not whole, not
// ours or not authentic is dropped before anything else looks at it: its
// sender may be anyone (IPMI 2.0, 13.6, 13.28).

const (
	rmcpVersion  = 0x06
	rmcpNoAck    = 0xff
	rmcpClass    = 0x07 // IPMI
	authNone     = 0x00
	authRMCPPlus = 0x06

	flagEncrypted     = 0x80
	flagAuthenticated = 0x40

	headLen15 = 4 + 10 // RMCP, auth type, sequence, session, length
	headLen20 = 4 + 12 // RMCP, auth type, payload type, session, sequence, length

	// maxPacket is more than any IPMI packet: RMCP+ payloads are bounded by
	// what a BMC takes, 1,024 bytes at the very most.
	maxPacket = 2048
)

var errPacket = errors.New("not an IPMI packet")

// A packet is a datagram from a BMC, taken apart and not yet believed.
type packet struct {
	plus          bool // RMCP+; otherwise the IPMI 1.5 format, outside any session
	payload       types.PayloadType
	encrypted     bool
	authenticated bool
	session       uint32
	sequence      uint32
	body          []byte // as sent: still encrypted
	signed        []byte // what the authentication code covers
	code          []byte
}

// parsePacket takes a datagram apart. The packet shares its memory.
func parsePacket(b []byte) (packet, error) {
	if len(b) < headLen15 || b[0] != rmcpVersion || b[3] != rmcpClass {
		return packet{}, errPacket
	}
	switch b[4] {
	case authNone:
		return parse15(b)
	case authRMCPPlus:
		return parse20(b)
	}
	return packet{}, fmt.Errorf("authentication type %d: %w", b[4], errPacket)
}

// parse15 reads the format of IPMI 1.5 without authentication: what we use to
// ask what a channel can do.
func parse15(b []byte) (packet, error) {
	p := packet{
		payload:  types.PayloadTypeIPMI,
		sequence: binary.LittleEndian.Uint32(b[5:]),
		session:  binary.LittleEndian.Uint32(b[9:]),
	}
	n := int(b[13])
	if len(b) < headLen15+n {
		return packet{}, fmt.Errorf("%d bytes of %d: %w", len(b)-headLen15, n, errPacket)
	}
	p.body = b[headLen15 : headLen15+n]
	return p, nil
}

func parse20(b []byte) (packet, error) {
	if len(b) < headLen20 {
		return packet{}, errPacket
	}
	p := packet{
		plus:          true,
		payload:       types.PayloadType(b[5] & 0x3f),
		encrypted:     b[5]&flagEncrypted != 0,
		authenticated: b[5]&flagAuthenticated != 0,
		session:       binary.LittleEndian.Uint32(b[6:]),
		sequence:      binary.LittleEndian.Uint32(b[10:]),
	}
	if p.payload == types.PayloadTypeOEM {
		return packet{}, fmt.Errorf("OEM payload: %w", errPacket)
	}
	n := int(binary.LittleEndian.Uint16(b[14:]))
	if len(b) < headLen20+n {
		return packet{}, fmt.Errorf("%d bytes of %d: %w", len(b)-headLen20, n, errPacket)
	}
	p.body = b[headLen20 : headLen20+n]
	if p.authenticated {
		return p, p.parseTrailer(b, headLen20+n)
	}
	return p, nil
}

// parseTrailer finds pad, pad length, next header and code (13.28.4). Where
// the code starts follows from the pad length, which stands behind the pad:
// the pad fills header and payload up to a multiple of four.
func (p *packet) parseTrailer(b []byte, at int) error {
	pad := types.IntegrityPadLen(at-4-len(p.body), len(p.body))
	end := at + pad + 2
	if pad < 0 || end > len(b) || int(b[end-2]) != pad {
		// Some controllers pad their own way; they still say how much.
		var ok bool
		if end, ok = findTrailer(b, at); !ok {
			return fmt.Errorf("no trailer: %w", errPacket)
		}
	}
	p.signed, p.code = b[4:end], b[end:]
	return nil
}

// findTrailer looks for a pad of 0xff bytes with its length and next header 7
// behind it.
func findTrailer(b []byte, at int) (end int, ok bool) {
	for pad := 0; pad < 4 && at+pad+2 <= len(b); pad++ {
		if int(b[at+pad]) == pad && b[at+pad+1] == rmcpClass {
			return at + pad + 2, true
		}
	}
	return 0, false
}

// keys are what both sides of a session know.
type keys struct {
	integrity types.IntegrityAlg
	crypt     types.CryptAlg
	k1, k2    []byte
}

var errForged = errors.New("not authentic")

// open checks that a packet is the BMC's and returns its payload in clear.
func (k *keys) open(p packet) ([]byte, error) {
	if k.integrity != types.IntegrityAlg_None {
		if !p.authenticated {
			return nil, fmt.Errorf("no authentication code: %w", errForged)
		}
		want, err := crypto.SessionIntegrityAuthCode(k.integrity, p.signed, k.k1, "")
		if err != nil {
			return nil, err
		}
		if len(p.code) < len(want) || !crypto.Equal(want, p.code[:len(want)]) {
			return nil, errForged
		}
	}
	if !p.encrypted || k.crypt == types.CryptAlg_None {
		if k.crypt != types.CryptAlg_None && p.payload == types.PayloadTypeIPMI {
			return nil, fmt.Errorf("not encrypted: %w", errForged)
		}
		return p.body, nil
	}
	if len(p.body) < 32 || len(p.body)%16 != 0 {
		return nil, fmt.Errorf("%d encrypted bytes: %w", len(p.body), errPacket)
	}
	return crypto.DecryptAESPayload(p.body, k.k2)
}

// build15 frames a message outside any session, in the format of IPMI 1.5.
func build15(message []byte) []byte {
	b := make([]byte, headLen15, headLen15+len(message))
	b[0], b[2], b[3] = rmcpVersion, rmcpNoAck, rmcpClass
	b[13] = byte(len(message))
	return append(b, message...)
}

// build20 frames a payload. k nil: outside a session, in clear.
func build20(k *keys, t types.PayloadType, session, sequence uint32, payload []byte) ([]byte, error) {
	var err error
	b := make([]byte, headLen20, headLen20+len(payload)+64)
	b[0], b[2], b[3], b[4], b[5] = rmcpVersion, rmcpNoAck, rmcpClass, authRMCPPlus, byte(t)
	if k != nil {
		b[5] |= flagAuthenticated
		binary.LittleEndian.PutUint32(b[6:], session)
		binary.LittleEndian.PutUint32(b[10:], sequence)
	}
	if k != nil && k.crypt == types.CryptAlg_AES_CBC_128 {
		b[5] |= flagEncrypted
		if payload, err = crypto.EncryptAESPayload(payload, k.k2, crypto.RandomBytes(16)); err != nil {
			return nil, err
		}
	}
	binary.LittleEndian.PutUint16(b[14:], uint16(len(payload)))
	b = append(b, payload...)
	if k == nil {
		return b, nil
	}
	pad := types.IntegrityPadLen(headLen20-4, len(payload))
	for range pad {
		b = append(b, 0xff)
	}
	b = append(b, byte(pad), rmcpClass)
	code, err := crypto.SessionIntegrityAuthCode(k.integrity, b[4:], k.k1, "")
	return append(b, code...), err
}

// A window remembers the sequence numbers seen lately, so that a datagram is
// taken once however often the network brings it (IPMI 2.0, 6.12.13).
type window struct {
	top  uint32
	seen uint64 // bit i: top-i was seen
}

// accept says whether a number is new.
func (w *window) accept(n uint32) bool {
	ahead := int32(n - w.top) //nolint:gosec // wraps by design
	switch {
	case w.seen == 0 || ahead >= 64:
		w.top, w.seen = n, 1
	case ahead > 0:
		w.top, w.seen = n, w.seen<<uint(ahead)|1
	case ahead <= -64:
		return false
	default:
		bit := uint64(1) << uint(-ahead)
		if w.seen&bit != 0 {
			return false
		}
		w.seen |= bit
	}
	return true
}
