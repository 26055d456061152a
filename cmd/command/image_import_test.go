package command

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"margay/provision/api"
	"margay/vm"
	"margay/vm/vmdk"
)

// taking is one that takes images in from addresses.
func taking(t *testing.T) *taker {
	t.Helper()
	flags := pflag.NewFlagSet("image", pflag.ContinueOnError)
	imageCmd.Flags(flags)
	repo := t.TempDir()
	dir := filepath.Join(repo, "new")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return &taker{ctx: t.Context(), s: &Session{Req: &api.Request{}, Flags: flags}, dir: dir, img: &vm.Image{Name: "x"}}
}

// Images are taken in from an address of any of their files, going on where
// the network broke.
func TestImageFromAddress(t *testing.T) {
	src := t.TempDir()
	raw := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	if err := os.WriteFile(filepath.Join(src, "r.raw"), raw, 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := openDisk(filepath.Join(src, "r.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for name, format := range map[string]string{"pair.vmdk": "vmfs", "split.vmdk": "2gbsparse", "one.vmdk": "streamOptimized", "q.qcow2": vmdk.FormatQCOW2} {
		if _, err := d.Convert(src, name, format, nil); err != nil {
			t.Fatal(err)
		}
	}
	var cuts atomic.Int64
	files := http.FileServer(http.Dir(src))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if cuts.Add(-1) >= 0 {
			w = &cutting{w, 50_000}
		}
		files.ServeHTTP(w, r)
	}))
	defer srv.Close()
	for _, name := range []string{"pair.vmdk", "pair-flat.vmdk", "split.vmdk", "one.vmdk", "q.qcow2", "r.raw"} {
		u, err := url.Parse(srv.URL + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		cuts.Store(2)
		i := taking(t)
		disks, err := i.fetched(u)
		if err != nil || len(disks) != 1 {
			t.Errorf("%s: %v, %v", name, disks, err)
			continue
		}
		got, err := openDisk(filepath.Join(i.dir, disks[0]))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		b := make([]byte, len(raw))
		if _, err := got.ReadAt(b, 0); err != nil || got.Size() != int64(len(raw)) || !bytes.Equal(b, raw) {
			t.Errorf("%s comes as %d bytes, %v", name, got.Size(), err)
		}
		got.Close()
	}
	for name, part := range map[string]string{"none.raw": "404", "none-flat.vmdk": "the descriptor must lie beside its data"} {
		u, _ := url.Parse(srv.URL + "/" + name)
		if _, err := taking(t).fetched(u); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v, want %q in it", name, err, part)
		}
	}
}

// A cutting writer breaks the connection after some bytes.
type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Write(p []byte) (int, error) {
	if len(p) > c.left {
		c.ResponseWriter.Write(p[:c.left])
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}

// An image of another repository keeps what is known of it; a file that is not
// what the repository says is refused.
func TestImageFromRepository(t *testing.T) {
	src := t.TempDir()
	if err := os.WriteFile(filepath.Join(src, "r.raw"), make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	r := &vm.Repository{Dir: filepath.Join(src, "images"), Open: OpenDisk, Now: func() time.Time { return time.Unix(1, 0) }}
	i := &taker{ctx: t.Context(), s: taking(t).s, img: &vm.Image{Name: "x", GuestID: "rhel9_64Guest", Firmware: "efi"}}
	err := r.Add(t.Context(), i.img, false, func(dir string) ([]string, error) {
		i.dir = dir
		return i.disk(filepath.Join(src, "r.raw"))
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.FileServer(http.Dir(r.Dir)))
	defer srv.Close()
	u, err := url.Parse(srv.URL + "/x/image.json")
	if err != nil {
		t.Fatal(err)
	}
	got := taking(t)
	disks, err := got.fetched(u)
	if err != nil || len(disks) != 1 || got.img.Firmware != "efi" || got.img.GuestID != "rhel9_64Guest" {
		t.Errorf("%v, %+v, %v", disks, got.img, err)
	}
	if err := os.WriteFile(r.Path(i.img, "x-flat.vmdk"), bytes.Repeat([]byte{1}, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := taking(t).fetched(u); err == nil || !strings.Contains(err.Error(), "as the repository says") {
		t.Errorf("a file that is another: %v", err)
	}
	faults, err := r.Verify(t.Context(), i.img, nil)
	if err != nil || len(faults) != 1 || faults[0] != "x-flat.vmdk: changed" {
		t.Errorf("Verify: %q, %v", faults, err)
	}
}
