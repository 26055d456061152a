package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"margay/netboot/netboottest"
)

// startEtcd starts a real etcd on loopback and returns its endpoint.
func startEtcd(t *testing.T) string {
	t.Helper()
	bin := netboottest.Binary(t, "etcd")
	client, peer := freePort(t), freePort(t)
	cmd := exec.Command(bin, "--data-dir", t.TempDir(), "--listen-client-urls", "http://"+client, "--advertise-client-urls", "http://"+client,
		"--listen-peer-urls", "http://"+peer, "--initial-advertise-peer-urls", "http://"+peer, "--initial-cluster", "default=http://"+peer)
	cmd.Env = append(os.Environ(), "ETCD_UNSUPPORTED_ARCH=arm64")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("tcp", client); err == nil {
			c.Close()
			return client
		}
	}
	t.Fatal("etcd does not listen")
	return ""
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestTwoServers: two daemons on one etcd answer alike, and a table moves
// there from a file with its secrets.
func TestTwoServers(t *testing.T) {
	end := startEtcd(t)
	alone := startServer(t, t.TempDir())
	alone.must("mkdef", "n[1-5]", "groups=all", "arch=x86_64")
	alone.must("chtab", "key=vmware", "passwd.username=root", "passwd.password=Secret-1")
	alone.kill()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	url := "etcd://" + end + "/margay"
	cp := func() (string, error) {
		cmd := exec.Command(exe, "store", "copy", "bolt:"+filepath.Join(alone.dir, "state", "margay.db"), url)
		cmd.Env = append(os.Environ(), runAsMargay+"=1")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := cp(); err != nil || !strings.Contains(out, "records copied") {
		t.Fatalf("%s %v", out, err)
	}
	if out, err := cp(); err == nil || !strings.Contains(out, "empty") {
		t.Errorf("copied over a table that is there: %s", out)
	}
	key, err := os.ReadFile(filepath.Join(alone.dir, "state", "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	servers := []*server{}
	for range 2 {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "state"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "state", "seal.key"), key, 0o600); err != nil {
			t.Fatal(err)
		}
		servers = append(servers, startServer(t, dir, "--store", url))
	}
	if out := servers[1].must("nodels", "all"); strings.Join(strings.Fields(out), " ") != "n1 n2 n3 n4 n5" {
		t.Errorf("nodels: %q", out)
	}
	if out := servers[1].must("gettab", "--reveal", "key=vmware", "passwd.password"); strings.TrimSpace(out) != "Secret-1" {
		t.Errorf("password: %q", out)
	}
	servers[0].must("chdef", "n1", "usercomment=seen")
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if strings.Contains(servers[1].must("lsdef", "n1"), "usercomment=seen") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the other server never sees the change")
		}
	}
}
