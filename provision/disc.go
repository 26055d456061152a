package provision

import (
	"fmt"
	"net/netip"

	"margay/nodedb"
)

// discName is the boot loader as a disc, for machines whose cards boot nothing:
// it asks our DHCP as a card would, and goes on from there.
const discName = "xnba.iso"

// Disc is where a management controller finds our disc: at our address on its
// own network if we have one there, else at site.master.
func (s *Service) Disc(snap *nodedb.Snapshot, controller string) (string, error) {
	if s.HTTPPort == 0 {
		return "", fmt.Errorf("HTTP is off (margay serve --http), so no disc of ours can be fetched; name another image")
	}
	found := false
	for _, dir := range s.loader {
		for _, as := range loaderNames(discName) {
			if f, err := openFS(dir, as); err == nil {
				f.Body.Close()
				found = true
			}
		}
	}
	if !found {
		return "", fmt.Errorf("no %s is built in; put iPXE's ipxe.iso into %s/boot, or name another image", discName, s.State)
	}
	server, _ := netip.ParseAddr(snap.Site("master"))
	if at, err := netip.ParseAddr(controller); err == nil && s.Local != nil {
		for _, own := range s.Local() {
			if own.Contains(at) {
				server = own.Addr()
			}
		}
	}
	if !server.IsValid() {
		return "", fmt.Errorf("site.master: no address, so the controller cannot be told where our disc is; chtab key=master site.value=ADDRESS")
	}
	return s.base(server) + "/tftpboot/xcat/" + discName, nil
}
