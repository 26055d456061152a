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
)

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
