package netboottest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
)

// A TFTPClient fetches files as a patient client of RFC 7440 does: it takes a
// window, says which block it has, asks again for what is missing once, and
// then waits for the server's timer or its own.
type TFTPClient struct {
	Block  int           // 0: 512, and the option is not sent
	Window int           // 0: 1, and the option is not sent
	Wait   time.Duration // before it says again what it has; 0: 1 s
	Tries  int           // without a packet, before it gives up; 0: 10
	Until  time.Time     // when it stops in the middle, with ErrTime; zero: never
}

// ErrTime says that a fetch was stopped because its time was over.
var ErrTime = errors.New("time is over")

// Fetch fetches a file from a socket of its own and returns its size and
// CRC-32 (IEEE). It closes conn.
func (c TFTPClient) Fetch(conn *net.UDPConn, server netip.AddrPort, name string) (size int64, sum uint32, err error) {
	defer conn.Close()
	t := &tftpTake{TFTPClient: c, conn: conn, to: server, window: 1, block: 512}
	if t.Wait <= 0 {
		t.Wait = time.Second
	}
	if t.Tries <= 0 {
		t.Tries = 10
	}
	t.buf = make([]byte, max(c.Block, 512)+4+256)
	t.ask(name)
	for {
		p, err := t.next()
		if err != nil {
			return size, sum, fmt.Errorf("%s after %d bytes: %w", name, size, err)
		}
		switch p[1] {
		case 6:
			t.oack(p)
		case 3:
			data, fresh, last := t.data(p)
			if fresh {
				size += int64(len(data))
				sum = crc32.Update(sum, crc32.IEEETable, data)
			}
			if last {
				return size, sum, nil
			}
		case 5:
			return size, sum, fmt.Errorf("%s after %d bytes: error %q", name, size, p[4:])
		}
	}
}

// tftpTake is one Fetch.
type tftpTake struct {
	TFTPClient
	conn    *net.UDPConn
	to      netip.AddrPort // where packets go: the server, then its port of this transfer
	begun   bool
	sent    []byte // the last packet, to be sent again
	buf     []byte
	block   int
	window  int
	have    uint16
	since   int  // blocks since the last acknowledgement
	accused bool // a gap has been reported
}

func (t *tftpTake) ask(name string) {
	var b strings.Builder
	b.WriteString("\x00\x01" + name + "\x00octet\x00")
	if t.Block > 0 {
		fmt.Fprintf(&b, "blksize\x00%d\x00", t.Block)
	}
	if t.Window > 0 {
		fmt.Fprintf(&b, "windowsize\x00%d\x00", t.Window)
	}
	t.send([]byte(b.String()))
}

func (t *tftpTake) send(p []byte) {
	t.sent = p
	_, _ = t.conn.WriteToUDPAddrPort(p, t.to)
}

func (t *tftpTake) ack() {
	t.since = 0
	t.send(binary.BigEndian.AppendUint16(append(t.sent[:0:4], 0, 4), t.have))
}

// next waits for a packet of this transfer.
func (t *tftpTake) next() ([]byte, error) {
	for range t.Tries {
		now := time.Now()
		if !t.Until.IsZero() && now.After(t.Until) {
			return nil, ErrTime
		}
		t.conn.SetReadDeadline(now.Add(t.Wait))
		for {
			n, from, err := t.conn.ReadFromUDPAddrPort(t.buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return nil, err
			}
			from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
			if n < 4 || t.begun && from != t.to {
				continue
			}
			t.begun, t.to = true, from
			return t.buf[:n], nil
		}
		_, _ = t.conn.WriteToUDPAddrPort(t.sent, t.to)
	}
	return nil, fmt.Errorf("no packet in %v", time.Duration(t.Tries)*t.Wait)
}

// oack takes what the server agreed to; a copy is answered like the first.
func (t *tftpTake) oack(p []byte) {
	if t.have > 0 {
		return
	}
	words := strings.Split(string(p[2:]), "\x00")
	for i := 0; i+1 < len(words); i += 2 {
		var n int
		fmt.Sscan(words[i+1], &n)
		switch strings.ToLower(words[i]) {
		case "blksize":
			t.block = n
		case "windowsize":
			t.window = n
		}
	}
	t.ack()
}

// data takes a block, and says whether it is new and the last of the file.
func (t *tftpTake) data(p []byte) (data []byte, fresh, last bool) {
	if binary.BigEndian.Uint16(p[2:]) != t.have+1 {
		if !t.accused {
			t.accused = true
			t.ack()
		}
		return nil, false, false
	}
	t.have++
	t.since++
	t.accused = false
	data = p[4:]
	last = len(data) < t.block
	if last || t.since == t.window {
		t.ack()
	}
	return data, true, last
}
