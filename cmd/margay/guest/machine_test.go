package guest

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"margay/netboot/netboottest"
)

// A machine is a virtual PC with one network card, which it boots from first.
type machine struct {
	name   string
	mac    string
	addr   string
	memory string // MiB
	disk   string // file of a disk; empty: none
	uefi   bool
	secure bool // UEFI with Secure Boot on, and Microsoft's keys alone
	http   bool // UEFI by HTTP boot alone
	screen bool // it has one
}

// define puts the machine into the table. On a busy host an emulated timer may be
// too late for Linux, which looks at it as it starts and ends there.
func (w *world) define(t *testing.T, m machine, attrs ...string) {
	t.Helper()
	w.run(t, append([]string{"mkdef", "-t", "node", m.name, "groups=vms,all", "mgt=esx", "netboot=xnba",
		"ip=" + m.addr, "mac=" + m.mac, "serialport=0", "serialspeed=115200", "addkcmdline=no_timer_check"}, attrs...)...)
}

// start switches the machine on; it is off at the end of the test. What it
// writes on its serial port is returned.
func (w *world) start(t *testing.T, m machine) *transcript {
	t.Helper()
	tap := "t" + m.name
	if err := w.lan.Tap(tap); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(netboottest.Binary(t, "qemu-system-x86_64"), m.args(t, tap)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	serial := newTranscript()
	cmd.Stdout, cmd.Stderr = serial, os.Stderr
	var err error
	if serial.keys, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := w.lan.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", m.name, serial.tail(150))
		}
	})
	return serial
}

func (m machine) args(t *testing.T, tap string) []string {
	card := "virtio-net-pci,netdev=net,bootindex=0,mac=" + m.mac
	vga := "none"
	if m.screen {
		vga = "std"
	}
	args := []string{"-accel", "tcg", "-display", "none", "-vga", vga, "-serial", "stdio", "-m", m.memory,
		"-device", "virtio-rng-pci", "-netdev", "tap,id=net,script=no,downscript=no,ifname=" + tap}
	if m.disk != "" {
		args = append(args, "-drive", "if=none,id=disk,format=raw,cache=unsafe,file="+m.disk, "-device", "virtio-blk-pci,drive=disk,bootindex=1")
	}
	if !m.uefi {
		// Without graphics SeaBIOS and iPXE write to the serial port.
		return append(args, "-machine", "q35,graphics=off", "-device", card)
	}
	kind := ""
	if m.secure {
		kind = ".ms"
	}
	vars, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS_4M" + kind + ".fd")
	if err != nil {
		missing(t, "OVMF_VARS_4M"+kind+".fd of ovmf")
	}
	own := t.TempDir() + "/vars.fd"
	if err := os.WriteFile(own, vars, 0o600); err != nil {
		t.Fatal(err)
	}
	if m.secure {
		args = append(args, "-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on")
	} else {
		args = append(args, "-machine", "q35")
	}
	if m.http {
		args = append(args, "-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n")
	}
	return append(args, "-device", card+",romfile=", // OVMF's own network stack
		"-drive", "if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M"+kind+".fd",
		"-drive", "if=pflash,format=raw,unit=1,file="+own,
		"-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n")
}

// sh runs a shell script, for making media.
func sh(t *testing.T, dir, script string, env ...string) {
	t.Helper()
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.TrimSpace(script), err, out)
	}
}
