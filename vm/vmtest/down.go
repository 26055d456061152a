package vmtest

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// Down takes the endpoint off the network, as a host that restarts is: its
// connections break, its sessions and tasks are gone, and its guests are off.
func (w *World) Down() {
	w.front.Close()
	w.EndSessions()
	m := w.model.Map()
	for _, o := range m.All("VirtualMachine") {
		v := o.(*simulator.VirtualMachine)
		w.change(v.Name, types.PropertyChange{Name: "runtime.powerState", Val: types.VirtualMachinePowerStatePoweredOff},
			types.PropertyChange{Name: "summary.runtime.powerState", Val: types.VirtualMachinePowerStatePoweredOff})
	}
	w.mu.Lock()
	waiting := w.pending
	w.pending = map[types.ManagedObjectReference]chan string{}
	w.mu.Unlock()
	for _, answer := range waiting {
		answer <- "0"
	}
}

// Break breaks every connection, while all else stays.
func (w *World) Break() {
	w.front.Close()
	_ = w.Up()
}

// BreakAt breaks the connection that a call comes by, once: before the call is
// carried out, or after it and before its answer.
func (w *World) BreakAt(method string, after bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = &happening{method: method, after: after, do: func() { panic(http.ErrAbortHandler) }}
}

// Before has something happen before the next call of a method is carried out.
func (w *World) Before(method string, do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = &happening{method: method, do: do}
}

// A happening is what a call of a method brings about, once.
type happening struct {
	method string
	after  bool
	do     func()
}

// happens has what is to happen before a request happen, and returns what
// happens after it.
func (w *World) happens(r *http.Request) (after func()) {
	after = func() {}
	w.mu.Lock()
	at := w.at
	w.mu.Unlock()
	if at == nil {
		return after
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if !bytes.Contains(body, []byte("<"+at.method+" ")) {
		return after
	}
	w.mu.Lock()
	mine := w.at == at
	if mine {
		w.at = nil
	}
	w.mu.Unlock()
	switch {
	case mine && at.after:
		return at.do
	case mine:
		at.do()
	}
	return after
}

// Up brings it back, at its old address.
func (w *World) Up() error {
	var l net.Listener
	var err error
	for range 100 { // the old port may take a moment
		if l, err = net.Listen("tcp", w.Addr); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	w.front = &http.Server{Handler: http.HandlerFunc(w.answer), TLSConfig: w.front.TLSConfig, ErrorLog: quiet()}
	go w.front.ServeTLS(l, "", "")
	return nil
}

// Inaccessible makes a datastore one that its hosts cannot reach, as an NFS
// export whose server is away is, or one that they reach again.
func (w *World) Inaccessible(datastore string, away bool) {
	m := w.model.Map()
	for _, o := range m.All("Datastore") {
		ds := o.(*simulator.Datastore)
		if ds.Name != datastore {
			continue
		}
		ctx := &simulator.Context{Context: context.Background(), Map: m}
		state := types.VirtualMachineConnectionStateConnected
		if away {
			state = types.VirtualMachineConnectionStateInaccessible
		}
		m.WithLock(ctx, ds, func() {
			s := ds.Summary
			s.Accessible = !away
			m.Update(ctx, ds, []types.PropertyChange{{Name: "summary", Val: s}})
		})
		for _, ref := range ds.Vm {
			if v, ok := m.Get(ref).(*simulator.VirtualMachine); ok {
				w.change(v.Name, types.PropertyChange{Name: "runtime.connectionState", Val: state})
			}
		}
	}
}
