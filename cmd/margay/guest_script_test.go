package main

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

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
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"serve": serveCmd, "stop": stopCmd, "esxi": esxiCmd, "disk": diskCmd, "await": awaitCmd, "vcenter": vcenterCmd},
	})
}

// awaitCmd waits until a file has something in it, -count=n times: what a
// guest says comes when it does.
func awaitCmd(ts *testscript.TestScript, neg bool, args []string) {
	count := 1
	if n, ok := strings.CutPrefix(args[0], "-count="); ok {
		var err error
		count, err = strconv.Atoi(n)
		ts.Check(err)
		args = args[1:]
	}
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await [-count=n] text file")
	}
	for late := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		b, _ := os.ReadFile(ts.MkAbs(args[1]))
		if strings.Count(string(b), args[0]) >= count {
			return
		}
		if time.Now().After(late) {
			ts.Fatalf("%s has %q not %d times:\n%s", args[1], args[0], count, b)
		}
	}
}

// vcenterCmd starts a vCenter with the hosts esx1 and esx2; VC is its address.
func vcenterCmd(ts *testscript.TestScript, neg bool, args []string) {
	w, err := vmtest.Start(vmtest.Options{VCenter: true, User: "Administrator", Password: "cluster", Version: "8.0.2", Datastores: []string{"datastore1", "fast"}})
	ts.Check(err)
	ts.Defer(w.Close)
	ts.Setenv("VC", w.URI())
}

// esxiCmd starts a host; ESX is its address as hostmanager takes it.
func esxiCmd(ts *testscript.TestScript, neg bool, args []string) {
	nfs := ts.MkAbs("nfs")
	ts.Check(os.MkdirAll(nfs, 0o755))
	locked := ts.MkAbs("locked")
	ts.Check(os.MkdirAll(locked, 0o755))
	w, err := vmtest.Start(vmtest.Options{Password: "cluster", Licence: "vSphere 8 Hypervisor", Version: "8.0.2",
		Exports: map[string]string{"192.168.0.1:/vms/vmware": nfs, "192.168.0.1:/vms/locked": locked}, ReadOnly: []string{"192.168.0.1:/vms/locked"}})
	ts.Check(err)
	ts.Defer(w.Close)
	sh, err := w.StartSSH("")
	ts.Check(err)
	_, port, err := net.SplitHostPort(sh.Addr)
	ts.Check(err)
	w.Restrict(len(args) > 0 && args[0] == "free")
	ts.Setenv("ESX", w.URI()+"?ssh_port="+port)
}

// diskCmd writes a raw disk of so many bytes, with words in its middle, and
// another one: "disk x.raw SIZE WORDS" makes x.raw and x2.raw.
func diskCmd(ts *testscript.TestScript, neg bool, args []string) {
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	for i, name := range []string{args[0], strings.Replace(args[0], ".", "2.", 1)} {
		b := make([]byte, size)
		copy(b[size/2:], args[2])
		b[0] = byte(i)
		ts.Check(os.WriteFile(ts.MkAbs(name), b, 0o644))
	}
}
