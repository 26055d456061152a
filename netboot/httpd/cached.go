package httpd

import (
	"math"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sendfile is sendfile(2). What lies in the page cache may be sent quietly, without
// telling the scheduler: it never waits, and with many clients would be given
// company on its processor within each call, which costs one in twelve of their
// bytes. What is to be read from a disk may keep its thread for as long as that
// takes, and so may what is not local: NFS asks its server whether what is cached
// still holds, and all of this program would wait with it.
func sendfile(to, from int, off *int64, n int64, quiet bool) (int, error) {
	n = min(n, mostAtOnce)
	if !quiet || !cached(from, *off, n) {
		return unix.Sendfile(to, from, off, int(n))
	}
	r, _, no := unix.RawSyscall6(unix.SYS_SENDFILE, uintptr(to), uintptr(from), uintptr(unsafe.Pointer(off)), uintptr(n), 0, 0)
	if no != 0 {
		return 0, no
	}
	return int(r), nil
}

// crowd is from how many connections on it pays to be quiet. With few, the
// scheduler's watchman has nothing else to do and looks every 20 us at who is, which
// costs one in ten of a single client's bytes.
const crowd = 32

func (c *quick) crowded() bool { return c.open != nil && c.open.Load() >= crowd }

// isLocal says whether a body tells that it lies on a disk of this host's own.
func isLocal(body any) bool {
	own, ok := body.(interface{ Local() bool })
	return ok && own.Local()
}

// mostAtOnce is as much as a processor is taken up with in one call: what a
// connection has room for, and half a millisecond of a fast machine.
const mostAtOnce = 4 << 20

// cached says whether n bytes of a file are in the page cache, each of them, as
// far as this kernel tells (cachestat(2), Linux 6.5).
func cached(fd int, off, n int64) bool {
	if untold.Load() || n <= 0 || off > math.MaxInt64-n {
		return false
	}
	where := unix.CachestatRange{Off: uint64(off), Len: uint64(n)}
	var is unix.Cachestat_t
	_, _, no := unix.RawSyscall6(unix.SYS_CACHESTAT, uintptr(fd), uintptr(unsafe.Pointer(&where)), uintptr(unsafe.Pointer(&is)), 0, 0, 0)
	if no == unix.ENOSYS {
		untold.Store(true)
	}
	page := int64(os.Getpagesize())
	return no == 0 && is.Cache >= uint64((off+n-1)/page-off/page+1)
}

// untold says that this kernel does not tell what is in its page cache.
var untold atomic.Bool
