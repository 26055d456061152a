package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"margay/vm/vmtest"
)

// TestGuestScript runs the sessions at the prompt in testdata/guest, which
// manage guests on a host that is played: `esxi` starts one, `esxi free` one
// whose licence forbids changes through the API.
func TestGuestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/guest",
		UpdateScripts: os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("MARGAY_SOCKET", filepath.Join(env.WorkDir, "s"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"serve": serveCmd, "stop": stopCmd, "esxi": esxiCmd},
	})
}

// esxiCmd starts a host; ESX is its address as hostmanager takes it.
func esxiCmd(ts *testscript.TestScript, neg bool, args []string) {
	nfs := ts.MkAbs("nfs")
	ts.Check(os.MkdirAll(nfs, 0o755))
	w, err := vmtest.Start(vmtest.Options{Password: "cluster", Licence: "vSphere 8 Hypervisor", Exports: map[string]string{"192.168.0.1:/vms/vmware": nfs}})
	ts.Check(err)
	ts.Defer(w.Close)
	sh, err := w.StartSSH("")
	ts.Check(err)
	_, port, err := net.SplitHostPort(sh.Addr)
	ts.Check(err)
	w.Restrict(len(args) > 0 && args[0] == "free")
	ts.Setenv("ESX", w.URI()+"?ssh_port="+port)
}
