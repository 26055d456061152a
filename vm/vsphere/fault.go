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
	class, plain := classOf(f)
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
func classOf(f types.BaseMethodFault) (class error, text string) {
	switch f := f.(type) {
	case *types.RestrictedVersion:
		return vm.ErrRestricted, "Current license or ESXi version prohibits execution of the requested operation."
	case *types.InvalidPowerState:
		return vm.ErrPowerState, "The attempted operation cannot be performed in the current state (" + powerText(f.ExistingState) + ")."
	case *types.ToolsUnavailable:
		return vm.ErrTools, "Cannot complete operation because VMware Tools is not running in this virtual machine."
	case *types.NotSupported:
		return vm.ErrUnsupported, "The operation is not supported on the object."
	case *types.DuplicateName:
		return vm.ErrExists, "The name '" + f.Name + "' already exists."
	case *types.AlreadyExists:
		return vm.ErrExists, "The specified key, name, or identifier '" + f.Name + "' already exists."
	case *types.FileAlreadyExists:
		return vm.ErrExists, "Cannot complete the operation because the file or folder " + f.File + " already exists"
	case *types.NotFound, *types.ManagedObjectNotFound:
		return vm.ErrNotFound, "The object or item referred to could not be found."
	case *types.FileNotFound:
		return vm.ErrNotFound, "File " + f.File + " was not found"
	case *types.InvalidDatastorePath:
		return vm.ErrNotFound, "Invalid datastore path '" + f.DatastorePath + "'."
	case *types.NoDiskSpace:
		return vm.ErrNoSpace, "Insufficient disk space on datastore '" + f.Datastore + "'."
	case *types.InvalidLogin:
		return nil, "Cannot complete login due to an incorrect user name or password."
	case *types.InvalidState:
		return vm.ErrPowerState, "The operation is not allowed in the current state."
	case *types.NoPermission:
		return nil, "Permission to perform this operation was denied. (needs " + f.PrivilegeId + ")"
	case *types.InvalidArgument:
		return vm.ErrInvalid, "A specified parameter was not correct: " + f.InvalidProperty
	case *types.InvalidDeviceBacking:
		return vm.ErrInvalid, "Invalid configuration for device '" + strconv.Itoa(int(f.DeviceIndex)) + "'. Its file or network is not there."
	case *types.InvalidDeviceSpec:
		return vm.ErrInvalid, "Invalid configuration for device '" + strconv.Itoa(int(f.DeviceIndex)) + "'."
	case *types.RequestCanceled:
		return nil, "The task was canceled by a user."
	}
	return nil, ""
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
