package esxsh_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"margay/vm"
	"margay/vm/vmtest"
)

// A transfer over SSH that breaks goes on where it broke, by both ways of
// having a shell; what does not fit says so.
func TestFiles(t *testing.T) {
	for name, api := range map[string]bool{"free licence": true, "ssh alone": false} {
		t.Run(name, func(t *testing.T) {
			w := vmtest.New(t, vmtest.Options{})
			w.Restrict(true)
			c, sh := cluster(t, w, api)
			f, err := c.M.Files(t.Context(), c.DB.Snapshot(), "esx1")
			if err != nil {
				t.Fatal(err)
			}
			to := vm.Path{Datastore: "datastore1", File: "it's x.iso"}
			b := make([]byte, 300_000)
			rand.NewChaCha8([32]byte{1}).Read(b)
			s := vm.Sending{To: to, Size: int64(len(b)), Open: func() (io.ReadSeekCloser, error) {
				return struct {
					io.ReadSeeker
					io.Closer
				}{bytes.NewReader(b), io.NopCloser(nil)}, nil
			}}
			w.Cut(100_000)
			if _, err := f.Put(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(w.File(to.String()))
			if err != nil || !bytes.Equal(got, b) {
				t.Fatalf("%d bytes arrived, %v; want %d", len(got), err, len(b))
			}
			if !strings.Contains(strings.Join(sh.Log(), "\n"), "cat >> ") {
				t.Errorf("it was not gone on with: %q", sh.Log())
			}
			r, left, err := hypervisor(t, c).Get(t.Context(), "esx1", to, 299_990)
			if err != nil || left != 10 {
				t.Fatalf("Get: %d left, %v; want 10", left, err)
			}
			tail, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(tail, b[299_990:]) {
				t.Errorf("Get gave %q, %v; want %q", tail, err, b[299_990:])
			}
			r.Close()
			w.Free("datastore1", 1000)
			s.To.File = "y.iso"
			if _, err := f.Put(t.Context(), s); !errors.Is(err, vm.ErrNoSpace) {
				t.Errorf("Put on a full datastore: %v", err)
			}
		})
	}
}

func hypervisor(t *testing.T, c *vmtest.Cluster) vm.Filer {
	t.Helper()
	e, err := vm.Route(c.DB.Snapshot(), "esx1")
	if err != nil {
		t.Fatal(err)
	}
	hv, err := c.M.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return hv.(vm.Filer)
}
