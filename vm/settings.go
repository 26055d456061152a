package vm

import (
	"regexp"
	"strings"
)

// owned are .vmx keys that say what a column or an option says already, and
// which those are. A host that is told one thing twice believes the device and
// not the key, or the other way round.
var owned = []struct {
	key *regexp.Regexp
	way string
}{
	{regexp.MustCompile(`^displayname$`), "the node's name is the guest's"},
	{regexp.MustCompile(`^memsize$`), "use vmmemory, or --mem"},
	{regexp.MustCompile(`^numvcpus$`), "use vmcpus, or --cpus"},
	{regexp.MustCompile(`^guestos$`), "use vmguestostype"},
	{regexp.MustCompile(`^uuid\.(bios|location)$`), "the UUID is vpd.uuid"},
	{regexp.MustCompile(`^(config\.version|\.encoding|nvram|extendedconfigfile|vmxstats\.filename)$`), "the host's own"},
	{regexp.MustCompile(`^ethernet\d+\.(present|address|addresstype|generatedaddress|generatedaddressoffset)$`), "use vmnics and mac"},
	{regexp.MustCompile(`^ethernet\d+\.(networkname|dvs\..*|connectiontype|vnet)$`), "use vmnics, or --setnic"},
	{regexp.MustCompile(`^ethernet\d+\.virtualdev$`), "use vmnicnicmodel, or =model in vmnics"},
	{regexp.MustCompile(`^(scsi|sata|nvme)\d+\.(present|virtualdev)$`), "use vmstoragemodel, or =model in vmstorage"},
	{regexp.MustCompile(`^(ide|scsi|sata|nvme)\d+:\d+\.(present|filename|devicetype|mode|redo)$`), "use vmstorage, mkvm -s and chvm -a, -d, -p, --optical"},
	{regexp.MustCompile(`^sched\.(cpu|mem)\.(min|max|minsize|shares|units|latencysensitivity)$`), "use chvm --sched"},
}

// CheckSetting refuses a key that would be told twice; it says which column or
// option is meant for it.
func CheckSetting(key string) error {
	k := strings.ToLower(strings.TrimSpace(key))
	for _, o := range owned {
		if o.key.MatchString(k) {
			return Errorf(ErrInvalid, "setting %s: %s", key, o.way)
		}
	}
	return nil
}

// twice finds keys that are set to two values.
func twice(list []Setting) error {
	seen := map[string]string{}
	for _, s := range list {
		k := strings.ToLower(s.Key)
		if old, ok := seen[k]; ok && old != s.Value {
			return Errorf(ErrInvalid, "setting %s is given twice, as %q and as %q", s.Key, old, s.Value)
		}
		seen[k] = s.Value
	}
	return nil
}
