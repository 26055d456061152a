package guest

import (
	"os"
	"path/filepath"
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
fail() { echo "INSTALLER-FATAL: $1"; sleep 600; }
for device in $(find /sys/devices -name modalias) /none; do modprobe -q "$(cat $device 2>/dev/null)"; done
for m in virtio_pci virtio_net virtio_blk af_packet; do modprobe -q $m; done
arg() { for w in $(cat /proc/cmdline); do case $w in "$1="*) echo "${w#*=}" ;; esac; done; }
mac=$(arg BOOTIF | tr - : | cut -d: -f2-)
for try in 1 2 3 4 5 6 7 8 9 10; do
  for d in /sys/class/net/*; do [ "$(cat $d/address)" = "$mac" ] && dev=${d##*/}; done
  [ -n "$dev" ] && [ -b /dev/vda ] && break
  sleep 1
done
[ -n "$dev" ] || fail "no interface $mac"
ip link set lo up
udhcpc -q -n -i $dev -s /bin/lease || fail "no address"
if [ -n "$(arg from.disk)" ]; then
  echo "INSTALLED-SYSTEM runs"
  dd if=/dev/vda bs=1M skip=60 count=1 2>/dev/null | tr -d '\000' >/tmp/mypostscript
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
wget -q -O /dev/vda "http://$host$dir/disk.img" || fail "no disk.img"
grep -q '^d-i passwd/root-password-crypted password \$6\$' /tmp/preseed || fail "no hash of the password"
printf '#!/bin/sh\necho "INSTALLER in-target $*"\n' >/bin/in-target
chmod 755 /bin/in-target
eval "$(answer late_command)"
dd if=/target/opt/margay/mypostscript of=/dev/vda bs=1M seek=60 conv=notrunc 2>/dev/null || fail "no mypostscript"
sync
echo "INSTALLER is done"
reboot -f
`

// makeInstaller makes the small Linux's medium, with the kernel and drivers of
// a diskless image.
func (w *world) makeInstaller(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"cpio", "gzip", "mformat", "mcopy", "syslinux"} {
		netboottest.Binary(t, tool)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "init"), []byte(installer), 0o755); err != nil {
		t.Fatal(err)
	}
	from := w.path("state", "install", "netboot", "debian12", "x86_64", "compute")
	// An archive behind another is unpacked over it: init takes init's place.
	sh(t, dir, `
		cp "$FROM/kernel" linux
		{ cat "$FROM/initrd-stateless.gz"; echo init | cpio -o -H newc --quiet | gzip; } >initrd.gz
		truncate -s 48M disk.img
		mformat -i disk.img -h 64 -s 32 -t 48 ::
		printf 'DEFAULT small\nLABEL small\n KERNEL linux\n INITRD initrd.gz\n APPEND console=ttyS0,115200 from.disk=yes BOOTIF=01-52-54-00-78-00-02\n' >syslinux.cfg
		mcopy -i disk.img linux initrd.gz syslinux.cfg ::
		syslinux -i disk.img`, "FROM="+from)
	var files []provisiontest.MediaFile
	for name, as := range map[string]string{"linux": "debian-installer/amd64/linux", "initrd.gz": "debian-installer/amd64/initrd.gz", "disk.img": "disk.img"} {
		files = append(files, diskFile(t, filepath.Join(dir, name), as))
	}
	files = append(files, provisiontest.TextFile("version.info", "Debian version:  12 (bookworm)\nInstaller build: small\n"))
	iso := filepath.Join(dir, "small.iso")
	if err := provisiontest.WriteISO(iso, provisiontest.ISO{Volume: "SMALL", Names: provisiontest.NamesRockRidge, Files: files}); err != nil {
		t.Fatal(err)
	}
	return iso
}

// diskFile is a file on disk as one of a medium.
func diskFile(t *testing.T, file, as string) provisiontest.MediaFile {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return provisiontest.TextFile(as, string(data))
}

// install follows a machine from power on to its second boot, from its disk.
func install(t *testing.T, w *world) {
	t.Log(w.run(t, "copycds", w.makeInstaller(t)))
	disk := filepath.Join(t.TempDir(), "vm.img")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 64<<20); err != nil {
		t.Fatal(err)
	}
	m := machine{name: "vm1", mac: "52:54:00:78:00:02", addr: "10.78.0.12", memory: "512", disk: disk}
	w.define(t, m)
	if got, want := w.run(t, "nodeset", m.name, "osimage=debian12-x86_64-install-compute"), m.name+": install debian12-x86_64-compute\n"; got != want {
		t.Fatalf("nodeset: got %q, want %q", got, want)
	}
	serial := w.start(t, m)
	serial.await(t, 5*time.Minute, `INSTALLER fetches http://10\.78\.0\.1/boot/vm1/preseed\.cfg\?t=vm1\.1\.`)
	serial.await(t, 5*time.Minute, `INSTALLER in-target sh /opt/margay/mypostscript post`)
	serial.await(t, 2*time.Minute, `INSTALLER is done`)
	w.expect(t, time.Minute, m.name, "currstate=boot") // or it would install itself again
	w.steps(t, m.name, "dhcp", "script", "kickstart", "installing", "report", "installed")
	serial.await(t, 5*time.Minute, `INSTALLED-SYSTEM runs`)
	serial.await(t, 2*time.Minute, `INSTALLED-SYSTEM reported`)
	w.expect(t, time.Minute, m.name, "status=booted", "currstate=boot")
	w.steps(t, m.name, "localboot", "booted")
}
