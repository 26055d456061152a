package provision

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

// TestDoctorFaults makes each fault that can be made here, and has the doctor
// name it with its way out. What wants a daemon is in doctor.txtar.
func TestDoctorFaults(t *testing.T) {
	snap := func(records ...nodedb.Record) *nodedb.Snapshot {
		return nodedbtest.New(t, append(records, nodedbtest.Network("lan", "10.1.0.0", "255.255.255.0", "networks.mtu=9000"))...).Snapshot()
	}
	at := func(prefix string, mtu int) []Check {
		return []Check{checkPrefix(snap(), Interface{Name: "eth0", MTU: mtu}, netip.MustParsePrefix(prefix))}
	}
	link := func(files ...string) []Check {
		sys := t.TempDir()
		if len(files) > 0 {
			os.Mkdir(filepath.Join(sys, "eth0"), 0o755)
		}
		for _, f := range files {
			name, text, _ := strings.Cut(f, "=")
			os.WriteFile(filepath.Join(sys, "eth0", name), []byte(text+"\n"), 0o644)
		}
		why := linkDown(sys, "eth0")
		return []Check{{OK: why == "", Text: why}}
	}
	node := func(name string, attrs ...string) nodedb.Record { return nodedbtest.Node(name, "all", attrs...) }
	tests := []struct {
		name   string
		checks []Check
		text   string // of the fault; empty: there is none
		way    string
	}{
		{"an address of a network", at("10.1.0.1/24", 9000), "", ""},
		{"an address of none", at("10.9.0.1/24", 9000), "its address 10.9.0.1/24 is in none of the networks", "margay makenetworks"},
		{"another mask", at("10.1.0.1/16", 9000), "its mask is /16, and that of network lan is /24", "correct the mask of network lan or of the interface"},
		{"MTU", at("10.1.0.1/24", 1500), "network lan has mtu 9000, and the interface only 1500", "chdef -t network lan mtu=1500, or raise the interface's"},
		{"no address", (&Service{}).checkInterfaces(snap(), []Interface{{Name: "lo"}}), "it has no IPv4 address", "give it an address"},
		{"a cable", link("operstate=up"), "", ""},
		{"loopback", link("operstate=unknown"), "", ""},
		{"no cable", link("operstate=down", "carrier=0"), "it is up, and no cable is in it", ""},
		{"down", link("operstate=down"), "it is down", ""},
		{"below it", link("operstate=lowerlayerdown"), "the interface below it is down", ""},
		{"gone", link("operstate=notpresent"), "it is not there", ""},
		{"taken away", (&Service{}).checkInterfaces(snap(), []Interface{{Name: "nosuch0", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24")}}}), "it is not there", ""},
		{"all capabilities", capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"), "", ""},
		{"no low ports", capabilities("CapEff:\t0000000000002000\n"), "missing; it is needed for ports below 1024", "start by packaging/margay.service, or as root"},
		{"no raw sockets", capabilities("CapEff:\t0000000000000400\n"), "missing; it is needed for binding DHCP to interfaces", "start by packaging/margay.service, or as root"},
		{"clock", []Check{clockCheck(unix.TIME_OK, 0)}, "", ""},
		{"clock that nobody keeps", []Check{clockCheck(unix.TIME_ERROR, unix.STA_UNSYNC)}, "the kernel says that it is not kept in step", "run chrony or systemd-timesyncd"},
		{"names", checkNames(snap(nodedbtest.Site("domain", "cluster"), node("n1", "hosts.ip=10.1.0.5"))), "", ""},
		{"no domain", checkNames(snap(node("n1", "hosts.ip=10.1.0.5"))), "the site has no domain, so no name is answered", "chdef -t site domain=..."},
		{"names that share an address", checkNames(snap(nodedbtest.Site("domain", "cluster"), node("n1", "hosts.ip=10.1.0.5"), node("n2", "hosts.ip=10.1.0.5"))),
			"forward and reverse disagree: ", "give each name an address of its own"},
		{"a range with room", ranges(t), "", ""},
		{"a range that is used up", ranges(t, "10.1.0.100", "10.1.0.101"), "used up: 2 addresses leased", "chdef -t network net1 dynamicrange="},
		{"a range with one left", ranges(t, "10.1.0.101"), "", ""},
		{"a word that DHCP does not know", ranges(t, ""), "site.dhcpstatements: opshun", "until then no machine there is answered"},
		{"a node without its image", medialess(t), "it could not boot now: ", "correct it, then nodeset it again"},
	}
	for _, tt := range tests {
		faults := 0
		for _, c := range tt.checks {
			if c.OK {
				continue
			}
			faults++
			if tt.text != "" && (!strings.Contains(c.Text, tt.text) || !strings.Contains(c.Way, tt.way)) {
				t.Errorf("%s: %q, %q; want %q, %q", tt.name, c.Text, c.Way, tt.text, tt.way)
			}
		}
		if (tt.text != "") != (faults == 1) {
			t.Errorf("%s: %d faults: %+v", tt.name, faults, tt.checks)
		}
	}
}

// ranges is checkRanges of two addresses, of which some are leased; one that is
// empty stands for statements that are not understood.
func ranges(t *testing.T, leased ...string) []Check {
	s, c := newService(t)
	nodedbtest.Put(t, s.DB, nodedbtest.Network("net1", "10.1.0.0", "255.255.255.0", "networks.dynamicrange=10.1.0.100-10.1.0.101"))
	for _, a := range leased {
		r := nodedbtest.Record(kindLease, a, fmt.Sprintf("lease.expires=%d", c.now.Unix()+60))
		if a == "" {
			r = nodedbtest.Site("dhcpstatements", "opshun 1;")
		}
		nodedbtest.Put(t, s.DB, r)
	}
	return s.checkRanges(s.DB.Snapshot())
}

// medialess is checkNodes of a node whose image has no tree.
func medialess(t *testing.T) []Check {
	s, _ := newService(t)
	nodedbtest.Put(t, s.DB, nodedbtest.Node("lost", "all", "mac.mac=52:54:00:00:09:01", "hosts.ip=10.1.0.77", "chain.currstate=install esxi9.9-x86_64-base", "nodetype.os=esxi9.9", "nodetype.arch=x86_64", "nodetype.profile=base"))
	return s.checkNodes(s.DB.Snapshot())
}

// TestDoctorDisk: a disk that is full, and one that is not to be written.
func TestDoctorDisk(t *testing.T) {
	for _, tt := range []struct {
		flags uintptr
		want  string
	}{{0, "0.0 GB left in "}, {unix.MS_RDONLY, " cannot be written"}} {
		dir := t.TempDir()
		var checks []Check
		done := make(chan error, 1)
		go func() { // in a thread with mounts of its own, which ends with it
			runtime.LockOSThread()
			err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
			if err == nil {
				err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
			}
			if err == nil {
				err = unix.Mount("full", dir, "tmpfs", tt.flags, "size=64k")
			}
			if err == nil {
				checks = (&Service{Config: Config{State: dir}}).checkDisk(nodedbtest.New(t).Snapshot())
			}
			done <- err
		}()
		if err := <-done; err != nil {
			t.Skip("mounts want root: ", err)
		}
		if !strings.Contains(fmt.Sprint(checks), tt.want) || checks[0].OK || checks[0].Way == "" {
			t.Errorf("%+v, want %q", checks, tt.want)
		}
	}
}
