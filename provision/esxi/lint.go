package esxi

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A Finding is something in a kickstart that an ESXi release would refuse,
// ignore or wait at.
type Finding struct {
	Line  int    // counted from 1; 0: the whole file
	Rule  string // a word for it: "two-disks"
	Text  string
	Error bool // the install would stop, wait, or do other than is written
}

// String is the finding as one line of output.
func (f Finding) String() string {
	kind := "warning"
	if f.Error {
		kind = "error"
	}
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s (%s)", kind, f.Text, f.Rule)
	}
	return fmt.Sprintf("line %d: %s: %s (%s)", f.Line, kind, f.Text, f.Rule)
}

// Lint says what is wrong with a kickstart for an ESXi version, "8.0.2".
func Lint(text, version string) []Finding {
	return Linter{Version: ParseVersion(version)}.Lint(text)
}

// A Linter knows the grammar of one release's kickstart, as VMware documents
// it in "Installation and Upgrade Script Commands" of each release.
type Linter struct {
	Version    Version
	SecureBoot bool // the host boots with Secure Boot on
}

// maxCommands is how many commands the installer takes.
const maxCommands = 256

// Lint returns what it finds, in the file's order.
func (l Linter) Lint(text string) []Finding {
	k := &kickstart{Linter: l, first: map[string]*ksCommand{}}
	k.parse(text)
	k.checkWhole()
	slices.SortStableFunc(k.findings, func(a, b Finding) int { return a.Line - b.Line })
	return k.findings
}

// A kickstart being read.
type kickstart struct {
	Linter
	findings []Finding
	commands []*ksCommand
	first    map[string]*ksCommand // by canonical name
	sections []section
	included bool // another file is included, so what is missing may be there
}

// A ksCommand is one command of a kickstart.
type ksCommand struct {
	line int
	name string // canonical: accepteula for vmaccepteula
	opts map[string]string
	args []string
}

func (c *ksCommand) has(option string) bool { _, ok := c.opts[option]; return ok }

type section struct {
	line int
	name string
	body []string
}

func (k *kickstart) errorf(line int, rule, format string, args ...any) {
	k.findings = append(k.findings, Finding{line, rule, fmt.Sprintf(format, args...), true})
}

func (k *kickstart) warnf(line int, rule, format string, args ...any) {
	k.findings = append(k.findings, Finding{line, rule, fmt.Sprintf(format, args...), false})
}

func (k *kickstart) parse(text string) {
	in := -1 // which section
	for i, raw := range strings.Split(text, "\n") {
		n := i + 1
		raw = strings.TrimRight(raw, "\r")
		if strings.ContainsFunc(raw, func(r rune) bool { return r > '~' }) {
			k.warnf(n, "ascii", "holds characters other than ASCII")
		}
		trimmed := strings.TrimSpace(raw)
		switch {
		case strings.HasPrefix(trimmed, "%") && !strings.HasPrefix(trimmed, "%include"):
			k.section(n, trimmed)
			in = len(k.sections) - 1
		case in >= 0:
			k.sections[in].body = append(k.sections[in].body, raw)
			k.misplaced(n, trimmed, k.sections[in].name)
		default:
			k.command(n, trimmed)
		}
	}
}

func (k *kickstart) command(n int, text string) {
	words, ok := splitWords(text)
	if !ok {
		k.errorf(n, "quotes", "a quotation mark is not closed")
		return
	}
	if len(words) == 0 {
		return
	}
	name := canonical(words[0])
	if name == "include" {
		k.included = true
		if len(words) != 2 {
			k.errorf(n, "include", "%s wants one file or address", words[0])
		}
		return
	}
	spec, known := commands[name]
	if !known {
		k.errorf(n, "unknown-command", "%s is not a command of ESXi's installer", words[0])
		return
	}
	if !spec.holds(k.Version) {
		k.errorf(n, "withdrawn-command", "%s is no command of ESXi %s; %s", words[0], k.Version, spec.note)
		return
	}
	c := &ksCommand{line: n, name: name, opts: map[string]string{}}
	for _, w := range words[1:] {
		k.word(c, spec, w)
	}
	if old := k.first[name]; old != nil && !spec.repeats {
		k.errorf(n, "twice", "%s stands in line %d already", words[0], old.line)
	} else {
		k.first[name] = c
	}
	k.commands = append(k.commands, c)
	if check := checks[name]; check != nil {
		check(k, c)
	}
}

// word takes an option or an argument.
func (k *kickstart) word(c *ksCommand, spec ksSpec, w string) {
	if !strings.HasPrefix(w, "--") {
		c.args = append(c.args, w)
		return
	}
	name, value, has := strings.Cut(w[2:], "=")
	o, known := spec.options[name]
	switch {
	case !known:
		k.errorf(c.line, "unknown-option", "%s has no option --%s", c.name, name)
	case !o.holds(k.Version):
		k.errorf(c.line, "withdrawn-option", "--%s of %s is not in ESXi %s", name, c.name, k.Version)
	case o.value == valueNeeded && value == "":
		k.errorf(c.line, "value", "--%s of %s wants a value", name, c.name)
	case o.value == valueNone && has:
		k.errorf(c.line, "value", "--%s of %s takes no value", name, c.name)
	}
	if c.has(name) {
		k.errorf(c.line, "twice", "--%s is given twice", name)
	}
	c.opts[name] = value
}

// misplaced finds commands that have come to stand in a script: a section
// lasts until the next one, whatever blank lines say.
func (k *kickstart) misplaced(n int, text, section string) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return
	}
	switch canonical(words[0]) {
	case "accepteula", "rootpw", "installorupgrade", "clearpart", "paranoid":
	case "install", "network", "upgrade":
		if len(words) < 2 || !strings.HasPrefix(words[1], "--") {
			return
		}
	default:
		return
	}
	k.errorf(n, "order", "%s stands in %s; commands come before the first section", words[0], section)
}

func (k *kickstart) section(n int, text string) {
	words, _ := splitWords(text)
	if len(words) == 0 {
		words = []string{text}
	}
	s := section{line: n, name: words[0]}
	k.sections = append(k.sections, s)
	spec, known := sectionSpecs[s.name]
	if !known {
		k.errorf(n, "unknown-section", "%s is not a section of ESXi's kickstart; there are %%pre, %%post and %%firstboot", s.name)
		return
	}
	c := &ksCommand{line: n, name: s.name, opts: map[string]string{}}
	for _, w := range words[1:] {
		k.word(c, spec, w)
	}
	switch i := c.opts["interpreter"]; {
	case i != "" && i != "busybox" && i != "python" && i != "bash":
		k.errorf(n, "interpreter", "interpreter %s; there are busybox and python", i)
	case i == "" && k.Version.AtLeast(5):
		k.warnf(n, "interpreter", "%s does not say by --interpreter= what runs it", s.name)
	}
	if s.name == "%firstboot" && k.SecureBoot {
		k.errorf(n, "secure-boot", "%%firstboot does not run on a host with Secure Boot on; set the node's esxi.secureboot, or do this by %%post")
	}
}

// splitWords splits as a shell would: blanks, quotes, backslash, # comments.
func splitWords(text string) (words []string, ok bool) {
	var w strings.Builder
	inWord, quote := false, rune(0)
	escaped := false
	for _, r := range text {
		switch {
		case escaped:
			w.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				w.WriteRune(r)
			}
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == '#' && !inWord:
			return words, true
		case r == ' ' || r == '\t':
			if inWord {
				words = append(words, w.String())
				w.Reset()
				inWord = false
			}
		default:
			w.WriteRune(r)
			inWord = true
		}
	}
	if inWord {
		words = append(words, w.String())
	}
	return words, quote == 0 && !escaped
}

// checkWhole finds what no single line shows.
func (k *kickstart) checkWhole() {
	if n := len(k.commands); n > maxCommands {
		k.errorf(0, "too-many", "%d commands, the installer takes %d", n, maxCommands)
	}
	var kinds []*ksCommand
	for _, name := range []string{"install", "upgrade", "installorupgrade"} {
		if c := k.first[name]; c != nil {
			kinds = append(kinds, c)
		}
	}
	switch {
	case len(kinds) > 1:
		k.errorf(max(kinds[0].line, kinds[1].line), "two-installs", "only one of install, upgrade, installorupgrade may stand in a kickstart")
	case len(kinds) == 0 && !k.included && k.first["dryrun"] == nil:
		k.errorf(0, "no-install", "neither install nor upgrade nor installorupgrade: the installer stops and waits")
	}
	upgrade := k.first["upgrade"] != nil
	if k.first["accepteula"] == nil && !upgrade {
		k.errorf(0, "no-accepteula", "accepteula is missing: the installer stops and waits")
	}
	if k.first["rootpw"] == nil && !upgrade {
		k.errorf(0, "no-rootpw", "rootpw is missing: the installer stops and waits")
	}
	if k.first["reboot"] == nil {
		k.warnf(0, "no-reboot", "reboot is missing: the installer waits for a key at its end")
	}
	if c := k.first["clearpart"]; c != nil && k.first["install"] == nil && k.Version.AtLeast(5) && !k.included {
		k.errorf(c.line, "clearpart", "clearpart wants an install command")
	}
	if c := k.first["autopart"]; c == nil && !k.Version.AtLeast(5) && k.first["install"] != nil {
		k.errorf(k.first["install"].line, "no-autopart", "autopart is missing: ESXi 4's installer does not know which disk to take")
	}
	for _, name := range []string{"rootpw", "network", "keyboard", "serialnum"} {
		if c := k.first[name]; c != nil && upgrade {
			k.warnf(c.line, "ignored", "%s is ignored by an upgrade", name)
		}
	}
}

// checks look at one command.
var checks = map[string]func(*kickstart, *ksCommand){
	"install":          checkInstall,
	"installorupgrade": checkInstall,
	"upgrade":          checkDisk,
	"autopart":         checkDisk,
	"clearpart":        checkClearpart,
	"network":          checkNetwork,
	"rootpw":           checkRootpw,
	"serialnum":        checkSerialnum,
	"keyboard":         checkKeyboard,
}

func checkInstall(k *kickstart, c *ksCommand) {
	if !k.Version.AtLeast(5) { // install says where from, autopart says where to
		if len(c.args) == 0 || c.args[0] == "url" && len(c.args) != 2 {
			k.errorf(c.line, "install-from", "install wants cdrom, usb, or url and an address")
		}
		return
	}
	if len(c.args) > 0 && c.args[0] == "url" {
		k.errorf(c.line, "withdrawn-option", "install url went with ESXi 4; the medium that boots is installed")
	} else if len(c.args) > 0 {
		k.errorf(c.line, "argument", "%s takes no argument %s", c.name, c.args[0])
	}
	checkDisk(k, c)
	if both(c, "overwritevmfs", "preservevmfs") || both(c, "overwritevmfs", "novmfsondisk") || both(c, "preservevmfs", "novmfsondisk") {
		k.errorf(c.line, "vmfs", "--overwritevmfs, --preservevmfs and --novmfsondisk exclude each other")
	}
	if c.has("ignoressd") && !c.has("firstdisk") && c.name == "install" {
		k.errorf(c.line, "ignoressd", "--ignoressd goes with --firstdisk only")
	}
}

func both(c *ksCommand, a, b string) bool { return c.has(a) && c.has(b) }

// checkDisk: exactly one disk.
func checkDisk(k *kickstart, c *ksCommand) {
	n := 0
	for _, o := range []string{"disk", "drive", "firstdisk"} {
		if c.has(o) {
			n++
		}
	}
	switch {
	case n > 1:
		k.errorf(c.line, "two-disks", "%s says more than once which disk: one of --disk=, --drive=, --firstdisk", c.name)
	case n == 0:
		k.errorf(c.line, "no-disk", "%s does not say which disk: --disk=, --drive= or --firstdisk", c.name)
	}
}

func checkClearpart(k *kickstart, c *ksCommand) {
	n := 0
	for _, o := range []string{"drives", "alldrives", "ignoredrives", "firstdisk"} {
		if c.has(o) {
			n++
		}
	}
	if n != 1 {
		k.errorf(c.line, "clearpart", "clearpart wants exactly one of --drives=, --alldrives, --ignoredrives=, --firstdisk")
	}
}

func checkNetwork(k *kickstart, c *ksCommand) {
	proto := c.opts["bootproto"]
	switch proto {
	case "dhcp", "":
		for _, o := range []string{"ip", "netmask", "gateway"} {
			if c.has(o) {
				k.errorf(c.line, "dhcp", "--%s does not go with --bootproto=dhcp", o)
			}
		}
		for _, o := range []string{"hostname", "nameserver"} {
			if c.has(o) {
				k.warnf(c.line, "dhcp", "--%s is ignored with --bootproto=dhcp", o)
			}
		}
	case "static":
		if !c.has("ip") {
			k.errorf(c.line, "static", "--bootproto=static wants --ip=")
		}
	default:
		k.errorf(c.line, "bootproto", "--bootproto=%s; there are dhcp and static", proto)
	}
	for _, o := range []string{"ip", "netmask", "gateway"} {
		if v := c.opts[o]; v != "" {
			if _, err := netip.ParseAddr(v); err != nil {
				k.errorf(c.line, "address", "--%s=%s is not an address", o, v)
			}
		}
	}
	if v := c.opts["device"]; v != "" && !isDevice(v) {
		k.errorf(c.line, "device", "--device=%s is neither vmnicN nor a MAC", v)
	}
	if v := c.opts["vlanid"]; v != "" && !isVLAN(v) {
		k.errorf(c.line, "vlan", "--vlanid=%s is not 0 to 4095", v)
	}
}

func checkRootpw(k *kickstart, c *ksCommand) {
	if len(c.args) != 1 {
		k.errorf(c.line, "rootpw", "rootpw wants one password")
		return
	}
	p := c.args[0]
	switch {
	case c.has("iscrypted") && !sha512.MatchString(p) && !md5.MatchString(p) && !des.MatchString(p):
		k.errorf(c.line, "rootpw", "--iscrypted wants a $6$ or $1$ hash, or DES's 13 characters")
	case !c.has("iscrypted") && len(p) < 7:
		k.errorf(c.line, "rootpw", "the password has fewer than 7 characters, which the installer refuses")
	case !c.has("iscrypted"):
		k.warnf(c.line, "rootpw", "the password is in clear text; hash it and say --iscrypted")
	}
}

func checkSerialnum(k *kickstart, c *ksCommand) {
	if !licenceKey.MatchString(strings.ToUpper(c.opts["esx"])) {
		k.errorf(c.line, "licence", "--esx= wants a key of five groups of five letters or digits")
	}
}

func checkKeyboard(k *kickstart, c *ksCommand) {
	if len(c.args) != 1 {
		k.errorf(c.line, "keyboard", "keyboard wants one layout; quote names that have a blank, as 'Swiss French'")
		return
	}
	if !slices.Contains(keyboards, c.args[0]) {
		k.warnf(c.line, "keyboard", "layout %q is not one that VMware names", c.args[0])
	}
}
