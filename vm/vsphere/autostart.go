package vsphere

import (
	"context"
	"strings"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

func (c *Conn) autostartManager(ctx context.Context, host string) (types.ManagedObjectReference, error) {
	return c.system(ctx, host, func(m types.HostConfigManager) *types.ManagedObjectReference { return m.AutoStartManager }, "autoStartManager")
}

// Autostarts reads which guests start with a host.
func (c *Conn) Autostarts(ctx context.Context, host string) (vm.Autostarts, error) {
	ref, err := c.autostartManager(ctx, host)
	if err != nil {
		return vm.Autostarts{}, err
	}
	var m mo.HostAutoStartManager
	if err := property.DefaultCollector(c.vc).RetrieveOne(ctx, ref, []string{"config"}, &m); err != nil {
		return vm.Autostarts{}, wrap(err)
	}
	out := vm.Autostarts{Guests: map[string]vm.Autostart{}}
	if d := m.Config.Defaults; d != nil {
		out.Enabled = truth(d.Enabled)
	}
	for _, p := range m.Config.PowerInfo {
		out.Guests[p.Key.Value] = vm.Autostart{On: strings.EqualFold(p.StartAction, "powerOn"), Order: max(0, int(p.StartOrder)), Delay: int(p.StartDelay)}
	}
	return out, nil
}

// SetAutostart says whether a guest starts with its host.
func (c *Conn) SetAutostart(ctx context.Context, v vm.VM, a vm.Autostart, enable bool) error {
	ref, err := c.autostartManager(ctx, v.Host)
	if err != nil {
		return err
	}
	spec := types.HostAutoStartManagerConfig{PowerInfo: []types.AutoStartPowerInfo{{
		Key: vmRef(v), StartOrder: int32(a.StartOrder()), StartDelay: int32(a.Delay), WaitForHeartbeat: types.AutoStartWaitHeartbeatSettingSystemDefault,
		StartAction: a.StartAction(), StopDelay: -1, StopAction: stopAction(a)}}}
	if enable {
		spec.Defaults = &types.AutoStartDefaults{Enabled: types.NewBool(true)}
	}
	_, err = methods.ReconfigureAutostart(ctx, c.vc, &types.ReconfigureAutostart{This: ref, Spec: spec})
	return wrap(err)
}

// stopAction is what becomes of the guest when its host stops. A guest that
// has neither is taken off the host's list.
func stopAction(a vm.Autostart) string {
	if a.On {
		return "systemDefault"
	}
	return "none"
}
