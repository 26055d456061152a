package tftp

import (
	"encoding/binary"
	"strconv"
	"strings"
	"time"
)

// Bounds of the options' values.
const (
	plainBlock = 512   // RFC 1350: without an option
	minBlock   = 8     // RFC 2348
	maxBlock   = 65464 // RFC 2348
	maxTimeout = 255   // RFC 2349, seconds
)

// Terms are what client and server agreed on.
type terms struct {
	block   int
	window  int
	timeout time.Duration // longest between retransmissions; 0: not asked for
	agreed  []option      // to be acknowledged, in the order asked
}

// limits are what we agree to at most.
type limits struct{ block, window int }

// negotiate answers the options of a request. What we do not know, and values
// outside their bounds, are left out, as RFC 2347 has it; a blksize or
// windowsize above our limit is answered with the limit.
func negotiate(asked []option, size int64, lim limits) terms {
	t := terms{block: plainBlock, window: 1}
	for _, o := range asked {
		n, err := strconv.Atoi(o.value)
		if err != nil || n < 0 {
			continue
		}
		switch strings.ToLower(o.name) {
		case "blksize":
			if n < minBlock || n > maxBlock {
				continue
			}
			t.block = min(n, lim.block)
			n = t.block
		case "windowsize":
			if n < 1 || n > 65535 {
				continue
			}
			t.window = min(n, lim.window)
			n = t.window
		case "timeout":
			if n < 1 || n > maxTimeout {
				continue
			}
			t.timeout = time.Duration(n) * time.Second
		case "tsize":
			t.agreed = append(t.agreed, option{o.name, strconv.FormatInt(size, 10)})
			continue
		default:
			continue
		}
		t.agreed = append(t.agreed, option{o.name, strconv.Itoa(n)})
	}
	return t
}

// oackPacket builds the OACK for the agreed options; nil if there are none.
func oackPacket(agreed []option) []byte {
	if len(agreed) == 0 {
		return nil
	}
	p := binary.BigEndian.AppendUint16(nil, opOACK)
	for _, o := range agreed {
		p = append(append(p, o.name...), 0)
		p = append(append(p, o.value...), 0)
	}
	return p
}
