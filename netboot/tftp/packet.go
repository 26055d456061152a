package tftp

import (
	"encoding/binary"
	"strings"
)

// The packet types of RFC 1350 5 and RFC 2347.
const (
	opRRQ   = 1
	opWRQ   = 2
	opDATA  = 3
	opACK   = 4
	opERROR = 5
	opOACK  = 6
)

// The error codes of RFC 1350's appendix and RFC 2347.
const (
	codeOther    = 0
	codeNotFound = 1
	codeAccess   = 2
	codeIllegal  = 4
	codeOption   = 8
)

// header is what stands before the data of each block.
const header = 4

func opcode(p []byte) uint16 { return binary.BigEndian.Uint16(p) }
func block(p []byte) uint16  { return binary.BigEndian.Uint16(p[2:]) }

// putHeader writes the header of a DATA packet. Numbers above 65535 roll over
// to 0: no RFC says so, and every client that takes files that large expects it.
func putHeader(p []byte, n int64) {
	binary.BigEndian.PutUint16(p, opDATA)
	binary.BigEndian.PutUint16(p[2:], uint16(n))
}

// errorPacket builds an ERROR. The text is cut to what a small screen shows
// and any packet carries; what is not plain ASCII becomes a question mark.
func errorPacket(code uint16, text string) []byte {
	text = printable(text, 400)
	p := make([]byte, 4, 5+len(text))
	binary.BigEndian.PutUint16(p, opERROR)
	binary.BigEndian.PutUint16(p[2:], code)
	p = append(p, text...)
	return append(p, 0)
}

// errorText is what an ERROR packet says.
func errorText(p []byte) (code uint16, text string) {
	text, _, _ = strings.Cut(string(p[4:]), "\x00")
	return binary.BigEndian.Uint16(p[2:]), printable(text, 200)
}

func printable(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), most)]
}
