package vmtest

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// An ovfManager reads descriptors. vcsim's own makes requests that no host
// would take; they are put right here.
type ovfManager struct {
	*simulator.OvfManager
	w *World
}

// CreateImportSpec reads a descriptor.
func (o *ovfManager) CreateImportSpec(ctx *simulator.Context, req *types.CreateImportSpec) soap.HasFault {
	res := o.OvfManager.CreateImportSpec(ctx, req)
	body, ok := res.(*methods.CreateImportSpecBody)
	if !ok || body.Res == nil {
		return res
	}
	spec, ok := body.Res.Returnval.ImportSpec.(*types.VirtualMachineImportSpec)
	if !ok {
		return res
	}
	var kept []types.BaseVirtualDeviceConfigSpec
	keys := map[int32]int32{}
	ides, scsis := int32(0), int32(0)
	for _, ch := range spec.ConfigSpec.DeviceChange {
		d := ch.GetVirtualDeviceConfigSpec()
		v := d.Device.GetVirtualDevice()
		switch dev := d.Device.(type) {
		case *types.VirtualIDEController: // every guest has both
			keys[v.Key] = 200 + ides
			ides++
			continue
		case types.BaseVirtualSCSIController:
			k := dev.GetVirtualSCSIController()
			k.BusNumber, k.SharedBus = scsis, types.VirtualSCSISharingNoSharing
			scsis++
		case *types.VirtualDisk:
			dev.CapacityInBytes = dev.CapacityInKB * 1024
			thin := o.thin(req)
			if b, ok := dev.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
				b.ThinProvisioned, b.DiskMode = &thin, string(types.VirtualDiskModePersistent)
			}
		}
		if to, ok := keys[v.ControllerKey]; ok {
			v.ControllerKey = to
		}
		kept = append(kept, ch)
	}
	spec.ConfigSpec.DeviceChange = kept
	return res
}

func (o *ovfManager) thin(req *types.CreateImportSpec) bool {
	p := req.Cisp.GetOvfCreateImportSpecParams()
	return p.DiskProvisioning == string(types.OvfCreateImportSpecParamsDiskProvisioningTypeThin)
}
