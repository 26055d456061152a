package vsphere

import (
	"context"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// Offer asks a host what it has for guests of one system: its environment
// browser keeps the list, for each hardware version.
func (c *Conn) Offer(ctx context.Context, host, guestID, version string) (*vm.Offer, error) {
	t, err := c.tree(ctx)
	if err != nil {
		return nil, err
	}
	p := t.find("HostSystem", host)
	if c.about.Kind == vm.ESX {
		p = t.find("HostSystem", "")
	}
	if p == nil {
		return nil, vm.Errorf(vm.ErrNotFound, "host %s is not in the inventory", host)
	}
	var cr mo.ComputeResource
	if err := property.DefaultCollector(c.vc).RetrieveOne(ctx, p.parent, []string{"environmentBrowser"}, &cr); err != nil {
		return nil, wrap(err)
	}
	if cr.EnvironmentBrowser == nil || guestID == "" {
		return nil, nil
	}
	res, err := methods.QueryConfigOptionEx(ctx, c.vc, &types.QueryConfigOptionEx{This: *cr.EnvironmentBrowser,
		Spec: &types.EnvironmentBrowserConfigOptionQuerySpec{Key: version, Host: &p.ref, GuestId: []string{guestID}}})
	if err != nil {
		return nil, wrap(err)
	}
	if res.Returnval == nil {
		return nil, nil
	}
	// A host that does not know the system returns all of them.
	for _, d := range res.Returnval.GuestOSDescriptor {
		if d.Id == guestID {
			return offerOf(res.Returnval.Version, &d), nil
		}
	}
	return nil, nil
}

func offerOf(version string, d *types.GuestOsDescriptor) *vm.Offer {
	o := &vm.Offer{Version: version, GuestName: d.FullName, Recommended: cardModels[d.RecommendedEthernetCard]}
	if o.GuestName == "" {
		o.GuestName = d.Id
	}
	for _, name := range d.SupportedEthernetCard {
		if m, ok := cardModels[name]; ok {
			o.Cards = append(o.Cards, m)
		}
	}
	for _, name := range d.SupportedDiskControllerList {
		if b, ok := controllerBuses[name]; ok {
			o.Buses = append(o.Buses, b)
		}
	}
	return o
}

// What the API's words mean here.
var (
	cardModels = map[string]vm.NICModel{"VirtualE1000": vm.E1000, "VirtualE1000e": vm.E1000e, "VirtualVmxnet3": vm.VMXNet3,
		"VirtualVmxnet2": vm.VMXNet2, "VirtualVmxnet": vm.VMXNet, "VirtualPCNet32": vm.PCNet32}
	controllerBuses = map[string]vm.Bus{"VirtualIDEController": vm.IDE, "VirtualLsiLogicController": vm.LSILogic, "VirtualLsiLogicSASController": vm.LSISAS,
		"VirtualBusLogicController": vm.BusLogic, "ParaVirtualSCSIController": vm.PVSCSI, "VirtualAHCIController": vm.SATA, "VirtualNVMEController": vm.NVMe}
)
