package redfish

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"margay/provision/bmc"
)

type ethernet struct {
	MACAddress    string
	HostName      string
	LinkStatus    string
	IPv4Addresses []struct {
		Address       string
		SubnetMask    string
		Gateway       string
		AddressOrigin string
	}
	DHCPv4 struct{ DHCPEnabled *bool }
	VLAN   struct {
		VLANEnable *bool
		VLANID     *int `json:"VLANId"`
	}
}

// port is the BMC's interface: the one with our address, or the first with a
// link.
func (c *Controller) port(ctx context.Context) (e ethernet, path string, err error) {
	m, _, err := c.manager(ctx)
	if err != nil {
		return e, "", err
	}
	ours := c.s.target.Address
	err = each(ctx, c, m.EthernetInterfaces, func(p string, v ethernet) error {
		same := len(v.IPv4Addresses) > 0 && v.IPv4Addresses[0].Address == ours
		if path == "" || same || e.LinkStatus != "LinkUp" && v.LinkStatus == "LinkUp" && !hasAddress(e, ours) {
			e, path = v, p
		}
		return nil
	})
	if err == nil && path == "" {
		err = unsupported(errors.New("the service tells nothing of the BMC's network"))
	}
	return e, path, err
}

func hasAddress(e ethernet, a string) bool {
	return len(e.IPv4Addresses) > 0 && e.IPv4Addresses[0].Address == a
}

// Net is how the BMC is on the network.
func (c *Controller) Net(ctx context.Context) (bmc.Net, error) {
	e, _, err := c.port(ctx)
	if err != nil {
		return bmc.Net{}, err
	}
	n := bmc.Net{Host: bmc.Clean(e.HostName)}
	n.MAC, _ = net.ParseMAC(e.MACAddress)
	if len(e.IPv4Addresses) > 0 {
		a := e.IPv4Addresses[0]
		n.Address, n.Netmask, n.Gateway = parse(a.Address), parse(a.SubnetMask), parse(a.Gateway)
		n.DHCP = strings.EqualFold(a.AddressOrigin, "DHCP")
	}
	if e.DHCPv4.DHCPEnabled != nil {
		n.DHCP = *e.DHCPv4.DHCPEnabled
	}
	if e.VLAN.VLANEnable != nil && *e.VLAN.VLANEnable && e.VLAN.VLANID != nil {
		n.VLAN = *e.VLAN.VLANID
	}
	return n, nil
}

func parse(s string) netip.Addr {
	a, _ := netip.ParseAddr(s)
	return a
}

// SetNet patches the BMC's interface in one request, so that it is not left
// between two states.
func (c *Controller) SetNet(ctx context.Context, n bmc.NetChange) error {
	if n.BackupGateway != nil || n.Community != nil {
		return unsupported(errors.New("redfish has neither backup gateway nor SNMP community here"))
	}
	e, path, err := c.port(ctx)
	if err != nil {
		return err
	}
	body := map[string]any{}
	if n.Address != nil || n.Netmask != nil || n.Gateway != nil {
		body["IPv4StaticAddresses"] = []map[string]string{static(e, n)}
		body["DHCPv4"] = map[string]any{"DHCPEnabled": false}
	}
	if n.DHCP != nil {
		body["DHCPv4"] = map[string]any{"DHCPEnabled": *n.DHCP}
	}
	if n.VLAN != nil {
		vlan := map[string]any{"VLANEnable": *n.VLAN != 0}
		if *n.VLAN != 0 {
			vlan["VLANId"] = *n.VLAN
		}
		body["VLAN"] = vlan
	}
	if n.Host != nil {
		body["HostName"] = *n.Host
	}
	err = c.s.patch(ctx, path, body)
	if n.Address != nil && errors.Is(err, bmc.ErrTimeout) {
		return nil // it has moved away
	}
	return err
}

// static is the whole address: what is not changed stays.
func static(e ethernet, n bmc.NetChange) map[string]string {
	a := map[string]string{}
	if len(e.IPv4Addresses) > 0 {
		old := e.IPv4Addresses[0]
		a = map[string]string{"Address": old.Address, "SubnetMask": old.SubnetMask, "Gateway": old.Gateway}
	}
	for key, v := range map[string]*netip.Addr{"Address": n.Address, "SubnetMask": n.Netmask, "Gateway": n.Gateway} {
		if v != nil {
			a[key] = v.String()
		}
	}
	return a
}

// SetPassword changes an account's password.
func (c *Controller) SetPassword(ctx context.Context, name string, password bmc.Secret) error {
	var service struct{ Accounts link }
	if err := c.optional(ctx, c.root.AccountService, &service); err != nil {
		return err
	}
	account := ""
	if err := each(ctx, c, service.Accounts, func(p string, v struct{ UserName string }) error {
		if v.UserName == name {
			account = p
		}
		return nil
	}); err != nil {
		return err
	}
	if account == "" {
		return fmt.Errorf("user %q: %w", name, bmc.ErrUser)
	}
	err := c.s.patch(ctx, account, map[string]string{"Password": string(password)})
	if err == nil || password == "" {
		return err
	}
	if e := new(serviceError); errors.As(err, &e) {
		e.text = strings.ReplaceAll(e.text, string(password), "******")
	}
	return err
}
