# What disks there are, for the server's timeline.
say {{.Report}} "disks: $({ localcli storage core device list || esxcli storage core device list; } 2>/dev/null |
  awk '/^[^ ]/ { name = $1; sub(/:$/, "", name) } / Size:/ { printf "%s (%s MB) ", name, $2 }')"
