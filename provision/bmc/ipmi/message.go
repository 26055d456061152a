package ipmi

import (
	"fmt"

	"github.com/bougou/go-ipmi/pkg/types"
)

// Addresses of a LAN message (IPMI 2.0, 5.5 and table 13-8).
const (
	bmcAddress     = 0x20
	consoleAddress = 0x81
)

// buildMessage frames a request for the BMC.
func buildMessage(c types.Command, sequence byte, data []byte) []byte {
	b := []byte{bmcAddress, byte(c.NetFn) << 2, 0, consoleAddress, sequence << 2, c.ID}
	b[2] = checksum(b[:2])
	b = append(b, data...)
	return append(b, checksum(b[3:]))
}

// An answer is what a BMC said to a request.
type answer struct {
	netFn    byte
	sequence byte
	command  byte
	code     types.CompletionCode
	data     []byte
}

// parseAnswer reads a LAN message from the BMC.
func parseAnswer(b []byte) (answer, error) {
	if len(b) < 8 {
		return answer{}, fmt.Errorf("message of %d bytes: %w", len(b), errPacket)
	}
	if checksum(b[:3]) != 0 || checksum(b[3:]) != 0 {
		return answer{}, fmt.Errorf("checksum: %w", errPacket)
	}
	return answer{
		netFn:    b[1] >> 2,
		sequence: b[4] >> 2,
		command:  b[5],
		code:     types.CompletionCode(b[6]),
		data:     b[7 : len(b)-1],
	}, nil
}

// answers says whether a is the answer to a request.
func (a answer) answers(c types.Command, sequence byte) bool {
	return a.netFn == byte(c.NetFn)+1 && a.command == c.ID && a.sequence == sequence
}

// checksum is the two's complement of the sum; over a part and its checksum it
// is zero.
func checksum(b []byte) byte {
	var sum byte
	for _, x := range b {
		sum += x
	}
	return -sum
}

// decode lets the library read an answer. Its codecs trust lengths here and
// there; an answer that makes one panic is an answer that does not parse.
func decode(c types.Command, data []byte, into types.Response) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: the BMC's answer does not parse: %v", c.Name, r)
		}
	}()
	if err := into.Unpack(data); err != nil {
		return fmt.Errorf("%s: the BMC's answer does not parse: %w", c.Name, err)
	}
	return nil
}

// A CodeError is an answer that says no.
type CodeError struct {
	Command string
	Code    types.CompletionCode
}

// Error says what was refused and why, in the standard's words.
func (e *CodeError) Error() string {
	return fmt.Sprintf("%s: %s (0x%02x)", e.Command, e.Code.String(), uint8(e.Code))
}
