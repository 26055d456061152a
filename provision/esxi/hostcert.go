package esxi

import (
	"net/netip"

	"margay/provision"
)

// hostCert is the certificate that the host is to show; nil for its own.
func (h *host) hostCert() (*provision.HostCert, error) {
	if h.set.cert == "own" || h.HostCert == nil {
		return nil, nil
	}
	names := provision.HostNames{Hosts: []string{h.set.hostname}}
	if h.set.hostname != h.Node.Name {
		names.Hosts = append(names.Hosts, h.Node.Name)
	}
	addr := h.Node.Addr
	if h.set.network.static {
		addr = h.set.network.addr.Addr()
	}
	names.Addrs = []netip.Addr{addr}
	return h.HostCert(h.set.cert == "given", names)
}
