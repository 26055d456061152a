package nodedb

import (
	"fmt"
	"slices"
	"strings"
)

// A Doubt is something about a node, or another object, that is allowed and
// hardly meant. Attr is the attribute that it is about, empty if it is a value
// that does not parse, or is about several. With Wrong set it will not work.
type Doubt struct {
	Node, Attr, Text string
	Wrong            bool
}

func (d Doubt) String() string { return d.Node + ": " + d.Text }

// Doubts looks at nodes as an operator at the door would: MAC addresses and
// addresses that another node or its BMC has too, addresses that lie in a range for
// machines without a name, images and hypervisors that do not exist, values
// that do not parse.
func (s *Snapshot) Doubts(names []string) []Doubt {
	d := &doubter{snap: s}
	for _, name := range names {
		if n, err := s.Node(name); err == nil {
			d.node(n)
		}
	}
	return d.list
}

// Doubts returns what about a network does not parse, and the servers that
// machines will not be told of.
func (n *Network) Doubts() (list []Doubt) {
	if err := n.Check(); err != nil {
		list = append(list, Doubt{Node: n.Name, Wrong: true, Text: strings.TrimPrefix(bare(err), "network "+n.Name+": ")})
	}
	for _, c := range []struct {
		column string
		words  []string
	}{{"nameservers", n.Nameservers}, {"ntpservers", n.NTPServers}, {"logservers", n.LogServers}, {"dhcpserver", []string{n.DHCPServer}}, {"tftpserver", []string{n.TFTPServer}}} {
		for _, w := range c.words {
			if _, err := parseAddr(w); err != nil && w != "" && w != Master {
				list = append(list, Doubt{Node: n.Name, Text: fmt.Sprintf("%s: %q is neither an address nor %s, and DHCP passes over it", c.column, w, Master)})
			}
		}
	}
	return list
}

// bare is an error's text without its class.
func bare(err error) string {
	text := err.Error()
	for {
		short := strings.TrimSuffix(text, ": "+ErrInvalid.Error())
		if short == text {
			return text
		}
		text = short
	}
}

type doubter struct {
	snap *Snapshot
	list []Doubt
	bmcs map[bmcKey][]string // names by BMC, where the snapshot has no index yet; nil: not asked for
}

// byBMC returns the names of the nodes with a BMC, sorted. The first question in a
// snapshot without an index looks at every node, once for all that follow.
func (d *doubter) byBMC(k bmcKey) []string {
	if d.snap.byBMC {
		return d.snap.namesByBMC(k)
	}
	if d.bmcs == nil {
		d.snap.asked.Store(true)
		d.bmcs = map[bmcKey][]string{}
		for name, rec := range d.snap.kind(KindNode).all() {
			if k, ok := bmcKeyOf(rec.bmc()); ok {
				d.bmcs[k] = append(d.bmcs[k], name)
			}
		}
	}
	return d.bmcs[k]
}

func (d *doubter) add(n *Node, attr, format string, args ...any) {
	d.list = append(d.list, Doubt{Node: n.Name, Attr: attr, Text: fmt.Sprintf(format, args...)})
}

// wrong is add for what will not work.
func (d *doubter) wrong(n *Node, attr, format string, args ...any) {
	d.list = append(d.list, Doubt{n.Name, attr, fmt.Sprintf(format, args...), true})
}

func (d *doubter) node(n *Node) {
	if err := n.Check(); err != nil {
		text := bare(err)
		text = strings.TrimPrefix(strings.TrimPrefix(text, "node "), n.Name+": ")
		d.wrong(n, "", "%s", text)
	}
	d.values(n)
	for _, m := range n.MACs {
		if o := others(d.snap.NamesByMAC(m.Addr), n.Name); o != "" {
			d.wrong(n, "mac", "MAC address %s is also that of %s", m.Addr, o)
		}
	}
	if n.Addr.IsValid() {
		d.addr(n)
	}
	d.bmc(n)
	if n.VMHost != "" {
		if _, err := d.snap.Node(n.VMHost); err != nil {
			d.add(n, "vmhost", "vmhost %s is not defined", n.VMHost)
		}
	}
	d.image(n)
}

func (d *doubter) addr(n *Node) {
	if o := others(d.snap.NamesByAddr(n.Addr), n.Name); o != "" {
		d.wrong(n, "ip", "address %s is also that of %s", n.Addr, o)
	}
	if o := others(d.byBMC(bmcKey{addr: n.Addr}), n.Name); o != "" {
		d.wrong(n, "ip", "address %s is also that of the BMC of %s", n.Addr, o)
	}
	net := d.snap.NetworkOf(n.Addr)
	if net == nil {
		return
	}
	if slices.ContainsFunc(net.DynamicRanges, func(r Range) bool { return r.Contains(n.Addr) }) {
		d.wrong(n, "ip", "address %s lies in the dynamic range of network %s", n.Addr, net.Name)
	}
}

// bmc looks whether a BMC is another's too, whose machine would be turned off.
// Several machines behind one BMC tell each other apart by bmcid.
func (d *doubter) bmc(n *Node) {
	text := n.src.bmc()
	k, ok := bmcKeyOf(text)
	if !ok {
		return
	}
	var same []string
	for _, name := range d.byBMC(k) {
		if o, err := d.snap.Node(name); err == nil && o.Attr("ipmi.bmcid") == n.Attr("ipmi.bmcid") {
			same = append(same, name)
		}
	}
	if o := others(same, n.Name); o != "" {
		d.wrong(n, "bmc", "BMC %s is also that of %s", text, o)
	}
	if !k.addr.IsValid() {
		return
	}
	if k.addr == n.Addr {
		d.wrong(n, "", "BMC address %s is the node's own", k.addr)
	}
	if o := others(d.snap.NamesByAddr(k.addr), n.Name); o != "" {
		d.wrong(n, "bmc", "BMC address %s is also the address of %s", k.addr, o)
	}
}

func (d *doubter) image(n *Node) {
	switch n.ProvMethod {
	case "", "install", "netboot", "statelite", "boottarget", "sysclone", "dualboot":
		return
	}
	if _, err := d.snap.Image(n.ProvMethod); err != nil {
		d.add(n, "provmethod", "osimage %s is not defined", n.ProvMethod)
	}
}

// others names those in the list that are not name, three at most.
func others(list []string, name string) string {
	var out []string
	for _, s := range list {
		if s != name && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	if len(out) > 3 {
		out = append(out[:3], fmt.Sprintf("%d more", len(out)-3))
	}
	return strings.Join(out, ", ")
}
