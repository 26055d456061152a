package netboottest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Capture is what passes an interface, kept for tshark, a reader that is not
// of our making.
type Capture struct {
	path string
	sock *os.File
	done chan struct{}
	end  sync.Once

	keep func(frame []byte) bool
	err  error // of the writing; read it after done
}

// NewCapture keeps what an interface of a host sends and receives from now on,
// or of it what keep says. It ends when it is first asked about, or with the
// test.
func NewCapture(tb testing.TB, h *Host, ifname string, keep func(frame []byte) bool) *Capture {
	tb.Helper()
	c := &Capture{path: filepath.Join(tb.TempDir(), "capture.pcap"), done: make(chan struct{}), keep: keep}
	var err error
	h.Do(func() { c.sock, err = packetSocket(ifname) })
	if err != nil {
		tb.Fatalf("capture on %s: %v", ifname, err)
	}
	file, err := os.Create(c.path)
	if err != nil {
		tb.Fatal(err)
	}
	go func() {
		defer close(c.done)
		c.err = errors.Join(c.write(file), file.Close())
	}()
	tb.Cleanup(c.stop)
	return c
}

// packetSocket hears all that an interface does, whole.
func packetSocket(ifname string) (*os.File, error) {
	link, err := netlink.LinkByName(ifname)
	if err != nil {
		return nil, err
	}
	all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(all))
	if err != nil {
		return nil, err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Attrs().Index}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "capture"), nil
}

// write writes a pcap file until the socket is closed.
func (c *Capture) write(file *os.File) error {
	w := bufio.NewWriter(file)
	head := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	head = append(head, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	head = binary.LittleEndian.AppendUint32(head, 256<<10)
	w.Write(binary.LittleEndian.AppendUint32(head, 1)) // Ethernet
	buf := make([]byte, 256<<10)
	for {
		n, err := c.sock.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) { // and there may be more all the same
			n, err = readNow(c.sock, buf)
		}
		if n == 0 || err != nil {
			return errors.Join(err, w.Flush())
		}
		if c.keep != nil && !c.keep(buf[:n]) {
			continue
		}
		now := time.Now()
		rec := binary.LittleEndian.AppendUint32(nil, uint32(now.Unix()))
		rec = binary.LittleEndian.AppendUint32(rec, uint32(now.Nanosecond()/1000))
		rec = binary.LittleEndian.AppendUint32(rec, uint32(n))
		w.Write(binary.LittleEndian.AppendUint32(rec, uint32(n)))
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
	}
}

// readNow reads what the kernel holds of a socket whose time is over; 0: nothing.
func readNow(sock *os.File, buf []byte) (n int, err error) {
	raw, err := sock.SyscallConn()
	if err != nil {
		return 0, err
	}
	for err = unix.EINTR; err == unix.EINTR; {
		if cerr := raw.Control(func(fd uintptr) { n, err = unix.Read(int(fd), buf) }); cerr != nil {
			return 0, cerr
		}
	}
	if err == unix.EAGAIN {
		return 0, nil
	}
	return max(n, 0), err
}

// stop ends the capture once what the kernel holds is written.
func (c *Capture) stop() {
	c.end.Do(func() {
		c.sock.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		<-c.done
		c.sock.Close()
	})
}

// Count is how many packets a display filter of tshark's finds.
func (c *Capture) Count(tb testing.TB, filter string) int {
	tb.Helper()
	return len(c.tshark(tb, filter, "frame.number"))
}

// Complaints are what tshark has to say against the packets that an address
// sent and that a display filter finds: those it cannot read, and warnings of
// any of its layers. What it says of how TCP went (lost, late, again) is no
// complaint about a packet, and left out.
func (c *Capture) Complaints(tb testing.TB, from netip.Addr, filter string) []string {
	tb.Helper()
	own := fmt.Sprintf("(%s) && ip.src == %s && (_ws.malformed || _ws.expert.severity >= 0x600000)", filter, from)
	var out []string
	for _, line := range c.tshark(tb, own, "frame.number", "_ws.col.Protocol", "_ws.col.Info", "_ws.expert.message", "_ws.expert.severity", "tcp.analysis.flags") {
		if f := strings.Split(line, "\t"); len(f) == 6 && f[5] != "" && !strings.Contains(f[3], "alformed") {
			continue
		}
		out = append(out, line)
	}
	return out
}

func (c *Capture) tshark(tb testing.TB, filter string, fields ...string) []string {
	tb.Helper()
	c.stop()
	if c.err != nil {
		tb.Fatalf("capture: %v", c.err)
	}
	args := []string{"-n", "-r", c.path, "-Y", filter, "-T", "fields"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.Command(Binary(tb, "tshark"), args...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("tshark: %v\n%s", err, said.String())
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
}
