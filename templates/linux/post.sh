{{include "say.sh" .}}
mkdir -p /opt/margay && chmod 700 /opt/margay
{{- if .Pack}}
fetch {{quote .Pack}} /opt/margay/postscripts.tgz
{{- end}}
fetch {{quote .Post}} /opt/margay/mypostscript && sh /opt/margay/mypostscript post
insist {{quote .Installed}}
