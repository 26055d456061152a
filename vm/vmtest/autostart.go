package vmtest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// An autostartManager says which guests start with one host. vcsim has none.
type autostartManager struct {
	mo.HostAutoStartManager
	w    *World
	host types.ManagedObjectReference
}

func (w *World) furnishAutostart(h *simulator.HostSystem) {
	a := &autostartManager{w: w, host: h.Self}
	a.Self = types.ManagedObjectReference{Type: "HostAutoStartManager", Value: "ha-autostart-mgr"}
	if w.vcenter {
		a.Self.Value = "autoStartManager-" + h.Self.Value
	}
	off := false
	a.Config.Defaults = &types.AutoStartDefaults{Enabled: &off, StartDelay: 120, StopDelay: 120, WaitForHeartbeat: &off, StopAction: "PowerOff"}
	h.ConfigManager.AutoStartManager = &a.Self
	w.model.Map().Put(a)
}

// ReconfigureAutostart changes the defaults and the guests that the request
// names, in the order that it names them.
func (a *autostartManager) ReconfigureAutostart(ctx *simulator.Context, req *types.ReconfigureAutostart) soap.HasFault {
	cfg := types.HostAutoStartManagerConfig{Defaults: a.Config.Defaults, PowerInfo: slices.Clone(a.Config.PowerInfo)}
	if d := req.Spec.Defaults; d != nil {
		now := *cfg.Defaults
		if d.Enabled != nil {
			now.Enabled = d.Enabled
		}
		if d.StartDelay != 0 {
			now.StartDelay = d.StartDelay
		}
		cfg.Defaults = &now
	}
	for _, p := range req.Spec.PowerInfo {
		if f := a.set(ctx, &cfg, p); f != nil {
			return &methods.ReconfigureAutostartBody{Fault_: simulator.Fault("", f)}
		}
	}
	ctx.Update(a, []types.PropertyChange{{Name: "config", Val: cfg}})
	return &methods.ReconfigureAutostartBody{Res: &types.ReconfigureAutostartResponse{}}
}

func (a *autostartManager) set(ctx *simulator.Context, cfg *types.HostAutoStartManagerConfig, p types.AutoStartPowerInfo) types.BaseMethodFault {
	v, ok := ctx.Map.Get(p.Key).(*simulator.VirtualMachine)
	if !ok || *v.Runtime.Host != a.host {
		return &types.ManagedObjectNotFound{Obj: p.Key}
	}
	starts := strings.EqualFold(p.StartAction, "powerOn")
	cfg.PowerInfo = slices.DeleteFunc(cfg.PowerInfo, func(x types.AutoStartPowerInfo) bool {
		_, there := ctx.Map.Get(x.Key).(*simulator.VirtualMachine)
		return x.Key == p.Key || !there
	})
	switch {
	case !starts && p.StartAction != "none":
		return invalid("spec.powerInfo.startAction")
	case p.StartOrder == 0 || p.StartOrder < -1 || !starts && p.StartOrder != -1 || int(p.StartOrder) > len(cfg.PowerInfo)+1:
		return invalid("spec.powerInfo.startOrder")
	case p.StartDelay < -1 || p.StopDelay < -1:
		return invalid("spec.powerInfo.startDelay")
	case !slices.Contains([]string{"none", "systemDefault", "powerOff", "suspend", "guestShutdown"}, p.StopAction):
		return invalid("spec.powerInfo.stopAction")
	}
	if !starts && p.StopAction == "none" {
		return nil // it is off the list
	}
	for order := p.StartOrder; order > 0; order++ {
		i := slices.IndexFunc(cfg.PowerInfo, func(x types.AutoStartPowerInfo) bool { return x.StartOrder == order })
		if i < 0 {
			break
		}
		defer func() { cfg.PowerInfo[i].StartOrder++ }()
	}
	cfg.PowerInfo = append(cfg.PowerInfo, p)
	return nil
}

// autostart is vim-cmd's hostsvc/autostartmanager.
func (s *Shell) autostart(word string, w []string) (string, int) {
	a := s.w.model.Map().Get(*s.host().ConfigManager.AutoStartManager).(*autostartManager)
	spec := types.HostAutoStartManagerConfig{}
	switch word {
	case "get_defaults":
		d := a.Config.Defaults
		return fmt.Sprintf("(vim.host.AutoStartManager.SystemDefaults) {\n   enabled = %v, \n   startDelay = %d, \n   stopDelay = %d, \n   waitForHeartbeat = false, \n   stopAction = \"%s\"\n}\n", *d.Enabled, d.StartDelay, d.StopDelay, d.StopAction), 0
	case "get_autostartseq":
		return a.list(), 0
	case "enable_autostart":
		if len(w) != 1 {
			return "Insufficient arguments.\n", 255
		}
		on := w[0] == "true" || w[0] == "1"
		spec.Defaults = &types.AutoStartDefaults{Enabled: &on}
	case "update_autostartentry":
		p, err := s.autostartEntry(w)
		if err != "" {
			return err, 255
		}
		spec.PowerInfo = append(spec.PowerInfo, p)
	default:
		return "Invalid command 'hostsvc/autostartmanager/" + word + "'.\n", 255
	}
	_, err := methods.ReconfigureAutostart(context.Background(), s.w.inUse, &types.ReconfigureAutostart{This: a.Self, Spec: spec})
	if err != nil {
		return faultText("vmodl.fault.InvalidArgument", "A specified parameter was not correct: "), 1
	}
	if word == "enable_autostart" {
		return "Enabled AutoStart\n", 0
	}
	return "Updated AutoStart order.\n", 0
}

func (a *autostartManager) list() string {
	out := "(vim.host.AutoStartManager.AutoPowerInfo) [\n"
	for _, p := range a.Config.PowerInfo {
		out += fmt.Sprintf("   (vim.host.AutoStartManager.AutoPowerInfo) {\n      key = 'vim.VirtualMachine:%s', \n      startOrder = %d, \n      startDelay = %d, \n      waitForHeartbeat = \"%s\", \n      startAction = \"%s\", \n      stopDelay = %d, \n      stopAction = \"%s\"\n   }, \n",
			digits(p.Key.Value), p.StartOrder, p.StartDelay, p.WaitForHeartbeat, p.StartAction, p.StopDelay, p.StopAction)
	}
	return out + "]\n"
}

// autostartEntry reads ID, start action, start delay, start order, stop
// action, stop delay and what is waited for. A number below 0 is taken for an
// option unless "--" stands before it.
func (s *Shell) autostartEntry(w []string) (p types.AutoStartPowerInfo, usage string) {
	if len(w) > 0 && w[0] == "--" {
		w = w[1:]
	} else if slices.ContainsFunc(w, func(x string) bool { return strings.HasPrefix(x, "-") }) {
		return p, "update_autostartentry: invalid option -- '1'\n"
	}
	if len(w) != 7 {
		return p, "Insufficient arguments.\nUsage: update_autostartentry VMId StartAction StartDelay StartOrder StopAction StopDelay WaitForHeartbeat\n"
	}
	v, missing := s.guest(w[0])
	if v == nil {
		return p, missing
	}
	var n [3]int
	for i, at := range []int{2, 3, 5} {
		var err error
		if n[i], err = strconv.Atoi(w[at]); err != nil {
			return p, "Invalid argument: " + w[at] + "\n"
		}
	}
	return types.AutoStartPowerInfo{Key: v.Self, StartAction: w[1], StartDelay: int32(n[0]), StartOrder: int32(n[1]), StopAction: w[4], StopDelay: int32(n[2]),
		WaitForHeartbeat: types.AutoStartWaitHeartbeatSetting(w[6])}, ""
}
