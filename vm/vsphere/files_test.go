package vsphere_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"margay/vm"
	"margay/vm/vmtest"
)

// sending is a file of random bytes.
func sending(size int, to vm.Path) (vm.Sending, []byte) {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return vm.Sending{To: to, Size: int64(size), Open: func() (io.ReadSeekCloser, error) {
		return struct {
			io.ReadSeeker
			io.Closer
		}{bytes.NewReader(b), io.NopCloser(nil)}, nil
	}}, b
}

// A memory is a file that is received.
type memory struct {
	bytes.Buffer
	had int64
}

func (m *memory) Read(p []byte) (int, error) { return 0, io.EOF }
func (m *memory) Size() int64                { return m.had }

func files(t *testing.T, c *vmtest.Cluster) *vm.Files {
	t.Helper()
	f, err := c.M.Files(t.Context(), c.DB.Snapshot(), "esx1")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// opened is the connection to the World's host.
func opened(t *testing.T, c *vmtest.Cluster) vm.Hypervisor {
	t.Helper()
	e, err := vm.Route(c.DB.Snapshot(), "esx1")
	if err != nil {
		t.Fatal(err)
	}
	hv, err := c.M.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return hv
}

// A transfer that breaks goes on where it can, and is whole in the end; a
// session that ends meanwhile is logged in to again.
func TestFilesBreak(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	f := files(t, c)
	to := vm.Path{Datastore: "datastore1", File: "x.iso"}
	s, want := sending(300_000, to)
	w.Cut(100_000, 50)
	if _, err := f.Put(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(w.File(to.String()))
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes arrived, %v; want %d", len(got), err, len(want))
	}
	w.EndSessions()
	w.Cut(70_000, 10, 100_000)
	var m memory
	n, _, err := f.Get(t.Context(), vm.Receiving{From: to, To: &m})
	if err != nil || n != int64(len(want)) || !bytes.Equal(m.Bytes(), want) {
		t.Fatalf("received %d bytes, %v; want %d", n, err, len(want))
	}
}

// A source is a reader that a test tells how to read.
type source func([]byte) (int, error)

func (s source) Read(p []byte) (int, error) { return s(p) }

// A file that the host refused before it had all of it is its owner's again,
// to be sent once more or another way: no Read of it goes on.
func TestFilesHandBack(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	hv := opened(t, c)
	const size = 10 << 20
	w.Free("datastore1", 1000)
	to, sent, waited, returned := vm.Path{Datastore: "datastore1", File: "x.iso"}, 0, false, make(chan struct{})
	err := hv.(vm.Filer).Put(t.Context(), "", to, source(func(p []byte) (int, error) {
		if sent > 1<<20 && !waited {
			waited = true
			select {
			case <-returned:
				t.Error("Put returned while its file was being read")
			case <-time.After(500 * time.Millisecond): // enough to see it red, and never too little
			}
		}
		n := min(len(p), size-sent)
		sent += n
		return n, nil
	}), size)
	close(returned)
	if err == nil || sent == size {
		t.Errorf("%v, and %d bytes were read", err, sent)
	}
}

// What does not fit is refused before anything is sent; where the room goes
// meanwhile, nothing is left behind.
func TestFilesFull(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	w.Free("datastore1", 200_000)
	f := files(t, c)
	to := vm.Path{Datastore: "datastore1", File: "x.iso"}
	s, _ := sending(300_000, to)
	if _, err := f.Put(t.Context(), s); !errors.Is(err, vm.ErrNoSpace) || !strings.Contains(err.Error(), "datastore1 has") {
		t.Errorf("Put: %v, want that there is no room", err)
	}
	w.Free("datastore1", 1<<20)
	f = files(t, c)
	w.Free("datastore1", 200_000)
	if _, err := f.Put(t.Context(), s); err == nil {
		t.Error("a full datastore took the file")
	}
	list, err := f.List(t.Context(), vm.Path{Datastore: "datastore1"})
	if err != nil || len(list) != 0 {
		t.Errorf("left behind: %v, %v", list, err)
	}
}

// A transfer that is cancelled ends at once and leaves nothing.
func TestFilesCancel(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	f := files(t, cluster(t, w))
	ctx, cancel := context.WithCancel(t.Context())
	s, _ := sending(3_000_000, vm.Path{Datastore: "datastore1", File: "x.iso"})
	s.Progress = func(done, _ int64) {
		if done > 1_000_000 {
			cancel()
		}
	}
	if _, err := f.Put(ctx, s); !errors.Is(err, context.Canceled) {
		t.Errorf("Put: %v, want that it was cancelled", err)
	}
	list, err := f.List(t.Context(), vm.Path{Datastore: "datastore1"})
	if err != nil || len(list) != 0 {
		t.Errorf("left behind: %v, %v", list, err)
	}
}

// Behind a vCenter the path of the datacenter is part of the address.
func TestFilesVCenter(t *testing.T) {
	w, c := vcenter(t, vmtest.Options{Datacenter: "Köln 1"})
	f := files(t, c)
	to := vm.Path{Datastore: "datastore1", File: "a b.iso"}
	s, want := sending(1000, to)
	if _, err := f.Put(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(w.File(to.String()))
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes arrived, %v", len(got), err)
	}
}
