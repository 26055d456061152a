package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"margay/netboot/netboottest"
	"margay/provision/bmc"
	"margay/provision/bmc/bmctest"
)

// TestHardware installs machines by their management controllers alone: boot
// device, power and console over IPMI, and over Redfish with the console over
// IPMI beside it.
func TestHardware(t *testing.T) {
	k := buildKit(t)
	l, _ := newInstallLab(t, k)
	l.refuseIPv6(t)
	tests := []struct {
		machine
		mgt string
	}{
		{machine{bios, "esx1", "52:54:00:e2:e0:01", "10.77.0.11", ""}, "ipmi"},
		{machine{bios, "esx2", "52:54:00:e2:e0:02", "10.77.0.12", ""}, "redfish"},
	}
	for _, tt := range tests {
		t.Run(tt.mgt, func(t *testing.T) {
			t.Parallel()
			l.define(t, tt.machine)
			h := tt.machine.metal(t, l, k)
			l.control(t, tt.machine, tt.mgt, h)
			l.installByHand(t, tt.machine, h.Host)
		})
	}
	t.Run("rinstall", func(t *testing.T) { // as operators do it, by one command
		for _, tt := range []struct {
			machine
			mgt string
		}{
			{machine{firmware: bios, name: "esx3", mac: "52:54:00:e2:e0:03", addr: "10.77.0.13"}, "ipmi"},
			{machine{firmware: bios, name: "esx4", mac: "52:54:00:e2:e0:04", addr: "10.77.0.14"}, "redfish"},
		} {
			t.Run(tt.mgt, func(t *testing.T) {
				t.Parallel()
				l.define(t, tt.machine)
				h := tt.machine.metal(t, l, k)
				l.control(t, tt.machine, tt.mgt, h)
				l.rinstall(t, tt.machine, h.Host)
			})
		}
	})
	t.Run("disc", func(t *testing.T) {
		// ipxe.iso of the loader's build boots nothing under BIOS.
		m := machine{firmware: uefi, name: "esx5", mac: "52:54:00:e2:e0:05", addr: "10.77.0.15"}
		l.define(t, m)
		h := m.metal(t, l, k)
		l.control(t, m, "redfish", h)
		l.installFromDisc(t, m, h.Host)
	})
}

// rinstall installs a machine that runs something else, and looks whether its
// timeline reads as one story.
func (l *lab) rinstall(t *testing.T, m machine, h *bmctest.Host) {
	l.say(t, "on", "rpower", m.name, "on")
	watch := l.watch(t, m.name)
	out := l.run(t, "rinstall", m.name, "install")
	for _, want := range []string{m.name + ": Network\n", m.name + ": reset\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("rinstall printed %q, want %q in it", out, want)
		}
	}
	checkWatch(t, m.name, watch(), "bootdevice: Network, read back", "power: boot: reset", "dhcp", "bootcfg", "modules", "kickstart", "installing", "installed")
	l.expect(t, m.name, "status=installed")
	if boots := h.Boots(); len(boots) < 2 || boots[1].Device != bmc.Network {
		t.Errorf("booted from %+v, want the network the second time", boots)
	}
}

// installFromDisc installs a machine that boots nothing from the network, from
// the disc that margay has its controller fetch.
func (l *lab) installFromDisc(t *testing.T, m machine, h *bmctest.Host) {
	watch := l.watch(t, m.name)
	l.say(t, "on", "rmedia", m.name, "boot")
	c := l.rcons(t, m.name)
	c.wait(t, 5*time.Minute, "MBOOT-DONE")
	checkWatch(t, m.name, watch(), "bootdevice", "power", "dhcp", "bootcfg", "modules", "kickstart", "installing", "installed")
	l.expect(t, m.name, "status=installed")
	l.say(t, "eject", "rmedia", m.name, "eject")
	l.say(t, "empty", "rmedia", m.name, "stat")
	if boots := h.Boots(); boots[0].Device != bmc.CD {
		t.Errorf("booted from %+v, want the disc", boots)
	}
}

// A metal is a machine with a power button and a serial line.
type metal struct {
	*bmctest.Host
	serial string // socket
}

// metal makes the machine a process behind a power button. It boots from the
// network or a disc only if it is told to; with a disc its card boots nothing.
func (m machine) metal(t *testing.T, l *lab, k kit) metal {
	t.Helper()
	tap, dir := "tap"+m.name, t.TempDir()
	if err := l.lan.Tap(tap); err != nil {
		t.Fatal(err)
	}
	serial := filepath.Join(shortDir(t), "serial")
	qemu, args := netboottest.Binary(t, "qemu-system-x86_64"), strings.Join(m.args(t, k, tap), "\n")
	args = strings.Replace(args, "-serial\nstdio", "-chardev\nsocket,id=line,path="+serial+",server=on,wait=off\n-serial\nchardev:line", 1)
	disk := strings.NewReplacer("bootindex=0", "bootindex=1", "bootindex=1", "bootindex=0").Replace(args)
	p := &bmctest.Process{Start: l.lan.Start, Command: func(b bmc.Boot, media string) (*exec.Cmd, error) {
		with := disk
		switch b.Device {
		case bmc.Network:
			with = args
		case bmc.CD:
			file, err := l.fetch(media, dir)
			if err != nil {
				return nil, err
			}
			with = strings.Replace(args, "bootindex=0,mac=", "mac=", 1) + "\n-drive\nif=none,id=cd,media=cdrom,format=raw,readonly=on,file=" + file + "\n-device\nide-cd,drive=cd,bootindex=0"
		}
		cmd := exec.Command(qemu, strings.Split(with, "\n")...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		cmd.Stderr = os.Stderr
		return cmd, nil
	}}
	h := &bmctest.Host{Hook: p}
	p.Ended = h.Stopped
	t.Cleanup(func() { _ = p.PowerOff() })
	return metal{h, serial}
}

// fetch gets what is in the virtual drive as the controller does.
func (l *lab) fetch(url, dir string) (file string, err error) {
	l.server.Do(func() {
		var out []byte
		cmd := exec.Command("curl", "-sSf", "-o", filepath.Join(dir, "cd.iso"), url)
		if out, err = cmd.CombinedOutput(); err != nil {
			err = fmt.Errorf("%s: %v: %s", url, err, out)
		}
	})
	return filepath.Join(dir, "cd.iso"), err
}

// line connects to the machine's serial line, which is there while it is on.
func (m metal) line(ctx context.Context) (net.Conn, error) {
	for {
		c, err := net.Dial("unix", m.serial)
		if err == nil || ctx.Err() != nil {
			return c, err
		}
		time.Sleep(20 * time.Millisecond) // qemu makes it as it starts
	}
}

// control puts controllers before a machine, on addresses of the daemon's host,
// and tells the table.
func (l *lab) control(t *testing.T, m machine, mgt string, h metal) {
	t.Helper()
	addr := "127.0.0." + m.addr[strings.LastIndexByte(m.addr, '.')+1:]
	where := addr
	var err error
	l.server.Do(func() {
		var x *bmctest.IPMI
		if x, err = bmctest.NewIPMI(h.Host, bmctest.IPMIConfig{Listen: addr + ":623", Console: h.line}); err == nil {
			t.Cleanup(x.Close)
		}
		if mgt != "redfish" || err != nil {
			return
		}
		var r *bmctest.Redfish
		if r, err = bmctest.NewRedfish(h.Host, bmctest.RedfishConfig{Listen: addr + ":0"}); err == nil {
			t.Cleanup(r.Close)
			where = r.Addr.String()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	l.run(t, "chdef", m.name, "mgt="+mgt, "bmc="+where, "bmcusername=admin", "bmcpassword=secret")
}

// say runs a command for a machine and compares its line.
func (l *lab) say(t *testing.T, want string, args ...string) {
	t.Helper()
	if got := l.run(t, args...); got != args[1]+": "+want+"\n" {
		t.Errorf("margay %s: %q, want %q", strings.Join(args, " "), got, want)
	}
}

// installByHand does what rinstall does, step by step.
func (l *lab) installByHand(t *testing.T, m machine, h *bmctest.Host) {
	l.say(t, "off", "rpower", m.name, "stat")
	l.say(t, "Network", "rsetboot", m.name, "net")
	watch := l.watch(t, m.name)
	l.say(t, "on", "rpower", m.name, "boot")
	c := l.rcons(t, m.name)
	c.wait(t, 5*time.Minute, "MBOOT-DONE")
	checkWatch(t, m.name, watch(), "dhcp", "bootcfg", "modules", "kickstart", "installing", "installed")
	c.wait(t, 5*time.Minute, "DISK-BOOTED")
	l.expect(t, m.name, "status=installed")

	l.say(t, "boot override inactive", "rsetboot", m.name, "stat") // the boot has used it up
	l.say(t, "on", "rpower", m.name, "on")
	l.say(t, "reset", "rpower", m.name, "reset")
	c.wait(t, 5*time.Minute, "DISK-BOOTED")
	l.say(t, "off", "rpower", m.name, "off")
	l.say(t, "off", "rpower", m.name, "stat")
	if boots := h.Boots(); len(boots) != 2 || boots[0].Device != bmc.Network || boots[1].Device != bmc.NoOverride {
		t.Errorf("booted from %+v, want the network and then as set up", boots)
	}
}

// rcons is the machine's console as an operator sees it.
func (l *lab) rcons(t *testing.T, node string) *console {
	t.Helper()
	cmd := l.command("rcons", node)
	keys, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = io.WriteString(keys, "\x05c.")
		_ = cmd.Wait()
	})
	return newConsole(out)
}
