package provision

import (
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"margay/nodedb"
)

// A Check is one thing that margay doctor looked at.
type Check struct {
	Name string // "disk space"
	OK   bool
	Text string // what was found
	Way  string // out, where it is not OK
}

func good(name, format string, args ...any) Check {
	return Check{Name: name, OK: true, Text: fmt.Sprintf(format, args...)}
}

func bad(name, way, format string, args ...any) Check {
	return Check{Name: name, Text: fmt.Sprintf(format, args...), Way: way}
}

// Doctor looks at everything that machines need in order to boot, and that
// can be known without asking the network.
func (s *Service) Doctor(served []Interface) []Check {
	snap := s.DB.Snapshot()
	out := s.checkInterfaces(snap, served)
	out = append(out, checkCapabilities()...)
	out = append(out, checkClock())
	out = append(out, s.checkDisk(snap)...)
	out = append(out, s.checkMedia(snap)...)
	out = append(out, checkNames(snap)...)
	out = append(out, s.checkRanges(snap)...)
	out = append(out, s.checkStalls(snap)...)
	return append(out, s.checkNodes(snap)...)
}

// checkInterfaces compares our interfaces with the networks table.
func (s *Service) checkInterfaces(snap *nodedb.Snapshot, served []Interface) []Check {
	var out []Check
	for _, i := range served {
		why := linkDown("/sys/class/net", i.Name)
		if _, err := net.InterfaceByName(i.Name); err != nil {
			why = "it is not there"
		}
		if why != "" {
			out = append(out, bad("interface "+i.Name, "plug it in, or ip link set "+i.Name+" up", "%s", why))
			continue
		}
		if len(i.Prefixes) == 0 {
			out = append(out, bad("interface "+i.Name, "give it an address", "it has no IPv4 address"))
		}
		for _, p := range i.Prefixes {
			out = append(out, checkPrefix(snap, i, p))
		}
	}
	return out
}

// linkDown says why nothing passes an interface; "" if something may. The kernel
// tells of those that have no such state, as loopback, that it is unknown.
func linkDown(sys, name string) string {
	dir := filepath.Join(sys, name)
	state, err := os.ReadFile(filepath.Join(dir, "operstate"))
	if err != nil {
		return ""
	}
	switch strings.TrimSpace(string(state)) {
	case "down":
		if carrier, err := os.ReadFile(filepath.Join(dir, "carrier")); err == nil && strings.TrimSpace(string(carrier)) == "0" {
			return "it is up, and no cable is in it"
		}
		return "it is down"
	case "lowerlayerdown":
		return "the interface below it is down"
	case "notpresent":
		return "it is not there"
	}
	return ""
}

func checkPrefix(snap *nodedb.Snapshot, i Interface, p netip.Prefix) Check {
	name := "interface " + i.Name
	nw := snap.NetworkOf(p.Addr())
	switch {
	case nw == nil:
		return bad(name, "margay makenetworks", "its address %s is in none of the networks", p)
	case nw.Prefix.Bits() != p.Bits():
		return bad(name, "correct the mask of network "+nw.Name+" or of the interface", "its mask is /%d, and that of network %s is /%d", p.Bits(), nw.Name, nw.Prefix.Bits())
	case nw.MTU > 0 && i.MTU > 0 && nw.MTU > i.MTU:
		return bad(name, fmt.Sprintf("chdef -t network %s mtu=%d, or raise the interface's", nw.Name, i.MTU), "network %s has mtu %d, and the interface only %d", nw.Name, nw.MTU, i.MTU)
	}
	return good(name, "%s, network %s", p, nw.Name)
}

// checkCapabilities reads what we may do (proc_pid_status(5), capabilities(7)).
func checkCapabilities() []Check {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil
	}
	return capabilities(string(status))
}

func capabilities(status string) []Check {
	var have uint64
	for _, line := range strings.Split(status, "\n") {
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
			have, _ = strconv.ParseUint(strings.TrimSpace(v), 16, 64)
		}
	}
	var out []Check
	for _, c := range []struct {
		bit  int
		name string
		use  string
	}{{unix.CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE", "ports below 1024"}, {unix.CAP_NET_RAW, "CAP_NET_RAW", "binding DHCP to interfaces"}} {
		if have&(1<<c.bit) == 0 {
			out = append(out, bad("capability "+c.name, "start by packaging/margay.service, or as root", "missing; it is needed for %s", c.use))
			continue
		}
		out = append(out, good("capability "+c.name, "there, for %s", c.use))
	}
	return out
}

// checkClock asks the kernel whether its clock is kept in step (adjtimex(2)).
func checkClock() Check {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		state = unix.TIME_OK
	}
	return clockCheck(state, t.Status)
}

func clockCheck(state int, status int32) Check {
	if state == unix.TIME_ERROR || status&unix.STA_UNSYNC != 0 {
		return bad("clock", "run chrony or systemd-timesyncd: hosts take their time from here", "the kernel says that it is not kept in step")
	}
	return good("clock", "kept in step")
}

// lowSpace is what an installer medium may take, in bytes.
const lowSpace = 2 << 30

func (s *Service) checkDisk(snap *nodedb.Snapshot) []Check {
	var out []Check
	for _, d := range []struct{ name, dir string }{{"state", s.State}, {"install trees", s.InstallDir(snap)}} {
		var st unix.Statfs_t
		if err := unix.Statfs(d.dir, &st); err != nil {
			continue // not made yet
		}
		free := int64(st.Bavail) * st.Bsize
		name := "disk space for " + d.name
		if unix.Access(d.dir, unix.W_OK) != nil {
			out = append(out, bad(name, "let the daemon's user write there, or mount it read-write", "%s cannot be written", d.dir))
			continue
		}
		if free < lowSpace {
			out = append(out, bad(name, "make room, or margay media remove what no node uses", "%.1f GB left in %s", float64(free)/1e9, d.dir))
			continue
		}
		out = append(out, good(name, "%.1f GB left in %s", float64(free)/1e9, d.dir))
	}
	return out
}

// checkMedia looks whether the trees are whole: each file there, and as long as
// it was on the medium. margay media verify compares what is in them.
func (s *Service) checkMedia(snap *nodedb.Snapshot) []Check {
	var out []Check
	for _, m := range Library(snap) {
		name := "medium " + m.OS + "/" + m.Arch
		tree, err := s.tree(snap, m.OS, m.Arch)
		if err == nil {
			_, err = tree.Open(".")
		}
		if err != nil {
			out = append(out, bad(name, "run copycds again", "%v", err))
			continue
		}
		if wrong := lengths(tree); !m.InPlace && len(wrong) > 0 {
			out = append(out, bad(name, "run copycds again; margay media verify "+m.OS+"/"+m.Arch+" names them all", "%s: not as on the medium", summary(wrong)))
			continue
		}
		out = append(out, good(name, "%s", m.Title))
	}
	return out
}

// lengths are the files of an install tree that are not there, or of another
// length than in the list that copycds wrote.
func lengths(tree fs.FS) []string {
	text, err := fs.ReadFile(tree, manifest)
	if err != nil {
		return nil // of an older copycds
	}
	want, _ := parseManifest(string(text))
	var wrong []string
	for name, w := range want {
		if fi, err := fs.Stat(tree, name); err != nil || fi.Size() != w.size {
			wrong = append(wrong, name)
		}
	}
	slices.Sort(wrong)
	return wrong
}

// checkNames looks whether each node's name and address agree, both ways.
func checkNames(snap *nodedb.Snapshot) []Check {
	names := NewNames(snap, time.Now())
	if snap.Site("domain") == "" {
		return []Check{bad("DNS", "chdef -t site domain=...", "the site has no domain, so no name is answered")}
	}
	n := 0
	var wrong []string
	for x := range names.All() {
		if x.Alias != "" {
			continue
		}
		n++
		if back := names.Reverse(x.Addr); !slices.Contains(back, x.Name) {
			wrong = append(wrong, fmt.Sprintf("%s is %s, which is %s", x.Name, x.Addr, strings.Join(back, " ")))
		}
	}
	if len(wrong) > 0 {
		return []Check{bad("DNS", "give each name an address of its own", "forward and reverse disagree: %s", summary(wrong))}
	}
	return []Check{good("DNS", "%d names, forward and reverse agree", n)}
}

// checkNodes makes the boot files of every node that is set to boot from the
// network, and names those that could not boot now.
func (s *Service) checkNodes(snap *nodedb.Snapshot) []Check {
	var out []Check
	ready := 0
	for _, n := range snap.Nodes() {
		if !n.Mode.Loads() {
			continue
		}
		a := attempt(snap, n.Name)
		err := DHCPProblem(snap, n)
		if err == nil {
			err = s.rehearse(snap, n, current(snap, n))
		}
		switch {
		case err != nil:
			out = append(out, bad("node "+n.Name, "correct it, then nodeset it again", "it could not boot now: %v", err))
		case a == nil:
			out = append(out, bad("node "+n.Name, "nodeset it again", "currstate says %q, but nodeset was not run for it", n.CurrState))
		case a.Phase == PhaseFailed:
			out = append(out, bad("node "+n.Name, "margay hold "+n.Name+" --release, or nodeset it again", "held: %s", a.Reason))
		default:
			ready++
		}
	}
	return append(out, good("nodes", "%d set to boot from the network can", ready))
}
