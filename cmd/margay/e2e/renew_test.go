package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"margay/netboot/netboottest"
)

// TestRenew has clients keep their leases by their own timers, of a few seconds
// here: they renew by unicast, one behind a relay past it, and rebind by broadcast
// when that does not get through. When nothing does the lease ends, in the table
// too; later they have their address back. One that is moved to another wire is told
// so when it rebinds, long before its lease ends.
func TestRenew(t *testing.T) {
	l := newLab(t)
	l.run(t, "chtab", "key=dhcplease", "site.value=3600")
	l.run(t, "chtab", "key=dhcpstatements", "site.value=option dhcp-renewal-time 1; option dhcp-rebinding-time 3;")
	l.run(t, "chdef", "-t", "network", "10_77_0_0-255_255_255_0", "dynamicrange=10.77.0.100-10.77.0.139")
	(&renewer{t: t, l: l}).nft(`add table inet cut
add set inet cut unicast { type ipv4_addr; }
add set inet cut mute { type ether_addr; }
add chain inet cut in { type filter hook input priority 0; }
add rule inet cut in ether saddr @mute drop`)
	far := behindRelay(t, l)
	// It asks again each second, in place of each ten.
	dhclient := func(dir, script string) []string {
		conf := write(t, filepath.Join(dir, "conf"), []byte("initial-interval 1; backoff-cutoff 1; retry 1;"))
		return []string{"dhclient", "-4", "-d", "-sf", script, "-cf", conf, "-lf", filepath.Join(dir, "leases"), "-pf", filepath.Join(dir, "pid"), "eth0"}
	}
	t.Run("moved", func(t *testing.T) {
		c := &renewer{name: "moved", args: dhclient, host: l.lan.NewHost(t), t: t, l: l}
		c.moves(far)
	})
	l.run(t, "chtab", "key=dhcplease", "site.value=5")
	udhcpc := func(_, script string) []string {
		return []string{"udhcpc", "-f", "-T", "3", "-i", "eth0", "-s", script}
	}
	for _, c := range []*renewer{
		{name: "dhclient", bound: "BOUND", kept: []string{"RENEW", "REBIND"}, ended: "EXPIRE", args: dhclient},
		// A lease of less than 20 seconds ends when it thinks that those are over.
		{name: "dhcpcd", bound: "BOUND", kept: []string{"RENEW", "REBIND"}, args: func(_, script string) []string {
			return []string{"dhcpcd", "-4", "-B", "--noarp", "-f", "/dev/null", "-c", script, "eth0"}
		}},
		// It heeds no renewal time, and none of less than 15 seconds.
		{name: "udhcpc", bound: "bound", kept: []string{"renew"}, kick: syscall.SIGUSR1, args: udhcpc},
		{name: "routed", bound: "bound", kept: []string{"renew"}, kick: syscall.SIGUSR1, args: udhcpc, host: far.NewHost(t), relay: "10.78.0.1"},
	} {
		if c.host == nil {
			c.host = l.lan.NewHost(t)
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.t, c.l = t, l
			c.run()
		})
	}
}

// behindRelay is a network of its own, behind a relay that is its router too.
// dnsmasq hears only what is sent to it; dhcrelay would pass on what it forwards.
func behindRelay(t *testing.T, l *lab) *netboottest.LAN {
	lan, relay := netboottest.NewLAN(t), l.lan.NewHost(t, "10.77.0.4/24")
	if err := lan.Attach(relay, "eth1", "10.78.0.1/24"); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, relay, "sh", "-c", "cd /proc/sys/net/ipv4; echo 1 > ip_forward; echo 0 > conf/all/rp_filter; echo 0 > conf/eth1/rp_filter"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if out, err := run(t, l.server, "ip", "route", "add", "10.78.0.0/24", "via", "10.77.0.4"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	l.run(t, "mkdef", "-t", "network", "far", "net=10.78.0.0", "mask=255.255.255.0", "gateway=10.78.0.1", "mgtifname=!remote!eth0", "dynamicrange=10.78.0.100-10.78.0.110")
	background(t, relay, "dnsmasq", "-k", "--conf-file=/dev/null", "--port=0", "--user=root", "--pid-file=", "--dhcp-relay=10.78.0.1,"+serverAddr)
	return lan
}

// A renewer is a client of Debian's, and the words by which it tells its script
// what became of its lease.
type renewer struct {
	name         string
	bound, ended string
	kept         []string
	kick         syscall.Signal // has it renew now; zero: it does so soon
	args         func(dir, script string) []string
	host         *netboottest.Host
	relay        string // by which its broadcasts come; empty: they come by themselves

	t    *testing.T
	l    *lab
	mac  net.HardwareAddr
	told string // a file: a line for each call of its script
	read int    // lines of it that were heeded
}

// moves has its cable plugged in behind the relay and back again.
func (c *renewer) moves(far *netboottest.LAN) {
	t := c.t
	c.open()
	here, to := c.l.lan, far
	for i, net := range []string{"10.77.0.", "10.78.0.", "10.77.0."} {
		if i > 0 {
			if err := here.Move(c.host, "eth0", to); err != nil {
				t.Fatal(err)
			}
			here, to = to, here
		}
		if addr := c.wait("BOUND"); !strings.HasPrefix(addr, net) {
			t.Fatalf("on wire %d it has %s, want one of %s0", i, addr, net)
		}
	}
}

// open starts the client with a script of its own.
func (c *renewer) open() *os.Process {
	t, dir := c.t, c.t.TempDir()
	c.mac, c.told = c.host.MAC("eth0"), filepath.Join(dir, "told")
	script := write(t, filepath.Join(dir, "script"), fmt.Appendf(nil, renewScript, c.told))
	if err := os.Chmod(script, 0o755); err != nil {
		t.Fatal(err)
	}
	return c.start(c.args(dir, script))
}

func (c *renewer) run() {
	t, client := c.t, c.open()
	addr := c.wait(c.bound)
	first := c.until()
	unicast, broadcast := c.counter(addr, serverAddr), c.counter(addr, "255.255.255.255")
	if c.relay != "" {
		broadcast = c.counter(c.relay, serverAddr)
	}
	c.nft(fmt.Sprintf("add rule inet cut in ip saddr @unicast ip saddr %s ip daddr %s udp dport 67 drop", addr, serverAddr))

	for try := 1; ; try++ { // one that is answered too late is followed by a broadcast
		asked, shouted := unicast(), broadcast()
		client.Signal(c.kick)
		if got := c.wait(c.kept...); got != addr {
			t.Errorf("it renews %s, having %s", got, addr)
		}
		if unicast() > asked && broadcast() == shouted {
			break
		}
		if try == 20 {
			t.Fatalf("it renews by %d unicasts and %d broadcasts", unicast(), broadcast())
		}
	}
	second := c.until()
	if second < first {
		t.Errorf("renewed, its lease is until %q, and was until %q", second, first)
	}

	c.nft("add element inet cut unicast { " + addr + " }")
	shouted := broadcast()
	client.Signal(c.kick)
	for got := ""; broadcast() == shouted || got == ""; { // what it renewed before that does not count
		if got = c.wait(append(c.kept, c.bound)...); got != addr {
			t.Errorf("it rebinds %s, having %s", got, addr)
		}
	}
	if third := c.until(); third < second || third == first && c.kick == 0 {
		t.Errorf("rebound, its lease is until %q, and was until %q and %q", third, first, second)
	}
	if c.ended == "" {
		return
	}

	c.nft("add element inet cut mute { " + c.mac.String() + " }")
	c.wait(c.ended)
	text := ""
	within(func() bool { // it may have ended once before that, on a busy host
		text = c.l.run(t, "leases", c.mac.String())
		return text == ""
	})
	if text != "" {
		t.Errorf("its lease has ended, and the table says %s", text)
	}
	c.nft("delete element inet cut mute { " + c.mac.String() + " }")
	if got := c.wait(c.bound); got != addr {
		t.Errorf("it is given %s, and had %s", got, addr)
	}
}

// renewScript is what clients run: it puts the address on the interface, which
// dhcpcd does by itself, and notes the word.
const renewScript = `#!/bin/sh
word=${reason:-$1} addr=${new_ip_address:-$ip}
case $word in
BOUND|bound) [ -z "$old_ip_address" ] || ip -4 address flush dev eth0; ip address replace $addr/24 dev eth0; ip route replace default via ${new_routers:-$router};;
EXPIRE) ip -4 address flush dev eth0;;
esac
echo $word $addr >> %s
`

// alone has a client's files to itself: several clients run at once.
const alone = `mount --make-rprivate /
mount -t tmpfs tmpfs /run
if [ -d /var/lib/dhcpcd ]; then mount -t tmpfs tmpfs /var/lib/dhcpcd; fi
exec "$@"
`

// start starts the client, with its helpers in a namespace that ends with it.
func (c *renewer) start(args []string) *os.Process {
	t := c.t
	netboottest.Binary(t, args[0])
	cmd := exec.Command("sh", append([]string{"-ec", alone, "client"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	said := &output{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := c.host.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", args[0], said)
		}
	})
	return cmd.Process
}

// wait waits for the next call of the script with one of some words, and returns
// the address that it had.
func (c *renewer) wait(words ...string) string {
	c.t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		text, _ := os.ReadFile(c.told)
		for lines := strings.Split(string(text), "\n"); c.read < len(lines)-1; {
			word, addr, _ := strings.Cut(lines[c.read], " ")
			if c.read++; slices.Contains(words, word) {
				return addr
			}
		}
	}
	text, _ := os.ReadFile(c.told)
	c.t.Fatalf("none of %v comes; its script was called for\n%s", words, text)
	return ""
}

// until is when the client's lease ends, as the table says.
func (c *renewer) until() string {
	c.t.Helper()
	_, rest, ok := strings.Cut(c.l.run(c.t, "leases", "--all", c.mac.String()), " until ")
	if !ok {
		c.t.Errorf("it has no lease in the table")
	}
	return strings.TrimSpace(rest)
}

// nft changes the server's packet filter.
func (c *renewer) nft(rules string) {
	c.t.Helper()
	file := write(c.t, filepath.Join(c.t.TempDir(), "rules"), []byte(rules+"\n"))
	if out, err := run(c.t, c.l.server, "nft", "-f", file); err != nil {
		c.t.Fatalf("nft: %v\n%s\n%s", err, rules, out)
	}
}

var packets = regexp.MustCompile(`packets (\d+)`)

// counter counts what the server hears of DHCP from one address to another, from
// now on.
func (c *renewer) counter(from, to string) func() int {
	c.t.Helper()
	rule := fmt.Sprintf("ip saddr %s ip daddr %s udp dport 67 counter", from, to)
	c.nft("add rule inet cut in " + rule)
	return func() int {
		c.t.Helper()
		out, err := run(c.t, c.l.server, "nft", "list", "chain", "inet", "cut", "in")
		for line := range strings.Lines(string(out)) {
			if m := packets.FindStringSubmatch(line); m != nil && strings.HasPrefix(strings.TrimSpace(line), rule) {
				n, _ := strconv.Atoi(m[1])
				return n
			}
		}
		c.t.Fatalf("no count of %s: %v\n%s", rule, err, out)
		return 0
	}
}
