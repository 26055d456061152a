package provision

import (
	"fmt"
	"time"

	"margay/nodedb"
)

// A Timeline is one boot of a node, from its first DHCP request on.
type Timeline struct {
	Began time.Time   `json:"began"`
	Mode  nodedb.Mode `json:"mode"`
	Try   int         `json:"try,omitempty"` // of its attempt; 0 before a try began
	Steps []Step      `json:"steps"`
	Load  *Load       `json:"load,omitempty"`
	Over  bool        `json:"over,omitempty"` // nothing more is to come
}

// A Step is something that a node was seen to do, or said.
type Step struct {
	At   time.Time `json:"at"`
	Name StepName  `json:"name"`
	Text string    `json:"text"`
}

// A StepName says what a step is, in one word.
type StepName string

// The steps of a boot in their usual order, and those that end it.
const (
	StepBootDevice StepName = "bootdevice"
	StepPower      StepName = "power"
	StepHook       StepName = "hook"
	StepDHCP       StepName = "dhcp"
	StepLoader     StepName = "loader"
	StepScript     StepName = "script"
	StepBootLoader StepName = "bootloader"
	StepBootConfig StepName = "bootcfg"
	StepModules    StepName = "modules"
	StepKickstart  StepName = "kickstart"
	StepInstalling StepName = "installing"
	StepReport     StepName = "report"
	StepInstalled  StepName = "installed"
	StepLocalBoot  StepName = "localboot"
	StepBooted     StepName = "booted"
	StepAnswers    StepName = "answers"
	StepSilent     StepName = "silent"
	StepStalled    StepName = "stalled"
	StepRefused    StepName = "refused"
	StepFailed     StepName = "failed"
	StepHeld       StepName = "held"
	StepWorking    StepName = "working"
	StepDone       StepName = "done"
)

// stallAfter is how long nothing may be heard after a step before the node
// counts as stalled. Firmware answers within seconds; an installer writes for
// minutes without a word.
var stallAfter = map[StepName]time.Duration{
	StepPower:      10 * time.Minute,
	StepDHCP:       60 * time.Second,
	StepLoader:     60 * time.Second,
	StepScript:     60 * time.Second,
	StepBootLoader: 60 * time.Second,
	StepBootConfig: 60 * time.Second,
	StepModules:    30 * time.Second,
	StepKickstart:  5 * time.Minute,
	StepInstalling: 30 * time.Minute,
	StepReport:     30 * time.Minute,
	StepInstalled:  20 * time.Minute,
}

// Load is how far a boot loader is with the modules.
type Load struct {
	Count   int       `json:"count"` // loaded whole
	Total   int       `json:"total"`
	Bytes   int64     `json:"bytes"`
	Size    int64     `json:"size"` // of all
	Current string    `json:"current"`
	Whole   int64     `json:"whole,omitempty"` // size of Current
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

// Rate is the mean rate in bytes per second.
func (l *Load) Rate() float64 {
	d := l.Last.Sub(l.First).Seconds()
	if d <= 0 {
		return 0
	}
	return float64(l.Bytes) / d
}

func (l *Load) String() string {
	s := fmt.Sprintf("module %d of %d", l.Count, l.Total)
	if l.Bytes > 0 {
		s += fmt.Sprintf(", %.1f of %.1f MB", float64(l.Bytes)/1e6, float64(l.Size)/1e6)
	}
	if r := l.Rate(); r > 0 {
		s += fmt.Sprintf(", %.1f MB/s", r/1e6)
	}
	return s
}

// Last is the newest step, or nil.
func (t *Timeline) Last() *Step {
	if len(t.Steps) == 0 {
		return nil
	}
	return &t.Steps[len(t.Steps)-1]
}

// Has says whether a step was seen.
func (t *Timeline) Has(name StepName) bool {
	for _, s := range t.Steps {
		if s.Name == name {
			return true
		}
	}
	return false
}

// refusedFor says whether a refusal is there already: a machine asks on and on,
// and between its askings other steps may stand.
func (t *Timeline) refusedFor(text string) bool {
	for _, s := range t.Steps {
		if s.Name == StepRefused && s.Text == text {
			return true
		}
	}
	return false
}

// onlyNotes says whether nothing was heard of the machine itself yet.
func (t *Timeline) onlyNotes() bool {
	for _, s := range t.Steps {
		if s.Name != StepPower && s.Name != StepBootDevice && s.Name != StepHook {
			return false
		}
	}
	return true
}

// reached is the newest step that is no refusal.
func (t *Timeline) reached() *Step {
	for i := len(t.Steps) - 1; i >= 0; i-- {
		if s := &t.Steps[i]; s.Name != StepRefused && s.Name != StepStalled && s.Name != StepHook {
			return s
		}
	}
	return t.Last()
}

// stall is how a stalled boot is described: where it stands and for how long.
func (t *Timeline) stall(now time.Time) string {
	last := t.reached()
	text := fmt.Sprintf("no word for %s since %s", now.Sub(t.heard()).Round(time.Second), last.Name)
	if last.Name == StepModules && t.Load != nil {
		text = fmt.Sprintf("%s at %s, %s", text, t.Load, t.Load.Current)
	}
	if t.started() {
		return text + "; all is loaded, and the system that was started does not report: look at its screen. A hang after \"Shutting down firmware services\", or MBI-0x00010018, is firmware or hardware that the release does not know"
	}
	hint := stallHint[last.Name]
	if last.Name == StepModules && t.Load != nil {
		hint = t.Load.loadHint()
	}
	if hint != "" {
		text += "; " + hint
	}
	return text
}

// heard is when the boot last showed any sign of life.
func (t *Timeline) heard() time.Time {
	at := t.Last().At
	if t.Load != nil && t.Load.Last.After(at) {
		return t.Load.Last
	}
	return at
}

// slowest is a rate, in bytes per second, at which a machine still counts as
// loading a file: a big one is one step that takes its time.
const slowest = 200 << 10

// starts is how long a system that was loaded whole may take until it is heard
// of. It looks for its devices first, and one of Ubuntu's installers then
// fetches all of its medium.
const starts = 10 * time.Minute

// started says whether all that a boot loads was loaded, and nothing was heard
// since but that the system asks for an address.
func (t *Timeline) started() bool {
	name := t.reached().Name
	return t.Load != nil && t.Load.Total > 0 && t.Load.Count == t.Load.Total && (name == StepModules || name == StepDHCP)
}

// patience is how long nothing may be heard now.
func (t *Timeline) patience() (time.Duration, bool) {
	if t.started() {
		return starts, t.Mode != nodedb.ModeMemtest // which says nothing ever
	}
	limit, ok := stallAfter[t.reached().Name]
	if t.reached().Name == StepModules && t.Load != nil {
		limit += time.Duration(t.Load.Whole/slowest) * time.Second
	}
	return limit, ok
}

// stallHint is what usually is the matter.
var stallHint = map[StepName]string{
	StepPower:      "it was switched on and never asked for an address: does it boot from the network first, and on which of its cards?",
	StepDHCP:       "it was offered an address and did not go on: is another DHCP server answering it?",
	StepLoader:     "the boot loader did not start: a firmware with Secure Boot on refuses it; use UEFI HTTP boot there",
	StepScript:     "iPXE has its script and fetched nothing: look at the machine's screen",
	StepBootLoader: "the medium's boot loader fetched no boot.cfg: look at the machine's screen",
	StepBootConfig: "the boot loader fetched no module: look at its screen for a fatal error",
	StepModules:    "the machine stopped fetching: look at its screen, and at the network between",
	StepKickstart:  "the installer has its kickstart and does not report: look at its screen (Alt+F12 shows its log)",
	StepInstalling: "the installer began and does not report an end: look at its screen",
	StepInstalled:  "installed, but the first boot does not report: is the disk first in its boot order?",
}
