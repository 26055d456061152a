#!/bin/sh
# Sets this host up at each boot, as it keeps nothing. Made by margay for {{.Node}}.
[ "$1" = start ] || [ -z "$1" ] || exit 0
(
# The host's services come up beside this script; wait for them.
for try in $(seq 60); do
  vim-cmd hostsvc/hostsummary >/dev/null 2>&1 && break
  sleep 5
done
{{if .Version.AtLeast 5}}{{include "firstboot.sh" .}}{{else}}{{include "say.sh" .}}
vim-cmd hostsvc/enable_remote_tsm
vim-cmd hostsvc/start_remote_tsm
for try in 1 2 3 4 5 6 7 8 9 10; do
  say {{.Booted}} && break
  sleep 5
done
{{end}}
) >/var/log/margay.log 2>&1 </dev/null &
