package dhcp

import (
	"net"
	"net/netip"
	"sync"

	"margay/netboot"
)

// A Foreign is another DHCP server on one of our networks.
type Foreign struct {
	Interface string
	Server    netip.Addr // its server identifier (option 54)
	Addr      netip.Addr // where its message came from; zero if only a client named it
	Offered   netip.Addr // the address that it offered, or that a client took
	Proxy     bool       // it offers boot files, no addresses
}

// strangers are the servers that have been reported.
type strangers struct {
	mu    sync.Mutex
	known map[netip.Addr]bool // guarded by mu
}

// maxStrangers bounds what forged requests can make us remember.
const maxStrangers = 64

// notice reports a server that a machine has chosen over us: a REQUEST that
// is broadcast names it (RFC 2131, 4.3.2). Plan may be nil.
func (s *Server) notice(k *sock, m *netboot.Machine, plan *netboot.Plan) {
	if k.mode != Authoritative || m.Ask != netboot.AskRequest || m.Relay.IsValid() {
		return
	}
	if !m.Server.IsValid() || m.Server == m.Local || plan != nil && m.Server == plan.Server {
		return
	}
	f := Foreign{Interface: m.Interface, Server: m.Server, Offered: m.Requested}
	if s.Foreign == nil && s.foreign.first(m.Server) && !localAddr(m.Server) {
		s.log().Warn("dhcp: another server gives addresses here; turn one of the two off, or serve in proxy mode",
			"interface", f.Interface, "server", f.Server, "mac", m.MAC.String())
	}
	if s.Foreign != nil && s.Foreign(f) {
		s.tell(netboot.StepForeign, m, "", "", m.Requested, nil)
	}
}

func (s *strangers) first(a netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[a] || len(s.known) >= maxStrangers {
		return false
	}
	if s.known == nil {
		s.known = make(map[netip.Addr]bool)
	}
	s.known[a] = true
	return true
}

// localAddr says whether a is an address of this host.
func localAddr(a netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, x := range addrs {
		if n, ok := x.(*net.IPNet); ok && n.IP.Equal(a.AsSlice()) {
			return true
		}
	}
	return false
}
