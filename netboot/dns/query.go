package dns

import (
	"encoding/binary"
	"errors"

	miekg "github.com/miekg/dns"
)

const (
	headerSize = 12
	maxName    = 255
	plainUDP   = 512  // RFC 1035, 4.2.1
	bestUDP    = 1232 // what passes every link without fragments (RFC 9715)

	flagQR = 1 << 15
	flagAA = 1 << 10
	flagTC = 1 << 9
	flagRD = 1 << 8
	flagRA = 1 << 7
	flagCD = 1 << 4
	flagDO = 1 << 15 // of the OPT record
)

// errSilent is a message that is nobody's question: an answer would only feed
// a loop.
var errSilent = errors.New("not a question")

// An rcodeError is a question that we do not understand, and what to say.
type rcodeError int

func (e rcodeError) Error() string { return miekg.RcodeToString[int(e)] }

// A query is a question, read in place.
type query struct {
	asked
	room [maxName]byte
}

type asked struct {
	fault  error // what read returned
	id     uint16
	flags  uint16
	opcode int
	qname  []byte // as it came, within the message
	qtype  uint16
	qclass uint16
	text   []byte // the name in lower case, without the final dot; within room
	name   string // the same, once it is spelt; "" for the root
	odd    bool   // name has octets that no name of ours has

	edns    bool
	do      bool
	size    int // octets that the asker takes by UDP
	version uint8
	extra   bool // has records beside a question and OPT: not a plain one
	signed  bool // a TSIG is among them

	hash  uint64      // for memory
	found *remembered // there
}

// parse reads a message and spells its name.
func (q *query) parse(b []byte) error {
	err := q.read(b)
	q.spell()
	return err
}

func (q *query) spell() { q.name = string(q.text) }

// read reads a message, all but name. Of what is not a plain question only the
// header and the question are read, and extra is set. With an rcodeError the
// header is known, and the question where it could be read.
func (q *query) read(b []byte) error {
	q.asked = asked{size: plainUDP}
	q.fault = q.message(b)
	return q.fault
}

func (q *query) message(b []byte) error {
	if len(b) < headerSize {
		return errSilent
	}
	q.id = binary.BigEndian.Uint16(b)
	q.flags = binary.BigEndian.Uint16(b[2:])
	q.opcode = int(q.flags >> 11 & 15)
	if q.flags&flagQR != 0 {
		return errSilent
	}
	if binary.BigEndian.Uint16(b[4:]) != 1 {
		return rcodeError(miekg.RcodeFormatError)
	}
	rest, err := q.question(b[headerSize:])
	if err != nil {
		return err
	}
	if q.opcode != miekg.OpcodeQuery || binary.BigEndian.Uint32(b[6:]) != 0 {
		q.extra = true // answer or authority records: IXFR, NOTIFY, UPDATE
		return nil
	}
	return q.additional(b, rest, int(binary.BigEndian.Uint16(b[10:])))
}

func (q *query) question(b []byte) (rest []byte, err error) {
	end, err := q.readName(b)
	if err != nil || len(b) < end+4 {
		return nil, rcodeError(miekg.RcodeFormatError)
	}
	q.qname = b[:end]
	q.qtype = binary.BigEndian.Uint16(b[end:])
	q.qclass = binary.BigEndian.Uint16(b[end+2:])
	return b[end+4:], nil
}

// readName reads the first name of b and gives where it ends. A question has
// nothing before it that a compression pointer could mean.
func (q *query) readName(b []byte) (int, error) {
	text := q.room[:0]
	for i := 0; i < len(b) && i < maxName; {
		n := int(b[i])
		if n == 0 {
			q.text = text
			return i + 1, nil
		}
		if n > 63 || i+1+n > len(b) || i+1+n >= maxName {
			break
		}
		if i > 0 {
			text = append(text, '.')
		}
		for _, c := range b[i+1 : i+1+n] {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			if c <= ' ' || c >= 0x7f || c == '.' || c == '\\' {
				q.odd = true
			}
			text = append(text, c)
		}
		i += 1 + n
	}
	return 0, rcodeError(miekg.RcodeFormatError)
}

// additional reads the OPT record (RFC 6891, 6.1). Of n records of the message b
// is what there is.
func (q *query) additional(msg, b []byte, n int) error {
	if n == 0 && len(b) == 0 {
		return nil
	}
	const fixed = 11 // root name, type, class, TTL, length
	if n != 1 || len(b) < fixed || b[0] != 0 || binary.BigEndian.Uint16(b[1:]) != miekg.TypeOPT {
		if n == 0 || len(b) < fixed {
			return rcodeError(miekg.RcodeFormatError)
		}
		q.extra = true // or something that we do not know
		q.signed = signs(msg)
		return nil
	}
	if len(b) != fixed+int(binary.BigEndian.Uint16(b[9:])) {
		return rcodeError(miekg.RcodeFormatError)
	}
	q.edns = true
	q.size = max(plainUDP, int(binary.BigEndian.Uint16(b[3:])))
	q.version = b[6]
	q.do = binary.BigEndian.Uint16(b[7:])&flagDO != 0
	if q.version != 0 {
		return rcodeError(miekg.RcodeBadVers)
	}
	return nil
}
