package vsphere

import (
	"context"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// serial adds a serial port that goes to a concentrator.
func (w *writer) serial(p vm.SerialPort) {
	w.add(opAdd, "", &types.VirtualSerialPort{
		YieldOnPoll: true, // a guest that polls an idle port would take a whole processor
		VirtualDevice: types.VirtualDevice{
			Key:         -p.Key,
			Connectable: &types.VirtualDeviceConnectInfo{StartConnected: true, Connected: true, AllowGuestControl: true},
			Backing: &types.VirtualSerialPortURIBackingInfo{VirtualDeviceURIBackingInfo: types.VirtualDeviceURIBackingInfo{
				ServiceURI: p.URI, ProxyURI: p.Proxy, Direction: string(types.VirtualDeviceURIBackingOptionDirectionServer)}},
		},
	})
}

// serials are a change's serial ports.
func (w *writer) serials(_ context.Context, c *vm.Change) error {
	for _, p := range c.RemoveSerial {
		d, err := w.device(p.Key, p.Label)
		if err != nil {
			return err
		}
		w.add(opRemove, "", d)
	}
	if c.AddSerial != nil {
		w.serial(*c.AddSerial)
	}
	return nil
}

func (r *reader) serial(d *types.VirtualSerialPort) {
	b, ok := d.Backing.(*types.VirtualSerialPortURIBackingInfo)
	if !ok {
		return
	}
	r.s.Serial = append(r.s.Serial, vm.SerialPort{Key: d.Key, Label: label(&d.VirtualDevice, "Serial port", len(r.s.Serial)), URI: b.ServiceURI, Proxy: b.ProxyURI})
}

// LetOut turns on a ruleset of a host's firewall.
func (c *Conn) LetOut(ctx context.Context, host, ruleset string) error {
	fw, err := c.system(ctx, host, func(m types.HostConfigManager) *types.ManagedObjectReference { return m.FirewallSystem }, "firewallSystem")
	if err != nil {
		return err
	}
	_, err = methods.EnableRuleset(ctx, c.vc, &types.EnableRuleset{This: fw, Id: ruleset})
	return wrap(err)
}
