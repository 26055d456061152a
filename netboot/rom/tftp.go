package rom

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	pin "github.com/pin/tftp/v3"
)

// What firmware asks for.
const (
	tftpPort     = 69
	tftpBlock    = 1468
	tftpWindow   = 4 // edk2's PcdPxeTftpWindowSize
	tftpTries    = 6 // as edk2
	tftpAnswer   = 1 * time.Second
	errorAborted = 8
)

// A limit bounds what is kept of a file.
type limit int64

// Programs and texts are kept; of modules only their size is of interest.
const (
	program limit = 64 << 20
	text    limit = 4 << 20
	overlay limit = 8 << 20
)

var errTooLarge = errors.New("larger than anything of its kind")

// A tftpSource loads by TFTP from one server. BIOS ROMs and iPXE ask for one
// block at a time; UEFI asks for the size, breaks off, and then asks again with
// a window.
type tftpSource struct {
	b      *boot
	server netip.Addr
	uefi   bool
}

func (s tftpSource) copy(name string, w io.Writer) (n int64, err error) {
	to, err := s.at()
	if err != nil {
		return 0, err
	}
	if s.uefi {
		n, err = s.b.tftpWindow(to, name, w)
	} else {
		n, err = s.b.tftpPlain(to, name, w)
	}
	return n, tftpError(to, name, err)
}

func (s tftpSource) load(name string, most limit) ([]byte, error) {
	w := &bounded{most: most}
	_, err := s.copy(name, w)
	return w.buf.Bytes(), err
}

func (s tftpSource) size(name string) (int64, error) {
	to, err := s.at()
	if err != nil {
		return 0, err
	}
	n, err := s.b.tftpSize(to, name)
	return n, tftpError(to, name, err)
}

// dir is that of the file field in the BOOTP reply.
func (s tftpSource) dir() string {
	d := path.Dir(s.b.lease.File)
	if d == "." {
		return ""
	}
	return d
}

func (s tftpSource) at() (netip.AddrPort, error) {
	if !s.server.IsValid() || s.server.IsUnspecified() {
		return netip.AddrPort{}, errors.New("no TFTP server was named (siaddr, option 54)")
	}
	if s.b.TFTPPort != 0 {
		return netip.AddrPortFrom(s.server, s.b.TFTPPort), nil
	}
	return netip.AddrPortFrom(s.server, tftpPort), nil
}

func tftpError(to netip.AddrPort, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("tftp://%s/%s: %w", to, strings.TrimLeft(name, "/"), err)
}

// tftpPlain is the library's client: options blksize and tsize, no window.
func (b *boot) tftpPlain(to netip.AddrPort, name string, w io.Writer) (int64, error) {
	c, err := pin.NewClient(to.String())
	if err != nil {
		return 0, err
	}
	if b.Source.IsValid() {
		if err := c.SetLocalAddr(b.Source.String()); err != nil {
			return 0, err
		}
	}
	c.SetBlockSize(tftpBlock)
	c.RequestTSize(true)
	c.SetTimeout(tftpAnswer)
	c.SetRetries(max(1, int(b.patience()/tftpAnswer/2)))
	from, err := c.Receive(name, "octet")
	if err != nil {
		return 0, err
	}
	size, ok := from.(pin.IncomingTransfer).Size()
	if !ok {
		return 0, errors.New("the server does not tell tsize, which ROMs allocate by")
	}
	n, err := from.WriteTo(w)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes, but tsize said %d", n, size)
	}
	return n, err
}

// tftpWindow is edk2's client: the size first, then the file in windows.
func (b *boot) tftpWindow(to netip.AddrPort, name string, w io.Writer) (int64, error) {
	size, err := b.tftpSize(to, name)
	if err != nil {
		return 0, err
	}
	t, err := b.tftpAsk(to, name, "blksize", strconv.Itoa(tftpBlock), "windowsize", strconv.Itoa(tftpWindow))
	if err != nil {
		return 0, err
	}
	defer t.conn.Close()
	n, err := t.take(w)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes, but tsize said %d", n, size)
	}
	return n, err
}

// tftpSize asks for the size and breaks off, as UEFI and mboot do.
func (b *boot) tftpSize(to netip.AddrPort, name string) (int64, error) {
	t, err := b.tftpAsk(to, name, "tsize", "0", "blksize", strconv.Itoa(tftpBlock), "windowsize", strconv.Itoa(tftpWindow))
	if err != nil {
		return 0, err
	}
	defer t.conn.Close()
	t.send(append([]byte{0, 5, 0, errorAborted}, "User aborted the transfer\x00"...))
	size, err := strconv.ParseInt(t.options["tsize"], 10, 64)
	if err != nil || size < 0 {
		return 0, fmt.Errorf("tsize %q: the firmware must know the size", t.options["tsize"])
	}
	return size, nil
}

// A transfer is a file on its way to us.
type transfer struct {
	conn    *net.UDPConn
	peer    netip.AddrPort // the server's port of this transfer, once it has answered
	asked   []byte         // the last packet we sent
	to      netip.AddrPort // where that went
	options map[string]string
	first   []byte // DATA that came instead of an OACK
	block   int
	window  int
	buf     []byte
}

// tftpAsk sends a request and takes the answer to its options.
func (b *boot) tftpAsk(to netip.AddrPort, name string, options ...string) (*transfer, error) {
	conn, err := net.ListenUDP("udp", b.localUDP())
	if err != nil {
		return nil, err
	}
	t := &transfer{conn: conn, to: to, block: 512, window: 1, options: map[string]string{}}
	p := append([]byte{0, 1}, name+"\x00octet\x00"+strings.Join(options, "\x00")+"\x00"...)
	t.send(p)
	if err := t.agree(options); err != nil {
		conn.Close()
		return nil, err
	}
	return t, nil
}

func (b *boot) localUDP() *net.UDPAddr {
	if !b.Source.IsValid() {
		return nil
	}
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(b.Source, 0))
}

// agree reads the OACK. An option that was not asked for, or a value above
// what was asked, ends the transfer (RFC 2347, 2348, 7440).
func (t *transfer) agree(asked []string) error {
	p, err := t.receive()
	if err != nil {
		return err
	}
	if p[1] == 3 {
		t.first = bytes.Clone(p)
		return nil
	}
	if p[1] != 6 {
		return fmt.Errorf("packet type %d instead of an OACK", p[1])
	}
	words := strings.Split(strings.TrimSuffix(string(p[2:]), "\x00"), "\x00")
	for i := 0; i+1 < len(words); i += 2 {
		t.options[strings.ToLower(words[i])] = words[i+1]
	}
	for name, value := range t.options {
		if err := t.accept(name, value, asked); err != nil {
			return err
		}
	}
	return nil
}

func (t *transfer) accept(name, value string, asked []string) error {
	n, err := strconv.Atoi(value)
	if err != nil {
		return fmt.Errorf("option %s is acknowledged as %q", name, value)
	}
	for i := 0; i < len(asked); i += 2 {
		if asked[i] != name {
			continue
		}
		most, _ := strconv.Atoi(asked[i+1])
		switch {
		case name == "tsize":
		case n > most || n < 1:
			return fmt.Errorf("option %s: asked for %d, acknowledged %d", name, most, n)
		case name == "blksize":
			t.block = n
		case name == "windowsize":
			t.window = n
		}
		return nil
	}
	return fmt.Errorf("option %s was acknowledged but not asked for", name)
}

func (t *transfer) send(p []byte) {
	t.asked = p
	if t.peer.IsValid() {
		t.to = t.peer
	}
	_, _ = t.conn.WriteToUDPAddrPort(p, t.to)
}

// receive returns the next packet of the transfer, and asks again when none
// comes.
func (t *transfer) receive() ([]byte, error) {
	if len(t.buf) < t.block+4+1 {
		t.buf = make([]byte, t.block+4+512)
	}
	for range tftpTries {
		p, err := t.await(t.buf)
		if err == nil {
			return p, nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err
		}
		t.send(t.asked)
	}
	return nil, fmt.Errorf("no answer after %d tries", tftpTries)
}

func (t *transfer) await(buf []byte) ([]byte, error) {
	t.conn.SetReadDeadline(time.Now().Add(tftpAnswer))
	for {
		n, from, err := t.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return nil, err
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if n < 4 || from.Addr() != t.to.Addr() || t.peer.IsValid() && from != t.peer {
			continue
		}
		t.peer = from
		if buf[1] == 5 {
			code := binary.BigEndian.Uint16(buf[2:])
			return nil, fmt.Errorf("error %d: %s", code, strings.TrimRight(string(buf[4:n]), "\x00"))
		}
		return buf[:n], nil
	}
}

// take takes the file. A block out of turn makes us say which we have, once a
// window, as RFC 7440 4 has it.
func (t *transfer) take(w io.Writer) (total int64, err error) {
	have, since, told := uint16(0), 0, false
	ack := func() {
		since = 0
		t.send(binary.BigEndian.AppendUint16([]byte{0, 4}, have))
	}
	p := t.first
	if p == nil {
		ack()
	}
	for ; ; p = nil {
		if p == nil {
			if p, err = t.receive(); err != nil {
				return total, err
			}
		}
		if p[1] == 6 && have == 0 { // the server has not heard that we took its options
			ack()
			continue
		}
		if p[1] != 3 || len(p) > t.block+4 {
			return total, fmt.Errorf("a packet of type %d and %d bytes instead of a block", p[1], len(p))
		}
		if binary.BigEndian.Uint16(p[2:]) != have+1 {
			if !told {
				told = true
				ack()
			}
			continue
		}
		told = false
		have++
		since++
		if _, err := w.Write(p[4:]); err != nil {
			return total, err
		}
		total += int64(len(p) - 4)
		if len(p) < t.block+4 {
			ack()
			return total, nil
		}
		if since == t.window {
			ack()
		}
	}
}

// bounded keeps at most so many bytes.
type bounded struct {
	buf  bytes.Buffer
	most limit
}

func (b *bounded) Write(p []byte) (int, error) {
	if limit(b.buf.Len()+len(p)) > b.most {
		return 0, errTooLarge
	}
	return b.buf.Write(p)
}
