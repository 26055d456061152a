package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"margay/netboot/netboottest"
)

// TestClients has an ordinary host ask for what the daemon serves, with the
// clients that Debian has, each by a protocol of its own.
func TestClients(t *testing.T) {
	l := newLab(t)
	host := l.lan.NewHost(t)
	l.run(t, "chtab", "key=domain", "site.value=cluster.test")
	l.run(t, "mkdef", "-t", "node", "esx9", "groups=all", "ip=10.77.0.19", "mac="+host.MAC("eth0").String())

	t.Run("dhclient", func(t *testing.T) {
		dhclient(t, host, "new_ip_address=10.77.0.19", "new_domain_name=cluster.test", "new_host_name=esx9")
	})
	t.Run("tftp", func(t *testing.T) { compareLoader(t, host) })
	t.Run("curl", func(t *testing.T) { curlRefused(t, host) })
	t.Run("dig", func(t *testing.T) { dig(t, host) })
}

// dhclient gives the host the address that the table has for it, and is told
// what we want.
func dhclient(t *testing.T, h *netboottest.Host, want ...string) {
	dir := t.TempDir()
	script, told := filepath.Join(dir, "script"), filepath.Join(dir, "told")
	text := "#!/bin/sh\nenv >> " + told + "\ncase $reason in BOUND) ip address add $new_ip_address/24 dev eth0;; esac\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	pid := filepath.Join(dir, "pid")
	out, err := run(t, h, "dhclient", "-4", "-1", "-v", "-sf", script, "-cf", "/dev/null",
		"-lf", filepath.Join(dir, "leases"), "-pf", pid, "eth0")
	if err != nil {
		t.Fatalf("dhclient: %v\n%s", err, out)
	}
	t.Cleanup(func() { run(t, h, "dhclient", "-x", "-pf", pid, "-sf", "/bin/true", "eth0") })
	env, err := os.ReadFile(told)
	if err != nil {
		t.Fatal(err)
	}
	words(env).has(t, want...)
}

// compareLoader fetches a boot loader by TFTP and by HTTP, whole and in part.
func compareLoader(t *testing.T, h *netboottest.Host) {
	file := filepath.Join(t.TempDir(), "loader")
	if out, err := run(t, h, "tftp", "-m", "binary", serverAddr, "-c", "get", "xcat/xnba.kpxe", file); err != nil {
		t.Fatalf("tftp: %v\n%s", err, out)
	}
	byTFTP, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	url := base + "/tftpboot/xcat/xnba.kpxe"
	byHTTP, err := curl(t, h, url)
	if err != nil || len(byHTTP) < 50_000 || !bytes.Equal(byTFTP, byHTTP) {
		t.Errorf("xnba.kpxe: %d bytes by TFTP, %d by HTTP, %v", len(byTFTP), len(byHTTP), err)
	}
	part, err := curl(t, h, "-r", "1000-1999", url)
	if err != nil || !bytes.Equal(part, byHTTP[1000:2000]) {
		t.Errorf("range of 1000 bytes: got %d, %v", len(part), err)
	}
}

// curlRefused asks for another node's files.
func curlRefused(t *testing.T, h *netboottest.Host) {
	out, err := curl(t, h, "-w", "%{http_code}", "-o", "/dev/null", base+"/boot/esx8/script")
	if err == nil || !strings.Contains(string(out), "404") {
		t.Errorf("a node that is not: got %s, %v; want 404", out, err)
	}
}

func dig(t *testing.T, h *netboottest.Host) {
	tests := []struct{ args, want string }{
		{"esx9.cluster.test", "10.77.0.19"},
		{"-x 10.77.0.19", "esx9.cluster.test."},
		{"+tcp esx9.cluster.test", "10.77.0.19"},
	}
	for _, tt := range tests {
		args := append([]string{"@" + serverAddr, "+short", "+time=3", "+tries=2"}, strings.Fields(tt.args)...)
		out, err := run(t, h, "dig", args...)
		if got := strings.TrimSpace(string(out)); err != nil || got != tt.want {
			t.Errorf("dig %s: got %q, %v; want %q", tt.args, got, err, tt.want)
		}
	}
}

// curl runs curl on a host.
func curl(t *testing.T, h *netboottest.Host, args ...string) ([]byte, error) {
	t.Helper()
	return run(t, h, "curl", append([]string{"-sS", "-f", "--max-time", "20"}, args...)...)
}

// run runs a program on a host to its end.
func run(t *testing.T, h *netboottest.Host, name string, args ...string) (out []byte, err error) {
	t.Helper()
	cmd := exec.Command(netboottest.Binary(t, name), args...)
	h.Do(func() { out, err = cmd.CombinedOutput() })
	return out, err
}
