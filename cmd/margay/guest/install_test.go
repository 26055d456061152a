package guest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"margay/netboot/netboottest"
	"margay/provision/provisiontest"
)

// installer is what the small Linux starts: it answers for debian-installer,
// whose boot files it has the place of. It takes the preseed file that the
// kernel's command line names, runs its early command, writes the disk that the
// install tree has, and runs its late command.
const installer = `#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
echo 1 >/proc/sys/kernel/printk # the kernel's words would break our lines
fail() { echo "INSTALLER-FATAL: $1"; sleep 600; }
modprobe -q -a $(cat $(find /sys/devices -name modalias) | sort -u)
for m in virtio_pci virtio_net virtio_blk af_packet; do modprobe -q $m; done
arg() { for w in $(cat /proc/cmdline); do case $w in "$1="*) echo "${w#*=}" ;; esac; done; }
mac=$(arg BOOTIF | tr - : | cut -d: -f2-)
for try in 1 2 3 4 5 6 7 8 9 10; do
  for d in /sys/class/net/e*; do [ -z "$mac" ] || [ "$(cat $d/address)" = "$mac" ] && dev=${d##*/}; done
  [ -n "$dev" ] && [ -b /dev/vda ] && break
  sleep 1
done
[ -n "$dev" ] || fail "no interface $mac"
ip link set lo up
udhcpc -q -n -t 20 -i $dev -s /bin/lease || fail "no address"
if [ -n "$(arg from.disk)" ]; then
  echo "INSTALLED-SYSTEM runs"
  dd if=/dev/vda bs=1M skip=140 count=1 2>/dev/null | tr -d '\000' >/tmp/mypostscript
  mkdir -p /var/log /xcatpost
  sh /tmp/mypostscript boot && echo "INSTALLED-SYSTEM reported"
  sleep 600
fi
url=$(arg url)
echo "INSTALLER fetches $url"
wget -q -O /tmp/preseed "$url" || fail "no preseed file"
# Lines that end with a backslash go on, as debconf reads them.
answer() { sed -e ':a' -e '/\\$/N' -e 's/\\\n//' -e 'ta' /tmp/preseed | sed -n "s|^d-i preseed/$1 string ||p"; }
eval "$(answer early_command)" || fail "early command"
host=$(sed -n 's|^d-i mirror/http/hostname string ||p' /tmp/preseed)
dir=$(sed -n 's|^d-i mirror/http/directory string ||p' /tmp/preseed)
# Where the host is so busy that this stands still for a minute, it is hung up on.
for try in 1 2 3 4 5; do wget -q -O /dev/vda "http://$host$dir/disk.img" && got=yes && break; done
[ -n "$got" ] || fail "no disk.img"
grep -q '^d-i passwd/root-password-crypted password \$6\$' /tmp/preseed || fail "no hash of the password"
printf '#!/bin/sh\necho "INSTALLER in-target $*"\n' >/bin/in-target
chmod 755 /bin/in-target
eval "$(answer late_command)"
dd if=/target/opt/margay/mypostscript of=/dev/vda bs=1M seek=140 conv=notrunc 2>/dev/null || fail "no mypostscript"
sync
echo "INSTALLER is done"
reboot -f
`

// makeInstaller makes the small Linux's medium, with the kernel and drivers of
// the system for work. The disk that it installs boots under BIOS and UEFI.
func (w *world) makeInstaller(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat(stub); err != nil {
		missing(t, stub+" of systemd-boot-efi")
	}
	for _, tool := range []string{"cpio", "gzip", "mformat", "mcopy", "mmd", "syslinux", "objcopy"} {
		netboottest.Binary(t, tool)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "init"), []byte(installer), 0o755); err != nil {
		t.Fatal(err)
	}
	from := w.path("state", "install", "genesis", "x86_64")
	// The system for work, with the drivers of this machine alone and another init.
	sh(t, dir, `
		cp "$FROM/kernel" linux
		mkdir small && cd small
		zcat "$FROM/initrd.gz" | cpio -id --quiet 2>/dev/null || [ -e bin/busybox ]
		find lib/modules -name '*.ko*' | grep -vE '/(virtio|failover|net_failover|af_packet)[^/]*$' | xargs rm -f
		cp ../init init
		find . | cpio -o -H newc --quiet | gzip >../initrd.gz
		cd ..
		arguments='console=ttyS0,115200 no_timer_check from.disk=yes'
		printf 'DEFAULT small\nLABEL small\n KERNEL linux\n INITRD initrd.gz\n APPEND %s\n' "$arguments" >syslinux.cfg
		printf '%s\0' "$arguments" >arguments
		# Kernel, RAM disk and arguments as one EFI program.
		objcopy --add-section .cmdline=arguments --change-section-vma .cmdline=0x30000 \
			--add-section .linux=linux --change-section-vma .linux=0x2000000 \
			--add-section .initrd=initrd.gz --change-section-vma .initrd=0x4000000 "$STUB" bootx64.efi
		truncate -s 128M disk.img
		mformat -i disk.img -h 64 -s 32 -t 128 ::
		mmd -i disk.img ::EFI ::EFI/BOOT
		mcopy -i disk.img linux initrd.gz syslinux.cfg ::
		mcopy -i disk.img bootx64.efi ::EFI/BOOT/BOOTX64.EFI
		syslinux -i disk.img`, "FROM="+from, "STUB="+stub)
	var files []provisiontest.MediaFile
	for name, as := range map[string]string{"linux": "debian-installer/amd64/linux", "initrd.gz": "debian-installer/amd64/initrd.gz", "disk.img": "disk.img"} {
		files = append(files, diskFile(t, filepath.Join(dir, name), as))
	}
	for _, name := range []string{"bootnetx64.efi", "grubx64.efi"} {
		if _, err := os.Stat(filepath.Join(netbootFiles, "debian-installer/amd64", name)); err == nil {
			files = append(files, diskFile(t, filepath.Join(netbootFiles, "debian-installer/amd64", name), "debian-installer/amd64/"+name))
		}
	}
	files = append(files, provisiontest.TextFile("version.info", "Debian version:  12 (bookworm)\nInstaller build: small\n"))
	iso := filepath.Join(dir, "small.iso")
	if err := provisiontest.WriteISO(iso, provisiontest.ISO{Volume: "SMALL", Names: provisiontest.NamesRockRidge, Files: files}); err != nil {
		t.Fatal(err)
	}
	return iso
}

// stub is what makes an EFI program of a kernel and what belongs to it.
const stub = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"

// diskFile is a file on disk as one of a medium.
func diskFile(t *testing.T, file, as string) provisiontest.MediaFile {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return provisiontest.TextFile(as, string(data))
}

// TestSmallInstall has a small Linux install itself, under BIOS and UEFI: answer
// file, token, callbacks, reboot, and boot from the disk.
func TestSmallInstall(t *testing.T) {
	w := newWorld(t)
	w.makeWork(t)
	t.Log(w.run(t, "copycds", w.makeInstaller(t)))
	for i, m := range []machine{
		{name: "vm1", mac: "52:54:00:78:00:02", addr: "10.78.0.12", memory: "512"},
		{name: "vm2", mac: "52:54:00:78:00:04", addr: "10.78.0.14", memory: "512", uefi: true},
	} {
		m.disk = emptyDisk(t)
		w.define(t, m)
		t.Run([]string{"bios", "uefi"}[i], func(t *testing.T) { install(t, w, m) })
	}
}

// TestSecureBoot has the small Linux install itself on a machine with Secure Boot
// on, which trusts Microsoft alone: by Debian's shim, GRUB and kernel.
func TestSecureBoot(t *testing.T) {
	if _, err := os.Stat(netbootFiles); err != nil {
		missing(t, "debian-installer-12-netboot-amd64")
	}
	w := newWorld(t)
	w.makeWork(t)
	t.Log(w.run(t, "copycds", w.makeInstaller(t)))
	m := machine{name: "sb1", mac: "52:54:00:78:00:08", addr: "10.78.0.18", memory: "768", uefi: true, secure: true, disk: emptyDisk(t)}
	w.define(t, m, "netboot=grub2")
	w.run(t, "nodeset", m.name, "osimage=debian12-x86_64-install-compute")
	chain := w.run(t, "show", "chain", m.name)
	t.Log(chain)
	if !strings.Contains(chain, "Secure Boot can stay on: shim, GRUB and kernel are signed") {
		t.Error("margay show chain does not say so")
	}
	serial := w.start(t, m)
	serial.await(t, 10*time.Minute, `margay: sb1, install debian12-x86_64-compute, by tftp`)
	serial.await(t, 10*time.Minute, `[Kk]ernel is locked down from EFI Secure Boot`)
	installs(t, w, m, serial)
	w.expect(t, 3*time.Minute, m.name, "currstate=boot")
	w.steps(t, m.name, "dhcp", "shimx64.efi", "grubx64.efi", "grub.cfg", "modules", "kickstart", "installing", "installed")
}

func emptyDisk(t *testing.T) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "vm.img")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 144<<20); err != nil {
		t.Fatal(err)
	}
	return disk
}

// install follows a machine from power on to its second boot, from its disk.
func install(t *testing.T, w *world, m machine) {
	if got, want := w.run(t, "nodeset", m.name, "osimage=debian12-x86_64-install-compute"), m.name+": install debian12-x86_64-compute\n"; got != want {
		t.Fatalf("nodeset: got %q, want %q", got, want)
	}
	serial := w.start(t, m)
	installs(t, w, m, serial)
	w.expect(t, 3*time.Minute, m.name, "currstate=boot") // or it would install itself again
	w.steps(t, m.name, "dhcp", "script", "kickstart", "installing", "report", "installed")
	bootsFromDisk(t, w, m, serial)
	w.steps(t, m.name, "localboot", "booted")
}

// installs follows the installer.
func installs(t *testing.T, w *world, m machine, serial *transcript) {
	t.Helper()
	serial.await(t, 10*time.Minute, `INSTALLER fetches http://10\.78\.0\.1/boot/`+m.name+`/preseed\.cfg\?t=`+m.name+`\.\d\.`)
	w.expect(t, 3*time.Minute, m.name, "status=installing")
	serial.await(t, 10*time.Minute, `INSTALLER in-target sh /opt/margay/mypostscript post`)
	serial.await(t, 10*time.Minute, `INSTALLER is done`)
}

func bootsFromDisk(t *testing.T, w *world, m machine, serial *transcript) {
	t.Helper()
	serial.await(t, 10*time.Minute, `Linux version`)
	serial.await(t, 10*time.Minute, `INSTALLED-SYSTEM runs`)
	serial.await(t, 10*time.Minute, `INSTALLED-SYSTEM reported`)
	w.expect(t, 3*time.Minute, m.name, "status=booted", "currstate=boot")
}
