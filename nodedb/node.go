package nodedb

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A Node is one machine as code reads it: its own values, those of its groups
// and value expressions worked out, addresses parsed. Nodes are immutable and
// shared; whoever gets one may keep it and may not change it.
//
// A value that does not parse leaves its field zero; Check says what is wrong.
type Node struct {
	Name   string
	Groups []string // as in nodelist.groups, which is the order of inheritance

	Status    Status // nodelist.status
	CurrState string // chain.currstate, whole
	Mode      Mode   // the first word of CurrState, as far as we know it

	OS         string // nodetype.os: esxi8.0
	Arch       string // nodetype.arch
	Profile    string // nodetype.profile
	ProvMethod string // nodetype.provmethod: install, netboot or an osimage

	Netboot    string // noderes.netboot: xnba, pxe, grub2
	Master     string // noderes.xcatmaster
	TFTPServer string // noderes.tftpserver
	InstallNIC string // noderes.installnic
	PrimaryNIC string // noderes.primarynic

	Mgt   string // nodehm.mgt: ipmi, esx, redfish
	Power string // nodehm.power; empty: Mgt

	BMC string // ipmi.bmc

	HostType       string // hypervisor.type
	HostManager    string // hypervisor.mgr, the vCenter that manages this host
	HostCluster    string // hypervisor.cluster
	HostDatacenter string // hypervisor.datacenter

	VMHost         string // vm.host, the node that runs this guest
	VMManager      string // vm.mgr
	VMStorage      string // vm.storage
	VMStorageModel string // vm.storagemodel
	VMCfgStore     string // vm.cfgstore
	VMMemory       string // vm.memory
	VMCPUs         string // vm.cpus
	VMNICs         string // vm.nics
	VMNICModel     string // vm.nicmodel
	VMMaster       string // vm.master
	VMGuestOS      string // vm.guestostype
	VMDatacenter   string // vm.datacenter
	VMOther        string // vm.othersettings

	MACs    []MAC      // mac.mac
	Addr    netip.Addr // hosts.ip
	Aliases []string   // hosts.hostnames

	src   *slot
	fault error
}

// Attr returns the effective value of "table.column", "" if there is none.
func (n *Node) Attr(column string) string {
	if n.src == nil {
		return ""
	}
	v, _ := n.src.value(column)
	return v
}

// Off reports whether the node's row in nodelist is switched off. Such a node
// is in no noderange and in no listing.
func (n *Node) Off() bool { return isDisabled(n.Attr("nodelist.disable")) }

// Source returns the group that the value of "table.column" is inherited
// from, "" if it is the node's own or there is none.
func (n *Node) Source(column string) string {
	if n.src == nil {
		return ""
	}
	return n.src.source(column)
}

// Check returns what is wrong with the node's values: the first that does not
// parse. It wraps ErrInvalid.
func (n *Node) Check() error { return n.fault }

// asNode returns the node of a slot, building it once.
func (s *slot) asNode() *Node {
	if n := s.node.Load(); n != nil {
		return n
	}
	n := buildNode(s)
	if !s.node.CompareAndSwap(nil, n) {
		return s.node.Load() // another was quicker: one node, one pointer
	}
	return n
}

// buildNode reads all fields from their columns.
func buildNode(s *slot) *Node {
	b := nodeBuilder{n: &Node{Name: s.rec.Name, src: s}}
	if s.set != nil {
		b.n.Groups = s.set.names
	}
	b.texts()
	b.n.Mode = modeOf(b.n.CurrState)
	var err error
	b.n.MACs, err = ParseMACs(b.text("mac.mac"))
	b.note("mac.mac", err)
	b.n.Addr, err = parseAddr(b.text("hosts.ip"))
	b.note("hosts.ip", err)
	b.n.Aliases = splitNames(b.text("hosts.hostnames"))
	return b.n
}

// A nodeBuilder fills in a node and keeps the first fault.
type nodeBuilder struct{ n *Node }

func (b *nodeBuilder) text(column string) string {
	v, err := b.n.src.value(column)
	b.note(column, err)
	return v
}

func (b *nodeBuilder) note(column string, err error) {
	if err != nil && b.n.fault == nil {
		b.n.fault = fmt.Errorf("node %s: %s: %w", b.n.Name, column, err)
	}
}

// texts fills in the fields that are texts. It goes through what the node and
// its groups have, which is much less than what they may have.
func (b *nodeBuilder) texts() {
	s, n := b.n.src, b.n
	n.Status = Status(b.text("nodelist.status"))
	for column := range s.rec.Attrs {
		if f := n.text(column); f != nil {
			*f = b.text(column)
		}
	}
	if s.set == nil {
		return
	}
	for _, g := range s.set.fieldValues() {
		if s.own(g.column) != "" {
			continue
		}
		v, err := s.set.env.exprs.eval(g.raw, n.Name)
		b.note(g.column, err)
		*n.text(g.column) = v
	}
}

// text returns the field that is a column's text.
func (n *Node) text(column string) *string {
	switch column {
	case "chain.currstate":
		return &n.CurrState
	case "nodetype.os":
		return &n.OS
	case "nodetype.arch":
		return &n.Arch
	case "nodetype.profile":
		return &n.Profile
	case "nodetype.provmethod":
		return &n.ProvMethod
	case "noderes.netboot":
		return &n.Netboot
	case "noderes.xcatmaster":
		return &n.Master
	case "noderes.tftpserver":
		return &n.TFTPServer
	case "noderes.installnic":
		return &n.InstallNIC
	case "noderes.primarynic":
		return &n.PrimaryNIC
	case "nodehm.mgt":
		return &n.Mgt
	case "nodehm.power":
		return &n.Power
	case "ipmi.bmc":
		return &n.BMC
	case "hypervisor.type":
		return &n.HostType
	case "hypervisor.mgr":
		return &n.HostManager
	case "hypervisor.cluster":
		return &n.HostCluster
	case "hypervisor.datacenter":
		return &n.HostDatacenter
	}
	return n.vmText(column)
}

// vmText is text for the vm table.
func (n *Node) vmText(column string) *string {
	switch column {
	case "vm.host":
		return &n.VMHost
	case "vm.mgr":
		return &n.VMManager
	case "vm.storage":
		return &n.VMStorage
	case "vm.storagemodel":
		return &n.VMStorageModel
	case "vm.cfgstore":
		return &n.VMCfgStore
	case "vm.memory":
		return &n.VMMemory
	case "vm.cpus":
		return &n.VMCPUs
	case "vm.nics":
		return &n.VMNICs
	case "vm.nicmodel":
		return &n.VMNICModel
	case "vm.master":
		return &n.VMMaster
	case "vm.guestostype":
		return &n.VMGuestOS
	case "vm.datacenter":
		return &n.VMDatacenter
	case "vm.othersettings":
		return &n.VMOther
	}
	return nil
}

// modeOf returns the mode that a currstate begins with.
func modeOf(currstate string) Mode {
	word := currstate
	if i := strings.IndexAny(word, " ="); i >= 0 {
		word = word[:i]
	}
	if m := Mode(word); m == ModeBoot || m == ModeOffline || m.Loads() {
		return m
	}
	return ModeNone
}

// parseAddr reads hosts.ip.
func parseAddr(s string) (netip.Addr, error) {
	if s == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address: %w", s, ErrInvalid)
	}
	return a.Unmap(), nil
}

// splitNames reads a list separated by commas or blanks.
func splitNames(s string) []string {
	if s == "" {
		return nil
	}
	return slices.Clip(strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }))
}
