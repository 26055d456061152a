package vsphere_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"margay/nodedb"
	"margay/vm"
	"margay/vm/ovf"
	"margay/vm/vmdk"
	"margay/vm/vmtest"
)

// appliance is a package of two disks, the first with something on it.
func appliance(t testing.TB, raw []byte) (string, vm.PackageRequest) {
	t.Helper()
	dir := t.TempDir()
	spec := &vm.Spec{Name: "appliance", GuestID: "rhel8_64Guest", CPUs: 2, MemoryMB: 1024, Version: "vmx-13",
		Controllers: []vm.Controller{{Key: 200, Bus: vm.IDE}, {Key: 201, Bus: vm.IDE, Number: 1}, {Key: 1000, Bus: vm.PVSCSI}},
		CDROMs:      []vm.CDROM{{Controller: 201}},
		NICs:        []vm.NIC{{Network: "front", Model: vm.VMXNet3, Connected: true}},
	}
	var data []ovf.Data
	for i, b := range [][]byte{raw, make([]byte, 1<<20)} {
		name := []string{"a-disk1.vmdk", "a-disk2.vmdk"}[i]
		var out bytes.Buffer
		w, err := vmdk.NewWriter(&out, name, int64(len(b)), 7)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(b)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		spec.Disks = append(spec.Disks, vm.Disk{Controller: 1000, Unit: i, KB: int64(len(b)) / 1024})
		data = append(data, ovf.Data{Href: name, Size: int64(out.Len())})
	}
	text, err := ovf.Format(spec, data)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ovf.Parse(text, "")
	if err != nil {
		t.Fatal(err)
	}
	return dir, vm.PackageRequest{Spec: &p.Spec, Names: p.Networks, Import: vm.Import{Descriptor: string(text), Format: vm.Thin,
		Open: func(name string) (io.ReadCloser, int64, error) {
			f, err := os.Open(filepath.Join(dir, name))
			if err != nil {
				return nil, 0, err
			}
			st, err := f.Stat()
			return f, st.Size(), err
		}}}
}

func importPackage(t *testing.T, ctx context.Context, c *vmtest.Cluster, req vm.PackageRequest) string {
	t.Helper()
	c.Allocate(t, len(req.Spec.NICs), "vm1")
	return c.Collect(t, func(_ context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.ImportPackage(ctx, snap, c.Nodes(t, "vm1")[0], req, emit)
	})
}

func somewhere(n int) []byte {
	b := make([]byte, n)
	copy(b[1000:], "here is something")
	copy(b[n-100:], "and here")
	return b
}

// A package goes in and comes out again as it was, on a host and behind a
// vCenter; the lease is renewed meanwhile.
func TestPackage(t *testing.T) {
	for name, behind := range map[string]bool{"host": false, "vCenter": true} {
		t.Run(name, func(t *testing.T) {
			var w *vmtest.World
			var c *vmtest.Cluster
			if behind {
				w, c = vcenter(t, vmtest.Options{})
			} else {
				w = vmtest.New(t, vmtest.Options{})
				c = cluster(t, w)
			}
			raw := somewhere(3 << 20)
			_, req := appliance(t, raw)
			w.LeaseTimeout(3)
			req.Open = slowly(req.Open, 3200*time.Millisecond)
			want(t, "import", importPackage(t, t.Context(), c, req), "vm1: taken in: 2 cpus, 1024 MB, 2 disks, 1 network cards")
			n := c.Nodes(t, "vm1")[0]
			inv := c.Inventory(t, false, "vm1")
			contains(t, "rinv", inv, "CPUs: 2")
			contains(t, "rinv", inv, "Hard disk 1 (d1000:0): 3 MB @ [datastore1] vm1/")
			contains(t, "rinv", inv, "Network adapter 1: "+n.MACs[0].Addr.String())
			contains(t, "rinv", inv, "UUID/GUID: "+n.Attr("vpd.uuid"))
			if log := w.Leases(); len(log) != 1 || !strings.HasPrefix(log[0], "import: complete, renewed") || strings.HasSuffix(log[0], "renewed 0") {
				t.Errorf("leases: %q", log)
			}

			var got [][]byte
			v, err := c.M.ExportGuest(t.Context(), c.DB.Snapshot(), n, nil, func(_ int, r io.Reader) error {
				b, err := io.ReadAll(r)
				got = append(got, b)
				return err
			})
			if err != nil || len(got) != 2 || v.Spec.CPUs != 2 {
				t.Fatalf("export: %d disks, %v", len(got), err)
			}
			if b := rawOf(t, got[0]); !bytes.Equal(b, raw) {
				t.Errorf("the disk comes out otherwise: %d bytes", len(b))
			}
			if log := w.Leases(); len(log) != 2 || !strings.HasPrefix(log[1], "export: complete") {
				t.Errorf("leases: %q", log)
			}
		})
	}
}

// slowly makes the first file take a while before it ends.
func slowly(open func(string) (io.ReadCloser, int64, error), wait time.Duration) func(string) (io.ReadCloser, int64, error) {
	return func(name string) (io.ReadCloser, int64, error) {
		f, size, err := open(name)
		if err != nil || name != "a-disk1.vmdk" {
			return f, size, err
		}
		return &slow{f, wait}, size, nil
	}
}

type slow struct {
	io.ReadCloser
	wait time.Duration
}

func (s *slow) Read(p []byte) (int, error) {
	time.Sleep(s.wait)
	s.wait = 0
	return s.ReadCloser.Read(p[:min(len(p), 512)])
}

func rawOf(t testing.TB, stream []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.vmdk"), stream, 0o644); err != nil {
		t.Fatal(err)
	}
	d, _, err := vmdk.OpenAny(os.DirFS(dir), "x.vmdk")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	b, err := io.ReadAll(io.NewSectionReader(d, 0, d.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Whatever goes wrong on the way, the lease is aborted and no guest is left.
func TestPackageFails(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	_, good := appliance(t, somewhere(1<<20))
	cancelled, cancel := context.WithCancel(t.Context())
	for _, tt := range []struct {
		name, part, lease string
		ctx               context.Context
		spoil             func(*vm.PackageRequest)
	}{
		{"a sum that is wrong", "sha256", "abort", t.Context(), func(r *vm.PackageRequest) {
			r.Check = func(f string) error { return errors.New(f + ": sha256 is not what the manifest says") }
		}},
		{"a file that breaks off", "Length", "abort", t.Context(), func(r *vm.PackageRequest) {
			open := r.Open
			r.Open = func(n string) (io.ReadCloser, int64, error) {
				f, size, err := open(n)
				return io.NopCloser(io.LimitReader(f, 100)), size, err
			}
		}},
		{"what is no stream", "500", "abort", t.Context(), func(r *vm.PackageRequest) {
			r.Open = func(string) (io.ReadCloser, int64, error) {
				return io.NopCloser(strings.NewReader("nothing of the kind")), 19, nil
			}
		}},
		{"the operator", "canceled", "abort", cancelled, func(r *vm.PackageRequest) {
			open := r.Open
			r.Open = func(n string) (io.ReadCloser, int64, error) {
				f, size, err := open(n)
				return &ending{f, cancel}, size, err
			}
		}},
		{"a lease that ends", "the host", "timed out", t.Context(), func(r *vm.PackageRequest) {
			w.LeaseTimeout(1)
			r.Open = slowly(r.Open, 2*time.Second)
			w.Refuse("HttpNfcLeaseProgress", &types.InvalidState{}, 100)
		}},
	} {
		req := good
		tt.spoil(&req)
		before := len(w.Leases())
		out := importPackage(t, tt.ctx, c, req)
		if !strings.HasPrefix(out, "vm1: Error: ") || !strings.Contains(out, tt.part) {
			t.Errorf("%s: %s, want %q in it", tt.name, out, tt.part)
		}
		if log := w.Leases(); len(log) != before+1 || !strings.Contains(log[before], tt.lease) {
			t.Errorf("%s: leases %q, want %s", tt.name, log[before:], tt.lease)
		}
		if out := c.List(t, "esx1"); out != "" {
			t.Errorf("%s: left behind: %s", tt.name, out)
		}
	}
}

type ending struct {
	io.ReadCloser
	end func()
}

func (e *ending) Read([]byte) (int, error) {
	e.end()
	return 0, context.Canceled
}

// A disk without a guest is made of a stream too; what carried it is gone.
func TestImportDisk(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	f := files(t, c)
	dir := vm.Path{Datastore: "datastore1", File: "images"}
	if err := f.MakeDir(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	hv := opened(t, c)
	raw := somewhere(2 << 20)
	err := hv.(vm.DiskImporter).ImportDisk(t.Context(), vm.Where{Host: "esx1"}, dir.Join("x.vmdk"), vm.Thin, int64(len(raw)), func(out io.Writer) error {
		s, err := vmdk.NewWriter(out, "x.vmdk", int64(len(raw)), 1)
		if err != nil {
			return err
		}
		if _, err := s.Write(raw); err != nil {
			return err
		}
		return s.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := f.List(t.Context(), vm.Path{Datastore: "datastore1"})
	if err != nil || len(list) != 1 {
		t.Errorf("left behind: %v, %v", list, err)
	}
	d, _, err := vmdk.OpenAny(os.DirFS(w.File(dir.String())), "x.vmdk")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	b, err := io.ReadAll(io.NewSectionReader(d, 0, d.Size()))
	if err != nil || !bytes.Equal(b, raw) {
		t.Errorf("the disk is another: %d bytes, %v", len(b), err)
	}
	if out := c.List(t, "esx1"); out != "" {
		t.Errorf("left behind: %s", out)
	}
}
