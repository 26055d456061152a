#!/bin/busybox sh
# udhcpc runs this when it has an address.
PATH=/bin
case $1 in
deconfig)
  ip link set "$interface" up
  ;;
bound|renew)
  ip addr flush dev "$interface"
  ip addr add "$ip/${mask:-24}" dev "$interface"
  for r in $router; do ip route add default via "$r" dev "$interface" && break; done
  {
    [ -z "$domain" ] || echo "search $domain"
    for d in $dns; do echo "nameserver $d"; done
  } >/etc/resolv.conf
  ;;
esac
