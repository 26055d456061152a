package provision

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"margay/netboot"
	"margay/nodedb"
)

// kindLease keeps the leases of dynamic ranges: our own record, named by the
// address.
const kindLease nodedb.Kind = "margay.lease"

// offerTime is how long an offered address is kept for the machine that it was
// offered to, and quarantine how long one is left alone that a machine found
// in use.
const (
	offerTime  = 60 * time.Second
	quarantine = time.Hour
)

// A Lease is an address of a dynamic range that a machine has, or had.
type Lease struct {
	Addr    netip.Addr
	MAC     string
	Name    string // host name that the machine gave
	Expires time.Time
	Bad     bool // found in use by another: left alone until Expires

	// What relays ask for (RFC 4388); releases before this one did not keep it.
	At        time.Time // when the machine last asked for it; zero: not known
	ClientID  string    // option 61, as sent
	RelayInfo string    // option 82 of the last request that came through a relay, as sent
}

// A leaser gives out the addresses of dynamic ranges. What it acknowledges is
// in the table first; what it only offered is in memory. Every choice costs the
// same however many leases there are; all of them are looked at once a second at
// most, when no address is left that was never used.
type leaser struct {
	db     *nodedb.DB
	now    func() time.Time
	steady func() time.Duration  // since some moment, whatever becomes of the clock
	local  func() []netip.Prefix // our own addresses; nil: not known

	mu     sync.Mutex // guards all below
	held   map[netip.Addr]hold
	offers map[netip.Addr]offer
	owed   map[string]netip.Addr     // offers by MAC
	had    map[string]netip.Addr     // what each machine last had
	next   map[netip.Addr]netip.Addr // by a range's first address: where to look for one never used
	none   map[string]searched       // by network: when there was none never used
	spare  map[string]*spares        // by network
	swept  time.Time                 // when offers that ran out were last dropped
	read   int64                     // revision that had was read at
	reread time.Time

	takings takings
	index   leaseIndex
}

// A hold is a lease that was given since we began. The table has leases end by
// the clock; should that be set forward, they run on by this.
type hold struct {
	mac   string
	until time.Duration // as steady counts
}

type offer struct {
	mac     string
	expires time.Time
	asked   bool // the network was asked whether it is in use
}

// knows says whether an address needs no asking for: the machine had it, or it
// was asked for when it was offered before.
func (l *leaser) knows(m netboot.Machine, a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.had[m.MAC.String()] == a || l.offers[a].asked
}

func (l *leaser) asked(m netboot.Machine, a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o, ok := l.offers[a]; ok {
		o.asked = true
		l.offers[a] = o
	}
}

// avoid leaves an address alone for a while.
func (l *leaser) avoid(ctx context.Context, m netboot.Machine, a netip.Addr) error {
	l.mu.Lock()
	l.drop(a)
	l.mu.Unlock()
	return l.db.Update(ctx, func(tx *nodedb.Tx) error {
		putLease(tx, a, Lease{Expires: l.now().Add(quarantine), Bad: true}, l.now())
		return nil
	})
}

func newLeaser(db *nodedb.DB, now func() time.Time) *leaser {
	begin := time.Now() // with a monotonic reading
	return &leaser{db: db, now: now, steady: func() time.Duration { return time.Since(begin) }, held: map[netip.Addr]hold{}, offers: map[netip.Addr]offer{}, owed: map[string]netip.Addr{}, next: map[netip.Addr]netip.Addr{}, none: map[string]searched{}, spare: map[string]*spares{}}
}

// sweep drops offers that ran out, once a second at most. The caller holds mu.
func (l *leaser) sweep(now time.Time) {
	if now.Sub(l.swept) < time.Second {
		return
	}
	l.swept = now
	for a, o := range l.offers {
		if now.After(o.expires) {
			l.drop(a)
		}
	}
}

// drop forgets an offer. The caller holds mu.
func (l *leaser) drop(a netip.Addr) {
	if o, ok := l.offers[a]; ok && l.owed[o.mac] == a {
		delete(l.owed, o.mac)
	}
	delete(l.offers, a)
}

// hadBefore is the address that a machine last had. Another server may have
// given it: the table is read again when it has changed, every ten seconds at
// most. The caller holds mu.
func (l *leaser) hadBefore(snap *nodedb.Snapshot, mac string, now time.Time) netip.Addr {
	if a, ok := l.had[mac]; ok {
		return a
	}
	if l.had != nil && (snap.Rev() == l.read || now.Sub(l.reread) < 10*time.Second) {
		return netip.Addr{}
	}
	l.had, l.read, l.reread = map[string]netip.Addr{}, snap.Rev(), now
	for _, lease := range Leases(snap) {
		if !lease.Bad {
			l.had[lease.MAC] = lease.Addr
		}
	}
	return l.had[mac]
}

func leaseKey(a netip.Addr) nodedb.Key { return nodedb.Key{Kind: kindLease, Name: a.String()} }

func leaseOf(r nodedb.Record) Lease {
	l := Lease{MAC: r.Attrs["lease.mac"], Name: r.Attrs["lease.name"], Bad: r.Attrs["lease.bad"] != ""}
	l.Addr, _ = netip.ParseAddr(r.Name)
	sec, _ := strconv.ParseInt(r.Attrs["lease.expires"], 10, 64)
	l.Expires = time.Unix(sec, 0)
	if sec, err := strconv.ParseInt(r.Attrs["lease.at"], 10, 64); err == nil {
		l.At = time.Unix(sec, 0)
	}
	l.ClientID, l.RelayInfo = unhex(r.Attrs["lease.id"]), unhex(r.Attrs["lease.relay"])
	return l
}

func unhex(s string) string {
	b, _ := hex.DecodeString(s)
	return string(b)
}

func (l Lease) attrs() map[string]string {
	m := map[string]string{"lease.mac": l.MAC, "lease.expires": strconv.FormatInt(l.Expires.Unix(), 10)}
	if l.Name != "" {
		m["lease.name"] = l.Name
	}
	if l.Bad {
		m["lease.bad"] = "1"
	}
	if !l.At.IsZero() {
		m["lease.at"] = strconv.FormatInt(l.At.Unix(), 10)
	}
	if l.ClientID != "" {
		m["lease.id"] = hex.EncodeToString([]byte(l.ClientID))
	}
	if l.RelayInfo != "" {
		m["lease.relay"] = hex.EncodeToString([]byte(l.RelayInfo))
	}
	return m
}

// Leases are all leases of dynamic ranges, by address.
func Leases(snap *nodedb.Snapshot) []Lease {
	var out []Lease
	for _, r := range snap.Records(kindLease) {
		out = append(out, leaseOf(r))
	}
	return out
}

// dynamic plans for a machine that the table does not know, where its network
// has a dynamic range.
func (s *Service) dynamic(ctx context.Context, snap *nodedb.Snapshot, m netboot.Machine) (*netboot.Plan, error) {
	nets := s.dynamicAt(snap, m)
	if m.Proxy || len(m.MAC) == 0 {
		return nil, netboot.ErrIgnore // another server gives it an address, and no node is for it
	}
	if len(nets) == 0 && s.strayed(snap, m) && knownAs(snap, m) {
		return &netboot.Plan{Nak: true}, nil
	}
	if len(nets) == 0 {
		return nil, netboot.ErrIgnore
	}
	if m.Ask == netboot.AskInform {
		return s.informed(snap, nets, m)
	}
	nw := s.leases.pick(snap, nets, m)
	if m.Ask == netboot.AskRequest && m.Server.IsValid() && !s.meant(snap, nw, m) {
		s.leases.forget(m)
		return nil, netboot.ErrIgnore // it took another server's offer
	}
	switch m.Ask {
	case netboot.AskRelease:
		return nil, s.leases.release(ctx, m)
	case netboot.AskDecline:
		return nil, s.leases.decline(ctx, nw, m)
	}
	for i := 0; ; i++ {
		p, err := s.dynamicPlan(ctx, snap, nw, m)
		if m.Ask != netboot.AskDiscover || !errors.Is(err, errUsedUp) {
			return p, err
		}
		if i == len(nets) {
			return nil, &netboot.Refusal{Reason: err.Error()}
		}
		nw = nets[i] // another network of the same wire may have room
	}
}

// knownAs says whether a machine has, or had, a lease of ours of the address that
// it asks for. Of others that ask where we give none we know nothing, and RFC 2131,
// 4.3.2 has us be silent.
func knownAs(snap *nodedb.Snapshot, m netboot.Machine) bool {
	r, ok := snap.Record(leaseKey(m.Requested))
	lease := leaseOf(r)
	return ok && !lease.Bad && lease.MAC == m.MAC.String()
}

// informed is what a machine is told that has an address in one of the networks
// already and asks for all else (RFC 2131, 4.3.5).
func (s *Service) informed(snap *nodedb.Snapshot, nets []*nodedb.Network, m netboot.Machine) (*netboot.Plan, error) {
	i := slices.IndexFunc(nets, func(nw *nodedb.Network) bool { return nw.Prefix.Contains(m.Addr) })
	if i < 0 {
		return nil, netboot.ErrIgnore
	}
	p := s.leasePlan(snap, nets[i], m)
	return s.leased(snap, p, nets[i], m, m.Addr)
}

// dynamicPlan is what a machine is told with an address of a network's dynamic
// range.
func (s *Service) dynamicPlan(ctx context.Context, snap *nodedb.Snapshot, nw *nodedb.Network, m netboot.Machine) (*netboot.Plan, error) {
	p := s.leasePlan(snap, nw, m)
	addr, err := s.leaseFor(ctx, snap, nw, m, p.Lease)
	if err != nil {
		return nil, err
	}
	return s.leased(snap, p, nw, m, addr)
}

// leasePlan is a network's plan for a machine that has no address yet.
func (s *Service) leasePlan(snap *nodedb.Snapshot, nw *nodedb.Network, m netboot.Machine) *netboot.Plan {
	p := s.netPlan(snap, nw, s.ownIn(snap, nw, m))
	if boots(m) {
		p.Lease = min(p.Lease, bootLease)
	}
	return p
}

func boots(m netboot.Machine) bool { return m.PXE || m.HTTPBoot || m.Loader }

// leased completes a plan with the address that a machine is given; no valid
// one: it is told that what it asks for is not its own.
func (s *Service) leased(snap *nodedb.Snapshot, p *netboot.Plan, nw *nodedb.Network, m netboot.Machine, addr netip.Addr) (*netboot.Plan, error) {
	if !addr.IsValid() {
		p.Nak = true
		return p, nil
	}
	p.Addr = netip.PrefixFrom(addr, nw.Prefix.Bits())
	if boots(m) && !noBoot(snap, m.Interface) {
		p.File = s.discoveryFile(snap, m, p.Server)
	}
	if err := s.statements(snap, p, nw, nil, m); err != nil {
		return nil, err
	}
	return p, nil
}

// Defer plans for a machine that takes what it was offered, or keeps what it
// has, of a dynamic range: done is called when that is written down.
func (s *Service) Defer(m netboot.Machine, done func(*netboot.Plan, error)) bool {
	snap := s.DB.Snapshot()
	if m.Ask != netboot.AskRequest || m.Proxy || len(m.MAC) == 0 || snap.NodeByMAC(m.MAC) != nil {
		return false
	}
	nets := s.dynamicAt(snap, m)
	if len(nets) == 0 {
		return false
	}
	nw := s.leases.pick(snap, nets, m)
	if m.Server.IsValid() && !s.meant(snap, nw, m) {
		return false
	}
	p := s.leasePlan(snap, nw, m)
	s.leases.takeLater(nw, m, p.Lease, func(addr netip.Addr, err error) {
		if err != nil {
			done(nil, err)
			return
		}
		done(s.leased(snap, p, nw, m, addr))
	})
	return true
}

// bootLease is the longest lease of firmware and boot loaders, xCAT's: what they
// start asks for itself, and a machine that becomes a node gives its address
// back without a word.
const bootLease = 600 * time.Second

// dynamicAt are the networks of a machine's wire whose dynamic ranges are ours
// to give. None: to a machine that keeps an address which is another server's.
func (s *Service) dynamicAt(snap *nodedb.Snapshot, m netboot.Machine) []*nodedb.Network {
	keeps := m.Ask == netboot.AskRequest && !m.Server.IsValid() && m.Requested.IsValid()
	var out []*nodedb.Network
	for _, nw := range s.networksAt(snap, m) {
		switch ours := s.ourDynamic(nw); {
		case !ours && keeps && nw.Prefix.Contains(m.Requested):
			return nil
		case ours && len(nw.DynamicRanges) > 0:
			out = append(out, nw)
		}
	}
	return out
}

// ourDynamic says whether a network's dynamic range is not another server's:
// networks.dhcpserver may name one.
func (s *Service) ourDynamic(nw *nodedb.Network) bool {
	a, err := netip.ParseAddr(nw.DHCPServer)
	if err != nil || s.Local == nil {
		return true
	}
	return slices.ContainsFunc(s.Local(), func(p netip.Prefix) bool { return p.Addr() == a })
}

// pick is the network out of several of a wire from which a machine gets its
// address: that of the address which it asks for, was offered or had, else the
// first.
func (l *leaser) pick(snap *nodedb.Snapshot, nets []*nodedb.Network, m netboot.Machine) *nodedb.Network {
	if len(nets) == 1 {
		return nets[0]
	}
	mac := m.MAC.String()
	l.mu.Lock()
	known := []netip.Addr{l.owed[mac], l.hadBefore(snap, mac, l.now()), m.Requested}
	l.mu.Unlock()
	if m.Ask != netboot.AskDiscover {
		known = []netip.Addr{m.Requested}
	}
	for _, a := range known {
		for _, nw := range nets {
			if a.IsValid() && nw.Prefix.Contains(a) {
				return nw
			}
		}
	}
	return nets[0]
}

// errUsedUp says that a network has no address left to give.
var errUsedUp = errors.New("its dynamic range is used up; widen dynamicrange, or see margay leases")

// conflictTries is how many addresses are looked at for one that is not in
// use already.
const conflictTries = 3

// leaseFor gives a machine an address. One that it did not have before is
// asked for on the network first: what answers there is left alone for a while.
func (s *Service) leaseFor(ctx context.Context, snap *nodedb.Snapshot, nw *nodedb.Network, m netboot.Machine, length time.Duration) (netip.Addr, error) {
	for try := 1; ; try++ {
		addr, err := s.leases.give(ctx, nw, m, length)
		if err != nil || m.Ask != netboot.AskDiscover || try > conflictTries || !asksFirst(snap) {
			return addr, err
		}
		by, used := "", false
		if !s.leases.knows(m, addr) {
			by, used = s.inUse(ctx, m, addr)
		}
		if !used {
			s.leases.asked(m, addr)
			return addr, nil
		}
		s.Log.Warn("an address of a dynamic range is in use by a machine that has no lease of it; left alone for a while, or until margay release", "addr", addr, "by", by, "network", nw.Name)
		if err := s.leases.avoid(ctx, m, addr); err != nil {
			return netip.Addr{}, err
		}
		snap = s.DB.Snapshot()
	}
}

// asksFirst says whether addresses are asked for before they are given: the
// site may say dhcppingcheck=no, as dhcpd's ping-check false.
func asksFirst(snap *nodedb.Snapshot) bool {
	switch strings.ToLower(snap.Site("dhcppingcheck")) {
	case "no", "n", "0", "false", "off":
		return false
	}
	return true
}

// inUse asks the network whether an address is in use, and by whom: by ARP where
// it is ours, and by an echo behind relays, which does not tell the MAC.
func (s *Service) inUse(ctx context.Context, m netboot.Machine, a netip.Addr) (by string, used bool) {
	if m.Relay.IsValid() {
		return "a machine behind " + m.Relay.String(), s.Ping != nil && s.Ping(ctx, a)
	}
	if s.InUse == nil || m.Interface == "" {
		return "", false
	}
	mac := s.InUse(ctx, m.Interface, a)
	return mac.String(), mac != nil && !bytes.Equal(mac, m.MAC) // it may have kept what another server gave it
}

// give finds the address for a machine and, when it takes it, writes that
// before returning. No valid address and no error: what it asks for is not its
// own, and it is to be told so.
func (l *leaser) give(ctx context.Context, nw *nodedb.Network, m netboot.Machine, length time.Duration) (netip.Addr, error) {
	if m.Ask == netboot.AskRequest {
		return l.take(ctx, nw, m, length)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	snap := l.db.Snapshot() // a lease that is no offer any more is in this one
	now := l.now()
	l.sweep(now)
	addr := l.choose(snap, nw, m, now)
	if !addr.IsValid() {
		return addr, fmt.Errorf("network %s: %w", nw.Name, errUsedUp)
	}
	mac := m.MAC.String()
	wasAsked := l.offers[addr].asked && l.offers[addr].mac == mac
	l.drop(l.owed[mac])
	l.offers[addr] = offer{mac, now.Add(offerTime), wasAsked}
	l.owed[mac] = addr
	return addr, nil
}

// choose prefers the address that the machine was offered, then the one it had,
// then the one it asks for, then one never used, then the one longest out of
// use. The caller holds mu.
func (l *leaser) choose(snap *nodedb.Snapshot, nw *nodedb.Network, m netboot.Machine, now time.Time) netip.Addr {
	mac := m.MAC.String()
	for _, a := range []netip.Addr{l.owed[mac], l.hadBefore(snap, mac, now), m.Requested} {
		if dynamicIn(nw, a) && l.free(snap, a, mac, now) {
			return a
		}
	}
	if a := l.neverUsed(snap, nw, mac, now); a.IsValid() {
		return a
	}
	return l.pastUse(snap, nw, mac, now)
}

// neverUsed is an address of a network's ranges that was never leased. The caller
// holds mu.
func (l *leaser) neverUsed(snap *nodedb.Snapshot, nw *nodedb.Network, mac string, now time.Time) netip.Addr {
	if at, ok := l.none[nw.Name]; ok && l.lately(at, now) {
		return netip.Addr{}
	}
	for _, r := range nw.DynamicRanges {
		if a := l.unused(snap, nw, r, mac, now); a.IsValid() {
			return a
		}
	}
	l.none[nw.Name] = searched{now, l.steady()}
	return netip.Addr{}
}

// unused is an address of a range that was never leased. It goes on where it
// found the last one. The caller holds mu.
func (l *leaser) unused(snap *nodedb.Snapshot, nw *nodedb.Network, r nodedb.Range, mac string, now time.Time) netip.Addr {
	start, ok := l.next[r.First]
	if !ok || !r.Contains(start) {
		start = r.First
	}
	for a := start; ; {
		if _, used := snap.Record(leaseKey(a)); !used && !fixture(nw, a) && l.free(snap, a, mac, now) {
			l.next[r.First] = a.Next()
			return a
		}
		if a = a.Next(); !r.Contains(a) {
			a = r.First
		}
		if a == start {
			l.next[r.First] = start
			return netip.Addr{}
		}
	}
}

// free says whether an address may go to a machine. The caller holds mu.
func (l *leaser) free(snap *nodedb.Snapshot, a netip.Addr, mac string, now time.Time) bool {
	if o, ok := l.offers[a]; ok && o.mac != mac && now.Before(o.expires) || l.heldByOther(a, mac) {
		return false
	}
	if l.ours(a) {
		return false
	}
	r, there := snap.Record(leaseKey(a))
	return leasable(snap, r, there, a, mac, now)
}

// ours says whether an address is one of this host.
func (l *leaser) ours(a netip.Addr) bool {
	return l.local != nil && slices.ContainsFunc(l.local(), func(p netip.Prefix) bool { return p.Addr() == a })
}

// heldByOther says whether another machine has a lease of ours. The caller holds
// mu.
func (l *leaser) heldByOther(a netip.Addr, mac string) bool {
	h, ok := l.held[a]
	if !ok || h.mac == mac {
		return false
	}
	if l.steady() < h.until {
		return true
	}
	delete(l.held, a)
	return false
}

// leasable says the same from the table alone, and the address's record.
func leasable(snap *nodedb.Snapshot, r nodedb.Record, there bool, a netip.Addr, mac string, now time.Time) bool {
	if snap.NodeByAddr(a) != nil {
		return false
	}
	if !there {
		return true
	}
	lease := leaseOf(r)
	return now.After(lease.Expires) || lease.MAC == mac && !lease.Bad
}

// dynamicIn says whether an address is of a network's dynamic ranges, and no
// fixture of the network.
func dynamicIn(nw *nodedb.Network, a netip.Addr) bool {
	if !a.IsValid() || fixture(nw, a) {
		return false
	}
	for _, r := range nw.DynamicRanges {
		if r.Contains(a) {
			return true
		}
	}
	return false
}

// fixture says whether an address in a network can be no machine's: the
// network's own and its broadcast address, its gateway and its servers.
func fixture(nw *nodedb.Network, a netip.Addr) bool {
	if nw.Prefix.Bits() < nw.Prefix.Addr().BitLen()-1 && (a == nw.Prefix.Masked().Addr() || !nw.Prefix.Contains(a.Next())) {
		return true
	}
	is := func(word string) bool {
		b, err := netip.ParseAddr(word)
		return err == nil && a == b
	}
	return is(nw.Gateway) || is(nw.TFTPServer) || is(nw.DHCPServer) ||
		slices.ContainsFunc(nw.Nameservers, is) || slices.ContainsFunc(nw.NTPServers, is) || slices.ContainsFunc(nw.LogServers, is)
}

// take writes that a machine has the address that it asks for.
func (l *leaser) take(ctx context.Context, nw *nodedb.Network, m netboot.Machine, length time.Duration) (netip.Addr, error) {
	if !l.mayTake(nw, m) {
		return netip.Addr{}, nil
	}
	t := takingOf(m, length)
	ok, err := l.takings.write(ctx, l, t)
	if err != nil || !ok {
		return netip.Addr{}, err
	}
	l.took(t)
	return t.addr, nil
}

// takeLater is take that calls done with what it would return.
func (l *leaser) takeLater(nw *nodedb.Network, m netboot.Machine, length time.Duration, done func(netip.Addr, error)) {
	if !l.mayTake(nw, m) {
		done(netip.Addr{}, nil)
		return
	}
	t := takingOf(m, length)
	t.done = func(ok bool, err error) {
		if err != nil || !ok {
			done(netip.Addr{}, err)
			return
		}
		l.took(t)
		done(t.addr, nil)
	}
	l.takings.add(l, t)
}

func takingOf(m netboot.Machine, length time.Duration) *taking {
	return &taking{addr: m.Requested, length: length, lease: Lease{MAC: m.MAC.String(), Name: leaseName(m.Hostname),
		ClientID: string(m.ClientID), RelayInfo: string(m.RelayInfo)}}
}

// mayTake says whether a machine may have the address that it asks for, as far
// as is known without the table.
func (l *leaser) mayTake(nw *nodedb.Network, m netboot.Machine) bool {
	a, mac := m.Requested, m.MAC.String()
	if !dynamicIn(nw, a) || l.ours(a) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	o, offered := l.offers[a]
	return !(offered && o.mac != mac && l.now().Before(o.expires)) && !l.heldByOther(a, mac)
}

// took notes that a lease is in the table.
func (l *leaser) took(t *taking) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(t.addr) // the table says it now
	l.held[t.addr] = hold{t.lease.MAC, l.steady() + t.length}
	if l.had != nil {
		l.had[t.lease.MAC] = t.addr
	}
	l.index.note(t.addr, t.lease)
}

// forget drops what a machine was offered.
func (l *leaser) forget(m netboot.Machine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(l.owed[m.MAC.String()])
}

// leaseName is the name that a machine gave, if it can be one.
func leaseName(s string) string {
	if isLabel(s) {
		return s
	}
	return ""
}

// release ends a machine's lease: it is kept, as past, so that the machine may
// have the address again.
func (l *leaser) release(ctx context.Context, m netboot.Machine) error {
	l.mu.Lock()
	if h, ok := l.held[m.Requested]; ok && h.mac == m.MAC.String() {
		delete(l.held, m.Requested)
	}
	l.mu.Unlock()
	err := l.db.Update(ctx, func(tx *nodedb.Tx) error {
		r, ok := tx.Get(leaseKey(m.Requested))
		if lease := leaseOf(r); ok && lease.MAC == m.MAC.String() {
			lease.Expires, lease.At = l.now(), l.now()
			putLease(tx, m.Requested, lease, l.now())
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.spared(m.Requested)
	return netboot.ErrIgnore
}

// decline leaves an address alone for a while: a machine found it in use. Only
// the one that has it, or was just offered it, may say so.
func (l *leaser) decline(ctx context.Context, nw *nodedb.Network, m netboot.Machine) error {
	a, mac := m.Requested, m.MAC.String()
	if !dynamicIn(nw, a) {
		return netboot.ErrIgnore
	}
	l.mu.Lock()
	o, offered := l.offers[a]
	l.drop(a)
	if l.held[a].mac == mac {
		delete(l.held, a) // it takes another now
	}
	l.mu.Unlock()
	err := l.db.Update(ctx, func(tx *nodedb.Tx) error {
		r, ok := tx.Get(leaseKey(a))
		if ok && leaseOf(r).MAC == mac || offered && o.mac == mac {
			putLease(tx, a, Lease{MAC: mac, Expires: l.now().Add(quarantine), Bad: true}, l.now())
		}
		return nil
	})
	if err != nil {
		return err
	}
	if offered && o.mac == mac || l.hadIt(mac, a) {
		return &netboot.Refusal{Reason: fmt.Sprintf("%s declines %s, which another machine has that answers there; left alone for %v, or until margay release %s", mac, a, quarantine, a)}
	}
	return netboot.ErrIgnore
}

// hadIt says whether an address is the one that a machine last had.
func (l *leaser) hadIt(mac string, a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.had[mac] == a
}

// Release forgets leases, so that their addresses are free at once.
func (s *Service) Release(ctx context.Context, addrs []netip.Addr) error {
	s.leases.letGo(addrs)
	defer s.leases.lookAnew()
	return s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		for _, a := range addrs {
			dropLease(tx, a)
		}
		return nil
	})
}

// letGo forgets what it holds of addresses.
func (l *leaser) letGo(addrs []netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range addrs {
		delete(l.held, a)
	}
}

// uuidText is a machine's UUID as operators see it. RFC 4578, 2.3 has it in
// the machine's own order: its first three groups are little-endian.
func uuidText(b []byte) string {
	if len(b) == 17 {
		b = b[1:]
	}
	if len(b) != 16 {
		return ""
	}
	u := append([]byte(nil), b...)
	u[0], u[1], u[2], u[3] = u[3], u[2], u[1], u[0]
	u[4], u[5] = u[5], u[4]
	u[6], u[7] = u[7], u[6]
	h := hex.EncodeToString(u)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
