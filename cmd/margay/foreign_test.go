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
	for _, tt := range []struct {
		name, want string
		args       []string
	}{
		{"boot files only", "FAIL other DHCP servers on eth0: 10.5.0.2 (boot files only) answers there, but nobody gives addresses, and in proxy mode neither do we; start the other server", []string{"--dhcp-range=10.5.0.0,proxy", "--pxe-service=x86PC,margay,pxelinux"}},
		{"addresses", "ok   other DHCP servers on eth0: 10.5.0.2 answers there, as it should in proxy mode", []string{"--dhcp-range=10.5.0.100,10.5.0.200"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command(dnsmasq, append([]string{"-p", "0", "--no-daemon", "--conf-file=/dev/null", "--interface=eth0", "--dhcp-leasefile=/dev/null", "--no-ping", "--log-dhcp"}, tt.args...)...)
			said := &lockedBuffer{}
			cmd.Stdout, cmd.Stderr = said, said
			if err := other.Start(cmd); err != nil {
				t.Fatal(err)
			}
			defer func() {
				cmd.Process.Kill()
				cmd.Wait()
			}()
			says(t, said, "DHCP", time.Minute) // it serves
			if text, _ := s.do("doctor"); !strings.Contains(text, tt.want) {
				t.Errorf("doctor says\n%s\nwant %q; dnsmasq:\n%s", text, tt.want, said)
			}
		})
	}
}
