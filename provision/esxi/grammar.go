package esxi

import (
	"net"
	"regexp"
	"strconv"
	"strings"
)

// A ksSpec is one command of the kickstart's grammar.
type ksSpec struct {
	span
	options map[string]ksOption
	repeats bool   // may stand more than once
	note    string // what to do where it is gone
}

type ksOption struct {
	span
	value ksValue
}

type ksValue uint8

const (
	valueNone ksValue = iota
	valueNeeded
	valueMay
)

// A span is the releases in which something is known: from, and before until.
type span struct{ from, until Version }

func (s span) holds(v Version) bool {
	return v.Compare(s.from) >= 0 && (s.until == nil || v.Compare(s.until) < 0)
}

// commands is the grammar. An option is written name (no value), name= (with
// one) or name? (may have one), then @from and <until where that is not all.
var commands = map[string]ksSpec{
	"accepteula": spec(""),
	"clearpart":  spec("drives= alldrives ignoredrives= firstdisk? overwritevmfs"),
	"dryrun":     spec(""),
	"install": spec("disk=@5 drive=@5 firstdisk?@5 ignoressd@5 overwritevmfs@5 preservevmfs@5 novmfsondisk@5 overwritevsan@5.5 " +
		"ignoreprereqwarnings@5 ignoreprereqerrors@5 forceunsupportedinstall@7 dpuPciSlots=@8 systemdisk=@7 repartitionsystemdisk@8"),
	"installorupgrade": since(Version{5}, "disk= drive= firstdisk? overwritevmfs overwritevsan@5.5 forcemigrate ignoreprereqwarnings ignoreprereqerrors forceunsupportedinstall@7 systemdisk=@7", "use install"),
	"upgrade":          since(Version{5}, "disk= drive= firstdisk? forcemigrate deletecosvmdk<6 ignoreprereqwarnings ignoreprereqerrors forceunsupportedinstall@7", "use install"),
	"keyboard":         spec(""),
	"network":          spec("bootproto= device= ip= netmask= gateway= nameserver= hostname= vlanid= addvmportgroup="),
	"paranoid":         spec(""),
	"part":             repeated(spec("ondisk= ondrive= onfirstdisk?")),
	"reboot":           spec("noeject"),
	"rootpw":           spec("iscrypted"),
	"serialnum":        until(Version{9}, "esx=", "9.0 and later take licence files, not keys"),
	"autopart":         until(Version{5}, "disk= drive= firstdisk? overwritevmfs", "install says which disk"),
	"esxlocation":      until(Version{5}, "disk= drive= uuid=", "install says which disk"),
	"zerombr":          until(Version{5}, "", "it may be left out"),
	"timezone":         until(Version{5}, "utc", "ESXi runs on UTC"),
	"firewall":         until(Version{5}, "enabled disabled blockIncoming blockOutgoing allowIncoming allowOutgoing", "set it by %firstboot"),
}

var sectionSpecs = map[string]ksSpec{
	"%pre":       spec("interpreter= unsupported<5"),
	"%post":      spec("interpreter= timeout= ignorefailure= unsupported<5"),
	"%firstboot": spec("interpreter= unsupported<5 level=<5"),
}

// canonical is a command's name where there are several for it.
func canonical(word string) string {
	switch word {
	case "vmaccepteula":
		return "accepteula"
	case "vmserialnum":
		return "serialnum"
	case "partition":
		return "part"
	case "%include":
		return "include"
	}
	return word
}

func spec(options string) ksSpec {
	s := ksSpec{options: map[string]ksOption{}}
	for _, text := range strings.Fields(options) {
		text, until, _ := strings.Cut(text, "<")
		text, from, _ := strings.Cut(text, "@")
		o := ksOption{span: span{ParseVersion(from), ParseVersion(until)}}
		switch {
		case strings.HasSuffix(text, "="):
			o.value = valueNeeded
		case strings.HasSuffix(text, "?"):
			o.value = valueMay
		}
		s.options[strings.TrimRight(text, "=?")] = o
	}
	return s
}

func since(v Version, options, note string) ksSpec {
	s := spec(options)
	s.from, s.note = v, note
	return s
}

func until(v Version, options, note string) ksSpec {
	s := spec(options)
	s.until, s.note = v, note
	return s
}

func repeated(s ksSpec) ksSpec {
	s.repeats = true
	return s
}

var des = regexp.MustCompile(`^[./A-Za-z0-9]{13}$`)

func isDevice(v string) bool {
	mac, err := net.ParseMAC(v)
	return vmnic.MatchString(v) || err == nil && len(mac) == 6
}

func isVLAN(v string) bool {
	n, err := strconv.Atoi(v)
	return err == nil && n >= 0 && n <= 4095
}

// keyboards are the layouts that VMware documents.
var keyboards = []string{
	"Belgian", "Brazilian", "Croatian", "Czechoslovakian", "Danish", "Estonian", "Finnish", "French", "German", "Greek", "Icelandic",
	"Italian", "Japanese", "Latin American", "Norwegian", "Polish", "Portuguese", "Russian", "Slovenian", "Spanish", "Swedish",
	"Swiss French", "Swiss German", "Turkish", "Ukrainian", "United Kingdom", "US Default", "US Dvorak",
}
