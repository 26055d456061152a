package tftp

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"unsafe"

	"github.com/pin/tftp/v3/netascii"
	"golang.org/x/sys/unix"

	"margay/netboot"
)

// chunk is how much of a window is read and sent at a time.
const chunk = 64 << 10

// sendBlocks reads n blocks from number first on and sends them.
func (t *transfer) sendBlocks(first, n int64, out *outbox) error {
	most := int64(max(1, chunk/(t.terms.block+header)))
	for n > 0 {
		k := min(n, most)
		if err := t.pack(first, k, out); err != nil {
			return err
		}
		first, n = first+k, n-k
	}
	return nil
}

// pack lays n blocks one behind the other, each with its header. Several are
// read in one piece and moved to their places.
func (t *transfer) pack(first, n int64, out *outbox) error {
	size := int64(t.terms.block)
	off := (first - 1) * size
	want := min(n*size, t.file.Size-off)
	p := out.room(int(want + n*header))
	if n == 1 {
		putHeader(p, first)
		if err := t.read(p[header:], off); err != nil {
			return err
		}
		out.add(p, t.to)
		return nil
	}
	raw := out.read[:want]
	if err := t.read(raw, off); err != nil {
		return err
	}
	at := int64(0)
	for i := range n {
		putHeader(p[at:], first+i)
		k := copy(p[at+header:min(at+header+size, int64(len(p)))], raw)
		raw = raw[k:]
		at += header + int64(k)
	}
	out.add(p[:at], t.to)
	return nil
}

func (t *transfer) read(p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	n, err := t.data.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = fmt.Errorf("shorter than it was: %d bytes at %d", n, off)
	}
	return err
}

// readerAt reads r at any place; files and readers of bytes can by themselves.
func readerAt(r io.ReadSeeker) io.ReaderAt {
	switch at := r.(type) {
	case *os.File:
		return &ahead{file: cached{at}}
	case extents:
		return &ahead{file: pieces{at}}
	case io.ReaderAt:
		return at
	}
	return seekReader{r}
}

// aheadSize is what a transfer without a large window reads at a time: a system
// call for every block would be a third of those it costs.
const aheadSize = 16 << 10

// An ahead reads a file some blocks ahead. It is used under the lock of its
// transfer.
type ahead struct {
	file io.ReaderAt
	buf  []byte // what was read
	off  int64  // and where
}

func (a *ahead) ReadAt(p []byte, off int64) (int, error) {
	if len(p) >= aheadSize/2 {
		return a.file.ReadAt(p, off)
	}
	if off < a.off || off+int64(len(p)) > a.off+int64(len(a.buf)) {
		if a.buf == nil {
			a.buf = make([]byte, aheadSize)
		}
		n, err := a.file.ReadAt(a.buf[:aheadSize], off)
		a.off, a.buf = off, a.buf[:n]
		if n < len(p) {
			return copy(p, a.buf), err
		}
	}
	return copy(p, a.buf[off-a.off:]), nil
}

// A cached is a file of which what is in memory is read by a raw system call,
// which does not wait (RWF_NOWAIT, readv(2)). Told of a call that may, the
// scheduler wakes its watchman, who then costs a client that is alone a fifth of
// its rate.
type cached struct{ *os.File }

func (c cached) ReadAt(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n := c.inMemory(p, off)
	if n == len(p) {
		return n, nil
	}
	more, err := c.File.ReadAt(p[n:], off+int64(n))
	return n + more, err
}

// inMemory reads what needs no disk; 0 where the file system cannot tell.
func (c cached) inMemory(p []byte, off int64) (n int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	iov := unix.Iovec{Base: &p[0]}
	iov.SetLen(len(p))
	_ = raw.Control(func(fd uintptr) {
		r, _, no := unix.RawSyscall6(unix.SYS_PREADV2, fd, uintptr(unsafe.Pointer(&iov)), 1, uintptr(off), uintptr(off>>32), unix.RWF_NOWAIT)
		if no == 0 {
			n = int(r)
		}
	})
	return n
}

// An extents is part of a file.
type extents interface {
	netboot.Extents
	io.ReaderAt
}

// A pieces reads from where the bytes lie.
type pieces struct{ extents }

func (x pieces) ReadAt(p []byte, off int64) (done int, err error) {
	for done < len(p) {
		at := off + int64(done)
		f, from, n := x.Extent(at)
		if f == nil || n <= 0 { // or it would never end
			n, err := x.extents.ReadAt(p[done:], at)
			return done + n, err
		}
		part := p[done:min(int64(len(p)), int64(done)+n)]
		k, err := cached{f}.ReadAt(part, from)
		if done += k; k < len(part) {
			return done, err
		}
	}
	return done, nil
}

// A seekReader is used under the lock of its transfer.
type seekReader struct{ r io.ReadSeeker }

func (s seekReader) ReadAt(p []byte, off int64) (int, error) {
	if _, err := s.r.Seek(off, io.SeekStart); err != nil {
		return 0, err
	}
	return io.ReadFull(s.r, p)
}

// maxNetascii bounds files that are converted, which is done in memory: where
// a block begins cannot be known from its number.
const maxNetascii = 16 << 20

// toNetascii gives f as netascii: line ends become CR LF (RFC 1350 1, RFC 764).
func toNetascii(f *netboot.File) (*netboot.File, error) {
	defer f.Body.Close()
	if f.Size > maxNetascii {
		return nil, &netboot.Refusal{Node: f.Node, Reason: "too large for mode netascii; use octet"}
	}
	text, err := io.ReadAll(netascii.ToReader(io.LimitReader(f.Body, maxNetascii)))
	if err != nil {
		return nil, err
	}
	g := *f
	g.Body, g.Size = inMemory{bytes.NewReader(text)}, int64(len(text))
	return &g, nil
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }
