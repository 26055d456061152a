package esxi

import (
	"context"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"margay/netboot"
	"margay/nodedb/nodedbtest"
	"margay/provision"
	"margay/provision/media"
	"margay/provision/provisiontest"
	"margay/templates"
)

// TestThroughTheService takes media of several lines in, side by side, and
// follows a node's boot from nodeset to its kickstart, from an unpacked tree
// and from the medium in place.
func TestThroughTheService(t *testing.T) {
	for _, inPlace := range []bool{false, true} {
		ctx := context.Background()
		db := nodedbtest.New(t,
			nodedbtest.Node("esx1", "all", "mac.mac=00:50:56:aa:bb:cc", "hosts.ip=10.1.0.11", "nodetype.arch=x86_64"),
			nodedbtest.Network("mgt", "10.1.0.0", "255.255.0.0"),
			nodedbtest.Password("vmware", "root", "cluster"))
		s := provision.NewService(provision.Config{
			DB: db, State: t.TempDir(), Families: []provision.Family{family()}, HTTPPort: 80,
			Medium: func(path string) (provision.MediumFile, error) { return media.Open(path) },
			Local:  func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.1.0.1/16")} },
		})
		for _, version := range []string{"6.7.0", "8.0.2", "8.0.3"} {
			iso := provisiontest.MakeESXi(t, provisiontest.ESXi{Version: version, Total: 1 << 20})
			if _, err := s.Copycds(ctx, provision.Copy{Path: iso, InPlace: inPlace}); err != nil {
				t.Fatal(err)
			}
		}
		for _, tt := range []struct{ image, kernel string }{
			{"esxi6.7-x86_64-install-base", "kernel=b.b00"},
			{"esxi8.0.2-x86_64-install-hypervisor", "kernel=b.b00"},
			{"esxi8.0.3-x86_64-netboot-hypervisor", "kernel=b.b00"},
		} {
			res, err := s.Nodeset(ctx, []string{"esx1"}, provision.Action{Image: tt.image})
			if err != nil || res[0].Err != nil {
				t.Fatalf("%s: %v, %v", tt.image, res, err)
			}
			follow(t, s, tt.image, tt.kernel)
		}
	}
}

// follow fetches what the node would, each address from the file before it.
func follow(t *testing.T, s *provision.Service, image, kernel string) {
	t.Helper()
	m := netboot.Machine{Addr: netip.MustParseAddr("10.1.0.11"), Local: netip.MustParseAddr("10.1.0.1"), Firmware: netboot.UEFI64}
	get := func(url string) string {
		t.Helper()
		f, err := s.Open(context.Background(), m, strings.TrimPrefix(url, "http://10.1.0.1/"))
		if err != nil {
			t.Fatalf("%s: %s: %v", image, url, err)
		}
		defer f.Body.Close()
		b, err := io.ReadAll(f.Body)
		if err != nil || int64(len(b)) != f.Size {
			t.Fatalf("%s: %s: %d of %d bytes, %v", image, url, len(b), f.Size, err)
		}
		if strings.Contains(url, "/install/") && !onDisk(f.Body) {
			t.Errorf("%s: %s: a %T, which is not sent from a file on disk", image, url, f.Body)
		}
		return string(b)
	}
	chain := strings.Fields(lineOf(get("boot/esx1/script"), "chain "))
	if get(chain[1]) == "" || chain[3] != "-c" {
		t.Errorf("%s: loader %v", image, chain)
	}
	text := get(chain[4])
	c, err := ParseConfig(text)
	if err != nil || lineOf(text, "kernel=") != kernel {
		t.Fatalf("%s: %v\n%s", image, err, text)
	}
	for _, mod := range append([]ConfigModule{c.Kernel()}, c.Modules()...) {
		if get(full(c.Get("prefix"), mod.Path)) == "" {
			t.Errorf("%s: %s is empty", image, mod.Path)
		}
	}
	for _, o := range c.Options() {
		if url, ok := strings.CutPrefix(o, "ks="); ok && !strings.Contains(get(url), "vmaccepteula") {
			t.Errorf("%s: no kickstart at %s", image, url)
		}
	}
}

// onDisk says whether a service can use sendfile.
func onDisk(body any) bool {
	switch b := body.(type) {
	case *os.File:
		return true
	case netboot.Extents:
		f, _, n := b.Extent(0)
		return f != nil && n > 0
	}
	return false
}

// TestEditedTemplateIsSeenAtOnce: scripts are kept, but not beyond an edit.
func TestEditedTemplateIsSeenAtOnce(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	db := nodedbtest.New(t,
		nodedbtest.Node("esx1", "all", "mac.mac=00:50:56:aa:bb:cc", "hosts.ip=10.1.0.11", "nodetype.arch=x86_64"),
		nodedbtest.Network("mgt", "10.1.0.0", "255.255.0.0"),
		nodedbtest.Password("vmware", "root", "cluster"))
	s := provision.NewService(provision.Config{
		DB: db, State: t.TempDir(), Families: []provision.Family{New(templates.New(dir))}, HTTPPort: 80,
		Medium: func(path string) (provision.MediumFile, error) { return media.Open(path) },
		Local:  func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.1.0.1/16")} },
	})
	iso := provisiontest.MakeESXi(t, provisiontest.ESXi{Version: "8.0.2", Total: 1 << 20})
	if _, err := s.Copycds(ctx, provision.Copy{Path: iso}); err != nil {
		t.Fatal(err)
	}
	res, err := s.Nodeset(ctx, []string{"esx1"}, provision.Action{Image: "esxi8.0.2-x86_64-install-base"})
	if err != nil || res[0].Err != nil {
		t.Fatal(err, res)
	}
	m := netboot.Machine{Addr: netip.MustParseAddr("10.1.0.11"), Local: netip.MustParseAddr("10.1.0.1"), Firmware: netboot.UEFI64}
	script := func() string {
		t.Helper()
		f, err := s.Open(ctx, m, "boot/esx1/script")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Body.Close()
		b, err := io.ReadAll(f.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	os.MkdirAll(filepath.Join(dir, "ipxe"), 0o755)
	for _, text := range []string{"", "#!ipxe\n# one\n", "#!ipxe\n# two\n"} {
		if text != "" {
			if err := os.WriteFile(filepath.Join(dir, "ipxe", "esxi.ipxe"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := script(); !strings.HasPrefix(got, text) {
			t.Fatalf("got %s, want %s", got, text)
		}
		time.Sleep(150 * time.Millisecond) // what was changed just now is not kept
		script()
	}
}
