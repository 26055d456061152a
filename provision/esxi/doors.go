package esxi

import (
	"net/netip"

	"margay/provision"
)

// Doors are the API's port and, if the host is to let root log in, SSH's, at
// the address of the host's management interface.
func (f *Family) Doors(b *provision.Boot) []provision.Door {
	addr, ssh := b.Node.Addr, true
	if set, err := readSettings(b); err == nil {
		ssh = set.ssh
		if set.network.static {
			addr = set.network.addr.Addr()
		}
	}
	if !addr.IsValid() {
		return nil
	}
	doors := []provision.Door{{Name: "API port 443", Addr: netip.AddrPortFrom(addr, 443), Vital: true}}
	if ssh {
		doors = append(doors, provision.Door{Name: "SSH", Addr: netip.AddrPortFrom(addr, 22)})
	}
	return doors
}
