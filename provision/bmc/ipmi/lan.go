package ipmi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"margay/provision/bmc"

	"github.com/bougou/go-ipmi/pkg/command/app"
	"github.com/bougou/go-ipmi/pkg/command/transport"
	"github.com/bougou/go-ipmi/pkg/types"
)

// LAN configuration parameters (table 23-4).
const (
	lanAddress       = 3
	lanSource        = 4
	lanMAC           = 5
	lanNetmask       = 6
	lanGateway       = 12
	lanBackupGateway = 14
	lanCommunity     = 16
	lanVLAN          = 20

	sourceStatic = 1
	sourceDHCP   = 2

	thisChannel = types.ChannelNumberSelf
)

// Net reads the LAN configuration of the channel we came by (23.2).
func (c *Controller) Net(ctx context.Context) (bmc.Net, error) {
	var n bmc.Net
	for _, p := range []struct {
		selector types.LanConfigParamSelector
		set      func([]byte)
	}{
		{lanAddress, func(b []byte) { n.Address = addressOf(b) }},
		{lanSource, func(b []byte) { n.DHCP = len(b) > 0 && b[0]&0x0f == sourceDHCP }},
		{lanMAC, func(b []byte) { n.MAC = macOf(b) }},
		{lanNetmask, func(b []byte) { n.Netmask = addressOf(b) }},
		{lanGateway, func(b []byte) { n.Gateway = addressOf(b) }},
		{lanBackupGateway, func(b []byte) { n.BackupGateway = addressOf(b) }},
		{lanCommunity, func(b []byte) { n.Community = bmc.Clean(string(b)) }},
		{lanVLAN, func(b []byte) { n.VLAN = vlanOf(b) }},
	} {
		var res transport.GetLanConfigParamResponse
		err := c.s.do(ctx, operator, &transport.GetLanConfigParamRequest{ChannelNumber: thisChannel, ParamSelector: p.selector}, &res)
		var code *CodeError
		if errors.As(err, &code) {
			continue // optional, or not told
		}
		if err != nil {
			return bmc.Net{}, err
		}
		p.set(res.ParamData)
	}
	return n, nil
}

func addressOf(b []byte) netip.Addr {
	if len(b) < 4 {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte(b))
}

func macOf(b []byte) net.HardwareAddr {
	if len(b) < 6 {
		return nil
	}
	return append(net.HardwareAddr(nil), b[:6]...)
}

func vlanOf(b []byte) int {
	if len(b) < 2 || b[1]&0x80 == 0 {
		return 0
	}
	return int(b[0]) | int(b[1]&0x0f)<<8
}

// SetNet changes the LAN configuration. The address goes last: after it the
// BMC need not answer here any more.
func (c *Controller) SetNet(ctx context.Context, n bmc.NetChange) error {
	if n.Host != nil {
		return unsupported(errors.New("IPMI has no host name of the BMC"))
	}
	if n.DHCP != nil && !*n.DHCP || n.Address != nil {
		if err := c.setLAN(ctx, lanSource, sourceStatic); err != nil {
			return err
		}
	}
	for _, p := range []struct {
		selector types.LanConfigParamSelector
		value    *netip.Addr
	}{{lanNetmask, n.Netmask}, {lanGateway, n.Gateway}, {lanBackupGateway, n.BackupGateway}} {
		if p.value == nil {
			continue
		}
		if err := c.setAddress(ctx, p.selector, *p.value); err != nil {
			return err
		}
	}
	if n.Community != nil {
		if len(*n.Community) > 18 {
			return fmt.Errorf("community: longer than 18 characters (table 23-4)")
		}
		b := make([]byte, 18)
		copy(b, *n.Community)
		if err := c.setLAN(ctx, lanCommunity, b...); err != nil {
			return err
		}
	}
	return c.moveAway(ctx, n)
}

// moveAway does what may cut us off.
func (c *Controller) moveAway(ctx context.Context, n bmc.NetChange) error {
	if n.VLAN != nil {
		id := *n.VLAN
		if id < 0 || id > 4094 {
			return fmt.Errorf("VLAN %d: not 0 to 4094", id)
		}
		data := []byte{byte(id), byte(id >> 8)}
		if id != 0 {
			data[1] |= 0x80
		}
		if err := cutOff(c.setLAN(ctx, lanVLAN, data...)); err != nil {
			return err
		}
	}
	if n.Address != nil {
		return cutOff(c.setAddress(ctx, lanAddress, *n.Address))
	}
	if n.DHCP != nil && *n.DHCP {
		return cutOff(c.setLAN(ctx, lanSource, sourceDHCP))
	}
	return nil
}

// cutOff takes silence for success.
func cutOff(err error) error {
	if errors.Is(err, bmc.ErrTimeout) {
		return nil
	}
	return err
}

func (c *Controller) setAddress(ctx context.Context, selector types.LanConfigParamSelector, a netip.Addr) error {
	if !a.Is4() {
		return unsupported(fmt.Errorf("%v: IPMI 2.0 has IPv4 only", a))
	}
	b := a.As4()
	return c.setLAN(ctx, selector, b[:]...)
}

func (c *Controller) setLAN(ctx context.Context, selector types.LanConfigParamSelector, data ...byte) error {
	return c.s.do(ctx, admin, &transport.SetLanConfigParamRequest{ChannelNumber: thisChannel, ParamSelector: selector, ParamData: data}, nil)
}

// SetPassword finds the user by name and sets its password (22.29, 22.30). One
// of up to 16 characters is stored so that IPMI 1.5 could use it as well, as
// all tools do.
func (c *Controller) SetPassword(ctx context.Context, name string, password bmc.Secret) error {
	if len(password) > 20 {
		return fmt.Errorf("password of %s: longer than the 20 characters of IPMI 2.0", name)
	}
	id, err := c.userID(ctx, name)
	if err != nil {
		return err
	}
	req := &app.SetUserPasswordRequest{UserID: id, Operation: app.PasswordOperationSetPassword, Stored20: len(password) > 16, Password: string(password)}
	return c.s.do(ctx, admin, req, nil)
}

func (c *Controller) userID(ctx context.Context, name string) (byte, error) {
	var access app.GetUserAccessResponse
	if err := c.s.do(ctx, operator, &app.GetUserAccessRequest{ChannelNumber: thisChannel, UserID: 1}, &access); err != nil {
		return 0, err
	}
	for id := byte(1); id <= access.MaxUsersIDCount&0x3f; id++ {
		var res app.GetUsernameResponse
		err := c.s.do(ctx, operator, &app.GetUsernameRequest{UserID: id}, &res)
		var code *CodeError
		if errors.As(err, &code) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if res.Username == name && (name != "" || id == 1) {
			return id, nil
		}
	}
	return 0, fmt.Errorf("user %q: %w", name, bmc.ErrUser)
}

// Beacon turns the identify light on or off (28.5).
func (c *Controller) Beacon(ctx context.Context, on bool) error {
	data := []byte{0, 0}
	if on {
		data[1] = 1 // until turned off
	}
	err := c.s.do(ctx, operator, rawRequest{types.CommandChassisIdentify, data}, nil)
	if code := codeOf(err); code == types.CodeRequestDataLengthInvalid || code == types.CodeRequestDataFieldInvalid {
		// IPMI 1.5 had one byte: seconds. 255 is the longest there is.
		data = []byte{0}
		if on {
			data[0] = 0xff
		}
		err = c.s.do(ctx, operator, rawRequest{types.CommandChassisIdentify, data}, nil)
	}
	return err
}

// MACs: a BMC knows its own, not the host's.
func (c *Controller) MACs(context.Context) ([]bmc.MAC, error) {
	return nil, unsupported(errors.New("IPMI does not tell the host's MACs; set mgt=redfish, or let the machine be discovered"))
}

// InsertMedia is not IPMI's.
func (c *Controller) InsertMedia(context.Context, string) error {
	return unsupported(errors.New("IPMI has no virtual media; set mgt=redfish if the machine speaks it"))
}

// Media is not IPMI's.
func (c *Controller) Media(ctx context.Context) (string, error) { return "", c.InsertMedia(ctx, "") }

// EjectMedia is not IPMI's.
func (c *Controller) EjectMedia(ctx context.Context) error { return c.InsertMedia(ctx, "") }
