package main

import (
	"fmt"
	"net"
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
