package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"margay/netboot/netboottest"
)

// TestNetworkClients has further clients of Debian's speak DHCP and DNS with the
// daemon, directly and through relays.
func TestNetworkClients(t *testing.T) {
	l := newLab(t)
	l.run(t, "chtab", "key=domain", "site.value=cluster.test")
	l.run(t, "chtab", "key=tsig", "passwd.username=updater", "passwd.password=c2VjcmV0LWtleS1vZi0xNg==", "passwd.cryptmethod=hmac-sha256")
	l.run(t, "chdef", "-t", "network", "10_77_0_0-255_255_255_0", "dynamicrange=10.77.0.100-10.77.0.139;10.77.0.192/27")
	l.run(t, "mkdef", "-t", "node", "esx9", "groups=all", "ip=10.77.0.19", "mac=52:54:00:00:09:09")

	t.Run("dhcpcd", func(t *testing.T) { dhcpcd(t, l.lan.NewHost(t), "10.77.0.") })
	t.Run("inform", func(t *testing.T) { inform(t, l.lan.NewHost(t)) })
	t.Run("networkd", func(t *testing.T) { networkd(t, l) })
	t.Run("perfdhcp", func(t *testing.T) { perfdhcp(t, l) })
	t.Run("relays", func(t *testing.T) { relays(t, l) })
	t.Run("shared", func(t *testing.T) { shared(t, l) })
	host := l.lan.NewHost(t, "10.77.0.9/24")
	t.Run("kdig", func(t *testing.T) { kdig(t, host) })
	t.Run("delv", func(t *testing.T) { delv(t, host) })
	t.Run("nsupdate", func(t *testing.T) { nsupdate(t, host) })
	t.Run("dnsperf", func(t *testing.T) { dnsperf(t, host) })
	t.Run("chdef", func(t *testing.T) { renamed(t, l, host) })
	t.Run("secondary", func(t *testing.T) { secondary(t, l, host) })
}

// dhcpcd takes an address of a dynamic range.
func dhcpcd(t *testing.T, h *netboottest.Host, of string) {
	if said := dhcpcdSays(t, h); !strings.Contains(said, "leased "+of) {
		t.Errorf("dhcpcd:\n%s", said)
	}
}

// inform: dhcpcd asks for all but the address that it has.
func inform(t *testing.T, h *netboottest.Host) {
	if out, err := run(t, h, "ip", "address", "add", "10.77.0.66/24", "dev", "eth0"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if said := dhcpcdSays(t, h, "--inform=10.77.0.66/24"); !strings.Contains(said, "received approval for 10.77.0.66") {
		t.Errorf("dhcpcd:\n%s", said)
	}
}

// dhcpcdAlone starts dhcpcd with a /run and leases of its own: those that it
// finds it would ask for, and its helpers may outlive it for a while.
const dhcpcdAlone = `mount -t tmpfs tmpfs /run
mkdir -p /var/lib/dhcpcd
mount -t tmpfs tmpfs /var/lib/dhcpcd
exec "$0" "$@"
`

// dhcpcdSays runs dhcpcd once. Its helpers outlive it and would hold a pipe open,
// so what it says goes to a file.
func dhcpcdSays(t *testing.T, h *netboottest.Host, more ...string) string {
	t.Helper()
	said := filepath.Join(t.TempDir(), "said")
	file, err := os.Create(said)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	args := append([]string{"-m", "--propagation", "private", "sh", "-ec", dhcpcdAlone, netboottest.Binary(t, "dhcpcd"),
		"-4", "-d", "-1", "-B", "-t", "60", "--noarp", "-f", "/dev/null", "-c", "/bin/true"}, more...)
	cmd := exec.Command(netboottest.Binary(t, "unshare"), append(args, "eth0")...)
	cmd.Stdout, cmd.Stderr = file, file
	err = h.Run(cmd)
	out, _ := os.ReadFile(said)
	if err != nil {
		t.Fatalf("dhcpcd: %v\n%s", err, out)
	}
	return string(out)
}

// networkdAlone starts systemd-networkd without systemd: with a /run of its own,
// and without udev, which it waits for unless /sys is read only. It calls itself
// by a DUID.
const networkdAlone = `mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/network /run/systemd/netif/links /run/systemd/netif/leases
chown -R systemd-network: /run/systemd/netif
mount -t sysfs -o ro sysfs /sys
cat > /run/systemd/network/10.network <<END
[Match]
Name=eth0
[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
[DHCPv4]
UseHostname=no
END
exec /lib/systemd/systemd-networkd
`

// networkd gives a node its address by systemd-networkd, and a stranger the one
// that it had by another client, under another identifier.
func networkd(t *testing.T, l *lab) {
	netboottest.Binary(t, "/lib/systemd/systemd-networkd")
	lease := func(h *netboottest.Host) words {
		t.Helper()
		cmd := exec.Command(netboottest.Binary(t, "unshare"), "-m", "--propagation", "private", "sh", "-ec", networkdAlone)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		cmd.Env = append(os.Environ(), "SYSTEMD_LOG_LEVEL=debug")
		said := &output{}
		cmd.Stdout, cmd.Stderr = said, said
		if err := h.Start(cmd); err != nil {
			t.Fatal(err)
		}
		defer func() {
			cmd.Process.Kill()
			cmd.Wait()
		}()
		end := time.After(time.Minute)
		for {
			more := said.more()
			if said.has("eth0: State changed: configuring -> configured") {
				break
			}
			select {
			case <-end:
				t.Fatalf("systemd-networkd takes no address:\n%s", said)
			case <-more:
			}
		}
		// The lease is written beside under a name with a dot and then renamed,
		// which may come after that line.
		var found []string
		for len(found) != 1 {
			var err error
			if found, err = filepath.Glob(fmt.Sprintf("/proc/%d/root/run/systemd/netif/leases/[0-9]*", cmd.Process.Pid)); err != nil {
				t.Fatal(err)
			}
			select {
			case <-end:
				t.Fatalf("systemd-networkd has the leases %v:\n%s", found, said)
			case <-time.After(10 * time.Millisecond):
			}
		}
		text, err := os.ReadFile(found[0])
		if err != nil {
			t.Fatal(err)
		}
		return words(text)
	}
	node := l.lan.NewHost(t)
	l.run(t, "mkdef", "-t", "node", "esx8", "groups=all", "ip=10.77.0.18", "mac="+node.MAC("eth0").String())
	lease(node).has(t, "ADDRESS=10.77.0.18", "NETMASK=255.255.255.0", "SERVER_ADDRESS="+serverAddr, "DNS="+serverAddr, "DOMAINNAME=cluster.test", "HOSTNAME=esx8")
	if out, err := run(t, node, "ip", "-4", "-o", "address", "show", "dev", "eth0"); err != nil || !strings.Contains(string(out), " 10.77.0.18/24 ") {
		t.Errorf("the interface has %s %v", out, err)
	}
	stranger := l.lan.NewHost(t)
	addr := udhcpc(t, stranger).value("ip")
	told := lease(stranger)
	told.has(t, "ADDRESS="+addr)
	if id := told.value("CLIENTID"); !strings.HasPrefix(id, "ff") {
		t.Errorf("it calls itself %s, by no DUID", id)
	}
}

// perfdhcp has 60 machines take leases, and none is dropped.
func perfdhcp(t *testing.T, l *lab) {
	h := l.lan.NewHost(t, "10.77.0.8/24")
	out, err := run(t, h, "perfdhcp", "-4", "-l", "eth0", "-R", "60", "-r", "30", "-n", "60", "-d", "20", "-W", "8000000", "-B")
	text := string(out)
	if err != nil && !strings.Contains(text, "received packets") {
		t.Fatalf("perfdhcp: %v\n%s", err, text)
	}
	got := regexp.MustCompile(`received packets: (\d+)`).FindAllStringSubmatch(text, -1)
	if len(got) != 2 || got[0][1] != "60" || got[1][1] != "60" {
		t.Errorf("perfdhcp: %v, want 60 OFFERs and 60 ACKs\n%s", got, text)
	}
	if n := strings.Count(l.run(t, "leases"), " until "); n < 60 {
		t.Errorf("%d leases are in the table, want 60 or more", n)
	}
}

// shared: two networks of the table are on one wire. Nodes of either get their
// addresses there; strangers get one of the second when the first has none left,
// keep it, and renew it; so do those behind a relay, which names one of two
// networks of its wire.
func shared(t *testing.T, l *lab) {
	if out, err := run(t, l.server, "ip", "address", "add", "10.83.0.1/24", "dev", "eth0"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	second := l.lan.NewHost(t)
	l.run(t, "mkdef", "-t", "network", "second", "net=10.83.0.0", "mask=255.255.255.0", "gateway=10.83.0.254", "mgtifname=eth0", "dynamicrange=10.83.0.100-10.83.0.149", "ddnsdomain=guests.test")
	l.run(t, "chdef", "-t", "network", "10_77_0_0-255_255_255_0", "dynamicrange=10.77.0.250-10.77.0.250")
	l.run(t, "mkdef", "-t", "node", "esx83", "groups=all", "ip=10.83.0.19", "mac="+second.MAC("eth0").String())
	defer l.run(t, "rmdef", "-t", "network", "second")
	told := udhcpc(t, second)
	for end := time.Now().Add(time.Minute); told.value("serverid") != "10.83.0.1" && time.Now().Before(end); {
		told = udhcpc(t, second) // the daemon is told of its new address meanwhile
	}
	told.has(t, "ip=10.83.0.19", "mask=24", "router=10.83.0.254", "serverid=10.83.0.1", "hostname=esx83")
	udhcpc(t, l.lan.NewHost(t)).has(t, "ip=10.77.0.250", "serverid=10.77.0.1")
	stranger := l.lan.NewHost(t)
	told = udhcpc(t, stranger)
	told.has(t, "mask=24", "router=10.83.0.254", "serverid=10.83.0.1")
	addr := told.value("ip")
	if !strings.HasPrefix(addr, "10.83.0.1") {
		t.Errorf("with the first network used up it is given %s", addr)
	}
	udhcpc(t, stranger, "-x", "hostname:laptop").has(t, "ip="+addr, "domain=cluster.test") // the one it had
	for _, args := range []string{"laptop.guests.test", "-x " + addr} {
		out, err := run(t, l.lan.NewHost(t, "10.77.0.5/24"), "dig", append([]string{"@" + serverAddr, "+short"}, strings.Fields(args)...)...)
		if got := strings.TrimSpace(string(out)); err != nil || got != addr && got != "laptop.guests.test." {
			t.Errorf("dig %s: %q, %v", args, got, err)
		}
	}
	t.Run("dhcpcd", func(t *testing.T) { dhcpcd(t, l.lan.NewHost(t), "10.83.0.1") })
	t.Run("dhclient", func(t *testing.T) {
		h := l.lan.NewHost(t)
		l.run(t, "mkdef", "-t", "node", "esx84", "groups=all", "ip=10.83.0.20", "mac="+h.MAC("eth0").String())
		dhclient(t, h, "new_ip_address=10.83.0.20", "new_host_name=esx84", "new_dhcp_server_identifier=10.83.0.1", "new_routers=10.83.0.254")
	})
	t.Run("relay", func(t *testing.T) { sharedRelay(t, l) })
}

// sharedRelay: dhcrelay names the network of its clients' side by option 82's
// link selection, with its own address on ours for answers.
func sharedRelay(t *testing.T, l *lab) {
	lan := netboottest.NewLAN(t)
	relay := l.lan.NewHost(t, "10.77.0.6/24")
	if err := lan.Attach(relay, "eth1", "10.84.0.1/24"); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"far84", "far85"} {
		net := fmt.Sprintf("10.%d.0.", 84+i)
		if out, err := run(t, l.server, "ip", "route", "add", net+"0/24", "via", "10.77.0.6"); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		l.run(t, "mkdef", "-t", "network", name, "net="+net+"0", "mask=255.255.255.0", "gateway="+net+"1", "mgtifname=!remote!eth0", "vlanid=84",
			"dynamicrange="+net+"100-"+net+"100")
	}
	background(t, relay, "dhcrelay", "-4", "-d", "-a", "-U", "eth0", "-id", "eth1", serverAddr)
	udhcpc(t, lan.NewHost(t)).has(t, "ip=10.84.0.100", "router=10.84.0.1", "mask=24")
	udhcpc(t, lan.NewHost(t)).has(t, "ip=10.85.0.100", "router=10.85.0.1", "mask=24")
	node := lan.NewHost(t)
	l.run(t, "mkdef", "-t", "node", "esx85", "groups=all", "ip=10.85.0.20", "mac="+node.MAC("eth0").String())
	udhcpc(t, node).has(t, "ip=10.85.0.20", "router=10.85.0.1", "hostname=esx85")
}

// words are what a client was told, a line each.
type words string

func (w words) has(t *testing.T, lines ...string) {
	t.Helper()
	for _, want := range lines {
		if !strings.Contains("\n"+string(w), "\n"+want+"\n") {
			t.Errorf("it was not told %s:\n%s", want, w)
		}
	}
}

func (w words) value(name string) string {
	_, rest, _ := strings.Cut("\n"+string(w), "\n"+name+"=")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

// udhcpc takes an address on a host, and returns what it was told.
func udhcpc(t *testing.T, h *netboottest.Host, more ...string) words {
	t.Helper()
	told, script := filepath.Join(t.TempDir(), "told"), filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n[ $1 != bound ] || env > "+told+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := run(t, h, "udhcpc", append([]string{"-f", "-q", "-n", "-t", "10", "-T", "2", "-i", "eth0", "-s", script}, more...)...)
	if err != nil {
		t.Fatalf("udhcpc: %v\n%s", err, out)
	}
	env, err := os.ReadFile(told)
	if err != nil {
		t.Fatal(err)
	}
	return words(env)
}

// relays: behind each of two relays a machine takes an address of its own
// network.
func relays(t *testing.T, l *lab) {
	for i, name := range []string{"dhcrelay", "dnsmasq"} {
		t.Run(name, func(t *testing.T) {
			net := fmt.Sprintf("10.%d.0.", 78+i)
			lan := netboottest.NewLAN(t)
			relay := l.lan.NewHost(t, fmt.Sprintf("10.77.0.%d/24", 3+i))
			if err := lan.Attach(relay, "eth1", net+"1/24"); err != nil {
				t.Fatal(err)
			}
			if out, err := run(t, l.server, "ip", "route", "add", net+"0/24", "via", fmt.Sprintf("10.77.0.%d", 3+i)); err != nil {
				t.Fatalf("%v %s", err, out)
			}
			l.run(t, "mkdef", "-t", "network", "far"+name, "net="+net+"0", "mask=255.255.255.0", "gateway="+net+"1", "mgtifname=!remote!eth0",
				"dynamicrange="+net+"100-"+net+"110")
			args := map[string][]string{
				"dhcrelay": {"dhcrelay", "-4", "-d", "-a", "-id", "eth1", "-iu", "eth0", serverAddr},
				"dnsmasq":  {"dnsmasq", "-k", "--conf-file=/dev/null", "--port=0", "--user=root", "--pid-file=", "--dhcp-relay=" + net + "1," + serverAddr},
			}[name]
			background(t, relay, args...)
			told := udhcpc(t, lan.NewHost(t))
			told.has(t, "mask=24", "router="+net+"1", "serverid="+serverAddr)
			if !strings.HasPrefix(told.value("ip"), net+"10") {
				t.Errorf("behind %s, udhcpc was given %s", name, told.value("ip"))
			}
		})
	}
}

// background runs a program on a host until the test ends.
func background(t *testing.T, h *netboottest.Host, args ...string) {
	t.Helper()
	cmd := exec.Command(netboottest.Binary(t, args[0]), args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said := &output{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", args[0], said)
		}
	})
}

func kdig(t *testing.T, h *netboottest.Host) {
	for _, tt := range []struct{ args, want string }{
		{"+short esx9.cluster.test", "10.77.0.19"},
		{"+short -x 10.77.0.19", "esx9.cluster.test."},
		{"+short +tcp +keepopen esx9.cluster.test A esx9.cluster.test A", "10.77.0.19\n10.77.0.19"},
		{"+short +bufsize=512 +nsid +cookie esx9.cluster.test", "10.77.0.19"},
	} {
		out, err := run(t, h, "kdig", append([]string{"@" + serverAddr, "+time=5"}, strings.Fields(tt.args)...)...)
		if got := strings.TrimSpace(string(out)); err != nil || got != tt.want {
			t.Errorf("kdig %s: got %q, %v; want %q", tt.args, got, err, tt.want)
		}
	}
	out, err := run(t, h, "kdig", "@"+serverAddr, "nobody.cluster.test")
	if err != nil || !strings.Contains(string(out), "NXDOMAIN") || !strings.Contains(string(out), "SOA") {
		t.Errorf("kdig of a name that is not there: %v\n%s", err, out)
	}
}

func delv(t *testing.T, h *netboottest.Host) {
	out, err := run(t, h, "delv", "@"+serverAddr, "-i", "esx9.cluster.test", "A")
	if err != nil || !regexp.MustCompile(`esx9\.cluster\.test\.\s+\d+\s+IN\s+A\s+10\.77\.0\.19`).Match(out) {
		t.Errorf("delv: %v\n%s", err, out)
	}
}

// nsupdate adds a name with a key that the table lists, and takes it away; with
// another key it is refused.
func nsupdate(t *testing.T, h *netboottest.Host) {
	dir := t.TempDir()
	send := func(key, lines string) (string, error) {
		file := filepath.Join(dir, "update")
		if err := os.WriteFile(file, []byte("server "+serverAddr+"\nzone cluster.test\n"+lines+"\nsend\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := run(t, h, "nsupdate", "-t", "10", "-y", key, file)
		return string(out), err
	}
	const good, bad = "hmac-sha256:updater:c2VjcmV0LWtleS1vZi0xNg==", "hmac-sha256:updater:b3RoZXIta2V5LW9mLTE2LW8="
	if out, err := send(bad, "update add lab1.cluster.test 300 A 10.77.0.71"); err == nil {
		t.Errorf("nsupdate with another key is taken: %s", out)
	}
	if out, err := send(good, "update add lab1.cluster.test 300 A 10.77.0.71"); err != nil {
		t.Fatalf("nsupdate: %v\n%s", err, out)
	}
	digs := func(want string) {
		t.Helper()
		out, err := run(t, h, "dig", "@"+serverAddr, "+short", "lab1.cluster.test")
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("lab1.cluster.test is %q, %v; want %q", got, err, want)
		}
	}
	digs("10.77.0.71")
	if out, err := send(good, "update add esx9.cluster.test 300 A 10.77.0.72"); err == nil {
		t.Errorf("nsupdate may change a node: %s", out)
	}
	if out, err := send(good, "update delete lab1.cluster.test A"); err != nil {
		t.Fatalf("nsupdate: %v\n%s", err, out)
	}
	digs("")
}

func dnsperf(t *testing.T, h *netboottest.Host) {
	file := filepath.Join(t.TempDir(), "questions")
	if err := os.WriteFile(file, []byte("esx9.cluster.test A\n19.0.77.10.in-addr.arpa PTR\nnobody.cluster.test A\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := run(t, h, "dnsperf", "-s", serverAddr, "-d", file, "-n", "200", "-c", "4", "-q", "20")
	if err != nil || !strings.Contains(string(out), "NOERROR 400 (66.67%), NXDOMAIN 200 (33.33%)") {
		t.Errorf("dnsperf: %v\n%s", err, out)
	}
}

// renamed: when chdef returns, DNS answers what it said: the name, the address,
// the alias; and nothing of what was before.
func renamed(t *testing.T, l *lab, h *netboottest.Host) {
	digs := func(want string, args ...string) {
		t.Helper()
		out, err := run(t, h, "dig", append([]string{"@" + serverAddr, "+short"}, args...)...)
		if got := strings.Join(strings.Fields(string(out)), " "); err != nil || got != want {
			t.Errorf("dig %s: %q, %v, want %q", strings.Join(args, " "), got, err, want)
		}
	}
	last := "10.77.0.19"
	for i := range 5 {
		addr, alias := fmt.Sprintf("10.77.0.%d", 40+i), fmt.Sprintf("alias%d", i)
		l.run(t, "chdef", "esx9", "ip="+addr, "hostnames="+alias)
		began := time.Now()
		digs(addr, "esx9.cluster.test")
		digs("esx9.cluster.test.", "-x", addr)
		digs("esx9.cluster.test. "+addr, alias+".cluster.test")
		digs("", "-x", last)
		digs("", fmt.Sprintf("alias%d.cluster.test", i-1))
		t.Logf("five answers of dig took %v", time.Since(began))
		last = addr
	}
}

// secondary has NSD take our zones, and again when it is told of a change.
func secondary(t *testing.T, l *lab, client *netboottest.Host) {
	nsd := netboottest.Binary(t, "nsd")
	const own = "10.77.0.7"
	h, dir := l.lan.NewHost(t, own+"/24"), t.TempDir()
	l.run(t, "chtab", "key=dnssecondaries", "site.value="+own)
	conf := fmt.Sprintf("server:\n  ip-address: %[1]s\n  username: root\n  zonesdir: %[2]s\n  pidfile: %[2]s/pid\n  database: \"\"\n  zonelistfile: %[2]s/list\n  xfrdfile: %[2]s/xfrd\n  xfrdir: %[2]s\nremote-control:\n  control-enable: no\n", own, dir)
	for _, zone := range []string{"cluster.test", "0.77.10.in-addr.arpa"} {
		conf += fmt.Sprintf("zone:\n  name: %[1]s\n  zonefile: %[1]s\n  allow-notify: %[2]s NOKEY\n  request-xfr: AXFR %[2]s NOKEY\n", zone, serverAddr)
	}
	said, err := os.Create(filepath.Join(dir, "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	cmd := exec.Command(nsd, "-d", "-c", write(t, filepath.Join(dir, "nsd.conf"), []byte(conf)))
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	defer func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	}()
	answers := func(want string, args ...string) {
		t.Helper()
		var got string
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			out, _ := run(t, client, "dig", append([]string{"@" + own, "+short", "+tries=1", "+time=1"}, args...)...)
			if got = strings.TrimSpace(string(out)); got == want {
				return
			}
		}
		log, _ := os.ReadFile(said.Name())
		t.Errorf("the secondary says of %v: %q, want %q\n%s", args, got, want, log)
	}
	answers("10.77.0.44", "esx9.cluster.test")
	answers("esx9.cluster.test.", "-x", "10.77.0.44")
	l.run(t, "chdef", "esx9", "ip=10.77.0.45")
	began := time.Now()
	answers("10.77.0.45", "esx9.cluster.test")
	answers("esx9.cluster.test.", "-x", "10.77.0.45")
	t.Logf("the secondary followed after %v", time.Since(began))
}
