package vmtest

import (
	"context"
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// readOnly says whether a datastore is an export that lets nobody write. Such
// a datastore is mounted like any other and called writable by its host.
func (w *World) readOnly(datastore string) bool {
	for _, o := range w.model.Map().All("Datastore") {
		ds, ok := o.(*simulator.Datastore)
		if !ok || ds.Name != datastore {
			continue
		}
		if nas, ok := ds.Info.(*types.NasDatastoreInfo); ok {
			return slices.Contains(w.opts.ReadOnly, nas.Nas.RemoteHost+":"+nas.Nas.RemotePath)
		}
	}
	return false
}

// MakeDirectory makes a folder where anything can be written.
func (f *fileManager) MakeDirectory(ctx *simulator.Context, req *types.MakeDirectory) soap.HasFault {
	if ds, _ := splitPath(req.Name); f.w.readOnly(ds) {
		fault := &types.CannotCreateFile{FileFault: types.FileFault{File: req.Name}}
		return &methods.MakeDirectoryBody{Fault_: simulator.Fault("Cannot complete file creation operation.", fault)}
	}
	return f.FileManager.MakeDirectory(ctx, req)
}

// RemoveDatastore takes a datastore off the host that no guest there uses.
func (d *datastores) RemoveDatastore(ctx *simulator.Context, req *types.RemoveDatastore) soap.HasFault {
	body := &methods.RemoveDatastoreBody{}
	ds, ok := ctx.Map.Get(req.Datastore).(*simulator.Datastore)
	if !ok {
		body.Fault_ = simulator.Fault("", &types.NotFound{})
		return body
	}
	res := ds.DestroyTask(ctx, &types.Destroy_Task{This: ds.Self}).(*methods.Destroy_TaskBody)
	if _, f := inner(ctx, res.Res.Returnval); f != nil {
		body.Fault_ = simulator.Fault("The resource '"+ds.Name+"' is in use.", f)
		return body
	}
	body.Res = &types.RemoveDatastoreResponse{}
	return body
}

func (s *Shell) unmount(name string) (string, int) {
	for _, ds := range s.datastores() {
		if _, nas := ds.Info.(*types.NasDatastoreInfo); nas && ds.Name == name {
			_, err := methods.RemoveDatastore(context.Background(), s.w.inUse, &types.RemoveDatastore{This: *s.host().ConfigManager.DatastoreSystem, Datastore: ds.Self})
			return soapText(err, "Sysinfo error: Busy")
		}
	}
	return "Unable to find a NAS volume with the name " + name + "\n", 1
}
