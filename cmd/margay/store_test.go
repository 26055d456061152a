package main

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"margay/cmd/command"
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
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("tcp", client); err == nil {
			c.Close()
			return client
		}
	}
	t.Fatal("etcd does not listen")
	return ""
}

// freePort is a port of loopback that is free, and none of those that the kernel
// gives to whoever does not care: it stays free until it is taken.
func freePort(t interface{ Fatalf(string, ...any) }) string {
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(6000)))
		if err == nil {
			l.Close()
			return l.Addr().String()
		}
	}
	t.Fatalf("no port is free")
	return ""
}

// startServers starts daemons on one store that have one sealing key.
func startServers(t *testing.T, n int, url string, key []byte) (servers []*server) {
	t.Helper()
	for range n {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "state"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "state", "seal.key"), key, 0o600); err != nil {
			t.Fatal(err)
		}
		servers = append(servers, startServer(t, dir, "--store", url))
	}
	return servers
}

// TestStoreName: lsxcatd names the store, and no password.
func TestStoreName(t *testing.T) {
	for text, want := range map[string]command.StoreName{
		"bolt:/s/margay.db":          {Where: "bolt:/s/margay.db", Engine: "bbolt", Name: "/s/margay.db"},
		"etcd://h1,h2:1/x":           {Where: "etcd://h1:2379,h2:1/x", Engine: "etcd", Name: "x/", Host: "h1:2379,h2:1"},
		"etcd://root:secret@[::1]/x": {Where: "etcd://[::1]:2379/x|root", Engine: "etcd", Name: "x/", Host: "[::1]:2379", Admin: "root"},
	} {
		if got := storeName(text); got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
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
	servers := startServers(t, 2, url, key)
	if out := servers[1].must("nodels", "all"); strings.Join(strings.Fields(out), " ") != "n1 n2 n3 n4 n5" {
		t.Errorf("nodels: %q", out)
	}
	if out := servers[1].must("gettab", "--reveal", "key=vmware", "passwd.password"); strings.TrimSpace(out) != "Secret-1" {
		t.Errorf("password: %q", out)
	}
	servers[0].must("chdef", "n1", "usercomment=seen")
	eventually(t, "the other server sees the change", func() bool { return strings.Contains(servers[1].must("lsdef", "n1"), "usercomment=seen") })
}

// TestTwoServersAudit: two daemons on one etcd, both busy, each enter a row for
// each of their commands: none takes another's number, and either has all, and
// removes those of both.
func TestTwoServersAudit(t *testing.T) {
	servers := startServers(t, 2, "etcd://"+startEtcd(t)+"/margay", bytes.Repeat([]byte{7}, 32))
	servers[0].must("mkdef", "n0,n1", "groups=all")
	eventually(t, "the nodes are on the other server", func() bool { _, ok := servers[1].do("nodels", "n0,n1"); return ok })
	busy := func(round string, clients, commands int) {
		var wg sync.WaitGroup
		for i, s := range servers {
			for c := range clients {
				wg.Go(func() {
					for k := range commands {
						s.do("chdef", fmt.Sprint("n", i), fmt.Sprintf("usercomment=%s-%d-%d-%d", round, i, c, k))
					}
				})
			}
		}
		wg.Wait()
	}
	// rows are the numbers of a round's rows, by their commands.
	rows := func(s *server, round string) map[string]int {
		found := make(map[string]int)
		for _, line := range strings.Split(s.must("tabdump", "auditlog"), "\n") {
			id, rest, _ := strings.Cut(strings.TrimPrefix(line, `"`), `"`)
			if _, mark, ok := strings.Cut(rest, "usercomment="+round+"-"); ok {
				mark, _, _ = strings.Cut(mark, `"`)
				found[mark], _ = strconv.Atoi(id)
			}
		}
		return found
	}
	const clients, commands = 3, 15
	all := func(round string) map[string]int {
		t.Helper()
		var found [2]map[string]int
		eventually(t, "both servers have all rows of round "+round, func() bool {
			for i, s := range servers {
				found[i] = rows(s, round)
			}
			return len(found[0]) == 2*clients*commands && maps.Equal(found[0], found[1])
		})
		ids := slices.Sorted(maps.Values(found[0]))
		if n := len(slices.Compact(ids)); n != 2*clients*commands {
			t.Errorf("round %s: %d rows have %d numbers", round, 2*clients*commands, n)
		}
		return found[0]
	}
	busy("a", clients, commands)
	first := all("a")

	// Either removes the oldest of both, and both go on behind the newest.
	last := slices.Max(slices.Collect(maps.Values(first)))
	servers[1].must("tabprune", "auditlog", "-i", fmt.Sprint(last-9))
	for _, s := range servers {
		eventually(t, "the older rows are gone", func() bool { return len(rows(s, "a")) <= 10 })
	}
	busy("b", clients, commands)
	for mark, id := range all("b") {
		if id <= last {
			t.Errorf("%s has the number %d; %d was taken before", mark, id, last)
		}
	}
	servers[0].must("tabprune", "auditlog", "-a")
	eventually(t, "all rows are gone", func() bool { return len(rows(servers[1], "b")) == 0 })
	busy("c", clients, commands)
	all("c")
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
