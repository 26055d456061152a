{{include "say.sh" .}}
{{- if .SSH}}
vim-cmd hostsvc/enable_ssh
vim-cmd hostsvc/start_ssh
{{- end}}
{{- if .Shell}}
vim-cmd hostsvc/enable_esx_shell
vim-cmd hostsvc/start_esx_shell
{{- end}}
{{- if or .SSH .Shell}}
esxcli system settings advanced set -o /UserVars/SuppressShellWarning -i 1
{{- end}}
{{- if .Keys}}
mkdir -p /etc/ssh/keys-root
cat > /etc/ssh/keys-root/authorized_keys <<'KEYS'
{{- range .Keys}}
{{.}}
{{- end}}
KEYS
chmod 600 /etc/ssh/keys-root/authorized_keys
{{- end}}
esxcli system hostname set --fqdn={{.Hostname}}
{{- if and .Static .Domain}}
esxcli network ip dns search add -d {{.Domain}}
{{- end}}
{{- if .NTP}}
{{- if .Version.AtLeast 7}}
esxcli system ntp set{{range .NTP}} -s {{.}}{{end}} -e true
{{- else}}
cat > /etc/ntp.conf <<'NTP'
restrict default nomodify notrap nopeer noquery
restrict 127.0.0.1
driftfile /etc/ntp.drift
{{- range .NTP}}
server {{.}}
{{- end}}
NTP
chkconfig ntpd on
/etc/init.d/ntpd restart
{{- end}}
esxcli network firewall ruleset set -r ntpClient -e true
{{- end}}
{{- if .Syslog}}
esxcli system syslog config set --loghost={{quote (join "," .Syslog)}}
esxcli network firewall ruleset set -r syslog -e true
esxcli system syslog reload
{{- end}}
{{- range $switch := .Switches}}
esxcli network vswitch standard add -v {{quote .Name}}
{{- range .Uplinks}}
esxcli network vswitch standard uplink add -v {{quote $switch.Name}} -u {{.}}
{{- end}}
{{- range .Groups}}
esxcli network vswitch standard portgroup add -v {{quote $switch.Name}} -p {{quote .Name}}
{{- if .VLAN}}
esxcli network vswitch standard portgroup set -p {{quote .Name}} -v {{.VLAN}}
{{- end}}
{{- end}}
{{- end}}
{{- range .NFS}}
esxcli storage nfs add -H {{.Host}} -s {{.Path}} -v {{quote .Name}}
{{- end}}
{{- if .Datastore}}
vim-cmd hostsvc/datastore/rename datastore1 {{quote .Datastore}}
{{- end}}
{{- range .Services}}
{{- if .On}}
chkconfig {{.Name}} on
/etc/init.d/{{.Name}} start
{{- else}}
/etc/init.d/{{.Name}} stop
chkconfig {{.Name}} off
{{- end}}
{{- end}}
{{- range .Firewall}}
esxcli network firewall ruleset set -r {{.Name}} -e {{.On}}
{{- end}}
{{- if and .Serial (not .Stateless)}}
esxcli system settings kernel set -s gdbPort -v none
esxcli system settings kernel set -s logPort -v none
esxcli system settings kernel set -s tty2Port -v com{{.Serial}}
esxcli system settings kernel set -s com{{.Serial}}_baud -v {{.Speed}}
{{- end}}
{{- if .Cert}}
cat > /etc/vmware/ssl/rui.crt <<'CERT'
{{.Cert -}}
CERT
(umask 077; cat > /etc/vmware/ssl/rui.key) <<'KEY'
{{.CertKey -}}
KEY
/etc/init.d/hostd restart
{{- end}}
{{- with include "local.sh" .}}
{{.}}
{{- end}}
{{- if not .Stateless}}
/sbin/auto-backup.sh
{{- end}}
# The firewall lets nothing out to the server's port by itself.
esxcli network firewall set --enabled false
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  say {{.Booted}} && break
  sleep 5
done
esxcli network firewall set --enabled true
