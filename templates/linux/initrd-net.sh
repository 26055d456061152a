# The drivers of what there is, then the interface that the machine booted from,
# or else any that has a link.
export PATH=/bin
/bin/busybox --install -s /bin 2>/dev/null || for applet in $(/bin/busybox --list); do
  [ -e /bin/$applet ] || /bin/busybox ln -s busybox /bin/$applet
done
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

network() {
  known=
  for pass in 1 2 3; do # a bus may bring another
    devices=$(cat $(find /sys/devices -name modalias) 2>/dev/null | sort -u)
    [ "$devices" != "$known" ] || break
    modprobe -q -a $devices 2>/dev/null
    known=$devices
  done
  for module in af_packet loop squashfs overlay; do modprobe -q $module 2>/dev/null; done
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
}
