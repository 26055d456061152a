package vmtest

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/vmware/govmomi/vim25/types"
)

// errFault is a fault as an error of our own.
func errFault(f any) error {
	if f == nil {
		return errors.New("fault")
	}
	return fmt.Errorf("fault %s: %+v", reflect.TypeOf(f), f)
}

func invalid(property string) types.BaseMethodFault {
	return &types.InvalidArgument{InvalidProperty: property}
}

func badDevice(index int, property string) types.BaseMethodFault {
	return &types.InvalidDeviceSpec{InvalidVmConfig: types.InvalidVmConfig{Property: property}, DeviceIndex: int32(index)}
}

func wrongState(have, want types.VirtualMachinePowerState) types.BaseMethodFault {
	return &types.InvalidPowerState{ExistingState: have, RequestedState: want}
}
