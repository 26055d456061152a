package provision

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"margay/netboot"
	"margay/nodedb"
)

// discoveryFile is what a machine boots that no node is for: a script that
// says who it is and how to make it a node.
func (s *Service) discoveryFile(snap *nodedb.Snapshot, m netboot.Machine, server netip.Addr) string {
	switch {
	case m.Loader:
		return s.base(server) + "/discover/" + strings.ReplaceAll(m.MAC.String(), ":", "-") + "/script"
	case m.HTTPBoot:
		return s.base(server) + "/discover/exit.efi"
	case m.Firmware == netboot.BIOS:
		return loaderBIOS
	case m.Firmware == netboot.UEFI64:
		return loaderUEFI
	case m.Firmware == netboot.UEFIARM64:
		return loaderARM64
	}
	return ""
}

// openDiscover makes the files of machines that no node is for.
func (s *Service) openDiscover(snap *nodedb.Snapshot, m netboot.Machine, name, query string) ([]byte, error) {
	if name == "exit.efi" {
		return exitEFI(), nil
	}
	mac, file, _ := strings.Cut(name, "/")
	mac = strings.ReplaceAll(clean(mac), "-", ":")
	if r, ok := snap.Record(leaseKey(m.Addr)); !ok || leaseOf(r).MAC != mac {
		return nil, netboot.ErrNotFound
	}
	if file == "hello" {
		s.hello(m, mac, query)
		return []byte("ok\n"), nil
	}
	switch file {
	case "script":
		return discoverScript(snap, m, mac), nil
	case "go":
		hw, err := net.ParseMAC(mac)
		if err != nil {
			return nil, netboot.ErrNotFound
		}
		if n := snap.NodeByMAC(hw); n != nil && n.Addr.IsValid() && n.Mode != nodedb.ModeNone && n.Mode != nodedb.ModeOffline {
			return []byte("#!ipxe\n"), nil
		}
	}
	return nil, netboot.ErrNotFound
}

// waitStep is how often a machine that waits asks whether it is a node, in
// seconds.
const waitStep = 5

// discoverScript is what a machine runs that no node is for. It tells what it
// is, and waits a while to become one: then it boots anew, as that node.
func discoverScript(snap *nodedb.Snapshot, m netboot.Machine, mac string) []byte {
	wait := 60
	if n, err := strconv.Atoi(snap.Site("discoverywait")); err == nil && n >= 0 && n <= 3600 {
		wait = n
	}
	var b strings.Builder
	fmt.Fprintf(&b, `#!ipxe
#discover
imgfetch --name hello hello?serial=${serial:uristring}&uuid=${uuid}&product=${product:uristring}&manufacturer=${manufacturer:uristring}&arch=${buildarch} ||
imgfree hello ||
echo
echo margay does not know this machine: MAC %s, address %s
echo To make it a node, on the server:
echo     nodediscoverdef -u %s -n NAME --ip ADDRESS --osimage IMAGE
echo It waits %d seconds for that, then it boots from its disk.
`, mac, m.Addr, mac, wait)
	for range (wait + waitStep - 1) / waitStep {
		fmt.Fprintf(&b, "sleep %d\nimgfetch --name go go && goto bound ||\n", waitStep)
	}
	b.WriteString("goto disk\n:bound\nimgfree go ||\necho It is a node now.\nautoboot || reboot\n:disk\n")
	b.WriteString(strings.SplitN(string(exitScript("discover", "")), "\n", 3)[2])
	return []byte(b.String())
}
