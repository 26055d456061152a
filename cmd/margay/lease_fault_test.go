package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"margay/netboot/netboottest"
)

// A crowd is machines that take leases through relays on this host, and what
// they were told.
type crowd struct {
	loss float64

	mu     sync.Mutex // guards all below
	server []netip.AddrPort
	has    map[int]netip.Addr // by machine
	whose  map[netip.Addr]int
	twice  []string
}

func newCrowd(loss float64) *crowd {
	return &crowd{loss: loss, has: map[int]netip.Addr{}, whose: map[netip.Addr]int{}}
}

func crowdMAC(i int) net.HardwareAddr {
	return net.HardwareAddr{0x52, 0x54, 2, byte(i >> 16), byte(i >> 8), byte(i)}
}

// at says where servers listen now, in turns.
func (c *crowd) at(i int) netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server[i%len(c.server)]
}

func (c *crowd) serve(servers ...netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server = servers
}

// told notes what a machine was given.
func (c *crowd) told(i int, a netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if other, taken := c.whose[a]; taken && other != i {
		c.twice = append(c.twice, fmt.Sprintf("%s was given to machine %d and to machine %d", a, other, i))
	}
	c.has[i], c.whose[a] = a, i
}

func (c *crowd) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.has)
}

// take has machines first to last take leases, 64 at once, and returns when
// all have one.
func (c *crowd) take(t *testing.T, first, last int, limit time.Duration) {
	t.Helper()
	until := time.Now().Add(limit)
	next := make(chan int)
	var all sync.WaitGroup
	for w := range 64 {
		r, err := netboottest.NewRelay(netip.MustParseAddr("127.0.0.1"), uint64(w))
		if err != nil {
			t.Fatal(err)
		}
		r.Loss = c.loss
		all.Go(func() {
			defer r.Close()
			for i := range next {
				// Short turns: the server may be another one by the next.
				for time.Now().Before(until) {
					a, err := r.Lease(c.at(i), crowdMAC(i), netip.Addr{}, time.Now().Add(time.Second))
					if err == nil {
						c.told(i, a)
						break
					}
				}
			}
		})
	}
	for i := first; i < last; i++ {
		next <- i
	}
	close(next)
	all.Wait()
}

// check holds what machines were told against the table.
func (c *crowd) check(t *testing.T, s *server, want int) {
	t.Helper()
	for _, text := range c.twice {
		t.Error(text)
	}
	if len(c.has) != want {
		t.Errorf("%d machines have a lease, want %d", len(c.has), want)
	}
	if lost := c.lost(s); lost > 0 {
		t.Errorf("%d leases that were acknowledged are not in the table", lost)
	}
}

// lost counts leases that were acknowledged and that a server does not have.
func (c *crowd) lost(s *server) int {
	table := map[string]string{}
	for line := range strings.Lines(s.must("leases")) {
		if f := strings.Fields(line); len(f) > 1 {
			table[f[0]] = f[1]
		}
	}
	lost := 0
	for i, a := range c.has {
		if table[a.String()] != crowdMAC(i).String() {
			lost++
		}
	}
	return lost
}

var dhcpPort = regexp.MustCompile(`dhcp +(127\.0\.0\.\d+:\d+)\n`)

// dhcpAt is where a daemon answers relays.
func (s *server) dhcpAt(t *testing.T) netip.AddrPort {
	t.Helper()
	m := dhcpPort.FindStringSubmatch(s.said)
	if m == nil {
		t.Fatalf("it does not say where it serves DHCP:\n%s", s.said)
	}
	return netip.MustParseAddrPort(m[1])
}

// leasing starts a daemon that has a dynamic range of 51,200 addresses.
func leasing(t *testing.T, dir string, flags ...string) *server {
	t.Helper()
	s := startServer(t, dir, flags...)
	s.must("chtab", "key=dhcppingcheck", "site.value=no")
	s.must("chdef", "-t", "network", "127_0_0_0-255_0_0_0", "dynamicrange=127.1.0.1-127.1.200.254")
	return s
}

// TestKillLeases kills the daemon over and over while 20,000 machines take
// leases over a bad line: no address is ever given twice, and none that was
// acknowledged is forgotten.
func TestKillLeases(t *testing.T) {
	const machines = 20000
	dir := t.TempDir()
	s := leasing(t, dir)
	c := newCrowd(0.02)
	c.serve(s.dhcpAt(t))
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.take(t, 0, machines, 4*time.Minute)
	}()
	kills := 0
	for over := false; !over; {
		select {
		case <-done:
			over = true
		case <-time.After(time.Duration(400+rand.IntN(600)) * time.Millisecond):
			if kills < 6 {
				s.kill()
				s = startServer(t, dir)
				c.serve(s.dhcpAt(t))
				kills++
			}
		}
	}
	c.check(t, s, machines)
	if kills < 3 {
		t.Errorf("killed only %d times", kills)
	}
	s.kill() // and once more with nothing under way
	s = startServer(t, dir)
	c.check(t, s, machines)
}

// TestTwoServersLease: two daemons on one etcd, each asked by half of the
// machines out of one range, never give an address twice. When one is gone the
// other acknowledges its leases.
func TestTwoServersLease(t *testing.T) {
	const machines = 1000
	url := "etcd://" + startEtcd(t) + "/margay"
	dirs := []string{t.TempDir(), t.TempDir()}
	a := leasing(t, dirs[0], "--store", url)
	key, err := os.ReadFile(filepath.Join(dirs[0], "state", "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dirs[1], "state"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dirs[1], "state", "seal.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	b := startServer(t, dirs[1], "--store", url, "--dhcp", "127.0.0.2:0")
	c := newCrowd(0)
	c.serve(a.dhcpAt(t), b.dhcpAt(t))
	c.take(t, 0, machines, 3*time.Minute)
	for end := time.Now().Add(time.Minute); c.lost(b) > 0 && time.Now().Before(end); { // it hears of the other's from etcd
		time.Sleep(50 * time.Millisecond)
	}
	c.check(t, b, machines)

	a.kill()
	r, err := netboottest.NewRelay(netip.MustParseAddr("127.0.0.1"), 99)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := range 50 {
		want := c.has[2*i] // those that a gave
		got, err := r.Lease(b.dhcpAt(t), crowdMAC(2*i), want, time.Now().Add(time.Minute))
		if err != nil || got != want {
			t.Errorf("machine %d has %s and asks for it: %s, %v", 2*i, want, got, err)
		}
	}
	if got, err := r.Lease(b.dhcpAt(t), crowdMAC(1), c.has[0], time.Now().Add(time.Minute)); !errors.Is(err, netboottest.ErrNak) {
		t.Errorf("a machine asks for another's address: %s, %v; want NAK", got, err)
	}
	c.serve(b.dhcpAt(t))
	c.take(t, machines, machines+100, time.Minute)
	c.check(t, b, machines+100)
}

// TestDiskFull: with no room on the disk nothing is acknowledged that would not
// last; nodes are served on; and with room again leases are given again.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o755); err != nil {
		t.Fatal(err)
	}
	mount, err := exec.LookPath("mount")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and mount: the state is on a small disk")
	}
	if out, err := exec.Command(mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", state).CombinedOutput(); err != nil {
		t.Skipf("mount: %v %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", state).Run() })
	s := leasing(t, dir)
	s.must("mkdef", "n1", "groups=all", "ip=127.2.0.1", "mac=52:54:00:00:00:01")
	c := newCrowd(0)
	c.serve(s.dhcpAt(t))
	c.take(t, 0, 50, time.Minute)
	fill, err := os.Create(filepath.Join(state, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	for _, err = fill.Write(make([]byte, 1<<16)); err == nil; {
		_, err = fill.Write(make([]byte, 1<<12))
	}
	fill.Close()
	r, err := netboottest.NewRelay(netip.MustParseAddr("127.0.0.1"), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	full := 0
	for i := 50; i < 20000 && full < 3; i++ { // the file may have room of its own
		a, err := r.Lease(s.dhcpAt(t), crowdMAC(i), netip.Addr{}, time.Now().Add(time.Second))
		if err != nil {
			full++
			continue
		}
		c.told(i, a)
	}
	if full < 3 {
		t.Fatal("the disk does not get full: the test shows nothing")
	}
	node := net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}
	if a, err := r.Lease(s.dhcpAt(t), node, netip.Addr{}, time.Now().Add(time.Minute)); err != nil || a.String() != "127.2.0.1" {
		t.Errorf("a node on a full disk: %s %v; it needs no room", a, err)
	}
	given := c.count()
	if err := os.Remove(filepath.Join(state, "fill")); err != nil {
		t.Fatal(err)
	}
	c.take(t, 30000, 30020, time.Minute)
	c.check(t, s, given+20)
	s.kill()
	c.check(t, startServer(t, dir), given+20)
}
