package provision

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"margay/netboot"
	"margay/nodedb"
)

// defaultLease is xCAT's site.dhcplease, 12 hours.
const defaultLease = 43200 * time.Second

// Plan says what a machine is told by DHCP, straight from the table: its own
// address, its network's facts, and what to boot. Machines that the table does
// not know get silence, or a lease where their network has a dynamic range.
func (s *Service) Plan(ctx context.Context, m netboot.Machine) (*netboot.Plan, error) {
	snap := s.DB.Snapshot()
	n := snap.NodeByMAC(m.MAC)
	if n == nil {
		s.note(snap, m)
		return s.dynamic(ctx, snap, m)
	}
	if m.Ask == netboot.AskRelease || m.Ask == netboot.AskDecline {
		return nil, netboot.ErrIgnore // the table's word stands; the event shows it
	}
	return s.plan(snap, n, m)
}

func (s *Service) plan(snap *nodedb.Snapshot, n *nodedb.Node, m netboot.Machine) (*netboot.Plan, error) {
	if denied(n, m) || withdrawn(snap, n.Name, PublishDHCP) {
		return nil, netboot.ErrIgnore
	}
	if !n.Addr.IsValid() {
		return nil, fmt.Errorf("node %s: no ip; set one with chdef %s ip=ADDRESS: %w", n.Name, n.Name, netboot.ErrIgnore)
	}
	nw := snap.NetworkOf(n.Addr)
	if nw == nil {
		return nil, fmt.Errorf("node %s: %s is in none of the networks; define it with mkdef -t network: %w", n.Name, n.Addr, netboot.ErrIgnore)
	}
	if err := s.reachable(nw, n, m); err != nil {
		return nil, err
	}
	p := s.netPlan(snap, nw, s.facing(snap, n, m.Local))
	p.Node = n.Name
	p.Addr = netip.PrefixFrom(n.Addr, nw.Prefix.Bits())
	p.Hostname = n.Name
	if m.Ask == netboot.AskRequest && m.Requested.IsValid() && m.Requested != n.Addr {
		p.Nak = true
		return p, nil
	}
	if m.PXE || m.HTTPBoot || m.Loader {
		b := s.bootfile(snap, n, m, p.Next)
		p.File = b.File
	}
	if err := s.statements(snap, p, nw, n, m); err != nil {
		return nil, err
	}
	return p, nil
}

// denied says whether the interface that asks is one that must not get an
// address (xCAT's *NOIP*).
func denied(n *nodedb.Node, m netboot.Machine) bool {
	for _, mac := range n.MACs {
		if mac.NoIP && mac.Addr.String() == m.MAC.String() {
			return true
		}
	}
	return false
}

// reachable says whether the node's address is any use on the network that
// the machine asks from.
func (s *Service) reachable(nw *nodedb.Network, n *nodedb.Node, m netboot.Machine) error {
	from := m.Local
	if m.Relay.IsValid() {
		from = m.Relay
	}
	if m.Link.IsValid() {
		from = m.Link
	}
	if !from.IsValid() || nw.Prefix.Contains(from) || s.plays(m, n.Name) {
		return nil
	}
	return fmt.Errorf("node %s: its address %s is in network %s, but it asks from %s; correct ip or move the machine: %w",
		n.Name, n.Addr, nw.Name, from, netboot.ErrIgnore)
}

// netPlan is what every machine of a network is told.
func (s *Service) netPlan(snap *nodedb.Snapshot, nw *nodedb.Network, server netip.Addr) *netboot.Plan {
	p := &netboot.Plan{Server: server, Next: server, MTU: nw.MTU, Lease: defaultLease, Domain: snap.Site("domain")}
	if sec, err := strconv.Atoi(snap.Site("dhcplease")); err == nil && sec > 0 {
		p.Lease = time.Duration(sec) * time.Second
	}
	if nw.Domain != "" {
		p.Domain = nw.Domain
	}
	if p.Domain != "" {
		p.Search = []string{p.Domain}
	}
	if a := addrs([]string{nw.TFTPServer}, server); len(a) > 0 {
		p.Next = a[0]
	}
	if a := addrs([]string{nw.Gateway}, server); len(a) > 0 {
		p.Router = a[0]
	}
	p.DNS = addrs(firstSet(nw.Nameservers, list(snap.Site("nameservers")), []string{"<xcatmaster>"}), server)
	p.NTP = addrs(firstSet(nw.NTPServers, list(snap.Site("ntpservers"))), server)
	p.Log = addrs(nw.LogServers, server)
	return p
}

// facing is our address as the node should know it: what its record says, or
// the one it reached, or the one of ours that lies in its network.
func (s *Service) facing(snap *nodedb.Snapshot, n *nodedb.Node, local netip.Addr) netip.Addr {
	if a, err := netip.ParseAddr(n.Master); err == nil {
		return a
	}
	// A probe on this host reaches us over loopback, and is to be told what the
	// machine would be.
	if local.IsValid() && !local.IsUnspecified() && local.IsLoopback() == n.Addr.IsLoopback() {
		return local
	}
	if s.Local != nil {
		for _, own := range s.Local() {
			if own.Contains(n.Addr) {
				return own.Addr()
			}
		}
	}
	a, _ := netip.ParseAddr(snap.Site("master"))
	return a
}

// base is the URL of our HTTP service at an address.
func (s *Service) base(server netip.Addr) string {
	if s.HTTPPort == 80 || s.HTTPPort == 0 {
		return "http://" + hostOf(server)
	}
	return "http://" + hostOf(server) + ":" + strconv.Itoa(s.HTTPPort)
}

// secureBase is base by HTTPS.
func (s *Service) secureBase(server netip.Addr) string {
	if s.TLSPort == 443 {
		return "https://" + hostOf(server)
	}
	return "https://" + hostOf(server) + ":" + strconv.Itoa(s.TLSPort)
}

func hostOf(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// addrs parses addresses; <xcatmaster> stands for the server. What is not an
// address is left out: `margay check` names it.
func addrs(words []string, server netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, w := range words {
		if w == "<xcatmaster>" {
			out = append(out, server)
		} else if a, err := netip.ParseAddr(w); err == nil {
			out = append(out, a)
		}
	}
	return out
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == ';' })
}

func firstSet(lists ...[]string) []string {
	for _, l := range lists {
		if len(l) > 0 {
			return l
		}
	}
	return nil
}

// bootfile is what a machine boots now, and why: for the plan and for
// `margay show chain`.
type bootfile struct {
	File string // TFTP name or URL; empty: nothing
	Why  string
}

// Names of the boot programs that we send by TFTP, as xCAT spells them.
const (
	loaderBIOS  = "xcat/xnba.kpxe"
	loaderUEFI  = "xcat/xnba.efi"
	loaderARM64 = "xcat/xnba-arm64.efi"
)

// bootfile is the one place where it is decided which loader a machine is
// sent: by its firmware, by what it is to boot, and by whether it is already a
// loader that asks.
func (s *Service) bootfile(snap *nodedb.Snapshot, n *nodedb.Node, m netboot.Machine, next netip.Addr) bootfile {
	base := s.base(s.facing(snap, n, m.Local))
	if m.HTTPBoot && s.TLSPort > 0 {
		if f, err := s.family(n.OS); err == nil && s.wantsTLS(snap, n, f) {
			base = s.secureBase(s.facing(snap, n, m.Local))
		}
	}
	switch {
	case n.Mode == nodedb.ModeNone:
		return bootfile{Why: "nodeset was never run for it"}
	case n.Mode == nodedb.ModeOffline:
		return bootfile{Why: "nodeset offline"}
	case m.HTTPBoot && n.Mode == nodedb.ModeBoot:
		return bootfile{base + "/boot/" + n.Name + "/exit.efi", "UEFI HTTP boot; goes on to its next boot option"}
	case m.HTTPBoot:
		return bootfile{base + "/boot/" + n.Name + "/bootx64.efi", "UEFI HTTP boot, the medium's own loader"}
	case m.Firmware == netboot.UEFI64 && !m.Loader && n.Netboot == netbootOwn && n.Mode != nodedb.ModeBoot:
		return bootfile{"boot/" + n.Name + "/mboot.efi", "UEFI by TFTP, the medium's own loader"}
	case m.Firmware == netboot.UEFI64 && !m.Loader && n.Netboot == netbootGrub && n.Mode == nodedb.ModeInstall:
		return bootfile{"boot/" + n.Name + "/shimx64.efi", "UEFI by TFTP, the medium's own shim"}
	case m.Loader && (loaderServes(m, n) || m.HTTP && s.startsKernel(snap, n)):
		return bootfile{base + "/boot/" + n.Name + "/script", "iPXE asks"}
	case m.Firmware == netboot.BIOS:
		return bootfile{loaderBIOS, "BIOS by PXE"}
	case m.Firmware == netboot.UEFI64 && n.Mode == nodedb.ModeBoot && m.PXE:
		// iPXE's own scripts end well whatever ours says, and firmware takes
		// that for the end of its boot order: UEFI 2.10, 3.1.1.
		return bootfile{"boot/" + n.Name + "/exit.efi", "UEFI by PXE; goes on to its next boot option"}
	case m.Firmware == netboot.UEFI64:
		return bootfile{loaderUEFI, "UEFI by PXE"}
	case m.Firmware == netboot.UEFIARM64:
		return bootfile{loaderARM64, "UEFI on arm64 by PXE"}
	}
	return bootfile{Why: "no loader of ours runs on " + m.Firmware.String() + " firmware"}
}

// netbootOwn in noderes.netboot sends UEFI machines the medium's own loader by
// TFTP, without iPXE: it keeps Secure Boot where the firmware has no HTTP boot.
const netbootOwn = "mboot"

// netbootGrub sends them the distribution's shim and GRUB, likewise.
const netbootGrub = "grub2"

// loaderServes says whether the iPXE that asks can do what the node needs.
// Under BIOS the media's mboot.c32 wants COMBOOT, which a card's own iPXE
// lacks: that one is sent ours first. A kernel that iPXE starts itself needs no
// COMBOOT, and a card's own drivers are many times faster than BIOS's.
func loaderServes(m netboot.Machine, n *nodedb.Node) bool {
	if m.Firmware == netboot.BIOS && n.Mode != nodedb.ModeBoot {
		return m.COMBOOT
	}
	return true
}

// errNode makes err about a node, once.
func errNode(n string, err error) error {
	if err == nil || errors.Is(err, netboot.ErrIgnore) {
		return err
	}
	return fmt.Errorf("node %s: %w", n, err)
}
