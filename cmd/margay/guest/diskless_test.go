package guest

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"margay/netboot/netboottest"
)

const image = "debian12-x86_64-netboot-compute"

// makeImage has genimage make a Debian without a disk.
func (w *world) makeImage(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"debootstrap", "mksquashfs"} {
		netboottest.Binary(t, tool)
	}
	w.write(t, 0o644, "# small: the drivers of virtual machines alone\nlinux-image-cloud-amd64\niproute2\n", "templates", "linux", "guest.pkglist")
	w.run(t, "mkdef", "-t", "osimage", image, "osvers=debian12", "osarch=x86_64", "profile=compute", "provmethod=netboot",
		"osname=Linux", "imagetype=linux", "pkgdir="+w.mirror(t), "pkglist=guest.pkglist", "postscripts=hello one 'two")
	if made := os.Getenv("MARGAY_TEST_IMAGE"); made != "" { // one that genimage made before, to save time at a desk
		dir := w.path("state", "install", "netboot", "debian12", "x86_64")
		sh(t, "", `mkdir -p "$TO" && cp -r "$FROM" "$TO/compute"`, "FROM="+made, "TO="+dir)
		return
	}
	t.Log(w.run(t, "genimage", image))
}

// postscript says on the console what it was given.
const postscript = `#!/bin/sh
echo "POSTSCRIPT $0 $* of $NODE with $OSVER from $MASTER as $(id -un)" >/dev/console
`

// TestGuests makes an image with genimage and boots it without a disk, under
// BIOS and UEFI.
func TestGuests(t *testing.T) {
	if err := syscall.Mknod(t.TempDir()+"/null", syscall.S_IFCHR|0o600, 1<<8|3); err != nil {
		t.Skipf("debootstrap makes devices, which only the machine's own root may: %v", err)
	}
	w := newWorld(t)
	w.write(t, 0o755, postscript, "state", "install", "postscripts", "hello")
	w.write(t, 0o755, postscript, "state", "install", "postscripts", "late")
	w.makeImage(t)
	t.Run("bios", func(t *testing.T) {
		diskless(t, w, machine{name: "dl1", mac: "52:54:00:78:00:01", addr: "10.78.0.11", memory: "1024"})
	})
	t.Run("uefi", func(t *testing.T) {
		diskless(t, w, machine{name: "dl2", mac: "52:54:00:78:00:0a", addr: "10.78.0.20", memory: "1024", uefi: true})
	})
}

// diskless follows a machine to its login.
func diskless(t *testing.T, w *world, m machine) {
	w.define(t, m, "postbootscripts=late")
	if got, want := w.run(t, "nodeset", m.name, "osimage="+image), m.name+": netboot debian12-x86_64-compute\n"; got != want {
		t.Fatalf("nodeset: got %q, want %q", got, want)
	}
	serial := w.start(t, m)
	serial.await(t, 5*time.Minute, `margay: `+image+`, kernel 6\.`)
	serial.await(t, 5*time.Minute, `margay: goes to the root`)
	w.expect(t, time.Minute, m.name, "status=netbooting")
	// The login prompt and the postscripts come in no order of their own.
	serial.await(t, 10*time.Minute, `POSTSCRIPT ./hello one 'two of `+m.name+` with debian12 from 10.78.0.1 as root`)
	serial.await(t, 5*time.Minute, `POSTSCRIPT ./late  of `+m.name)
	w.expect(t, 5*time.Minute, m.name, "status=booted", "currstate=netboot debian12-x86_64-compute")
	if !strings.Contains(serial.tail(1000), m.name+" login:") {
		serial.await(t, 5*time.Minute, m.name+` login:`)
	}
	w.steps(t, m.name, "dhcp", "script", "modules", "report: postscripts done: hello", "report: postbootscripts done: late", "booted")
	if _, err := os.Stat(w.path("state", "install", "netboot", "debian12", "x86_64", "compute", "rootimg")); err == nil {
		t.Error("genimage leaves the unpacked root behind")
	}
}
