package nodedb

// A Mode is what a node does when it boots next; xCAT keeps it as the first
// word of chain.currstate.
type Mode string

// The modes, in xCAT's words.
const (
	ModeNone    Mode = ""
	ModeInstall Mode = "install"
	ModeNetboot Mode = "netboot"
	ModeBoot    Mode = "boot"
	ModeOffline Mode = "offline"

	// Work on a machine, by a small system that is loaded for it. What runcmd
	// and runimage are to run stands behind an equals sign.
	ModeShell    Mode = "shell"
	ModeCommand  Mode = "runcmd"
	ModeArchive  Mode = "runimage"
	ModeStandby  Mode = "standby"
	ModeReboot   Mode = "reboot"
	ModeShutdown Mode = "shutdown"
	ModeMemtest  Mode = "memtest"
)

// Works says whether it is the small system for work that a node loads.
func (m Mode) Works() bool {
	switch m {
	case ModeShell, ModeCommand, ModeArchive, ModeStandby, ModeReboot, ModeShutdown:
		return true
	}
	return false
}

// Loads says whether a node loads a system from us.
func (m Mode) Loads() bool {
	return m == ModeInstall || m == ModeNetboot || m == ModeMemtest || m.Works()
}

// A Status is where a node stands; xCAT keeps it in nodelist.status.
type Status string

// The statuses that we set, in xCAT's words.
const (
	StatusDefined     Status = "defined"
	StatusInstalling  Status = "installing"
	StatusInstalled   Status = "installed"
	StatusNetbooting  Status = "netbooting"
	StatusBooting     Status = "booting"
	StatusBooted      Status = "booted"
	StatusFailed      Status = "failed"
	StatusUnreachable Status = "unreachable"

	StatusConfiguring Status = "configuring" // runcmd, runimage
	StatusStandingBy  Status = "standingby"
	StatusShell       Status = "shell"
)

// A PowerState is what a machine's power is.
type PowerState string

// The power states.
const (
	PowerOn        PowerState = "on"
	PowerOff       PowerState = "off"
	PowerSuspended PowerState = "suspend"
	PowerUnknown   PowerState = "unknown"
)
