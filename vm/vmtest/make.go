package vmtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/esx"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// CreateVMTask checks the request before vcsim makes the guest.
func (f *folderObject) CreateVMTask(ctx *simulator.Context, req *types.CreateVM_Task) soap.HasFault {
	body := &methods.CreateVM_TaskBody{Res: &types.CreateVM_TaskResponse{}}
	if fault := f.w.checkNew(ctx, f.Folder, req); fault != nil {
		body.Res.Returnval = failing(ctx, f.Folder, "createVm", fault)
		return body
	}
	f.w.makes(ctx, f.Self)
	return f.Folder.CreateVMTask(ctx, req)
}

func (w *World) checkNew(ctx *simulator.Context, f *simulator.Folder, req *types.CreateVM_Task) types.BaseMethodFault {
	if req.Config.Name == "" || req.Config.Files == nil || req.Config.GuestId == "" {
		return invalid("configSpec")
	}
	if o := ctx.Map.FindByName(req.Config.Name, f.ChildEntity); o != nil && !ctx.Map.IsESX() {
		return &types.DuplicateName{Name: req.Config.Name, Object: o.Reference()}
	}
	c := &checker{w: w, ctx: ctx, host: w.hostOf(ctx, req), have: object.VirtualDeviceList(esx.VirtualDevice), keys: map[int32]int32{}}
	ds, _ := splitPath(req.Config.Files.VmPathName)
	if c.datastore(ds) == nil {
		return &types.InvalidDatastorePath{InvalidDatastore: types.InvalidDatastore{Name: ds}, DatastorePath: req.Config.Files.VmPathName}
	}
	if w.readOnly(ds) {
		return &types.CannotCreateFile{FileFault: types.FileFault{File: req.Config.Files.VmPathName}}
	}
	w.pickFolder(req)
	return c.check(&req.Config)
}

// pickFolder names the guest's folder where the request names a datastore
// alone: by the guest, with a number behind it if there is one already.
func (w *World) pickFolder(req *types.CreateVM_Task) {
	ds, file := splitPath(req.Config.Files.VmPathName)
	if file != "" {
		return
	}
	dir := req.Config.Name
	for n := 1; ; n++ {
		if _, err := os.Stat(filepath.Join(w.Dir(ds), dir)); err != nil {
			break
		}
		dir = fmt.Sprintf("%s_%d", req.Config.Name, n)
	}
	req.Config.Files.VmPathName = "[" + ds + "] " + dir + "/" + req.Config.Name + ".vmx"
	w.nameDisks(req.Config.Files.VmPathName, req.Config.Name, req.Config.DeviceChange)
}

// nameDisks names new disks that the request leaves to the host: the first
// name that is free, in the guest's own folder if that is on the datastore.
// vcsim takes the folder of the guest's name, whichever the guest is in.
func (w *World) nameDisks(home, guest string, changes []types.BaseVirtualDeviceConfigSpec) {
	ds, file := splitPath(home)
	if filepath.Dir(file) == guest {
		return // that is the folder which vcsim takes
	}
	taken := map[string]bool{}
	for _, ch := range changes {
		c := ch.GetVirtualDeviceConfigSpec()
		d, ok := c.Device.(*types.VirtualDisk)
		if !ok || c.FileOperation != types.VirtualDeviceConfigSpecFileOperationCreate {
			continue
		}
		b, ok := d.Backing.(types.BaseVirtualDeviceFileBackingInfo)
		if !ok {
			continue
		}
		backing := b.GetVirtualDeviceFileBackingInfo()
		if on, name := splitPath(backing.FileName); name != "" || on != ds && on != "" {
			continue
		}
		for n := 0; ; n++ {
			name := guest + ".vmdk"
			if n > 0 {
				name = fmt.Sprintf("%s_%d.vmdk", guest, n)
			}
			path := "[" + ds + "] " + filepath.Dir(file) + "/" + name
			if _, err := os.Stat(w.File(path)); err != nil && !taken[path] {
				backing.FileName, taken[path] = path, true
				break
			}
		}
	}
}

func (w *World) hostOf(ctx *simulator.Context, req *types.CreateVM_Task) *simulator.HostSystem {
	if req.Host != nil {
		return ctx.Map.Get(*req.Host).(*simulator.HostSystem)
	}
	return hostsInOrder(ctx.Map)[0]
}

// RegisterVMTask makes a guest of what its .vmx says.
func (f *folderObject) RegisterVMTask(ctx *simulator.Context, req *types.RegisterVM_Task) soap.HasFault {
	body := &methods.RegisterVM_TaskBody{Res: &types.RegisterVM_TaskResponse{}}
	text, err := os.ReadFile(f.w.File(req.Path))
	if err != nil || !strings.HasSuffix(req.Path, ".vmx") {
		body.Res.Returnval = failing(ctx, f.Folder, "registerVm", &types.NotFound{})
		return body
	}
	cfg := parseVMX(string(text))
	if req.Name == "" {
		req.Name = cfg["displayname"]
	}
	for _, name := range []string{req.Name + ".nvram", "vmware.log"} { // vcsim wants them there
		file := filepath.Join(filepath.Dir(f.w.File(req.Path)), name)
		if _, err := os.Stat(file); err != nil {
			os.WriteFile(file, nil, 0o600)
		}
	}
	body.Res.Returnval = simulator.CreateTask(f.Folder, "registerVm", func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		f.w.makes(ctx, f.Self)
		r := f.Folder.RegisterVMTask(ctx, req).(*methods.RegisterVM_TaskBody)
		ref, fault := inner(ctx, r.Res.Returnval)
		if fault != nil {
			return nil, fault
		}
		vm := ctx.Map.Get(ref.(types.ManagedObjectReference)).(*simulator.VirtualMachine)
		return ref, f.w.become(ctx, vm, cfg, filepath.Dir(req.Path))
	}).Run(ctx)
	return body
}

// become makes a guest what a .vmx says.
func (w *World) become(ctx *simulator.Context, vm *simulator.VirtualMachine, cfg map[string]string, dir string) types.BaseMethodFault {
	spec := w.specOf(cfg, dir, vm.Config)
	x := &vmObject{vm, w}
	var fault types.BaseMethodFault
	ctx.WithLock(vm, func() {
		if fault = x.checker(ctx).check(spec); fault != nil {
			return
		}
		r := vm.ReconfigVMTask(ctx, &types.ReconfigVM_Task{This: vm.Self, Spec: *spec}).(*methods.ReconfigVM_TaskBody)
		_, fault = inner(ctx, r.Res.Returnval)
		x.sort(ctx)
	})
	return fault
}

// CopyVirtualDiskTask copies a disk, to a type that hosts have.
func (d *disks) CopyVirtualDiskTask(ctx *simulator.Context, req *types.CopyVirtualDisk_Task) soap.HasFault {
	body := &methods.CopyVirtualDisk_TaskBody{Res: &types.CopyVirtualDisk_TaskResponse{}}
	if s := req.DestSpec; s != nil {
		switch s.GetVirtualDiskSpec().DiskType {
		case "thin", "preallocated", "eagerZeroedThick", "thick":
		default:
			body.Res.Returnval = failing(ctx, d.VirtualDiskManager, "copyVirtualDisk", invalid("destSpec.diskType"))
			return body
		}
		req.DestSpec = nil // vcsim would rewrite the descriptor without its size
	}
	if _, err := os.Stat(d.w.File(req.DestName)); err == nil {
		body.Res.Returnval = failing(ctx, d.VirtualDiskManager, "copyVirtualDisk", &types.FileAlreadyExists{FileFault: types.FileFault{File: req.DestName}})
		return body
	}
	body.Res.Returnval = simulator.CreateTask(d.VirtualDiskManager, "copyVirtualDisk", func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		res := d.VirtualDiskManager.CopyVirtualDiskTask(ctx, req).(*methods.CopyVirtualDisk_TaskBody)
		_, f := inner(ctx, res.Res.Returnval)
		if f == nil {
			d.w.mend(req.DestName)
		}
		return nil, f
	}).Run(ctx)
	return body
}
