package provision

import (
	"fmt"
	"regexp"
	"strings"

	"margay/nodedb"
)

// A Symptom is what a machine's screen may say when its boot goes wrong.
type Symptom struct {
	Screen string // what it says, as far as it stays the same
	Means  string
	Way    string
}

// Symptoms are the known ones: of iPXE, of ESXi's boot loader mboot, and of its
// installer, weasel.
func Symptoms() []Symptom {
	return []Symptom{
		{"Fatal error: 15 (Not found)", "mboot did not get a file; the line above names it", "see margay watch NODE for a refusal, and margay media verify for the tree"},
		{"Fatal error: 32 (Syntax)", "mboot does not know an option or a line of boot.cfg", "look at margay render NODE boot.cfg and the node's addkcmdline; options of mboot differ between releases"},
		{"Fatal error: 33 (Inconsistent data)", "a module arrived damaged: its checksum is wrong", "margay media verify; then look at cable, switch port and memory of the machine"},
		{"Fatal error: 10 (Out of resources)", "the firmware has no memory left for the modules", "update the firmware; boot by UEFI rather than BIOS; let the machine do without option ROMs"},
		{"Fatal error: 8 (Device error)", "the firmware's network driver lost the connection", "update the card's firmware; by PXE send ipxe.efi, which has drivers of its own, as <state>/boot/xnba.efi"},
		{"exceeds maximum supported length", "the kernel's options are longer than 4095 bytes", "shorten addkcmdline"},
		{"kernel=<FILEPATH> must be set", "boot.cfg has a blank before an equals sign, or no kernel", "correct the boot.cfg that the loader reads; margay's own has neither"},
		{"Falling back to internal crypto suite", "crypto64.efi was not found; harmless without Secure Boot", "with Secure Boot on, see that the tree has efi/boot/crypto64.efi"},
		{"Shutting down firmware services", "if it stays there, firmware and kernel do not agree at the hand-over", "update the firmware; mboot's -U and -Q (norts=1 and noquirks=1 in boot.cfg) are the usual cures; without graphics the screen may only be dark, so look at the serial console"},
		{"MBI-0x00010018", "the kernel does not start on this hardware: it hangs at loading install.vgz, or a module after it", "this release knows no such processor or chip set: take a newer one, or esxilegacycpu=yes for an older processor"},
		{"Failed to load COM32 file", "pxelinux 6 cannot start ESXi's mboot.c32", "let margay answer DHCP, or send xnba.kpxe in place of pxelinux.0"},
		{"0216eb8f", "iPXE does not trust the certificate of an https address", "give iPXE http: chdef NODE esxihttpmethod=http"},
		{"2d0c613b", "iPXE was told that there is no such file (404)", "see margay watch NODE for the refusal"},
		{"could not obtain an IP", "the installer's own DHCP had no answer in time: often a switch port that is slow to open", "turn on portfast (edge port) for the machine's ports"},
		{"No boot filename received", "the machine was given an address and nothing to boot", "margay show chain NODE says why"},
		{"overwritevmfs", "the disk holds a datastore, which the kickstart is to keep", "chdef NODE esxivmfs=overwrite, if it may go"},
		{"CPU_SUPPORT", "the processor is too old for the release", "chdef NODE esxilegacycpu=yes, or an older release"},
	}
}

var blanks = regexp.MustCompile(`\s+`)

// Explain finds the symptoms that a text from a screen shows.
func Explain(screen string) []Symptom {
	screen = strings.ToLower(blanks.ReplaceAllString(screen, " "))
	var out []Symptom
	for _, s := range Symptoms() {
		key := strings.ToLower(s.Screen)
		number, _, _ := strings.Cut(key, " (") // "fatal error: 15" is enough
		if strings.Contains(screen, key) || number != key && endsWord(screen, number) {
			out = append(out, s)
		}
	}
	return out
}

// endsWord says whether s holds word, and not as the beginning of a longer one.
func endsWord(s, word string) bool {
	for rest := s; ; {
		_, after, ok := strings.Cut(rest, word)
		if !ok {
			return false
		}
		if after == "" || after[0] < '0' || after[0] > '9' {
			return true
		}
		rest = after
	}
}

// loadHint is what usually is the matter with a machine that stopped while it
// loaded modules, by where it stopped.
func (l *Load) loadHint() string {
	switch {
	case l.Count == 0:
		return "it began to load and got no file whole: look at the network between, duplex and MTU first"
	case l.Count >= l.Total:
		return "it has all modules, so the kernel was started: a hang after \"Shutting down firmware services\", or MBI-0x00010018 on the screen, is firmware or hardware that this release does not know"
	}
	return fmt.Sprintf("it stopped at module %d of %d: \"Fatal error\" on the screen names the file; without one look at the network between. margay doctor --screen \"TEXT\" explains what it says", l.Count+1, l.Total)
}

// checkStalls names the nodes that stopped on their way.
func (s *Service) checkStalls(snap *nodedb.Snapshot) []Check {
	var names []string
	for _, n := range snap.Nodes() {
		names = append(names, n.Name)
	}
	var out []Check
	for _, v := range s.Views(names) {
		if len(v.Boots) == 0 {
			continue
		}
		t := v.Boots[len(v.Boots)-1]
		if last := t.Last(); last != nil && last.Name == StepStalled {
			out = append(out, bad("boot of "+v.Node, "margay watch "+v.Node+" shows its way; switch it off and on to try again", "stalled: %s", last.Text))
		}
	}
	return out
}
