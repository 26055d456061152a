package vmtest

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// settle gives a host that was taken in what every host has, and remembers the
// account that the vCenter connects to it with.
func (w *World) settle(ctx *simulator.Context, ref types.AnyType, spec types.HostConnectSpec) {
	h, ok := ctx.Map.Get(ref.(types.ManagedObjectReference)).(*simulator.HostSystem)
	if !ok {
		return
	}
	w.mu.Lock()
	if w.accounts == nil {
		w.accounts = map[types.ManagedObjectReference]types.HostConnectSpec{}
	}
	w.accounts[h.Self] = spec
	w.mu.Unlock()
	w.furnishAutostart(h)
	if len(w.nics(h).Info.NetConfig) == 1 {
		w.furnishKernelNICs(h)
		w.setVMotion(h, "vmk0", false)
	}
}

// ReconnectHostTask connects to a host that is not connected, with the account
// and the certificate of the request, or where it names none with those that
// the host was taken in with.
func (h *hostObject) ReconnectHostTask(ctx *simulator.Context, req *types.ReconnectHost_Task) soap.HasFault {
	run := func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		if h.Runtime.ConnectionState == types.HostSystemConnectionStateConnected {
			return nil, &types.InvalidState{}
		}
		h.w.mu.Lock()
		spec, joined := h.w.accounts[h.Self]
		h.w.mu.Unlock()
		if c := req.CnxSpec; c != nil && joined {
			kept := spec.SslThumbprint
			if spec = *c; spec.SslThumbprint == "" {
				spec.SslThumbprint = kept // it still trusts what it trusted
			}
		}
		if joined {
			if f := h.w.admit(spec); f != nil {
				return nil, f
			}
			h.w.mu.Lock()
			h.w.accounts[h.Self] = spec
			h.w.mu.Unlock()
		}
		ctx.WithLock(h.HostSystem, func() {
			ctx.Update(h.HostSystem, []types.PropertyChange{{Name: "runtime.connectionState", Val: types.HostSystemConnectionStateConnected}})
		})
		return nil, nil
	}
	return &methods.ReconnectHost_TaskBody{Res: &types.ReconnectHost_TaskResponse{Returnval: simulator.CreateTask(h.HostSystem, "reconnectHost", run).Run(ctx)}}
}

// Renew gives the World another certificate and password, as a new
// installation does; its old connections break.
func (w *World) Renew(password string) error {
	cert, err := newCertificate()
	if err != nil {
		return err
	}
	w.front.Close()
	w.EndSessions()
	w.Password = password
	w.cert = cert
	w.Fingerprint, w.Thumbprint = fingerprints(cert)
	w.front.TLSConfig = tlsConfig(cert)
	return w.Up()
}

// Lose makes a vCenter lose its connection to a host.
func (w *World) Lose(host string) {
	w.ChangeHost(host, func(f *HostFacts) { f.State = types.HostSystemConnectionStateNotResponding })
}
