package httpd

import (
	"cmp"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"margay/netboot"
)

// ReadFrom is what net/http sends a body by. Files go by sendfile(2) as net's
// own do; of what lies in files of others, a medium's, so does each piece.
func (c *quick) ReadFrom(src io.Reader) (total int64, err error) {
	part, ok := src.(*io.LimitedReader)
	if !ok {
		return c.TCPConn.ReadFrom(src)
	}
	where, ok := part.R.(netboot.Extents)
	body, ok2 := part.R.(io.Seeker)
	if !ok || !ok2 {
		return c.TCPConn.ReadFrom(src)
	}
	pos, err := body.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	total, err = c.sendPieces(where, pos, part.N)
	part.N -= total
	_, fault := body.Seek(pos+total, io.SeekStart)
	if err = cmp.Or(err, fault); err != nil || part.N == 0 {
		return total, err
	}
	more, err := c.TCPConn.ReadFrom(src) // what lies in no file, or is not there
	return total + more, err
}

// sendPieces sends n bytes from pos on, or less: up to what lies in no file, to
// the end of a file, or to where the kernel cannot.
func (c *quick) sendPieces(where netboot.Extents, pos, n int64) (total int64, err error) {
	for total < n {
		f, at, most := where.Extent(pos + total)
		if f == nil {
			return total, nil
		}
		want := min(most, n-total)
		sent, err := c.sendPiece(f, at, want)
		total += sent
		if err != nil || sent < want {
			return total, err
		}
	}
	return total, nil
}

func (c *quick) sendPiece(f *os.File, at, n int64) (sent int64, err error) {
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
				k, fault = unix.Sendfile(int(to), int(from), &off, int(n-sent))
				switch {
				case fault == unix.EAGAIN:
					return false
				case fault == unix.EINTR:
				case fault != nil || k == 0:
					return true
				default:
					sent += int64(k)
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
