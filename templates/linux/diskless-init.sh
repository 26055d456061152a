#!/bin/busybox sh
# Made by margay for osimage {{.Image}}: fetches its root and goes there.
{{include "initrd-net.sh" .}}
fail() {
  echo "margay: $1"
  wget -q -O /dev/null --post-data "$1" "$say/failed" 2>/dev/null
  echo "margay: tries again in 60 seconds"
  sleep 60
  reboot -f
}

echo "margay: {{.Image}}, kernel {{.Kernel}}"
root=$(arg margay.root) boot=$(arg margay.boot) say=$(arg margay.say)
[ -n "$root" ] || fail "margay.root= is not on the kernel's command line"

network
for try in 1 2 3 4 5; do
  wget -q -O /dev/null "$say/installing" && break
  sleep 2
done

mount -t tmpfs -o mode=0755,size=90% tmpfs /mem
echo "margay: fetches $root"
for try in 1 2 3 4 5; do
  wget -q -O /mem/root.sfs "$root" && got=1 && break
  sleep 3
done
[ -n "$got" ] || fail "the root does not come from $root; has this machine the memory for it?"
mkdir -p /mem/lower /mem/upper /mem/work
mount -t squashfs -o loop,ro /mem/root.sfs /mem/lower || fail "the root is not a squashfs that this kernel reads"
mount -t overlay -o lowerdir=/mem/lower,upperdir=/mem/upper,workdir=/mem/work overlay /root || fail "no overlay over the root"

mkdir -p /root/opt/margay
chmod 700 /root/opt/margay
for try in 1 2 3 4 5; do
  wget -q -O /root/opt/margay/mypostscript "$boot/mypostscript" && got=2 && break
  sleep 3
done
[ "$got" = 2 ] || fail "no mypostscript"
sh /root/opt/margay/mypostscript prepare /root || fail "the root cannot be prepared"

for dir in proc sys dev; do
  mkdir -p /root/$dir
  mount --move /$dir /root/$dir
done
echo "margay: goes to the root"
exec switch_root /root /sbin/init
