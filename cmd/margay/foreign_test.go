package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"margay/netboot/netboottest"
)

// TestForeignDHCP: beside a server that gives addresses margay leaves the
// interface alone and names it; told to be a proxy, or forced, it serves.
func TestForeignDHCP(t *testing.T) {
	dnsmasq := netboottest.Binary(t, "dnsmasq")
	lan := netboottest.NewLAN(t)
	other, ours := lan.NewHost(t, "10.5.0.2/24"), lan.NewHost(t, "10.5.0.1/24")
	started := exec.Command(dnsmasq, "-p", "0", "--no-daemon", "--conf-file=/dev/null", "--interface=eth0", "--dhcp-range=10.5.0.100,10.5.0.200", "--dhcp-leasefile=/dev/null", "--no-ping")
	said := &lockedBuffer{}
	started.Stdout, started.Stderr = said, said
	if err := other.Start(started); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		started.Process.Kill()
		started.Wait()
	})
	says(t, said, "DHCP", time.Minute) // it serves
	for _, tt := range []struct {
		name, want string
		flags      []string
	}{
		{"left alone", "NOT SERVED: 10.5.0.2 gives addresses there", []string{"--interface", "eth0"}},
		{"forced", "dhcp   eth0 10.5.0.1/24\n", []string{"--interface", "eth0", "--dhcp", "force"}},
		{"proxy", "dhcp   eth0 10.5.0.1/24, proxy: boot files only\n", []string{"--interface", "eth0=proxy"}},
	} {
		out := serveOn(t, ours, tt.flags...)
		if !strings.Contains(out, tt.want) {
			t.Errorf("%s: it says\n%s\nwant %q", tt.name, out, tt.want)
		}
	}
}

// serveOn starts the daemon on a host until it is ready, ends it, and returns
// what it said.
func serveOn(t *testing.T, h *netboottest.Host, flags ...string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	args := append([]string{"serve", "--state", dir, "--socket", filepath.Join(dir, "s"), "--dns", "off"}, flags...)
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), runAsMargay+"=1")
	out := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(out.String(), "ready\n"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %s", out)
		}
	}
	return out.String()
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startOther runs another's server on h until the test ends, and returns what it
// says; of a test that failed that is shown.
func startOther(t *testing.T, h *netboottest.Host, cmd *exec.Cmd) *lockedBuffer {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(cmd.Path), said)
		}
	})
	return said
}

// TestDoctorProxy: in proxy mode doctor finds that nobody gives addresses, and
// names who does once there is such a server; one that only has boot files, as
// we do, is none.
func TestDoctorProxy(t *testing.T) {
	dnsmasq := netboottest.Binary(t, "dnsmasq")
	lan := netboottest.NewLAN(t)
	other, ours := lan.NewHost(t, "10.5.0.2/24"), lan.NewHost(t, "10.5.0.1/24")
	s, _ := startOn(t, ours, "--interface", "eth0=proxy")
	const nobody = "FAIL other DHCP servers on eth0: nobody gives addresses there, and in proxy mode neither do we; start the other server, or serve with authority"
	if text, ok := s.do("doctor"); ok || !strings.Contains(text, nobody) {
		t.Errorf("beside nobody, doctor says (%v)\n%s", ok, text)
	}
	t.Run("firewall", func(t *testing.T) {
		nft := netboottest.Binary(t, "nft")
		filter := func(words string) {
			t.Helper()
			if err := ours.Run(exec.Command(nft, words)); err != nil {
				t.Fatalf("nft %s: %v", words, err)
			}
		}
		filter("table inet t { chain in { type filter hook input priority 0; udp dport 4011 drop; }; }")
		defer filter("delete table inet t")
		if text, _ := s.do("doctor", "--quick"); !strings.Contains(text, "FAIL firewall: proxy DHCP (udp 4011) on eth0 is dropped") {
			t.Errorf("port 4011 is shut, and doctor says\n%s", text)
		}
	})
	for _, tt := range []struct {
		name, want string
		args       []string
	}{
		{"boot files only", "FAIL other DHCP servers on eth0: 10.5.0.2 (boot files only) answers there, but nobody gives addresses, and in proxy mode neither do we; start the other server", []string{"--dhcp-range=10.5.0.0,proxy", "--pxe-service=x86PC,margay,pxelinux"}},
		{"addresses", "ok   other DHCP servers on eth0: 10.5.0.2 answers there, as it should in proxy mode", []string{"--dhcp-range=10.5.0.100,10.5.0.200"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command(dnsmasq, append([]string{"-p", "0", "--no-daemon", "--conf-file=/dev/null", "--interface=eth0", "--dhcp-leasefile=/dev/null", "--no-ping", "--log-dhcp"}, tt.args...)...)
			said := startOther(t, other, cmd)
			says(t, said, "DHCP", time.Minute) // it serves
			if text, _ := s.do("doctor"); !strings.Contains(text, tt.want) {
				t.Errorf("doctor says\n%s\nwant %q; dnsmasq:\n%s", text, tt.want, said)
			}
		})
	}
}

// TestNoInterface: a site that names no interface of ours is told that nobody is
// served.
func TestNoInterface(t *testing.T) {
	ours := netboottest.NewLAN(t).NewHost(t, "10.5.0.1/24")
	s, _ := startOn(t, ours)
	s.must("chtab", "key=dhcpinterfaces", "site.value=nosuch0")
	s.kill()
	s, _ = startIn(t, ours, s.dir)
	defer s.kill()
	const want = "FAIL service DHCP: served on no interface; correct site.dhcpinterfaces"
	if text, ok := s.do("doctor", "--quick"); ok || !strings.Contains(text, want) {
		t.Errorf("doctor says (%v)\n%s\nwant %q", ok, text, want)
	}
}

// TestDHCPOff: on an interface that is left to others by =off, or by the site's
// dhcpinterfaces, margay says nothing to a node of its own, another server
// serves it, and doctor takes it for no fault; TFTP is served there all the same.
func TestDHCPOff(t *testing.T) {
	dnsmasq := netboottest.Binary(t, "dnsmasq")
	lan, beside := netboottest.NewLAN(t), netboottest.NewLAN(t)
	ours, other, client := lan.NewHost(t, "10.5.0.1/24"), beside.NewHost(t, "10.6.0.2/24"), beside.NewHost(t)
	if err := beside.Attach(ours, "eth1", "10.6.0.1/24"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		flags []string
		left  func(s *server) *server // with the daemon that leaves eth1 to others
	}{
		{"flag", []string{"--interface", "eth0", "--interface", "eth1=off"}, func(s *server) *server { return s }},
		{"site", nil, func(s *server) *server {
			s.must("chtab", "key=dhcpinterfaces", "site.value=eth0")
			s.kill()
			again, _ := startIn(t, ours, s.dir)
			return again
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := startOn(t, ours, tt.flags...)
			s = tt.left(s)
			defer s.kill()
			s.must("mkdef", "n1", "groups=all", "ip=10.6.0.50", "mac="+client.MAC("eth0").String())
			if text, _ := s.do("doctor"); !strings.Contains(text, "ok   other DHCP servers on eth1: nobody answers there, and by our DHCP nobody is served\n") {
				t.Errorf("beside nobody, doctor says\n%s", text)
			}
			cmd := exec.Command(dnsmasq, "-p", "0", "--no-daemon", "--conf-file=/dev/null", "--interface=eth0", "--dhcp-leasefile=/dev/null", "--no-ping", "--dhcp-range=10.6.0.100,10.6.0.200")
			said := startOther(t, other, cmd)
			says(t, said, "DHCP", time.Minute) // it serves
			if told := lease(t, client); !strings.Contains(told, "new_dhcp_server_identifier=10.6.0.2\n") {
				t.Errorf("the client is told\n%s", told)
			}
			if text, _ := s.do("doctor"); !strings.Contains(text, "ok   other DHCP servers on eth1: 10.6.0.2 answers there, and by our DHCP nobody is served\n") {
				t.Errorf("doctor says\n%s", text)
			}
			on(t, client, "ip", "address", "replace", "10.6.0.150/24", "dev", "eth0")
			if size := on(t, client, "curl", "-sS", "-m", "60", "-o", "/dev/null", "-w", "%{size_download}", "tftp://10.6.0.1/xcat/xnba.efi"); size == "0" {
				t.Error("the loader is empty")
			}
		})
	}
}
