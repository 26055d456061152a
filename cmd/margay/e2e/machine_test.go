package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"margay/netboot/netboottest"
)

// A firmware is what a machine boots with, and how.
type firmware string

const (
	bios     firmware = "bios"      // SeaBIOS; the network card's own iPXE is its PXE
	uefi     firmware = "uefi"      // OVMF by PXE
	uefiHTTP firmware = "uefi-http" // OVMF by HTTP, PXE left out
	uefiTLS  firmware = "uefi-tls"  // the same by HTTPS, with margay's authority enrolled
)

// ovmf is where Debian keeps OVMF.
const ovmf = "/usr/share/OVMF/"

// A machine is a virtual PC: one network card, which it boots from first, and
// one disk, on which a system stands.
type machine struct {
	firmware firmware
	name     string
	mac      string
	addr     string
	trusts   string // file of the authorities enrolled in its firmware
}

func (f firmware) http() bool { return f == uefiHTTP || f == uefiTLS }

// base is where a machine has its files from.
func (m machine) base() string {
	if m.firmware == uefiTLS {
		return "https://" + serverAddr
	}
	return base
}

// start switches the machine on, on a network. It is switched off at
// the end of the test.
func (m machine) start(t *testing.T, lan *netboottest.LAN, k kit) *console {
	t.Helper()
	tap := "tap" + m.name
	if err := lan.Tap(tap); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), netboottest.Binary(t, "qemu-system-x86_64"), m.args(t, k, tap)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	serial, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := lan.Start(cmd); err != nil {
		t.Fatal(err)
	}
	c := newConsole(serial)
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return c
}

func (m machine) args(t *testing.T, k kit, tap string) []string {
	dir := t.TempDir()
	card := "virtio-net-pci,netdev=net,bootindex=0,mac=" + m.mac
	args := []string{"-accel", "tcg", "-display", "none", "-vga", "none", "-serial", "stdio",
		"-netdev", "tap,id=net,script=no,downscript=no,ifname=" + tap,
		"-drive", "if=none,id=disk,format=raw,file=" + m.disk(t, k, dir),
		"-device", "virtio-blk-pci,drive=disk,bootindex=1"}
	if m.firmware == bios {
		// Without graphics SeaBIOS and iPXE write to the serial port.
		return append(args, "-machine", "q35,graphics=off", "-m", "256", "-device", card)
	}
	args = append(args, "-machine", "q35", "-m", "512",
		// An empty romfile leaves the card to OVMF's own network stack.
		"-device", card+",romfile=",
		"-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+firmwareFile(t, "OVMF_CODE_4M.fd"),
		"-drive", "if=pflash,format=raw,unit=1,file="+m.variables(t, dir),
		"-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n")
	if m.firmware.http() {
		args = append(args, "-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n")
	}
	if m.firmware == uefiTLS {
		// TLS wants random numbers, which the plain processor of tcg has not.
		args = append(args, "-cpu", "max", "-device", "virtio-rng-pci",
			"-fw_cfg", "name=etc/edk2/https/cacerts,file="+m.trusts)
	}
	return args
}

// variables makes the machine's own, empty UEFI variables.
func (m machine) variables(t *testing.T, dir string) string {
	data, err := os.ReadFile(firmwareFile(t, "OVMF_VARS_4M.fd"))
	if err != nil {
		t.Fatal(err)
	}
	return write(t, filepath.Join(dir, "vars.fd"), data)
}

func firmwareFile(t *testing.T, name string) string {
	if _, err := os.Stat(ovmf + name); err != nil {
		missing(t, ovmf+name+" of ovmf")
	}
	return ovmf + name
}

// disk makes a disk from which a system boots: a boot record for BIOS, a FAT
// file system with the removable-media loader (UEFI 2.10, 3.5.1.1) for UEFI.
func (m machine) disk(t *testing.T, k kit, dir string) string {
	t.Helper()
	const size = 4 << 20
	file := filepath.Join(dir, "disk.img")
	if m.firmware == bios {
		return write(t, file, append(k.mbr, make([]byte, size-len(k.mbr))...))
	}
	write(t, file, make([]byte, size))
	program := write(t, filepath.Join(dir, "disk.efi"), k.esp)
	for _, cmd := range []*exec.Cmd{
		exec.Command(netboottest.Binary(t, "mformat"), "-i", file, "::"),
		exec.Command(netboottest.Binary(t, "mmd"), "-i", file, "::/EFI", "::/EFI/BOOT"),
		exec.Command(netboottest.Binary(t, "mcopy"), "-i", file, program, "::/EFI/BOOT/BOOTX64.EFI"),
	} {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
	}
	return file
}

func write(t *testing.T, file string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// bootif is how a boot loader names the interface that booted.
func (m machine) bootif() string {
	return "01-" + strings.ReplaceAll(m.mac, ":", "-")
}
