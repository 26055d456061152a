package provision

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
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
	if n = whose(snap, n, m); n == nil {
		return nil, twoNodes(snap, m)
	}
	switch m.Ask {
	case netboot.AskRelease:
		return nil, netboot.ErrIgnore // the table's word stands
	case netboot.AskDecline:
		return nil, &netboot.Refusal{Node: n.Name, Reason: fmt.Sprintf(
			"node %s: it declines %s, which another machine has that answers there; find that one (ip neighbor) or give the node another ip", n.Name, m.Requested)}
	}
	p, err := s.plan(snap, n, m)
	if err == nil {
		s.noteReserved(snap, p, m)
	}
	return p, err
}

// Prompt says whether Plan has an answer at once: it does for nodes, and for
// strangers where no address is given to them. What is given is asked for on the
// network first, and written down.
func (s *Service) Prompt(m netboot.Machine) bool {
	snap := s.DB.Snapshot()
	if snap.NodeByMAC(m.MAC) != nil {
		return true
	}
	return m.Ask == netboot.AskDiscover && !asksFirst(snap) || len(s.dynamicAt(snap, m)) == 0
}

// whose is the node of a MAC that n is the first to have. Of several it is the
// one whose address the machine has already; nil: nobody can say.
func whose(snap *nodedb.Snapshot, n *nodedb.Node, m netboot.Machine) *nodedb.Node {
	names := snap.NamesByMAC(m.MAC)
	if len(names) < 2 {
		return n
	}
	for _, name := range names {
		if n, err := snap.Node(name); err == nil && m.Requested.IsValid() && m.Requested == n.Addr {
			return n
		}
	}
	return nil
}

func twoNodes(snap *nodedb.Snapshot, m netboot.Machine) error {
	names := snap.NamesByMAC(m.MAC)
	return &netboot.Refusal{Node: names[0], Reason: fmt.Sprintf("MAC %s is that of nodes %s; give all but one another with chdef NODE mac=MAC", m.MAC, strings.Join(names, " and "))}
}

func (s *Service) plan(snap *nodedb.Snapshot, n *nodedb.Node, m netboot.Machine) (*netboot.Plan, error) {
	if denied(n, m) || withdrawn(snap, n.Name, PublishDHCP) {
		return nil, netboot.ErrIgnore
	}
	addr, err := interfaceAddr(snap, n, m)
	if err != nil {
		return nil, &netboot.Refusal{Node: n.Name, Reason: err.Error()}
	}
	nw, err := s.networkFor(snap, n, addr, m)
	if err != nil && s.strayed(snap, m) {
		return &netboot.Plan{Node: n.Name, Nak: true}, nil // and why is said when it asks anew
	}
	if err != nil {
		return nil, err
	}
	own := s.facing(snap, n, m.Local)
	if m.Local.IsValid() && m.Local.IsLoopback() == addr.IsLoopback() {
		own = s.ownIn(snap, nw, m)
	}
	server := own
	if a := addrOf(n.Master); a.IsValid() {
		server = a
	}
	p := s.netPlan(snap, nw, server)
	p.Server = own // where it renews: xcatmaster may be another's
	if a := addrs([]string{n.TFTPServer}, server); len(a) > 0 {
		p.Next = a[0]
	}
	if own := addrs(list(n.Attr("noderes.nameservers")), server); len(own) > 0 {
		p.DNS = own
	}
	p.Node = n.Name
	p.Addr = netip.PrefixFrom(addr, nw.Prefix.Bits())
	p.Hostname = n.Name
	if m.Ask == netboot.AskRequest && m.Requested.IsValid() && m.Requested != addr {
		p.Nak = true
		return p, nil
	}
	if m.PXE || m.HTTPBoot || m.Loader {
		m.Local = own
		b := s.bootfile(snap, n, m, p.Next)
		p.File = b.File
		if p.Why = nothing(n); p.Why == "" && b.File == "" {
			p.Why = fmt.Sprintf("node %s: nothing to boot: %s", n.Name, b.Why)
		}
	}
	file := p.File
	if err := s.statements(snap, p, nw, n, m); err != nil {
		return nil, err
	}
	if p.File != file {
		p.Why = ""
	}
	return p, nil
}

// networkFor is the network of a node's address, if that is any use where the
// machine asks from.
func (s *Service) networkFor(snap *nodedb.Snapshot, n *nodedb.Node, addr netip.Addr, m netboot.Machine) (*nodedb.Network, error) {
	no := func(format string, args ...any) error {
		return &netboot.Refusal{Node: n.Name, Reason: fmt.Sprintf("node %s: ", n.Name) + fmt.Sprintf(format, args...)}
	}
	if !addr.IsValid() {
		return nil, no("no ip; set one with chdef %s ip=ADDRESS", n.Name)
	}
	nw := snap.NetworkOf(addr)
	if nw == nil {
		return nil, no("%s is in none of the networks; define it with mkdef -t network", addr)
	}
	from, _ := s.asksFrom(snap, m)
	if !from.IsValid() || nw.Prefix.Contains(from) || s.plays(m, n.Name) {
		return nw, nil
	}
	if slices.Contains(s.networksAt(snap, m), nw) {
		return nw, nil
	}
	return nil, no("its address %s is in network %s, but it asks from %s; correct ip or move the machine", addr, nw.Name, from)
}

// strayed says whether a machine that knows its address has none of the wire's,
// which is ours to say: it is to ask anew, and not to go on with what it has. RFC
// 2131, 4.3.2 has a server do so when one is switched on elsewhere; one that
// rebinds would else go on until its lease ends.
func (s *Service) strayed(snap *nodedb.Snapshot, m netboot.Machine) bool {
	if m.Ask != netboot.AskRequest || m.Server.IsValid() || !m.Requested.IsValid() || s.asksIn(snap, m) == nil {
		return false
	}
	return !slices.ContainsFunc(s.networksAt(snap, m), func(nw *nodedb.Network) bool { return nw.Prefix.Contains(m.Requested) })
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

// leaseLength is how long the site has addresses leased for.
func leaseLength(snap *nodedb.Snapshot) time.Duration {
	if text := snap.Site("dhcplease"); text != "" {
		if sec, err := strconv.Atoi(text); err == nil && sec > 0 {
			return time.Duration(sec) * time.Second
		}
	}
	return defaultLease
}

// netPlan is what every machine of a network is told.
func (s *Service) netPlan(snap *nodedb.Snapshot, nw *nodedb.Network, server netip.Addr) *netboot.Plan {
	p := &netboot.Plan{Server: server, Next: server, MTU: nw.MTU, Lease: leaseLength(snap), Domain: snap.Site("domain")}
	if nw.Domain != "" {
		p.Domain = nw.Domain
	}
	p.Search = search(snap, p.Domain)
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

// search are the domains in which machines look for short names: their own,
// then the site's and the other networks'.
func search(snap *nodedb.Snapshot, own string) []string {
	var out []string
	add := func(d string) {
		if d != "" && !slices.ContainsFunc(out, func(have string) bool { return strings.EqualFold(have, d) }) {
			out = append(out, d)
		}
	}
	add(own)
	add(snap.Site("domain"))
	for _, nw := range snap.Networks() {
		if len(out) == maxSearch {
			break
		}
		add(nw.Domain)
	}
	return out
}

// maxSearch is how many domains resolvers look at; older ones are content with
// six.
const maxSearch = 6

// facing is our address as the node should know it: what its record says, or
// the one it reached, or the one of ours that lies in its network.
func (s *Service) facing(snap *nodedb.Snapshot, n *nodedb.Node, local netip.Addr) netip.Addr {
	if a := addrOf(n.Master); a.IsValid() {
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
		} else if a := addrOf(w); a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// addrOf is the address that a column holds, if it is one. Most columns are
// empty, and an error for each would cost more than the rest of a plan.
func addrOf(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	a, _ := netip.ParseAddr(s)
	return a
}

func list(s string) []string {
	if s == "" {
		return nil
	}
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
	case (n.Mode == nodedb.ModeNone || n.Mode == nodedb.ModeOffline) && m.Loader:
		return bootfile{base + "/boot/" + n.Name + "/script", "iPXE asks, and is told that there is nothing to boot"}
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
