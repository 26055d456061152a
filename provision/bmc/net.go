package bmc

import (
	"net"
	"net/netip"
)

// Net is how a controller is on the network.
type Net struct {
	Address       netip.Addr
	Netmask       netip.Addr
	Gateway       netip.Addr
	BackupGateway netip.Addr
	DHCP          bool
	MAC           net.HardwareAddr
	VLAN          int    // 0: none
	Community     string // SNMP; empty: not told
	Host          string // the controller's own name
}

// A NetChange is what to change of a Net; nil leaves it.
type NetChange struct {
	Address       *netip.Addr
	Netmask       *netip.Addr
	Gateway       *netip.Addr
	BackupGateway *netip.Addr
	DHCP          *bool
	VLAN          *int
	Community     *string
	Host          *string
}

// Empty says that nothing is to be changed.
func (c NetChange) Empty() bool { return c == NetChange{} }
