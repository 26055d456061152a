package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"margay/cmd/command"
	"margay/netboot/rom"
	"margay/provision/provisiontest"
)

// runAsMargay makes the test binary margay, whatever it is called.
const runAsMargay = "MARGAY_TEST_RUN"

// TestMain makes the test binary margay itself, under its own name and under
// that of every command, so that scripts run the real program.
func TestMain(m *testing.M) {
	if os.Getenv(runAsMargay) != "" {
		main()
		return
	}
	run := func() { main() }
	names := map[string]func(){"margay": run}
	for _, n := range command.Names() {
		names[n] = run
	}
	testscript.Main(m, names)
}

// TestScript runs the sessions at the prompt in testdata/script. Each has a
// directory of its own; `serve` starts a daemon there, which ends with it.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: false,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("MARGAY_SOCKET", filepath.Join(env.WorkDir, "s"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":    serveCmd,
			"stop":     stopCmd,
			"esxiso":   esxisoCmd,
			"linuxiso": linuxisoCmd,
			"until":    untilCmd,
			"web":      webCmd,
			"machine":  machineCmd,
			"empty":    emptyCmd,
			"either":   eitherCmd,
		},
	})
}

// serveCmd starts the daemon with the given flags, on loopback with free
// ports, and waits until it is ready. "serve again" restarts after stop.
func serveCmd(ts *testscript.TestScript, neg bool, args []string) {
	exe, err := os.Executable()
	ts.Check(err)
	base := []string{"serve", "--state", ts.MkAbs("state"), "--interface", "lo", "--dhcp", "127.0.0.1:0",
		"--http", "127.0.0.1:0", "--tftp", "127.0.0.1:0", "--dns", "127.0.0.1:0", "--templates", ts.MkAbs("templates"), "--hooks", ts.MkAbs("hooks")}
	cmd := exec.Command(exe, append(base, args...)...)
	cmd.Dir = ts.Getenv("WORK")
	cmd.Env = append(os.Environ(), "MARGAY_SOCKET="+ts.Getenv("MARGAY_SOCKET"), runAsMargay+"=1")
	out, err := os.Create(ts.MkAbs("serve.out"))
	ts.Check(err)
	log, err := os.Create(ts.MkAbs("serve.log"))
	ts.Check(err)
	cmd.Stdout, cmd.Stderr = out, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ts.Check(cmd.Start())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	ts.Defer(func() {
		cmd.Process.Kill()
		<-done
	})
	deadline := time.Now().Add(time.Minute)
	for !strings.Contains(ts.ReadFile("serve.out"), "ready") {
		select {
		case err := <-done:
			done <- err
			ts.Fatalf("margay serve ended: %v\n%s%s", err, ts.ReadFile("serve.out"), ts.ReadFile("serve.log"))
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			ts.Fatalf("margay serve is not ready\n%s", ts.ReadFile("serve.log"))
		}
	}
	running.Store(ts.Getenv("WORK"), cmd)
}

// running are the daemons by their script's directory: scripts run at once.
var running sync.Map

// stopCmd ends the daemon: with "kill" at once, else by SIGTERM.
func stopCmd(ts *testscript.TestScript, neg bool, args []string) {
	v, ok := running.LoadAndDelete(ts.Getenv("WORK"))
	if !ok {
		ts.Fatalf("no daemon runs")
	}
	cmd := v.(*exec.Cmd)
	sig := syscall.SIGTERM
	if len(args) == 1 && args[0] == "kill" {
		sig = syscall.SIGKILL
	}
	ts.Check(cmd.Process.Signal(sig))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		if syscall.Kill(cmd.Process.Pid, 0) != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("margay serve did not end")
}

// esxisoCmd writes an ESXi installer medium: esxiso file version.
func esxisoCmd(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: esxiso file version")
	}
	ts.Check(provisiontest.WriteESXi(ts.MkAbs(args[0]), provisiontest.ESXi{Version: args[1]}))
}

// linuxisoCmd makes a synthetic medium of a Linux release: linuxiso file os.
func linuxisoCmd(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: linuxiso file os")
	}
	ts.Check(provisiontest.WriteLinux(ts.MkAbs(args[0]), provisiontest.Linux{OS: args[1]}))
}

// untilCmd repeats a command until its output holds a text: until text cmd...
func untilCmd(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: until text command...")
	}
	deadline := time.Now().Add(time.Minute)
	for {
		cmd := exec.Command(args[1], args[2:]...)
		cmd.Path = filepath.Join(strings.Split(ts.Getenv("PATH"), string(os.PathListSeparator))[0], args[1])
		cmd.Env = []string{"MARGAY_SOCKET=" + ts.Getenv("MARGAY_SOCKET"), "PATH=" + ts.Getenv("PATH")}
		out, _ := cmd.CombinedOutput()
		if strings.Contains(string(out), args[0]) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("never saw %q; last: %s", args[0], out)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// webCmd serves a directory by HTTP and puts its host and port into a variable:
// web NAME dir.
func webCmd(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: web NAME dir")
	}
	s := httptest.NewServer(http.FileServer(http.Dir(ts.MkAbs(args[1]))))
	ts.Defer(s.Close)
	ts.Setenv(args[0], s.Listener.Addr().String())
}

// machineCmd plays a machine that boots from the network by BIOS, from an
// address that its lease will be: machine mac address. It prints its screen.
func machineCmd(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: machine mac address")
	}
	port := func(name string) netip.AddrPort {
		m := regexp.MustCompile(`(?m)^  ` + name + ` +(\S+)$`).FindStringSubmatch(ts.ReadFile("serve.out"))
		return netip.MustParseAddrPort(m[1])
	}
	mac, err := net.ParseMAC(args[0])
	ts.Check(err)
	m := rom.Machine{MAC: mac, Firmware: rom.BIOS, DHCP: port("dhcp"), TFTPPort: port("tftp").Port(), Source: netip.MustParseAddr(args[1]), Patience: time.Minute}
	r, err := m.Boot(context.Background(), nil)
	if (err != nil) != neg {
		ts.Fatalf("boot: %v", err)
	}
	text := fmt.Sprintln(err)
	if r != nil {
		text += strings.Join(r.Screen, "\n") + "\n" + string(r.Outcome) + "\n"
	}
	fmt.Fprint(ts.Stdout(), text)
}

// emptyCmd fails unless a directory is empty, or is not there.
func emptyCmd(ts *testscript.TestScript, neg bool, args []string) {
	for _, dir := range args {
		if entries, _ := os.ReadDir(ts.MkAbs(dir)); len(entries) > 0 {
			ts.Fatalf("%s holds %v", dir, entries)
		}
	}
}

// eitherCmd runs a command whose exit status depends on the machine.
func eitherCmd(ts *testscript.TestScript, neg bool, args []string) {
	if err := ts.Exec(args[0], args[1:]...); err != nil {
		ts.Logf("%v", err)
	}
}
