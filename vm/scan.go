package vm

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"margay/nodedb"
)

// A Scanned is one guest that a host has, beside what the table says of it.
type Scanned struct {
	Host   string // node that it was found on
	VM     VM
	Node   *nodedb.Node      // the table's node of that name; nil: none
	Facts  map[string]string // table.column values that the guest gives a node
	Differ []string          // columns that the table has otherwise
	Notes  []string          // what of the guest the table cannot hold
	Err    error             // why it cannot be a node
}

// Scan does rscan: the guests that are on hosts, as nodes. found is called
// once a guest, in inventory order within a host; failed once a host that
// could not be asked. Both are called from one goroutine at a time.
func (m *Manager) Scan(ctx context.Context, snap *nodedb.Snapshot, hosts []*nodedb.Node, found func(Scanned), failed Emit) {
	var mu sync.Mutex
	one := func(s Scanned) {
		mu.Lock()
		defer mu.Unlock()
		found(s)
	}
	m.eachHost(ctx, snap, hosts, func(r Result) {
		mu.Lock()
		defer mu.Unlock()
		failed(r)
	}, func(ctx context.Context, hv Hypervisor, hosts []*nodedb.Node, emit Emit) {
		vms, err := hv.VMs(ctx, Query{Detail: true})
		for _, h := range hosts {
			e := err
			if e == nil {
				e = m.scanHost(ctx, snap, hv, h, vms, one)
			}
			if e != nil {
				emit(Result{Node: h.Name, Err: e})
			}
		}
	})
}

func (m *Manager) scanHost(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, node *nodedb.Node, vms []VM, found func(Scanned)) error {
	name, err := m.hostName(ctx, snap, hv, node.Name)
	if err != nil {
		return err
	}
	h, err := hv.Host(ctx, name)
	if err != nil {
		return err
	}
	same := map[string]int{}
	for _, v := range vms {
		same[v.Name]++
	}
	for _, v := range vms {
		if name != "" && v.Host != name {
			continue
		}
		s := scanned(snap, node.Name, v, h)
		if same[v.Name] > 1 {
			s.Err = Errorf(ErrExists, "%d guests are called %s; give them names of their own", same[v.Name], v.Name)
		}
		found(s)
	}
	return nil
}

// scanned compares one guest with the table.
func scanned(snap *nodedb.Snapshot, host string, v VM, h *Host) Scanned {
	s := Scanned{Host: host, VM: v}
	switch {
	case v.Invalid || v.Spec == nil:
		s.Err = Errorf(ErrInvalid, "VM is in an invalid state")
		return s
	case v.Template:
		s.Err = Errorf(ErrInvalid, "a template; clonevm -b makes guests of it")
		return s
	}
	if s.Err = nodedb.TypeByName("node").CheckName(v.Name); s.Err != nil {
		return s
	}
	s.Facts, s.Notes = v.facts(host, h)
	n, err := snap.Node(v.Name)
	if err == nil {
		s.Node = n
		s.Err = conflict(n, host)
	}
	if s.Err == nil {
		s.Err = macOwner(snap, v)
	}
	if n == nil || s.Err != nil {
		return s
	}
	for column, value := range s.Facts {
		if !sameValue(column, n.Attr(column), value) {
			s.Differ = append(s.Differ, column)
		}
	}
	slices.Sort(s.Differ)
	return s
}

// conflict says why a node of the table is not the guest of its name.
func conflict(n *nodedb.Node, host string) error {
	switch {
	case n.Mgt != "" && n.Mgt != "esx":
		return Errorf(ErrExists, "the table has a node of that name with mgt=%s; rename the guest or the node", n.Mgt)
	case n.VMHost != "" && !SameHost(n.VMHost, host):
		return Errorf(ErrExists, "the table has it on %s; remove it there, or set vmhost=%s if it has moved", n.VMHost, host)
	}
	return nil
}

func macOwner(snap *nodedb.Snapshot, v VM) error {
	for _, nic := range v.Spec.NICs {
		hw, err := net.ParseMAC(nic.MAC)
		if err != nil {
			continue
		}
		if other := snap.NodeByMAC(hw); other != nil && other.Name != v.Name {
			return Errorf(ErrExists, "its address %s is that of node %s; change one of them", nic.MAC, other.Name)
		}
	}
	return nil
}

// sameValue compares two values of a column as what they mean. A size that the
// table leaves open, and a guest's kind, which os and arch say already, do not
// contradict what the guest has.
func sameValue(column, have, want string) bool {
	switch column {
	case "vm.cpus", "vm.guestostype", "vpd.uuid":
		return have == "" || strings.EqualFold(have, want)
	case "vm.memory":
		a, err := ParseMemory(have)
		b, err2 := ParseMemory(want)
		return have == "" || err == nil && err2 == nil && a == b
	case "mac.mac":
		// What the table has beyond the guest's cards is for cards to come.
		return macList(have) == macList(want) || strings.HasPrefix(macList(have), macList(want)+"|")
	case "vm.nics":
		return sameNetworks(have, want)
	case "vm.storage":
		return sameLocations(have, want)
	}
	return strings.EqualFold(have, want)
}

// macList is the addresses of mac.mac without what stands behind them.
func macList(s string) string {
	var out []string
	for _, m := range strings.Split(s, "|") {
		addr, _, _ := strings.Cut(m, "!")
		out = append(out, strings.ToLower(strings.TrimSpace(addr)))
	}
	return strings.Join(out, "|")
}

// sameNetworks lets the table's own way of naming networks and models stand:
// what it says is the name of the port group, or the end of it.
func sameNetworks(have, want string) bool {
	a, err := ParseNetworks(have)
	b, err2 := ParseNetworks(want)
	if err != nil || err2 != nil || len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name && !strings.HasSuffix(b[i].Name, "-"+a[i].Name) {
			return false
		}
	}
	return true
}

func sameLocations(have, want string) bool {
	a, err := ParseLocations(have)
	b, err2 := ParseLocations(want)
	if err != nil || err2 != nil {
		return false
	}
	for _, l := range b {
		if !slices.ContainsFunc(a, func(o Location) bool { return o.String() == l.String() }) {
			return false
		}
	}
	return true
}

// facts are the columns that describe a guest, as mkvm would want them to make
// it anew, and what of it they cannot say.
func (v VM) facts(host string, h *Host) (map[string]string, []string) {
	var notes []string
	f := map[string]string{
		"nodehm.mgt": "esx", "vm.host": host, "vm.cpus": strconv.Itoa(v.CPUs), "vm.memory": strconv.FormatInt(v.MemoryMB, 10),
	}
	if v.GuestID != "" {
		f["vm.guestostype"] = v.GuestID
	}
	if v.UUID != "" {
		f["vpd.uuid"] = SwapUUID(v.UUID)
	}
	var macs, nics []string
	for _, n := range v.Spec.NICs {
		if n.MAC != "" {
			mac := n.MAC
			if len(macs) > 0 {
				mac += "!*NOIP*"
			}
			macs = append(macs, mac)
		}
		if strings.ContainsAny(n.Network, ",:=|") || n.Network == "" {
			notes = append(notes, fmt.Sprintf("network %q of %s cannot stand in vmnics", n.Network, n.Label))
			continue
		}
		nics = append(nics, n.Network+"="+string(n.Model))
	}
	for column, list := range map[string]string{"mac.mac": strings.Join(macs, "|"), "vm.nics": strings.Join(nics, ","), "vm.storage": strings.Join(v.locations(h), ",")} {
		if list != "" {
			f[column] = list
		}
	}
	return f, notes
}

// locations are where a guest's disks are, each once, with the bus of the
// first disk there; the guest's own folder where it has no disks.
func (v VM) locations(h *Host) []string {
	var out, seen []string
	add := func(datastore, model string) {
		d := h.Datastore(datastore)
		if d == nil || slices.Contains(seen, datastore) {
			return
		}
		seen = append(seen, datastore)
		out = append(out, d.URL()+model)
	}
	for _, d := range v.Spec.Disks {
		model := ""
		if c := v.Spec.Controller(d.Controller); c != nil && c.Bus != IDE {
			model = "=" + c.Bus.Word()
		}
		add(d.Path.Datastore, model)
	}
	if len(out) == 0 {
		add(v.Path.Datastore, "")
	}
	return out
}
