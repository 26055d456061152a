#!/bin/busybox sh
# Made by margay for osimage {{.Image}}: fetches its root and goes there.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

arg() {
  value=
  for word in $(cat /proc/cmdline); do
    case $word in "$1="*) value=${word#*=} ;; esac
  done
  echo "$value"
}

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

for pass in 1 2 3; do # a bus may bring another
  for device in $(find /sys/devices -name modalias); do
    modprobe -q "$(cat "$device")" 2>/dev/null
  done
done
for module in af_packet loop squashfs overlay; do modprobe -q $module 2>/dev/null; done

# The interface that the machine booted from, or else any that has a link.
want=$(arg BOOTIF | tr - : | cut -d: -f2-)
link=
for try in 1 2 3 4 5 6 7 8 9 10; do
  for dev in /sys/class/net/*; do
    [ "${dev##*/}" != lo ] || continue
    if [ -z "$want" ] || [ "$(cat "$dev/address")" = "$want" ]; then link=${dev##*/}; fi
  done
  [ -z "$link" ] || break
  sleep 1
done
[ -n "$link" ] || fail "no network interface $want: its driver is not in this image"
ip link set lo up
ip link set "$link" up
echo "margay: asks for an address on $link"
udhcpc -q -n -t 20 -T 2 -i "$link" -s /bin/lease >/dev/null || fail "no address by DHCP on $link"
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
