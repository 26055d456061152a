package dhcp

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"margay/netboot"
	"margay/netboot/netboottest"
)

// A console is a machine's serial line, on which a test waits for words.
type console struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
	more chan struct{}
}

func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text.Write(b)
	select {
	case c.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// waits waits for all of the words.
func (c *console) waits(t *testing.T, words ...string) {
	t.Helper()
	late := time.After(5 * time.Minute)
	for _, w := range words {
		for !strings.Contains(c.String(), w) {
			select {
			case <-c.more:
			case <-late:
				t.Fatalf("the machine does not say %q", w)
			}
		}
	}
}

// boot starts a virtual machine with a kind of firmware on a network.
func boot(t *testing.T, lan *netboottest.LAN, kind string) *console {
	t.Helper()
	if err := lan.Tap("tap0"); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"-accel", "tcg", "-m", "256", "-display", "none", "-vga", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot",
		"-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no",
	}
	if kind == "bios" {
		args = append(args, "-machine", "q35,graphics=off", "-device", "virtio-net-pci,netdev=n0,bootindex=0")
	} else {
		args = append(args, "-machine", "q35", "-device", "virtio-net-pci,netdev=n0,romfile=,bootindex=0", "-device", "virtio-rng-pci",
			"-drive", "if=pflash,format=raw,readonly=on,file="+firmwareFile(t, "OVMF_CODE_4M.fd"),
			"-drive", "if=pflash,format=raw,file="+copied(t, firmwareFile(t, "OVMF_VARS_4M.fd")))
	}
	if kind == "uefi-http" {
		args = append(args, "-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n", "-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n")
	}
	c := &console{more: make(chan struct{}, 1)}
	cmd := exec.Command(netboottest.Binary(t, "qemu-system-x86_64"), args...)
	cmd.Stdout, cmd.Stderr = c, c
	if err := lan.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("console:\n%s", c)
		}
	})
	return c
}

func firmwareFile(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join("/usr/share/OVMF", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v; the package ovmf has it", err)
	}
	return path
}

func copied(t *testing.T, path string) string {
	t.Helper()
	from, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.Create(filepath.Join(t.TempDir(), filepath.Base(path)))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	return to.Name()
}

// TestRealFirmware: real firmware takes our replies, on its own and beside a
// dnsmasq that gives the addresses.
func TestRealFirmware(t *testing.T) {
	if os.Getenv("MARGAY_TEST_REAL") == "" {
		t.Skip("boots virtual machines for a minute; MARGAY_TEST_REAL=1 runs it")
	}
	says := map[string][]string{
		"bios":      {"Filename: http://10.1.0.1/boot/esx1/script"},
		"uefi-pxe":  {"Server IP address is 10.1.0.1", "NBP filename is xcat/xnba.efi"},
		"uefi-http": {"URI: http://10.1.0.1/boot/esx1/bootx64.efi"},
	}
	for kind, words := range says {
		for _, mode := range []Mode{Authoritative, Proxy} {
			t.Run(kind+"/"+mode.String(), func(t *testing.T) {
				firmwareTakes(t, kind, mode, words)
			})
		}
	}
}

func firmwareTakes(t *testing.T, kind string, mode Mode, words []string) {
	lan := netboottest.NewLAN(t)
	us := lan.NewHost(t, "10.1.0.1/16")
	wire := netboottest.NewCapture(t, us, "eth0", nil)
	ev := make(events, 64)
	addr := "10.1.0.11"
	if mode == Proxy {
		addr = "10.1.1." // dnsmasq's range
		dnsmasqOn(t, lan.NewHost(t, "10.1.0.2/16"))
	}
	serveOn(t, us, &Server{Observer: ev, Planner: planFunc(func(_ context.Context, m netboot.Machine) (*netboot.Plan, error) {
		p := testPlan
		p.File = file(&m)
		return &p, nil
	})}, mode)
	if kind == "bios" { // or iPXE waits 16 seconds for an IPv6 router
		go us.Do(func() {
			if err := AdvertiseNone(t.Context(), "eth0"); err != nil {
				t.Error(err)
			}
		})
	}
	c := boot(t, lan, kind)
	own := "Station IP address is " + addr
	if kind == "bios" {
		own = "net0: " + addr
	}
	c.waits(t, append(words, own)...)
	acked := false
	for len(ev) > 0 {
		e := <-ev
		acked = acked || e.Step == netboot.StepAck
		if e.Err != nil {
			t.Errorf("%s: %v", e.Step, e.Err)
		}
	}
	if acked != (mode == Authoritative) {
		t.Errorf("acknowledged: %v", acked)
	}
	if n := wire.Count(t, "dhcp && ip.src == 10.1.0.1"); n == 0 {
		t.Error("no reply was captured")
	}
	if n := wire.Count(t, "icmpv6.type == 134"); n == 0 && kind == "bios" {
		t.Error("no advertisement was captured")
	}
	if n := wire.Count(t, "icmpv6.type == 134 && (_ws.malformed || _ws.expert.severity >= 0x600000)"); n > 0 {
		t.Errorf("tshark complains of %d advertisements", n)
	}
	if bad := wire.Complaints(t, ourAddr, "dhcp"); len(bad) > 0 {
		t.Errorf("tshark complains:\n%s", strings.Join(bad, "\n"))
	}
}

// dnsmasqOn has dnsmasq give addresses of 10.1.1.0/24, and nothing to boot.
func dnsmasqOn(t *testing.T, h *netboottest.Host) {
	t.Helper()
	cmd := exec.Command(netboottest.Binary(t, "dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=eth0", "--pid-file=",
		"--dhcp-range=10.1.1.1,10.1.1.200,2m", "--dhcp-leasefile="+t.TempDir()+"/leases", "--user=root", "--no-ping")
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
}
