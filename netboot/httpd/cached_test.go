package httpd

import (
	"bytes"
	"context"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"margay/netboot"
)

// A file is sent whole whether it lies in memory or is to be read; which of them
// it is, the kernel tells.
func TestCached(t *testing.T) {
	w := shelves(t)
	want := noise(3_000_001)
	name := filepath.Join(w.dir, "boot/big")
	if err := os.WriteFile(name, want, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, size := int(f.Fd()), int64(len(want))
	at := serve(t, &Server{Opener: ownDisk{w}})
	for range crowd {
		c, err := net.Dial("tcp", strings.TrimPrefix(at, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	fetch := func() {
		t.Helper()
		if _, body := get(t, "GET", at+"/boot/big"); !bytes.Equal([]byte(body), want) {
			t.Errorf("%d bytes, want %d", len(body), size)
		}
	}
	in := cached(fd, 0, size)
	fetch()
	if untold.Load() {
		t.Skip("this kernel does not tell what is in its page cache")
	}
	if !in || !cached(fd, size-1, 1) {
		t.Error("what was just written is not in the page cache")
	}
	for _, beyond := range [][2]int64{{0, size + 1<<20}, {size + 1<<20, 1}, {1<<63 - 2, 5}, {0, 0}, {0, -1}} {
		if cached(fd, beyond[0], beyond[1]) {
			t.Errorf("%d bytes from %d are in the page cache", beyond[1], beyond[0])
		}
	}
	if err := unix.Fsync(fd); err != nil {
		t.Fatal(err)
	}
	for n := 0; cached(fd, 0, size); n++ { // pages of answers are let go after these
		if n == 100 {
			t.Skip("this file system keeps what is not needed")
		}
		if err := unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	fetch()
}

// An ownDisk says of all its files that they are local.
type ownDisk struct{ *world }

func (o ownDisk) Open(ctx context.Context, m netboot.Machine, name string) (*netboot.File, error) {
	f, err := o.world.Open(ctx, m, name)
	if err == nil {
		f.Body = localBody{f.Body.(*os.File)}
	}
	return f, err
}

type localBody struct{ *os.File }

func (b localBody) Extent(off int64) (f *os.File, at, n int64) {
	return b.File, off, math.MaxInt64 - off
}
func (localBody) Local() bool { return true }

// Only what says so is local.
func TestIsLocal(t *testing.T) {
	for _, tt := range []struct {
		body any
		want bool
	}{{localBody{}, true}, {wholeFile{}, false}, {(*os.File)(nil), false}, {faraway{}, false}} {
		if got := isLocal(tt.body); got != tt.want {
			t.Errorf("%T: %v", tt.body, got)
		}
	}
}

type faraway struct{ localBody }

func (faraway) Local() bool { return false }
