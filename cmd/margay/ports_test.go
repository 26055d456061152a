package main

import (
	"fmt"
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
