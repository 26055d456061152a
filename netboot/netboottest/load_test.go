//go:build bench

package netboottest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The load of the benchmarks is one thread that waits for all its clients'
// sockets at once and leaves what can be left to the kernel: a load that is
// slower than the servers would measure nothing but itself.

// A fetcher is one client: it asks for a file, and takes what comes until the
// file is whole.
type fetcher interface {
	begin(n int) (fd int, err error) // asks for file n; the same fd for a connection that stays
	take() (whole bool, err error)   // takes what is there
	late()                           // nothing has come for a second
	got() int64                      // bytes of this file so far
	end()                            // gives the socket back
}

// runLoad has clients fetch until the time is over, and prints the score.
func runLoad(l load, clients []fetcher) {
	runtime.LockOSThread()
	var s score
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		panic(err)
	}
	fds := make([]int, len(clients))
	heard := make([]time.Time, len(clients))
	files := 0
	ask := func(i int) {
		heard[i] = time.Now()
		fd, err := clients[i].begin(files)
		files++
		if err != nil {
			panic(err)
		}
		if fd != fds[i] {
			ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
			if err := unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
				panic(err)
			}
			fds[i] = fd
		}
	}
	over := func(i int, err error) {
		s.Files++
		s.Bytes += clients[i].got()
		if err != nil {
			s.Failed++
			s.Fault = err.Error()
			clients[i].end()
			fds[i] = 0
		}
	}
	began := time.Now()
	end := began.Add(l.duration())
	for i := range clients {
		ask(i)
	}
	events := make([]unix.EpollEvent, 1024)
	for looked := began; ; {
		n, err := await(poll, events)
		now := time.Now()
		if now.After(end) {
			break
		}
		if err != nil && err != unix.EINTR {
			panic(err)
		}
		for _, ev := range events[:max(n, 0)] {
			i := int(ev.Fd)
			heard[i] = now
			whole, err := clients[i].take()
			if whole || err != nil {
				over(i, err)
				if t, ok := clients[i].(*tftpFetcher); ok {
					t.end()
					fds[i] = 0
				}
				ask(i)
			}
		}
		if now.Sub(looked) < 100*time.Millisecond {
			continue
		}
		looked = now
		for i := range clients {
			switch quiet := now.Sub(heard[i]); {
			case quiet > 10*time.Second:
				over(i, errors.New("nothing comes"))
				ask(i)
			case quiet > time.Second:
				clients[i].late()
			}
		}
	}
	s.Seconds = time.Since(began).Seconds()
	for _, c := range clients {
		s.Bytes += c.got()
	}
	json.NewEncoder(os.Stdout).Encode(s)
}

// await waits 100 ms at most. It is a raw call, like all that the load does
// often: told of a call, the scheduler wakes its watchman, who then has the core
// when the next packet comes. One client alone was half as fast for it.
func await(poll int, events []unix.EpollEvent) (int, error) {
	n, _, no := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(poll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 100, 0, 0)
	if no != 0 {
		return 0, no
	}
	return int(n), nil
}

// A tftpFetcher takes windows as RFC 7440 has it.
type tftpFetcher struct {
	load
	fd       int
	to       unix.SockaddrInet4
	answered bool // the server's port is known
	sent     []byte
	block    int
	window   int
	have     uint16
	since    int
	accused  bool
	bytes    int64
	lated    time.Time

	heads []mmsghdr
	bufs  [][2048]byte
	iovs  []unix.Iovec
	names []unix.RawSockaddrInet4
}

type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

func newTFTPFetcher(l load) *tftpFetcher {
	n := max(1, min(l.Window, 64))
	f := &tftpFetcher{load: l, heads: make([]mmsghdr, n), bufs: make([][2048]byte, n), iovs: make([]unix.Iovec, n), names: make([]unix.RawSockaddrInet4, n)}
	for i := range f.heads {
		f.iovs[i].Base = &f.bufs[i][0]
		f.iovs[i].SetLen(len(f.bufs[i]))
		f.heads[i].hdr.Iov = &f.iovs[i]
		f.heads[i].hdr.SetIovlen(1)
	}
	return f
}

func (f *tftpFetcher) begin(int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20)
	f.fd, f.answered, f.have, f.since, f.accused, f.bytes = fd, false, 0, 0, false, 0
	f.block, f.window = 512, 1
	f.to = unix.SockaddrInet4{Port: 69, Addr: netip.MustParseAddr(benchAddr).As4()}
	rrq := "\x00\x01" + f.File + "\x00octet\x00blksize\x00" + strconv.Itoa(f.Block) + "\x00"
	if f.Window > 1 {
		rrq += "windowsize\x00" + strconv.Itoa(f.Window) + "\x00"
	}
	f.send([]byte(rrq))
	return fd, nil
}

func (f *tftpFetcher) send(p []byte) {
	f.sent = p
	if f.answered {
		unix.RawSyscall6(unix.SYS_SENDTO, uintptr(f.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), 0, 0, 0)
		return
	}
	_ = unix.Sendto(f.fd, p, 0, &f.to)
}

func (f *tftpFetcher) late() {
	if time.Since(f.lated) > time.Second {
		f.lated = time.Now()
		f.send(f.sent)
	}
}

func (f *tftpFetcher) got() int64 { return f.bytes }
func (f *tftpFetcher) end()       { unix.Close(f.fd) }

func (f *tftpFetcher) take() (bool, error) {
	if !f.answered {
		return f.first()
	}
	n, _, no := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(f.fd), uintptr(unsafe.Pointer(&f.heads[0])), uintptr(len(f.heads)), unix.MSG_DONTWAIT, 0, 0)
	if no == unix.EAGAIN {
		return false, nil
	}
	if no != 0 {
		return false, no
	}
	for i := range int(n) {
		if whole, err := f.packet(f.bufs[i][:f.heads[i].n]); whole || err != nil {
			return whole, err
		}
	}
	return false, nil
}

// first takes the first answer, and connects to where it came from.
func (f *tftpFetcher) first() (bool, error) {
	n, from, err := unix.Recvfrom(f.fd, f.bufs[0][:], 0)
	if err == unix.EAGAIN {
		return false, nil
	}
	if err == nil {
		err = unix.Connect(f.fd, from)
	}
	if err != nil {
		return false, err
	}
	f.answered = true
	return f.packet(f.bufs[0][:n])
}

func (f *tftpFetcher) packet(p []byte) (whole bool, err error) {
	if len(p) < 4 {
		return false, errors.New("short packet")
	}
	switch p[1] {
	case 6:
		if f.have > 0 {
			return false, nil
		}
		words := strings.Split(string(p[2:]), "\x00")
		for i := 0; i+1 < len(words); i += 2 {
			n, _ := strconv.Atoi(words[i+1])
			switch strings.ToLower(words[i]) {
			case "blksize":
				f.block = n
			case "windowsize":
				f.window = n
			}
		}
		f.ack()
	case 5:
		return false, fmt.Errorf("error %q", p[4:])
	case 3:
		if binary.BigEndian.Uint16(p[2:]) != f.have+1 {
			if !f.accused {
				f.accused = true
				f.ack()
			}
			return false, nil
		}
		f.have++
		f.since++
		f.accused = false
		f.bytes += int64(len(p) - 4)
		whole = len(p)-4 < f.block
		if whole || f.since == f.window {
			f.ack()
		}
	}
	return whole, nil
}

func (f *tftpFetcher) ack() {
	f.since = 0
	f.send([]byte{0, 4, byte(f.have >> 8), byte(f.have)})
}

// An httpFetcher asks on a connection that stays. The bodies it has the kernel
// throw away (MSG_TRUNC, tcp(7)), but for their length.
type httpFetcher struct {
	load
	client int
	tls    bool
	fd     int
	head   []byte
	left   int64 // of the body; -1: the head is not whole
	bytes  int64
}

func (f *httpFetcher) begin(n int) (int, error) {
	if f.fd == 0 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil && f.Sources {
			err = unix.Bind(fd, &unix.SockaddrInet4{Addr: renderedAddr(f.client).As4()})
		}
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrInet4{Port: 80, Addr: netip.MustParseAddr(benchAddr).As4()})
		}
		if err == nil {
			err = unix.SetNonblock(fd, true)
		}
		if err != nil {
			return 0, err
		}
		f.fd = fd
	}
	name := f.File
	if name == "" {
		name = fmt.Sprintf(benchModuleName, n%benchModules)
	}
	f.head, f.left, f.bytes = f.head[:0], -1, 0
	ask := "GET /" + strings.ReplaceAll(name, "%", strconv.Itoa(n%benchNodes)) + " HTTP/1.1\r\nHost: " + benchAddr + "\r\nUser-Agent: bench\r\n\r\n"
	p := []byte(ask)
	_, _, no := unix.RawSyscall(unix.SYS_WRITE, uintptr(f.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	if no != 0 {
		return f.fd, no
	}
	return f.fd, nil
}

func (f *httpFetcher) late()      {}
func (f *httpFetcher) got() int64 { return f.bytes }
func (f *httpFetcher) end()       { unix.Close(f.fd); f.fd = 0 }

var scratch [1 << 20]byte

func (f *httpFetcher) take() (bool, error) {
	if f.left < 0 {
		if err := f.header(); err != nil || f.left < 0 {
			return false, err
		}
	}
	for f.left > 0 {
		n, _, no := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(f.fd), uintptr(unsafe.Pointer(&scratch[0])), uintptr(min(f.left, int64(len(scratch)))), unix.MSG_TRUNC|unix.MSG_DONTWAIT, 0, 0)
		switch {
		case no == unix.EAGAIN:
			return false, nil
		case no != 0:
			return false, no
		case n == 0:
			return false, errors.New("closed early")
		}
		f.left -= int64(n)
		f.bytes += int64(n)
	}
	return true, nil
}

func (f *httpFetcher) header() error {
	var buf [4096]byte
	n, _, no := unix.RawSyscall(unix.SYS_READ, uintptr(f.fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
	if no == unix.EAGAIN {
		return nil
	}
	if no != 0 || n == 0 {
		return fmt.Errorf("closed: %v", no)
	}
	f.head = append(f.head, buf[:n]...)
	head, body, ok := bytes.Cut(f.head, []byte("\r\n\r\n"))
	if !ok {
		return nil
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("%.40q", head)
	}
	_, length, ok := strings.Cut(strings.ToLower(string(head)), "\r\ncontent-length: ")
	if !ok {
		return errors.New("no length")
	}
	length, _, _ = strings.Cut(length, "\r\n")
	left, err := strconv.ParseInt(length, 10, 64)
	if err != nil {
		return err
	}
	f.left = left - int64(len(body))
	f.bytes += int64(len(body))
	return nil
}
