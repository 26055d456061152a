package vsphere

import (
	"context"
	"net/netip"
	"slices"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

func (c *Conn) nicManager(ctx context.Context, host string) (types.ManagedObjectReference, error) {
	return c.system(ctx, host, func(m types.HostConfigManager) *types.ManagedObjectReference { return m.VirtualNicManager }, "virtualNicManager")
}

const vmotion = string(types.HostVirtualNicManagerNicTypeVmotion)

// KernelNICs reads the cards of a host's kernel that guests may move over.
func (c *Conn) KernelNICs(ctx context.Context, host string) ([]vm.KernelNIC, error) {
	ref, err := c.nicManager(ctx, host)
	if err != nil {
		return nil, err
	}
	res, err := methods.QueryNetConfig(ctx, c.vc, &types.QueryNetConfig{This: ref, NicType: vmotion})
	if err != nil {
		return nil, wrap(err)
	}
	if res.Returnval == nil {
		return nil, nil
	}
	var out []vm.KernelNIC
	for _, n := range res.Returnval.CandidateVnic {
		k := vm.KernelNIC{Device: n.Device, Network: n.Portgroup, VMotion: slices.Contains(res.Returnval.SelectedVnic, n.Key)}
		if n.Spec.Ip != nil {
			a, err := netip.ParseAddr(n.Spec.Ip.IpAddress)
			k.Local = err == nil && a.IsLinkLocalUnicast()
		}
		out = append(out, k)
	}
	return out, nil
}

// SelectVMotion says whether guests move over a card.
func (c *Conn) SelectVMotion(ctx context.Context, host, device string, on bool) error {
	ref, err := c.nicManager(ctx, host)
	if err != nil {
		return err
	}
	if on {
		_, err = methods.SelectVnicForNicType(ctx, c.vc, &types.SelectVnicForNicType{This: ref, NicType: vmotion, Device: device})
		return wrap(err)
	}
	_, err = methods.DeselectVnicForNicType(ctx, c.vc, &types.DeselectVnicForNicType{This: ref, NicType: vmotion, Device: device})
	return wrap(err)
}
