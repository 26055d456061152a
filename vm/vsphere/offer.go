package vsphere

import (
	"context"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// offerAge is how long a host's offer is taken to hold: it changes when the
// host is upgraded.
const offerAge = 5 * time.Minute

// An offerKey is what an offer is for.
type offerKey struct {
	host             types.ManagedObjectReference
	guestID, version string
}

type keptOffer struct {
	*vm.Offer
	at time.Time
}

// Offer asks a host what it has for guests of one system: its environment
// browser keeps the list, for each hardware version. The answers are long, so
// they are kept for a while.
func (c *Conn) Offer(ctx context.Context, host, guestID, version string) (*vm.Offer, error) {
	if guestID == "" {
		return nil, nil
	}
	p, browser, err := c.offering(ctx, host)
	if err != nil || browser.Value == "" {
		return nil, err
	}
	key := offerKey{p, guestID, version}
	c.offerMu.Lock()
	kept, ok := c.offers[key]
	c.offerMu.Unlock()
	if ok && time.Since(kept.at) < offerAge {
		return kept.Offer, nil
	}
	o, err := c.askOffer(ctx, browser, key)
	if err != nil {
		return nil, err
	}
	c.offerMu.Lock()
	defer c.offerMu.Unlock()
	if c.offers == nil || len(c.offers) >= maxOffers {
		c.offers = map[offerKey]keptOffer{}
	}
	c.offers[key] = keptOffer{o, time.Now()}
	return o, nil
}

// maxOffers is how many offers are kept of one endpoint.
const maxOffers = 4096

// offering is a host and who says what it has.
func (c *Conn) offering(ctx context.Context, host string) (ref, browser types.ManagedObjectReference, err error) {
	if c.about.Kind == vm.ESX {
		host = ""
	}
	t, fresh, err := c.recent(ctx)
	if err != nil {
		return ref, browser, err
	}
	p := t.find("HostSystem", host)
	if p == nil && !fresh {
		if t, err = c.newTree(ctx); err != nil {
			return ref, browser, err
		}
		p = t.find("HostSystem", host)
	}
	if p == nil {
		return ref, browser, vm.Errorf(vm.ErrNotFound, "host %s is not in the inventory", host)
	}
	if cr := t.nodes[p.parent]; cr != nil {
		browser = cr.browser
	}
	return p.ref, browser, nil
}

func (c *Conn) askOffer(ctx context.Context, browser types.ManagedObjectReference, key offerKey) (*vm.Offer, error) {
	res, err := methods.QueryConfigOptionEx(ctx, c.vc, &types.QueryConfigOptionEx{This: browser,
		Spec: &types.EnvironmentBrowserConfigOptionQuerySpec{Key: key.version, Host: &key.host, GuestId: []string{key.guestID}}})
	if err != nil {
		return nil, wrap(err)
	}
	if res.Returnval == nil {
		return nil, nil
	}
	// A host that does not know the system returns all of them.
	for _, d := range res.Returnval.GuestOSDescriptor {
		if d.Id == key.guestID {
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
