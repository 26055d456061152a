package main

import (
	"context"
	"log/slog"
	"path/filepath"

	"margay/cmd/command"
	"margay/nodedb"
	"margay/provision/ssh"
	"margay/vm"
	"margay/vm/esxsh"
	"margay/vm/vmx"
	"margay/vm/vsphere"
)

// guests reaches hosts over the vSphere API, and over SSH where a licence
// forbids changes through it. What a host shows at first sight is trusted from
// then on.
func (d *daemon) guests(log *slog.Logger) (*vm.Manager, error) {
	key, _, err := ssh.LoadKey(d.sshKey())
	if err != nil {
		return nil, err
	}
	trust := func(column string) func(context.Context, vm.Endpoint, string) error {
		return func(ctx context.Context, e vm.Endpoint, fingerprint string) error {
			return d.db.Update(ctx, func(tx *nodedb.Tx) error {
				tx.Set(nodedb.Key{Kind: vm.KindTrust, Name: e.Addr()}, column, fingerprint)
				return nil
			})
		}
	}
	api := vsphere.Dialer{Trust: trust(vm.TrustCert), Log: log}
	shell := esxsh.Dialer{Codec: vmx.Codec{}, Trust: trust(vm.TrustSSH), Keys: []ssh.Key{key}, Log: log, Connect: vsphere.Connect}
	return &vm.Manager{API: api.Dial, SSH: shell.Dial, Log: log, OpenDisk: command.OpenDisk, Scratch: filepath.Join(d.state, "tmp")}, nil
}

// shell is how we log in to nodes.
func (d *daemon) shell() (*command.Shell, error) {
	key, public, err := ssh.LoadKey(d.sshKey())
	if err != nil {
		return nil, err
	}
	return &command.Shell{Keys: []ssh.Key{key}, Public: public}, nil
}

// sshKey is the file of the key that we log in to hosts with; its public half
// goes into the hosts' kickstarts.
func (d *daemon) sshKey() string { return filepath.Join(d.state, "ssh", "id_ecdsa") }
