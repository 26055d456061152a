package netboottest

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"margay/netboot"
	"margay/netboot/dhcp"
	"margay/netboot/httpd"
	"margay/netboot/rom"
	"margay/netboot/tftp"
)

// A site decides for a thousand machines, from their MAC alone.
type site struct {
	dir  string // the install tree
	base string // URL of the HTTP server
}

func (s *site) addr(n int) netip.Addr { return netip.AddrFrom4([4]byte{127, 1, byte(n >> 8), byte(n)}) }

func stormMAC(n int) net.HardwareAddr {
	return net.HardwareAddr{0x52, 0x54, 0, 0, byte(n >> 8), byte(n)}
}

func (s *site) Plan(_ context.Context, m netboot.Machine) (*netboot.Plan, error) {
	n := int(m.MAC[4])<<8 | int(m.MAC[5])
	p := &netboot.Plan{
		Node:  fmt.Sprintf("n%d", n),
		Addr:  netip.PrefixFrom(s.addr(n), 8),
		Lease: time.Hour,
		Next:  netip.MustParseAddr("127.0.0.1"),
	}
	switch {
	case m.HTTPBoot:
		p.File = fmt.Sprintf("%s/boot/n%d/bootx64.efi", s.base, n)
	case m.Loader:
		p.File = fmt.Sprintf("%s/boot/n%d/script", s.base, n)
	case m.PXE:
		p.File = "xcat/xnba.efi"
	}
	return p, nil
}

func (s *site) Open(_ context.Context, m netboot.Machine, name string) (*netboot.File, error) {
	name, _, _ = strings.Cut(name, "?")
	if rest, ok := strings.CutPrefix(name, "boot/"); ok {
		node, file, _ := strings.Cut(rest, "/")
		if i := strings.LastIndex(file, "boot.cfg"); i > 0 {
			file = "boot.cfg" // UEFI HTTP: below a directory named by the MAC
		}
		if file != "bootx64.efi" {
			return s.made(node, file)
		}
		name = "tree/efi/boot/bootx64.efi"
	}
	f, err := os.Open(filepath.Join(s.dir, filepath.FromSlash(name)))
	if err != nil {
		return nil, netboot.ErrNotFound
	}
	info, err := f.Stat()
	return &netboot.File{Name: name, Body: f, Size: info.Size(), ModTime: info.ModTime()}, err
}

func (s *site) made(node, file string) (*netboot.File, error) {
	text := map[string]string{
		"script":   "#!ipxe\nchain " + s.base + "/tree/efi/boot/bootx64.efi -e -c " + s.base + "/boot/" + node + "/boot.cfg\n",
		"boot.cfg": "prefix=" + s.base + "/tree\nkernel=b.b00\nkernelopt=runweasel ks=" + s.base + "/boot/" + node + "/ks.cfg?t=x\nmodules=" + strings.Join(stormModules(), " --- ") + "\n",
		"ks.cfg":   "vmaccepteula\nrootpw --iscrypted $6$a$b\ninstall --firstdisk\nreboot\n",
	}[file]
	if text == "" {
		return nil, netboot.ErrNotFound
	}
	return &netboot.File{Node: node, Name: file, Body: inMemory{bytes.NewReader([]byte(text))}, Size: int64(len(text))}, nil
}

func stormModules() []string { return []string{"m1.v00", "m2.v00", "m3.v00", "m4.v00"} }

// tree writes an install tree with modules of a size each.
func (s *site) tree(t testing.TB, size int) {
	t.Helper()
	efi := make([]byte, 100_000)
	copy(efi, "MZ")
	efi[0x3c] = 0x40
	copy(efi[0x40:], "PE\x00\x00\x64\x86")
	files := map[string][]byte{"xcat/xnba.efi": efi, "tree/efi/boot/bootx64.efi": efi, "tree/efi/boot/crypto64.efi": efi, "tree/b.b00": packed(size)}
	for _, m := range stormModules() {
		files["tree/"+m] = packed(size)
	}
	for name, data := range files {
		path := filepath.Join(s.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func packed(size int) []byte {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.NoCompression)
	z.Write(noise(size))
	z.Close()
	return b.Bytes()
}

// A thousand machines boot at once, by all that is served, over UEFI and HTTP
// boot: not one fails, and the servers keep nothing of them.
func TestBootStorm(t *testing.T) {
	machines := 1000
	if testing.Short() {
		machines = 100
	}
	s := &site{dir: t.TempDir()}
	s.tree(t, 200_000)
	ctx, cancel := context.WithCancel(t.Context())
	var servers sync.WaitGroup
	defer servers.Wait()
	defer cancel()

	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.base = "http://" + l.Addr().String()
	web := &httpd.Server{Opener: s, Sends: 64}
	servers.Go(func() { web.Serve(ctx, l) })

	u, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	files := &tftp.Server{Opener: s}
	servers.Go(func() { files.Serve(ctx, u) })

	d, err := dhcp.ListenAddr(ctx, netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	servers.Go(func() { (&dhcp.Server{Planner: s}).Serve(ctx, d) })

	began := time.Now()
	took := make([]time.Duration, machines)
	var all sync.WaitGroup
	for n := range machines {
		m := &rom.Machine{
			MAC: stormMAC(n), Firmware: rom.UEFI, DHCP: d.Addr(), Source: s.addr(n),
			TFTPPort: uint16(u.LocalAddr().(*net.UDPAddr).Port), Patience: time.Minute,
		}
		if n%2 == 1 {
			m.Firmware = rom.UEFIHTTP
		}
		all.Go(func() {
			r, err := m.Boot(ctx, nil)
			if err != nil {
				t.Errorf("machine %d: %v", n, err)
			} else if r.Outcome != rom.ESXi || len(r.Modules) != 4 || r.Answer == "" {
				t.Errorf("machine %d: %+v", n, r)
			}
			took[n] = time.Since(began)
		})
	}
	all.Wait()
	slices.Sort(took)
	var mem runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&mem)
	t.Logf("%d machines in %v, median %v, %d MB of heap left", machines, time.Since(began), took[machines/2], mem.HeapAlloc>>20)
	if left := files.Load(); left.Dropped != 0 {
		t.Errorf("TFTP dropped %d requests", left.Dropped)
	}
	nothingLeft(t, files)
	if mem.HeapAlloc > 100<<20 {
		t.Errorf("%d MB of heap are left", mem.HeapAlloc>>20)
	}
}

// nothingLeft waits for the transfers that requests sent twice have begun, to
// ports that are closed by now: they are given up after some seconds.
func nothingLeft(t *testing.T, s *tftp.Server) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); s.Load().Transfers > 0; <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("TFTP is left with %+v", s.Load())
		}
	}
}
