# Find the disk: {{.Rule}}
stop() {
  say "$failed" "$1"
  echo "margay: $1"
  exit 1
}
{ localcli storage core device list || esxcli storage core device list; } > /tmp/margay-disks 2>/dev/null
awk -v vendor={{quote .Vendor}} -v model={{quote .Model}} -v serial={{quote .Serial}} \
    -v min={{.Min}} -v max={{.Max}} -v ssd={{quote .SSD}} -v local={{quote .Local}} -v usb={{quote .USB}} '
function holds(text, word) { return word == "" || index(tolower(text), tolower(word)) > 0 }
function is(value, want) { return want == "" || value == want }
function disk() {
  size = value["Size"] + 0
  if (name == "" || value["Device Type"] != "Direct-Access" || size == 0) return
  if (!holds(value["Vendor"], vendor) || !holds(value["Model"], model)) return
  if (!holds(name " " value["Display Name"] " " value["Other UIDs"], serial)) return
  if (size < min || max > 0 && size > max) return
  if (is(value["Is SSD"], ssd) && is(value["Is Local"], local) && is(value["Is USB"], usb)) print size, name
}
/^[^ ]/ { disk(); split("", value); name = $1; sub(/:$/, "", name); next }
{ line = $0; sub(/^ +/, "", line); at = index(line, ":"); if (at) { text = substr(line, at + 1); sub(/^ +/, "", text); value[substr(line, 1, at - 1)] = text } }
END { disk() }
' /tmp/margay-disks{{if eq .Pick "smallest"}} | sort -n{{else if eq .Pick "largest"}} | sort -rn{{end}} > /tmp/margay-fit
all=$(awk '/^[^ ]/ { name = $1; sub(/:$/, "", name) } / Size:/ { printf "%s (%s MB) ", name, $2 }' /tmp/margay-disks)
count=$(grep -c . /tmp/margay-fit)
[ "$count" -gt 0 ] || stop "no disk fits {{.Rule}}; this host has $all"
{{- if not .Pick}}
[ "$count" -eq 1 ] || stop "$count disks fit {{.Rule}}, say which by pick=: $(tr '\n' ' ' < /tmp/margay-fit)"
{{- end}}
read size disk < /tmp/margay-fit
echo "{{.Command}} --disk=$disk {{.Options}}" > {{.File}}
say "$report" "installs to $disk, $size MB, by the rule {{.Rule}}"
