{{/* The operator's own commands for every host's first boot, and for each boot of
   a host without a disk: copy this to esxi/local.sh and write them below. */ -}}
