#!/bin/sh
# Sets this host up at each boot, as it keeps nothing. Made by margay for {{.Node}}.
[ "$1" = start ] || [ -z "$1" ] || exit 0
(
# The host's services come up beside this script; wait for them.
for try in $(seq 60); do
  vim-cmd hostsvc/hostsummary >/dev/null 2>&1 && break
  sleep 5
done
{{- if .Version.AtLeast 5}}
{{- if .OtherDevice}}
# The management network hangs on another interface than the one that boots.
uplink=$(esxcli network nic list | awk -v want={{quote .Device}} '$1 == want || index(tolower($0), want) { print $1; exit }')
if [ -n "$uplink" ]; then
  esxcli network vswitch standard uplink add -v vSwitch0 -u "$uplink" 2>/dev/null
  for old in $(esxcli network vswitch standard list -v vSwitch0 | sed -n 's/^ *Uplinks: //p' | tr ',' ' '); do
    [ "$old" = "$uplink" ] || esxcli network vswitch standard uplink remove -v vSwitch0 -u "$old"
  done
fi
{{- end}}
{{- if .VLAN}}
esxcli network vswitch standard portgroup set -p 'Management Network' -v {{.VLAN}}
{{- end}}
{{- if .Static}}
esxcli network ip interface ipv4 set -i vmk0 -t static -I {{.IP}} -N {{.Netmask}}{{if .Gateway}} -g {{.Gateway}}{{end}}
{{- if .Gateway}}
esxcli network ip route ipv4 add -g {{.Gateway}} -n default 2>/dev/null
{{- end}}
{{- range .DNS}}
esxcli network ip dns server add -s {{.}}
{{- end}}
{{- end}}
{{include "firstboot.sh" .}}
# What was set on the host itself is kept by the server and comes back at the
# next boot, below what the table says.
save() {
  mkdir -p /tmp/margay-state
  /sbin/backup.sh 0 /tmp/margay-state >/dev/null 2>&1
  [ -s /tmp/margay-state/state.tgz ] || return
  esxcli network firewall set --enabled false
  wget -q -O /dev/null --post-file /tmp/margay-state/state.tgz {{.Save}}
  esxcli network firewall set --enabled true
}
while :; do
  save
  sleep 3600
done
{{- else}}
{{include "say.sh" .}}
vim-cmd hostsvc/enable_remote_tsm
vim-cmd hostsvc/start_remote_tsm
for try in 1 2 3 4 5 6 7 8 9 10; do
  say {{.Booted}} && break
  sleep 5
done
{{- end}}
) >/var/log/margay.log 2>&1 </dev/null &
