package vmtest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// furnishKernelNICs gives a host's kernel two cards, of which guests move over
// the first if the host is a vCenter's.
func (w *World) furnishKernelNICs(h *simulator.HostSystem) {
	m := w.nics(h)
	m.Info.NetConfig = slices.Clone(m.Info.NetConfig)
	c := types.VirtualNicManagerNetConfig{NicType: "vmotion", MultiSelectAllowed: true}
	for _, k := range []struct{ device, group string }{{"vmk0", "Management Network"}, {"vmk1", "vMotion"}} {
		n := types.HostVirtualNic{Device: k.device, Key: "vmotion.key-vim.host.VirtualNic-" + k.device, Portgroup: k.group}
		if k.device == w.opts.LinkLocal {
			n.Spec.Ip = &types.HostIpConfig{IpAddress: "169.254.7.7", SubnetMask: "255.255.0.0"}
		}
		c.CandidateVnic = append(c.CandidateVnic, n)
	}
	if w.vcenter {
		c.SelectedVnic = []string{c.CandidateVnic[0].Key}
	}
	m.Info.NetConfig = append(m.Info.NetConfig, c)
}

func (w *World) nics(h *simulator.HostSystem) *simulator.HostVirtualNicManager {
	return w.model.Map().Get(*h.ConfigManager.VirtualNicManager).(*simulator.HostVirtualNicManager)
}

// setVMotion has guests move over a card, or not; false: there is no such
// card.
func (w *World) setVMotion(h *simulator.HostSystem, device string, on bool) bool {
	m := w.nics(h)
	i := slices.IndexFunc(m.Info.NetConfig, func(c types.VirtualNicManagerNetConfig) bool { return c.NicType == "vmotion" })
	c := &m.Info.NetConfig[i]
	at := slices.IndexFunc(c.CandidateVnic, func(n types.HostVirtualNic) bool { return n.Device == device })
	if at < 0 {
		return false
	}
	key := c.CandidateVnic[at].Key
	c.SelectedVnic = slices.DeleteFunc(slices.Clone(c.SelectedVnic), func(k string) bool { return k == key })
	if on {
		c.SelectedVnic = append(c.SelectedVnic, key)
	}
	h.Summary.Config.VmotionEnabled = len(c.SelectedVnic) > 0
	return true
}

func (n *nicManager) host(ctx *simulator.Context) *simulator.HostSystem {
	return ctx.Map.Get(n.Host.Self).(*simulator.HostSystem)
}

// SelectVnicForNicType takes a card that the kernel has.
func (n *nicManager) SelectVnicForNicType(ctx *simulator.Context, req *types.SelectVnicForNicType) soap.HasFault {
	if req.NicType != "vmotion" || !n.w.setVMotion(n.host(ctx), req.Device, true) {
		return &methods.SelectVnicForNicTypeBody{Fault_: simulator.Fault("", invalid("device"))}
	}
	return &methods.SelectVnicForNicTypeBody{Res: &types.SelectVnicForNicTypeResponse{}}
}

// DeselectVnicForNicType likewise.
func (n *nicManager) DeselectVnicForNicType(ctx *simulator.Context, req *types.DeselectVnicForNicType) soap.HasFault {
	if req.NicType != "vmotion" || !n.w.setVMotion(n.host(ctx), req.Device, false) {
		return &methods.DeselectVnicForNicTypeBody{Fault_: simulator.Fault("", invalid("device"))}
	}
	return &methods.DeselectVnicForNicTypeBody{Res: &types.DeselectVnicForNicTypeResponse{}}
}

// VMotion are the cards that guests move over on a host.
func (w *World) VMotion(host string) (devices []string) {
	for _, h := range hostsInOrder(w.model.Map()) {
		if host != "" && h.Name != host {
			continue
		}
		for _, c := range w.nics(h).Info.NetConfig {
			for _, n := range c.CandidateVnic {
				if c.NicType == "vmotion" && slices.Contains(c.SelectedVnic, n.Key) {
					devices = append(devices, n.Device)
				}
			}
		}
	}
	return devices
}

func (s *Shell) kernelNICs() []types.HostVirtualNic {
	for _, c := range s.w.nics(s.host()).Info.NetConfig {
		if c.NicType == "vmotion" {
			return c.CandidateVnic
		}
	}
	return nil
}

func (s *Shell) listKernelNICs() string {
	var blocks []string
	for i, n := range s.kernelNICs() {
		blocks = append(blocks, fmt.Sprintf("%[1]s\n   Name: %[1]s\n   MAC Address: 00:50:56:6a:00:0%[2]d\n   Enabled: true\n   Portset: vSwitch0\n   Portgroup: %[3]s\n   Netstack Instance: defaultTcpipStack\n   MTU: 1500\n", n.Device, i, n.Portgroup))
	}
	return strings.Join(blocks, "\n")
}

// kernelTag is "esxcli network ip interface tag".
func (s *Shell) kernelTag(w []string) (string, int) {
	device, tag := arg(w, "-i", "--interface-name"), arg(w, "-t", "--tagname")
	if !slices.ContainsFunc(s.kernelNICs(), func(n types.HostVirtualNic) bool { return n.Device == device }) {
		return "Invalid interface name: " + device + "\n", 1
	}
	if w[0] == "get" {
		tags := "Management"
		if slices.Contains(s.w.VMotion(""), device) {
			tags += ", VMotion"
		}
		return "   Tags: " + tags + "\n", 0
	}
	if tag != "VMotion" {
		return "Invalid tag: " + tag + "\n", 1
	}
	m := s.w.model.Map()
	m.WithLock(&simulator.Context{Context: context.Background(), Map: m}, s.host(), func() { s.w.setVMotion(s.host(), device, w[0] == "add") })
	return "", 0
}
