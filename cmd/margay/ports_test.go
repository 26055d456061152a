package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestPortHeld: a port that is held is named, with who holds it and the way
// out.
func TestPortHeld(t *testing.T) {
	s := startServer(t, t.TempDir())
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, tt := range []struct{ service, flag string }{{"http", "--http"}, {"tftp", "--tftp"}, {"dns", "--dns"}, {"dhcp", "--dhcp"}} {
		addr := s.port(tt.service).String()
		flags := map[string]string{"--http": "off", "--tftp": "off", "--dns": "off", "--dhcp": "off"}
		flags[tt.flag] = addr
		args := []string{"serve", "--state", dir, "--socket", dir + "/s", "--interface", "lo"}
		for f, v := range flags {
			args = append(args, f, v)
		}
		cmd := exec.Command(exe, args...)
		cmd.Env = append(os.Environ(), runAsMargay+"=1")
		out, err := cmd.CombinedOutput()
		want := fmt.Sprintf("(pid %d); stop that, or give another with %s", s.cmd.Process.Pid, tt.flag)
		if err == nil || !strings.Contains(string(out), want) || !strings.Contains(string(out), addr) {
			t.Errorf("%s: %v, %s\nwant the port and %q", tt.service, err, out, want)
		}
	}
}

// TestPortOwner: who holds the same number at another address is not in the way.
func TestPortOwner(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port, own := l.Addr().(*net.TCPAddr).Port, fmt.Sprintf("(pid %d)", os.Getpid())
	for addr, want := range map[string]bool{"127.0.0.2": true, "0.0.0.0": true, "127.0.0.3": false, "::1": false} {
		if got := portOwner("tcp", netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(port))); strings.HasSuffix(got, own) != want {
			t.Errorf("%s: held by %q, which should be us: %v", addr, got, want)
		}
	}
	for text, want := range map[string]string{
		"0100007F:0016": "127.0.0.1:22", "00000000:0045": "0.0.0.0:69", "00000000000000000000000001000000:0050": "[::1]:80",
		"0000000000000000FFFF00000100007F:0050": "127.0.0.1:80",
	} {
		if got, ok := procAddr(text); !ok || got.String() != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{"", "x:y", "0100007F", "01007F:0016", "0100007F:00016000"} {
		if got, ok := procAddr(text); ok {
			t.Errorf("%q is %s", text, got)
		}
	}
}

// TestPortHolders: who else holds a port is named, and we ourselves are not.
func TestPortHolders(t *testing.T) {
	s := startServer(t, t.TempDir())
	for network, service := range map[string]string{"udp": "tftp", "tcp": "http"} {
		want := fmt.Sprintf("(pid %d)", s.cmd.Process.Pid)
		got := portHolders(network, int(s.port(service).Port()))
		// Others may hold the same number at another address.
		if n := strings.Count(strings.Join(got, " "), want); n != 1 {
			t.Errorf("%s: held by %q, want %q in it, once", service, got, want)
		}
	}
	own, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if got := portHolders("tcp", own.Addr().(*net.TCPAddr).Port); strings.Contains(strings.Join(got, " "), fmt.Sprintf("(pid %d)", os.Getpid())) {
		t.Errorf("our own port is held by %q", got)
	}
}
