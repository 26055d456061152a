package nodedb

import (
	"net"
	"net/netip"
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
}

// A MAC is one interface in mac.mac.
type MAC struct {
	Addr net.HardwareAddr
	Host string // the host name that answers for it; empty: the node's
	NoIP bool   // *NOIP*: known, and never given an address
}

// Attr returns the effective value of "table.column", "" if there is none.
func (n *Node) Attr(column string) string { return "" }

// Check returns what is wrong with the node's values: the first that does not
// parse. It wraps ErrInvalid.
func (n *Node) Check() error { return nil }
