package main

import (
	"context"
	"log/slog"

	"margay/nodedb"
	"margay/vm"
	"margay/vm/esxsh"
	"margay/vm/vmx"
	"margay/vm/vsphere"
)

// guests manages guests over the vSphere API and, where a licence forbids
// that, over SSH. Certificates and host keys that are seen for the first time
// go into the table.
func guests(db *nodedb.DB, log *slog.Logger) *vm.Manager {
	pin := func(column string) func(context.Context, vm.Endpoint, string) error {
		return func(ctx context.Context, e vm.Endpoint, fingerprint string) error {
			return db.Update(ctx, func(tx *nodedb.Tx) error {
				tx.Set(nodedb.Key{Kind: vm.KindTrust, Name: e.Addr()}, column, fingerprint)
				return nil
			})
		}
	}
	return &vm.Manager{
		API: vsphere.Dialer{Trust: pin(vm.TrustCert), Log: log}.Dial,
		SSH: esxsh.Dialer{Codec: vmx.Codec{}, Trust: pin(vm.TrustSSH), Log: log}.Dial,
		Log: log,
	}
}
