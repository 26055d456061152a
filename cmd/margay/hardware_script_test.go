package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"margay/provision/bmc/bmctest"
)

// TestHardwareScript runs the sessions at the prompt in testdata/hardware,
// which manage bare metal whose controllers are played: `bmc ipmi A` starts one
// whose address is then in $A.
func TestHardwareScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/hardware",
		UpdateScripts: os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("MARGAY_SOCKET", filepath.Join(env.WorkDir, "s"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"serve": serveCmd, "stop": stopCmd, "bmc": bmcCmd, "esxiso": esxisoCmd, "cmp-sorted": sortedCmd},
	})
}

// sortedCmd compares with a file what comes in any order.
func sortedCmd(ts *testscript.TestScript, neg bool, args []string) {
	lines := strings.Split(strings.TrimSpace(ts.ReadFile(args[0])), "\n")
	slices.Sort(lines)
	if got, want := strings.Join(lines, "\n"), strings.TrimSpace(ts.ReadFile(args[1])); got != want {
		ts.Fatalf("got\n%s\nwant\n%s", got, want)
	}
}

// bmcCmd starts a controller: ipmi or redfish, that lies ("lying"), or is dead.
// One that fetches ("fetching") looks whether an image is a disc.
func bmcCmd(ts *testscript.TestScript, neg bool, args []string) {
	kind, name, lying := args[0], args[1], len(args) > 2 && args[2] == "lying"
	fetching := len(args) > 2 && args[2] == "fetching"
	h := &bmctest.Host{IgnoreBoot: lying}
	switch kind {
	case "ipmi":
		x, err := bmctest.NewIPMI(h, bmctest.IPMIConfig{Console: greeting})
		ts.Check(err)
		ts.Defer(x.Close)
		x.AddEvent(time.Date(2024, 3, 9, 13, 5, 7, 0, time.UTC), 0x10, 9, 0x6f, 2)
		x.AddEvent(time.Date(2024, 3, 9, 14, 5, 7, 0, time.UTC), 0x01, 2, 0x01, 0x09)
		ts.Setenv(name, x.Addr.String())
	case "redfish":
		x, err := bmctest.NewRedfish(h, bmctest.RedfishConfig{Fetch: fetching})
		ts.Check(err)
		ts.Defer(x.Close)
		ts.Setenv(name, x.Addr.String())
	case "dead":
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		ts.Check(err)
		ts.Defer(func() { c.Close() })
		ts.Setenv(name, c.LocalAddr().String())
	default:
		ts.Fatalf("bmc %s", strings.Join(args, " "))
	}
}

// greeting is a serial port whose machine says "login: " to whatever is typed.
func greeting(context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		buf := make([]byte, 64)
		for {
			if _, err := far.Read(buf); err != nil {
				return
			}
			if _, err := far.Write([]byte("login: ")); err != nil {
				return
			}
		}
	}()
	return near, nil
}
