# The first disk that is fixed and larger than 2 GiB is the one to install to.
disk=
for dev in /sys/block/*; do
  name=${dev##*/}
  case $name in loop*|ram*|zram*|sr*|fd*|dm-*|md*|nbd*) continue ;; esac
  [ "$(cat "$dev/removable")" = 0 ] && [ "$(cat "$dev/ro")" = 0 ] || continue
  [ "$(cat "$dev/size")" -gt 4194304 ] || continue
  case $(readlink -f "$dev") in */usb*) continue ;; esac
  disk=$name
  break
done
if [ -z "$disk" ]; then
  say {{quote .Failed}} "no disk to install to: none is fixed, writable and larger than 2 GiB"
  sleep 60
  exit 1
fi
say {{quote .Report}} "installs to $disk, $(($(cat /sys/block/$disk/size) / 2097152)) GiB"
