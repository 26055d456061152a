#!/bin/sh
# Made by margay for {{.Node}}: {{.State}}.
{{range .Env}}{{.}}; {{end}}
export NODE MASTER SITEMASTER OSVER ARCH PROFILE PROVMETHOD NODESETSTATE GROUP DOMAIN NAMESERVERS NTPSERVERS MACADDRESS INSTALLNIC PRIMARYNIC NICIPS NICNETWORKS OSPKGDIR INSTALLDIR TIMEZONE
mkdir -p /xcatpost /root
{{- if .Pack}}
wget -q -O /tmp/postscripts.tgz {{quote .Pack}} && tar -xzf /tmp/postscripts.tgz -C /xcatpost || echo "postscripts cannot be fetched"
{{- end}}
PATH=/xcatpost:$PATH
export PATH
{{- if .Image}}
rm -rf /tmp/image
mkdir -p /tmp/image
cd /tmp/image
wget -q -O /tmp/image.tgz {{quote .Image}} || { echo "the image cannot be fetched"; exit 1; }
tar -xzf /tmp/image.tgz || { echo "the image is no gzip tar"; exit 1; }
rm -f /tmp/image.tgz
[ -f runme.sh ] || { echo "no runme.sh in the image"; exit 1; }
chmod 755 runme.sh
./runme.sh
{{- else if .Fetch}}
cd /tmp
wget -q -O fetched {{quote .Fetch}} || { echo "it cannot be fetched"; exit 1; }
chmod 755 fetched
{{.Words}}
{{- else}}
cd /xcatpost
{{.Words}}
{{- end}}
