package provision

import (
	"fmt"
	"net/netip"
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
	if file != "script" {
		return nil, netboot.ErrNotFound
	}
	text := fmt.Sprintf(`#!ipxe
#discover
imgfetch --name hello hello?serial=${serial:uristring}&uuid=${uuid}&product=${product:uristring}&manufacturer=${manufacturer:uristring}&arch=${buildarch} ||
imgfree hello ||
echo
echo margay does not know this machine: MAC %s, address %s
echo To make it a node, on the server:
echo     mkdef NAME groups=all mac=%s ip=ADDRESS
echo     nodeset NAME osimage=IMAGE
echo It boots from its disk now; switch it on again when it is a node.
sleep 10
`, mac, m.Addr, mac)
	tail := strings.SplitN(string(exitScript("discover", "")), "\n", 3)[2]
	return []byte(text + tail), nil
}
