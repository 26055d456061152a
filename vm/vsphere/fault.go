package vsphere

import (
	"errors"
	"reflect"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// wrap turns what the API says into an error of vm's classes whose text is
// the host's own sentence. Other errors pass as they are.
func wrap(err error) error {
	if err == nil {
		return nil
	}
	if soap.IsSoapFault(err) {
		f := soap.ToSoapFault(err)
		if vf, ok := f.VimFault().(types.BaseMethodFault); ok {
			return fault(vf, f.String)
		}
		// Faults come as values, whose methods are on pointers.
		if vf := pointer(f.VimFault()); vf != nil {
			return fault(vf, f.String)
		}
		return errors.New(f.String)
	}
	if soap.IsVimFault(err) {
		return fault(soap.ToVimFault(err), "")
	}
	return err
}

func pointer(v any) types.BaseMethodFault {
	if v == nil {
		return nil
	}
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Struct {
		return nil
	}
	p := reflect.New(rv.Type())
	p.Elem().Set(rv)
	f, _ := p.Interface().(types.BaseMethodFault)
	return f
}

// localized is wrap for the error of a task.
func localized(l *types.LocalizedMethodFault) error {
	if l == nil {
		return nil
	}
	return fault(l.Fault, l.LocalizedMessage)
}

// fault makes an error of a fault: its localized message with every further
// message appended, as xCAT prints it.
func fault(f types.BaseMethodFault, text string) error {
	plain, class := classOf(f)
	if text == "" {
		text = plain
	}
	if text == "" && f != nil {
		text = reflect.TypeOf(f).Elem().Name()
	}
	if f != nil {
		for _, m := range f.GetMethodFault().FaultMessage {
			if m.Message != "" && !strings.Contains(text, m.Message) {
				text += m.Message
			}
		}
	}
	if class == nil {
		return errors.New(text)
	}
	return vm.Errorf(class, "%s", text)
}

// classOf is a fault's class, and a sentence for where the host sends none.
func classOf(f types.BaseMethodFault) (text string, class error) {
	switch f := f.(type) {
	case *types.RestrictedVersion:
		return "Current license or ESXi version prohibits execution of the requested operation.", vm.ErrRestricted
	case *types.InvalidPowerState:
		return "The attempted operation cannot be performed in the current state (" + powerText(f.ExistingState) + ").", vm.ErrPowerState
	case *types.ToolsUnavailable:
		return "Cannot complete operation because VMware Tools is not running in this virtual machine.", vm.ErrTools
	case *types.NotSupported:
		return "The operation is not supported on the object.", vm.ErrUnsupported
	case *types.DuplicateName:
		return "The name '" + f.Name + "' already exists.", vm.ErrExists
	case *types.AlreadyExists:
		return "The specified key, name, or identifier '" + f.Name + "' already exists.", vm.ErrExists
	case *types.FileAlreadyExists:
		return "Cannot complete the operation because the file or folder " + f.File + " already exists", vm.ErrExists
	case *types.NotFound, *types.ManagedObjectNotFound:
		return "The object or item referred to could not be found.", vm.ErrNotFound
	case *types.FileNotFound:
		return "File " + f.File + " was not found", vm.ErrNotFound
	case *types.InvalidDatastorePath:
		return "Invalid datastore path '" + f.DatastorePath + "'.", vm.ErrNotFound
	case *types.NoDiskSpace:
		return "Insufficient disk space on datastore '" + f.Datastore + "'.", vm.ErrNoSpace
	case *types.InvalidLogin:
		return "Cannot complete login due to an incorrect user name or password.", nil
	case *types.InvalidState:
		return "The operation is not allowed in the current state.", vm.ErrPowerState
	case *types.NoPermission:
		return "Permission to perform this operation was denied. (needs " + f.PrivilegeId + ")", nil
	case *types.InvalidArgument:
		return "A specified parameter was not correct: " + f.InvalidProperty, vm.ErrInvalid
	case *types.InvalidDeviceBacking:
		return "Invalid configuration for device '" + strconv.Itoa(int(f.DeviceIndex)) + "'. Its file or network is not there.", vm.ErrInvalid
	case *types.InvalidDeviceSpec:
		return "Invalid configuration for device '" + strconv.Itoa(int(f.DeviceIndex)) + "'.", vm.ErrInvalid
	case *types.DeviceUnsupportedForVmVersion:
		return "The device is not supported by hardware version " + f.CurrentVersion + " of the guest; it came with " + f.ExpectedVersion + ".", vm.ErrUnsupported
	case *types.DeviceUnsupportedForVmPlatform, *types.DeviceNotSupported:
		return "The host has no such device for this guest.", vm.ErrUnsupported
	case *types.RequestCanceled:
		return "The task was canceled by a user.", nil
	}
	return "", nil
}

func powerText(s types.VirtualMachinePowerState) string {
	switch s {
	case types.VirtualMachinePowerStatePoweredOn:
		return "Powered on"
	case types.VirtualMachinePowerStatePoweredOff:
		return "Powered off"
	case types.VirtualMachinePowerStateSuspended:
		return "Suspended"
	}
	return string(s)
}
