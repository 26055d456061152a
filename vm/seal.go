package vm

import _ "embed"

//go:embed seal.sh
var sealScript string

// SealScript is what makes a Linux guest fit to be an image, for its shell.
func SealScript() string { return sealScript }

// SealList is what a guest needs before it is made an image; SealScript does
// it all but the first.
func SealList() []string {
	return []string{
		"the system is installed and up to date, with VMware Tools and cloud-init in it",
		"network cards are not tied to addresses: no 70-persistent-net.rules, no HWADDR= or UUID= in ifcfg-*, no mac-address= in connections",
		"the ssh server's host keys are gone, and the first boot makes others",
		"/etc/machine-id is empty, and so is what random numbers start from",
		"cloud-init has forgotten this guest",
		"leases, logs, histories, caches and temporary files are gone",
		"it was turned off from within, and no image is in its CD drive",
	}
}
