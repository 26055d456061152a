package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"margay/netboot/netboottest"
)

// TestMakednsOutside: makedns -e has a name server of others, Knot, answer for
// nodes both ways, by updates that are signed; what a node had before is gone,
// what the server has of others stays. What it refuses is told with the way out.
func TestMakednsOutside(t *testing.T) {
	knotd := netboottest.Binary(t, "knotd")
	netboottest.Binary(t, "dig")
	lan := netboottest.NewLAN(t)
	ours, other := lan.NewHost(t, "10.5.0.1/24"), lan.NewHost(t, "10.5.0.2/24")
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const secret = "c2VjcmV0LWtleS1vZi0xNg=="
	const zones = "cluster.test 0.5.10.in-addr.arpa fixed.test"
	conf := "server:\n  listen: 10.5.0.2@53\n  rundir: " + dir + "\n  user: root\ndatabase:\n  storage: " + dir + "\nlog:\n  - target: stderr\n    any: info\n" +
		"key:\n  - id: xcat_key\n    algorithm: hmac-sha256\n    secret: " + secret + "\nacl:\n  - id: ours\n    key: xcat_key\n    action: update\nzone:\n"
	for zone := range strings.FieldsSeq(zones) {
		acl := "    acl: ours\n"
		if zone == "fixed.test" {
			acl = ""
		}
		conf += "  - domain: " + zone + "\n    storage: " + dir + "\n    file: " + zone + "\n" + acl
		write(zone, "@ 60 SOA ns."+zone+". root."+zone+". 1 60 60 600 60\n@ 60 NS ns."+zone+".\nns 60 A 10.5.0.2\nstays 60 A 10.5.0.9\n")
	}
	write("knot.conf", conf)
	cmd := exec.Command(knotd, "-c", filepath.Join(dir, "knot.conf"))
	startOther(t, other, cmd)
	digs := func(want string, args ...string) {
		t.Helper()
		got := ""
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) { // it starts, or takes an update
			if got = strings.Join(strings.Fields(on(t, ours, append([]string{"dig", "@10.5.0.2", "+short", "+tries=20", "+time=1"}, args...)...)), " "); got == want {
				return
			}
		}
		t.Errorf("dig %s: %q, want %q", strings.Join(args, " "), got, want)
	}
	digs("10.5.0.9", "stays.cluster.test")

	s, _ := startOn(t, ours, "--interface", "eth0", "--dhcp", "off")
	s.must("chtab", "key=domain", "site.value=cluster.test")
	s.must("mkdef", "n1", "groups=all", "ip=10.5.0.50", "hostnames=web,www", "otherinterfaces=-ib0:10.5.0.60")
	s.must("mkdef", "n2", "groups=all", "ip=10.5.0.51")
	refused := func(want string, words ...string) {
		t.Helper()
		if text, ok := s.do(words...); ok || !strings.Contains(text, want) || strings.Contains(text, "DNS setup is completed") {
			t.Errorf("%s (%v): %s, want %q", strings.Join(words, " "), ok, text, want)
		}
	}
	const outside = "--server=10.5.0.2"
	refused("Error: DNS server 10.5.0.2:53 does not change zone cluster.test: NOTAUTH; have it take updates from here, which are not signed: no key is in passwd key=omapi", "makedns", "-e", outside)
	s.must("chtab", "key=omapi", "passwd.username=xcat_key", "passwd.password=b3RoZXIta2V5LW9mLTE2LW8=")
	refused("does not change zone cluster.test: NOTAUTH; have it take updates signed by key xcat_key", "makedns", "-e", outside)
	s.must("chtab", "key=omapi", "passwd.username=xcat_key", "passwd.password="+secret)
	if text := s.must("makedns", "-e", outside, "-V"); !strings.Contains(text, "5 names, told to 10.5.0.2:53\n") || !strings.Contains(text, "DNS setup is completed\n") {
		t.Errorf("makedns says %s", text)
	}
	has := func(web string) {
		t.Helper()
		digs("10.5.0.51", "n2.cluster.test")
		digs("n2.cluster.test.", "-x", "10.5.0.51")
		digs("10.5.0.60", "n1-ib0.cluster.test")
		digs("n1-ib0.cluster.test.", "-x", "10.5.0.60")
		digs("n1.cluster.test. 10.5.0.50", web+".cluster.test")
		digs("n1.cluster.test.", "-x", "10.5.0.50")
		digs("10.5.0.9", "stays.cluster.test")
	}
	has("web")
	has("www")

	// another address: nothing of the old one is left
	s.must("chdef", "n1", "ip=10.5.0.55")
	s.must("makedns", "-e", outside, "n1")
	digs("10.5.0.55", "n1.cluster.test")
	digs("n1.cluster.test.", "-x", "10.5.0.55")
	digs("", "-x", "10.5.0.50")

	// forgotten there, and there alone
	s.must("makedns", "-e", "-d", outside, "n1")
	for _, name := range []string{"n1.cluster.test", "web.cluster.test", "n1-ib0.cluster.test"} {
		digs("", name)
	}
	digs("", "-x", "10.5.0.55")
	digs("10.5.0.51", "n2.cluster.test")
	if text := s.must("makedns", "-V", "n1"); !strings.Contains(text, "n1: n1.cluster.test = 10.5.0.55\n") {
		t.Errorf("our own DNS has it no more: %s", text)
	}

	// as the site says, without -e; many at once
	s.must("chtab", "key=externaldns", "site.value=1")
	s.must("mkdef", "m[100-200]", "groups=many", "ip=|m(\\d+)|10.5.0.($1)|")
	s.must("makedns", "many", outside)
	for _, i := range []int{100, 157, 200} {
		digs(fmt.Sprintf("10.5.0.%d", i), fmt.Sprintf("m%d.cluster.test", i))
		digs(fmt.Sprintf("m%d.cluster.test.", i), "-x", fmt.Sprintf("10.5.0.%d", i))
	}

	// zones that it does not change, or does not have, are named; the others are done
	s.must("chtab", "key=domain", "site.value=fixed.test")
	refused("does not change zone fixed.test: NOTAUTH; have it take updates signed by key xcat_key", "makedns", outside, "n2")
	digs("n2.fixed.test.", "-x", "10.5.0.51")
	s.must("chtab", "key=domain", "site.value=nowhere.test")
	refused("Error: DNS server 10.5.0.2:53 has no zone for nowhere.test; make one there first", "makedns", outside, "n2")
	digs("n2.nowhere.test.", "-x", "10.5.0.51")
	refused("Error: DNS server 10.5.0.3:53: ", "makedns", "--server=10.5.0.3", "n2")
	s.must("chtab", "key=externaldns", "site.value=")
	refused("--server goes with -e", "makedns", outside, "n2")
}
