package dhcp

import (
	"margay/netboot"
)

// proxyVerdict is verdict for a server beside another one (PXE 2.1, 2.2.3):
// it offers a boot file with the other's offer, and on port 4011 confirms it.
// On port 67 a REQUEST is for the other server.
func proxyVerdict(m *netboot.Machine, plan *netboot.Plan, boot bool) byte {
	if plan.File == "" || !identifier(m, plan).Is4() {
		return 0
	}
	switch m.Ask {
	case netboot.AskDiscover:
		if !boot {
			return msgOffer
		}
	case netboot.AskRequest, netboot.AskInform:
		if boot {
			return msgAck
		}
	}
	return 0
}

// proxyReply makes a message that has boot options and no address.
func proxyReply(buf []byte, r *request, m *netboot.Machine, plan *netboot.Plan, kind byte) ([]byte, []uint8) {
	var w writer
	w.start(buf, r.room(), plan.Options)
	w.fixed(r)
	if kind == msgAck {
		w.addr(atCIAddr, r.ciaddr)
	}
	w.putByte(optMessageType, kind)
	w.putAddr(optServer, r.tell(identifier(m, plan)))
	w.boot(r, m, plan)
	w.proxyClass(m)
	w.extra()
	return w.end(r.clientID, r.relay), w.lost
}

// proxyClass calls a reply to a loader by its class too: with no address in
// it, that is all that tells it from an offer gone wrong.
func (w *writer) proxyClass(m *netboot.Machine) {
	if m.Loader && !m.HTTPBoot {
		w.putString(optClass, "PXEClient")
	}
}
