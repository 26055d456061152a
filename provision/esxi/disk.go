package esxi

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A diskRule says which disk ESXi goes to. The zero rule is the installer's
// own first disk.
//
//	firstdisk                          local disks first, as the installer sorts
//	firstdisk=usb,local                its filters, in order of preference
//	naa.600508b1001c...                this disk: naa. eui. t10. mpx. vml.
//	model=BOSS,size=100G-500G,ssd=yes  found by %pre from what the machine has
//	vendor=ATA,pick=smallest           pick says which of several; without it
//	                                   more than one disk stops the install
type diskRule struct {
	filters string // of --firstdisk=
	disk    string // of --disk=

	found    bool // by what follows
	vendor   string
	model    string
	serial   string
	min, max int64 // MB; 0: any
	ssd      string
	local    string
	usb      string
	pick     string // "", first, smallest, largest
}

var (
	diskName   = regexp.MustCompile(`^(/vmfs/devices/disks/)?(naa|eui|t10|mpx|vml)\.[A-Za-z0-9._:+-]{1,200}$`)
	diskFilter = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
	diskWord   = regexp.MustCompile(`^[A-Za-z0-9 ._-]{1,64}$`)
)

func parseDiskRule(text string) (d diskRule, err error) {
	text = strings.TrimSpace(text)
	key, value, has := strings.Cut(text, "=")
	switch {
	case text == "" || text == "firstdisk":
		return d, nil
	case key == "firstdisk" && has:
		for f := range strings.SplitSeq(value, ",") {
			if !diskFilter.MatchString(f) {
				return d, fmt.Errorf("%q is not a filter of firstdisk, as local, usb or a driver", f)
			}
		}
		d.filters = value
		return d, nil
	case key == "disk" && has:
		text = value
		fallthrough
	case diskName.MatchString(text):
		if !diskName.MatchString(text) {
			return d, fmt.Errorf("%q is not a disk's name; those begin with naa. eui. t10. mpx. or vml.", text)
		}
		d.disk = text
		return d, nil
	}
	d.found = true
	for item := range strings.SplitSeq(text, ",") {
		if err := d.add(strings.TrimSpace(item)); err != nil {
			return d, err
		}
	}
	return d, nil
}

func (d *diskRule) add(item string) (err error) {
	key, value, ok := strings.Cut(item, "=")
	value = strings.TrimSpace(value)
	if !ok || value == "" {
		return fmt.Errorf("%q: neither firstdisk, nor a disk's name, nor key=value of vendor, model, serial, size, ssd, local, usb, pick", item)
	}
	switch key {
	case "vendor", "model", "serial":
		if !diskWord.MatchString(value) {
			return fmt.Errorf("%s %q: letters, digits, blank, . _ - only", key, value)
		}
		*map[string]*string{"vendor": &d.vendor, "model": &d.model, "serial": &d.serial}[key] = value
	case "size":
		d.min, d.max, err = sizeRange(value)
	case "ssd", "local", "usb":
		yes := map[string]string{"yes": "true", "no": "false"}[value]
		if yes == "" {
			return fmt.Errorf("%s is yes or no, not %q", key, value)
		}
		*map[string]*string{"ssd": &d.ssd, "local": &d.local, "usb": &d.usb}[key] = yes
	case "pick":
		if !slices.Contains([]string{"first", "smallest", "largest"}, value) {
			return fmt.Errorf("pick is first, smallest or largest, not %q", value)
		}
		d.pick = value
	default:
		return fmt.Errorf("%q: not one of vendor, model, serial, size, ssd, local, usb, pick", key)
	}
	return err
}

// sizeRange reads 400G, 100G-500G, 1T- or -64G; one size alone allows a tenth
// more or less, as disks are never what they are sold as.
func sizeRange(text string) (low, high int64, err error) {
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		n, err := sizeMB(text)
		return n - n/10, n + n/10, err
	}
	if from != "" {
		if low, err = sizeMB(from); err != nil {
			return 0, 0, err
		}
	}
	if to != "" {
		if high, err = sizeMB(to); err != nil {
			return 0, 0, err
		}
	}
	if high > 0 && low > high || low == 0 && high == 0 {
		return 0, 0, fmt.Errorf("size %q: nothing fits it", text)
	}
	return low, high, nil
}

func sizeMB(text string) (int64, error) {
	unit := int64(1)
	number := strings.TrimRight(strings.ToUpper(text), "MGTB")
	switch strings.TrimSuffix(strings.ToUpper(text)[len(number):], "B") {
	case "M":
	case "G":
		unit = 1 << 10
	case "T":
		unit = 1 << 20
	default:
		return 0, fmt.Errorf("size %q: a number and M, G or T", text)
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("size %q: a number and M, G or T", text)
	}
	return n * unit, nil
}

// target is the disk's part of the install line.
func (d diskRule) target() string {
	switch {
	case d.disk != "":
		return "--disk=" + d.disk
	case d.filters != "":
		return "--firstdisk=" + d.filters
	}
	return "--firstdisk"
}

// String says the rule in words, for the timeline.
func (d diskRule) String() string {
	if !d.found {
		return strings.TrimPrefix(d.target(), "--")
	}
	var w []string
	for _, p := range []struct{ k, v string }{
		{"vendor", d.vendor}, {"model", d.model}, {"serial", d.serial}, {"ssd", d.ssd}, {"local", d.local}, {"usb", d.usb}, {"pick", d.pick},
	} {
		if p.v != "" {
			w = append(w, p.k+"="+p.v)
		}
	}
	if d.min > 0 || d.max > 0 {
		w = append(w, fmt.Sprintf("size=%d-%dMB", d.min, d.max))
	}
	return strings.Join(w, ",")
}
