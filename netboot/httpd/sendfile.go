package httpd

import (
	"cmp"
	"io"
	"math"
	"os"

	"golang.org/x/sys/unix"

	"margay/netboot"
)

// ReadFrom is what net/http sends a body by.
func (c *quick) ReadFrom(src io.Reader) (total int64, err error) {
	part, ok := src.(*io.LimitedReader)
	if !ok {
		return io.Copy(c.Conn, src)
	}
	pos, err := position(part.R)
	if err != nil {
		return 0, err
	}
	total, err = c.send(part, pos, func(int64) {})
	if body, ok := part.R.(io.Seeker); ok && err == nil {
		_, err = body.Seek(pos+total, io.SeekStart)
	}
	return total, err
}

// position is where in what it reads a reader is, 0 if it has no such place.
func position(r io.Reader) (int64, error) {
	if body, ok := r.(io.Seeker); ok {
		return body.Seek(0, io.SeekCurrent)
	}
	return 0, nil
}

// send sends what is left of src, which is at pos, and calls moved with how much
// each time some of it went. A file goes by sendfile(2); of what lies in files of
// others, a medium's, so does each piece. Where src is then is not said.
func (c *quick) send(src *io.LimitedReader, pos int64, moved func(n int64)) (total int64, err error) {
	total, err = c.sendFile(src, pos, moved)
	if err == nil && total >= largeFile {
		c.widen()
	}
	for err == nil && src.N > 0 { // what lies in no file, or is not there
		part := &io.LimitedReader{R: src.R, N: min(src.N, slice)}
		want := part.N
		var n int64
		n, err = io.Copy(c.Conn, part)
		total += n
		src.N -= n
		moved(n)
		if n < want {
			return total, err
		}
	}
	return total, err
}

// sendFile sends of src, which is at pos, what lies in files, and leaves it where
// the rest begins.
func (c *quick) sendFile(src *io.LimitedReader, pos int64, moved func(int64)) (total int64, err error) {
	where, ok := src.R.(netboot.Extents)
	if f, is := src.R.(*os.File); is {
		where, ok = wholeFile{f}, true
	}
	body, ok2 := src.R.(io.Seeker)
	if !ok || !ok2 || c.raw == nil {
		return 0, nil
	}
	total, err = c.sendPieces(where, pos, src.N, moved)
	if src.N -= total; src.N > 0 && err == nil {
		_, err = body.Seek(pos+total, io.SeekStart)
	}
	return total, err
}

// A connection that has room for wide bytes on their way is given room for
// wider at once: tcp_wmem's usual limit, to which its room would grow by itself.
const (
	wide  = 1 << 20
	wider = 4 << 20
)

// widen gives a fast connection its room for good: the kernel need not count it
// anew with acknowledgements, and a module of 3 MB need not wait for it. Only who
// may administer the network can have that; others go on as before.
func (c *quick) widen() {
	if c.raw == nil || c.widened {
		return
	}
	_ = c.raw.Control(func(fd uintptr) {
		if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF); err != nil || n < wide {
			return
		}
		c.widened = true
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, wider/2) // the kernel doubles it (socket(7))
	})
}

// A wholeFile has no others beside it.
type wholeFile struct{ f *os.File }

func (w wholeFile) Extent(off int64) (f *os.File, at, n int64) { return w.f, off, math.MaxInt64 - off }

// sendPieces sends n bytes from pos on, or less: up to what lies in no file, to
// the end of a file, or to where the kernel cannot.
func (c *quick) sendPieces(where netboot.Extents, pos, n int64, moved func(int64)) (total int64, err error) {
	quiet := c.crowded() && isLocal(where)
	for total < n {
		f, at, most := where.Extent(pos + total)
		if f == nil || most <= 0 {
			return total, nil
		}
		want := min(most, n-total)
		sent, err := c.sendPiece(f, at, want, quiet, moved)
		total += sent
		if err != nil || sent < want {
			return total, err
		}
	}
	return total, nil
}

func (c *quick) sendPiece(f *os.File, at, n int64, quiet bool, moved func(int64)) (sent int64, err error) {
	file, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var gone, fault error
	err = file.Control(func(from uintptr) {
		gone = c.raw.Write(func(to uintptr) bool {
			for fault = nil; sent < n; {
				off := at + sent
				var k int
				k, fault = sendfile(int(to), int(from), &off, n-sent, quiet)
				switch {
				case fault == unix.EAGAIN:
					return false
				case fault == unix.EINTR:
				case fault != nil || k == 0:
					return true
				default:
					sent += int64(k)
					moved(int64(k))
				}
			}
			return true
		})
	})
	switch err = cmp.Or(err, gone); {
	case err != nil:
		return sent, err
	case fault == unix.EINVAL || fault == unix.ENOSYS || fault == unix.EOPNOTSUPP:
		return sent, nil // not from this file system
	case fault != nil:
		return sent, c.fault("sendfile", fault)
	}
	return sent, nil
}
