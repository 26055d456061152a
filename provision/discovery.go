package provision

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"sort"
	"strings"
	"sync"
	"time"

	"margay/netboot"
	"margay/nodedb"
)

const (
	kindDiscovered nodedb.Kind = "discoverydata"     // xCAT's table, by UUID
	kindSequential nodedb.Kind = "margay.sequential" // our own: the discovery that runs
	kindSighted    nodedb.Kind = "margay.sighted"    // our own: the UUID under which a MAC was written down
)

// The methods by which a machine becomes a node, in xCAT's words.
const (
	MethodUndef      = "undef"
	MethodSequential = "sequential"
	MethodMTMS       = "mtms"
	MethodManual     = "manual"
)

// maxSightings bounds how many unknown machines are kept: who sends packets
// under ever new addresses must not fill the table.
const maxSightings = 1024

// seeAgain is how soon a machine that asks on is written down again.
const seeAgain = 10 * time.Minute

// A Sighting is a machine that the table does not know.
type Sighting struct {
	UUID     string // its own, or made of its MAC where it told none
	MAC      string
	Node     string // the node that it became
	Method   string
	Time     string
	Arch     string
	MTM      string
	Serial   string
	Vendor   string // its maker, or DHCP option 60
	Firmware string // bios, uefi, uefi-http
	Addr     string // its lease
	Network  string
	Circuit  string // option 82: where it hangs, as the relay says
}

// sightings remembers which machines were noted lately.
type sightings struct {
	mu   sync.Mutex
	seen map[string]time.Time // by MAC
	gone time.Time            // when old ones were last looked for
}

// fresh says whether a machine is to be noted now.
func (s *sightings) fresh(mac string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.seen[mac]; ok && now.Sub(at) < seeAgain {
		return false
	}
	if len(s.seen) >= maxSightings && now.Sub(s.gone) >= time.Second {
		s.gone = now
		for m, at := range s.seen {
			if now.Sub(at) >= seeAgain {
				delete(s.seen, m)
			}
		}
	}
	if len(s.seen) >= maxSightings {
		return false
	}
	s.seen[mac] = now
	return true
}

func (s *sightings) forget(mac string) {
	s.mu.Lock()
	delete(s.seen, mac)
	s.mu.Unlock()
}

// note writes an unknown machine down, and makes it a node where a rule says
// which. The table is written later, with the timelines.
func (s *Service) note(snap *nodedb.Snapshot, m netboot.Machine) {
	mac := m.MAC.String()
	if len(m.MAC) != 6 || m.Ask != netboot.AskDiscover || !s.sightings.fresh(mac, s.Now()) {
		return
	}
	si := sighted(m)
	if nw := s.asksIn(snap, m); nw != nil {
		si.Network = nw.Name
	}
	boots := m.PXE || m.HTTPBoot
	s.journal.later(func(tx *nodedb.Tx) { s.discover(tx, si, boots) })
}

func sighted(m netboot.Machine) Sighting {
	si := Sighting{UUID: uuidText(m.UUID), MAC: m.MAC.String(), Method: MethodUndef, Vendor: printable(m.Class, 64), Circuit: circuit(m.RelayInfo)}
	if si.UUID == "" {
		si.UUID = "mac-" + strings.ReplaceAll(si.MAC, ":", "")
	}
	if si.Firmware = m.Firmware.String(); m.HTTPBoot {
		si.Firmware += "-http"
	}
	switch m.Firmware {
	case netboot.BIOS, netboot.UEFI64:
		si.Arch = "x86_64"
	case netboot.UEFIARM64:
		si.Arch = "aarch64"
	}
	return si
}

// printable is hostile text made fit for a table and a terminal.
func printable(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), most)]
}

// circuit is the relay's words for where the machine hangs: option 82's
// circuit and remote id (RFC 3046, 3.1 and 3.2).
func circuit(info []byte) string {
	var out []string
	for len(info) >= 2 && int(info[1]) <= len(info)-2 {
		code, data := info[0], info[2:2+int(info[1])]
		if code == 1 || code == 2 {
			text := printable(string(data), 64)
			if len(text) != len(data) {
				text = hex.EncodeToString(data)
			}
			out = append(out, text)
		}
		info = info[2+int(info[1]):]
	}
	return strings.Join(out, "/")
}

// discover finds a node for a machine and writes both down.
func (s *Service) discover(tx *nodedb.Tx, si Sighting, boots bool) {
	snap := tx.Snapshot()
	if hw, err := net.ParseMAC(si.MAC); err != nil || snap.NodeByMAC(hw) != nil {
		return // it is a node by now
	}
	si.recognize(tx)
	if bound(tx, si) {
		return // by what it said a moment ago
	}
	if n := s.known(snap, si); n != "" {
		si.Node, si.Method = n, MethodMTMS
	} else if n := s.next(tx, si, boots); n != "" {
		si.Node, si.Method = n, MethodSequential
	}
	if si.Node != "" {
		bind(tx, si)
		s.chainSoon(si.Node)
		s.sightings.forget(si.MAC)
	}
	si.Time = s.Now().Format("01-02-2006 15:04:05")
	k := nodedb.Key{Kind: kindDiscovered, Name: si.UUID}
	if _, ok := tx.Get(k); !ok && len(snap.Records(kindDiscovered)) >= maxSightings {
		tx.Delete(nodedb.Key{Kind: kindSighted, Name: si.MAC})
		return
	}
	tx.Put(k, si.attrs())
}

// recognize finds what the same machine told before, by DHCP or by its script,
// and takes over what it does not tell now. Firmware and iPXE may write its
// UUID differently: the first one stays its name.
func (si *Sighting) recognize(tx *nodedb.Tx) {
	index := nodedb.Key{Kind: kindSighted, Name: si.MAC}
	r, ok := tx.Get(index)
	id := r.Attrs["sighted.uuid"]
	old, seen := tx.Get(nodedb.Key{Kind: kindDiscovered, Name: id})
	switch {
	case !ok || !seen:
	case strings.HasPrefix(id, "mac-") && !strings.HasPrefix(si.UUID, "mac-"):
		tx.Delete(old.Key) // now it has a UUID
	default:
		si.UUID = id
	}
	tx.Put(index, map[string]string{"sighted.uuid": si.UUID})
	if !seen {
		return
	}
	was := sightingOf(old)
	for _, x := range []struct{ to, from *string }{
		{&si.Circuit, &was.Circuit}, {&si.Firmware, &was.Firmware}, {&si.Network, &was.Network}, {&si.Serial, &was.Serial},
		{&si.MTM, &was.MTM}, {&si.Vendor, &was.Vendor}, {&si.Arch, &was.Arch},
	} {
		if *x.to == "" {
			*x.to = *x.from
		}
	}
}

// bound says whether the machine became a node within this transaction, which
// its snapshot does not show.
func bound(tx *nodedb.Tx, si Sighting) bool {
	r, ok := tx.Get(nodedb.Key{Kind: kindDiscovered, Name: si.UUID})
	if !ok {
		return false
	}
	n, ok := tx.Get(nodedb.Key{Kind: nodedb.KindNode, Name: sightingOf(r).Node})
	return ok && strings.EqualFold(n.Attrs["mac.mac"], si.MAC)
}

// known is the node whose vpd row has the machine's UUID, or its serial
// number; with two of them it is neither.
func (s *Service) known(snap *nodedb.Snapshot, si Sighting) string {
	var found []string
	for _, n := range snap.Nodes() {
		if len(n.MACs) > 0 {
			continue // it has its machine
		}
		uuid, serial, mtm := n.Attr("vpd.uuid"), n.Attr("vpd.serial"), n.Attr("vpd.mtm")
		byUUID := uuid != "" && strings.EqualFold(uuid, si.UUID)
		bySerial := serial != "" && serial == si.Serial && (mtm == "" || mtm == si.MTM)
		if byUUID || bySerial {
			found = append(found, n.Name)
		}
	}
	if len(found) == 1 {
		return found[0]
	}
	if len(found) > 1 {
		s.Log.Warn("an unknown machine fits several nodes; it becomes none", "mac", si.MAC, "nodes", found)
	}
	return ""
}

// bind makes a machine the node's.
func bind(tx *nodedb.Tx, si Sighting) {
	k := nodedb.Key{Kind: nodedb.KindNode, Name: si.Node}
	r, _ := tx.Get(k)
	tx.Set(k, "mac.mac", si.MAC)
	if !strings.HasPrefix(si.UUID, "mac-") {
		tx.Set(k, "vpd.uuid", si.UUID)
	}
	for col, v := range map[string]string{"nodetype.arch": si.Arch, "vpd.serial": si.Serial, "vpd.mtm": si.MTM, "noderes.netboot": "xnba"} {
		if v != "" && r.Attrs[col] == "" {
			tx.Set(k, col, v)
		}
	}
}

func (si Sighting) attrs() map[string]string {
	a := map[string]string{}
	for col, v := range map[string]string{
		"node": si.Node, "method": si.Method, "discoverytime": si.Time, "arch": si.Arch, "mtm": si.MTM, "serial": si.Serial,
		"nichwaddr": si.MAC, "nicipv4": si.Addr, "switchport": si.Circuit, "otherdata": si.other(),
	} {
		if v != "" {
			a["discoverydata."+col] = v
		}
	}
	return a
}

// other is what xCAT's table has no column for: name=value, separated by ";".
func (si Sighting) other() string {
	var out []string
	for _, x := range [][2]string{{"vendor", si.Vendor}, {"network", si.Network}, {"firmware", si.Firmware}} {
		if x[1] != "" {
			out = append(out, x[0]+"="+strings.ReplaceAll(x[1], ";", ","))
		}
	}
	return strings.Join(out, ";")
}

func (si *Sighting) readOther(text string) {
	for item := range strings.SplitSeq(text, ";") {
		switch name, value, _ := strings.Cut(item, "="); name {
		case "vendor":
			si.Vendor = value
		case "network":
			si.Network = value
		case "firmware":
			si.Firmware = value
		}
	}
}

func sightingOf(r nodedb.Record) Sighting {
	a := func(col string) string { return r.Attrs["discoverydata."+col] }
	si := Sighting{UUID: r.Name, MAC: a("nichwaddr"), Node: a("node"), Method: a("method"), Time: a("discoverytime"), Arch: a("arch"),
		MTM: a("mtm"), Serial: a("serial"), Circuit: a("switchport"), Addr: a("nicipv4")}
	si.readOther(a("otherdata"))
	return si
}

// Sightings are the machines that discovery has seen, by time.
func Sightings(snap *nodedb.Snapshot) []Sighting {
	var out []Sighting
	leased := map[string]string{}
	for _, l := range Leases(snap) {
		leased[l.MAC] = l.Addr.String()
	}
	for _, r := range snap.Records(kindDiscovered) {
		si := sightingOf(r)
		if a, ok := leased[si.MAC]; ok {
			si.Addr = a
		}
		out = append(out, si)
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Time < out[j].Time })
	return out
}

// A NewNode is what a node is to be that is not defined yet.
type NewNode struct {
	Groups string
	Addr   string
}

// Bind makes the machine that has the UUID, or the MAC, a node's. A node that
// is not defined is, if nu says what it is to be.
func (s *Service) Bind(ctx context.Context, machine, node string, nu *NewNode) error {
	return s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		snap := tx.Snapshot()
		_, err := snap.Node(node)
		if err != nil && nu != nil {
			if err = define(tx, node, nu); err != nil {
				return err
			}
		}
		if err != nil {
			return fmt.Errorf("node %s: not defined; define it with mkdef, or give its address by --ip", node)
		}
		for _, si := range Sightings(snap) {
			if si.UUID != machine && !strings.EqualFold(si.MAC, machine) {
				continue
			}
			if hw, err := net.ParseMAC(si.MAC); err == nil {
				if other := snap.NodeByMAC(hw); other != nil && other.Name != node {
					return fmt.Errorf("MAC %s is %s's already; chdef %s mac= first", si.MAC, other.Name, other.Name)
				}
			}
			si.Node, si.Method = node, MethodManual
			bind(tx, si)
			s.chainSoon(si.Node)
			tx.Put(nodedb.Key{Kind: kindDiscovered, Name: si.UUID}, si.attrs())
			return nil
		}
		return fmt.Errorf("no machine with UUID or MAC %s was seen; see nodediscoverls -t undef", machine)
	})
}

// define makes a node of a name, groups and an address.
func define(tx *nodedb.Tx, node string, nu *NewNode) error {
	snap := tx.Snapshot()
	a, err := netip.ParseAddr(nu.Addr)
	switch {
	case !isLabel(node):
		return fmt.Errorf("node %q: not a name for a host", node)
	case err != nil:
		return fmt.Errorf("node %s: %q is not an address", node, nu.Addr)
	case snap.NetworkOf(a) == nil:
		return fmt.Errorf("node %s: %s is in none of the networks; define it with mkdef -t network", node, a)
	case snap.NodeByAddr(a) != nil:
		return fmt.Errorf("node %s: %s is %s's address", node, a, snap.NodeByAddr(a).Name)
	}
	groups := nu.Groups
	if groups == "" {
		groups = "all"
	}
	tx.Put(nodedb.Key{Kind: nodedb.KindNode, Name: node}, map[string]string{"nodelist.": "", "nodelist.groups": groups, "hosts.ip": a.String()})
	return nil
}

// ForgetSighting removes a machine from the list of those seen.
func (s *Service) ForgetSighting(ctx context.Context, uuid string) error {
	return s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		if r, ok := tx.Get(nodedb.Key{Kind: kindSighted, Name: strings.ToLower(uuid)}); ok {
			uuid = r.Attrs["sighted.uuid"]
		}
		k := nodedb.Key{Kind: kindDiscovered, Name: uuid}
		r, ok := tx.Get(k)
		if !ok {
			return fmt.Errorf("no machine with UUID or MAC %s was seen; see nodediscoverls", uuid)
		}
		mac := r.Attrs["discoverydata.nichwaddr"]
		s.sightings.forget(mac)
		tx.Delete(nodedb.Key{Kind: kindSighted, Name: mac})
		tx.Delete(k)
		return nil
	})
}

// loaderArch is a machine's architecture by that of the iPXE that it runs. The
// one for BIOS is built for i386 and says nothing of the machine.
var loaderArch = map[string]string{"x86_64": "x86_64", "arm64": "aarch64"}

// hello is what the discovery script tells of its machine.
func (s *Service) hello(m netboot.Machine, mac, query string) {
	q, err := url.ParseQuery(query)
	if err != nil {
		return
	}
	si := Sighting{UUID: strings.ToLower(printable(q.Get("uuid"), 36)), MAC: mac, Method: MethodUndef, Addr: m.Addr.String(),
		Serial: printable(q.Get("serial"), 64), MTM: printable(q.Get("product"), 64), Vendor: printable(q.Get("manufacturer"), 64), Arch: loaderArch[q.Get("arch")]}
	if len(si.UUID) != 36 {
		si.UUID = "mac-" + strings.ReplaceAll(mac, ":", "")
	}
	s.journal.later(func(tx *nodedb.Tx) { s.discover(tx, si, true) })
}

// Sequential is a discovery that gives unknown machines the nodes of a
// noderange, one after the other.
type Sequential struct {
	Nodes  []string // in the order of giving
	Addrs  []netip.Addr
	Groups string
	Image  string
}

// StartSequential begins a sequential discovery; only one runs at a time.
func (s *Service) StartSequential(ctx context.Context, q Sequential) error {
	return s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		k := nodedb.Key{Kind: kindSequential, Name: "running"}
		if _, ok := tx.Get(k); ok {
			return fmt.Errorf("Sequential Discovery is already running; nodediscoverstop ends it")
		}
		var addrs []string
		for _, a := range q.Addrs {
			addrs = append(addrs, a.String())
		}
		if len(addrs) > 0 && len(addrs) < len(q.Nodes) {
			return fmt.Errorf("%d nodes and only %d addresses; widen hostiprange", len(q.Nodes), len(addrs))
		}
		tx.Put(k, map[string]string{"sequential.nodes": strings.Join(q.Nodes, ","), "sequential.addrs": strings.Join(addrs, ","),
			"sequential.groups": q.Groups, "sequential.image": q.Image})
		return nil
	})
}

// StopSequential ends it and returns what was still to be given.
func (s *Service) StopSequential(ctx context.Context) (left int, err error) {
	err = s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		k := nodedb.Key{Kind: kindSequential, Name: "running"}
		r, ok := tx.Get(k)
		if !ok {
			return fmt.Errorf("Sequential Discovery is not running")
		}
		left = len(list(r.Attrs["sequential.nodes"]))
		tx.Delete(k)
		return nil
	})
	return left, err
}

// RunningSequential is the discovery that runs, if one does.
func RunningSequential(snap *nodedb.Snapshot) (Sequential, bool) {
	r, ok := snap.Record(nodedb.Key{Kind: kindSequential, Name: "running"})
	if !ok {
		return Sequential{}, false
	}
	return Sequential{Nodes: list(r.Attrs["sequential.nodes"]), Groups: r.Attrs["sequential.groups"], Image: r.Attrs["sequential.image"]}, true
}

// next takes the next node of a sequential discovery for a machine that boots
// from the network.
func (s *Service) next(tx *nodedb.Tx, si Sighting, boots bool) string {
	k := nodedb.Key{Kind: kindSequential, Name: "running"}
	r, ok := tx.Get(k)
	if !ok || !boots {
		return ""
	}
	nodes, addrs := list(r.Attrs["sequential.nodes"]), list(r.Attrs["sequential.addrs"])
	for len(nodes) > 0 {
		name, addr := nodes[0], ""
		nodes = nodes[1:]
		if len(addrs) > 0 {
			addr, addrs = addrs[0], addrs[1:]
		}
		if n, err := tx.Snapshot().Node(name); err == nil && len(n.MACs) > 0 {
			continue // has its machine
		}
		s.take(tx, r, name, addr)
		tx.Set(k, "sequential.nodes", strings.Join(nodes, ","))
		tx.Set(k, "sequential.addrs", strings.Join(addrs, ","))
		return name
	}
	return ""
}

// take defines a node that a sequential discovery gives away.
func (s *Service) take(tx *nodedb.Tx, seq nodedb.Record, name, addr string) {
	k := nodedb.Key{Kind: nodedb.KindNode, Name: name}
	r, defined := tx.Get(k)
	if !defined {
		groups := seq.Attrs["sequential.groups"]
		if groups == "" {
			groups = "all"
		}
		tx.Put(k, map[string]string{"nodelist.": "", "nodelist.groups": groups})
	}
	if addr != "" && r.Attrs["hosts.ip"] == "" {
		tx.Set(k, "hosts.ip", addr)
	}
	if image := seq.Attrs["sequential.image"]; image != "" {
		s.journal.after(func() {
			act := Action{Image: image}
			res, err := s.Nodeset(context.Background(), []string{name}, act)
			if err == nil && len(res) == 1 {
				err = res[0].Err
			}
			if err != nil {
				s.Log.Error("a discovered node could not be set to its image", "node", name, "err", err)
			}
		})
	}
}
