package bmc

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Device is what rsetboot is told, in xCAT's words.
type Device string

// The devices. NoOverride is the answer "the machine boots as its firmware is
// set up"; Default is the order to do so.
const (
	NoOverride Device = ""
	Default    Device = "def"
	Network    Device = "net"
	HardDisk   Device = "hd"
	CD         Device = "cd"
	Floppy     Device = "floppy"
	Setup      Device = "setup"
	HTTP       Device = "http" // UEFI HTTP boot; Redfish only
	Other      Device = "other"
)

// ParseDevice reads a device as typed. "stat" is not one.
func ParseDevice(word string) (Device, error) {
	switch d := Device(word); d {
	case Default, Network, HardDisk, CD, Floppy, Setup, HTTP:
		return d, nil
	case "default":
		return Default, nil
	}
	return "", fmt.Errorf("unsupported command setboot %s", word)
}

// Text is the device as rsetboot prints it.
func (d Device) Text() string {
	switch d {
	case NoOverride:
		return "boot override inactive"
	case Default:
		return "BIOS default"
	case Network:
		return "Network"
	case HardDisk:
		return "Hard Drive"
	case CD:
		return "CD/DVD"
	case Floppy:
		return "Floppy"
	case Setup:
		return "BIOS Setup"
	case HTTP:
		return "HTTP"
	}
	return string(d)
}

// A Boot is a boot override.
type Boot struct {
	Device     Device
	UEFI       bool   // boot it the UEFI way
	Persistent bool   // every boot, not only the next
	URI        string // for HTTP; empty: what DHCP says
	Detail     string // the machine's own word where Device is Other
	Unmarked   Device // what is noted though no override is in effect
}

// String is the override as rsetboot prints it.
func (b Boot) String() string {
	if b.Device == Other && b.Detail != "" {
		return b.Detail
	}
	return b.Device.Text()
}

// bootTries is how often an override that did not stay is set anew, and
// bootPause how long the machine is given to show it: some write it to their
// flash first.
const (
	bootTries = 3
	bootPause = 500 * time.Millisecond
)

// SetBoot sets an override, reads it back, and tries again if it did not
// stay. It returns what the machine says in the end. A machine that keeps
// another device is ErrIgnored; one that keeps the device and not how (UEFI,
// once) is told of in notes, for it may still boot as asked.
func SetBoot(ctx context.Context, m Booter, want Boot) (got Boot, notes []string, err error) {
	for try := range bootTries {
		if err := m.WriteBoot(ctx, want); err != nil {
			return Boot{}, nil, err
		}
		got, err = readBack(ctx, m, want, time.Duration(try+1)*bootPause)
		if err != nil {
			return Boot{}, nil, err
		}
		if sameDevice(want, got) {
			return inEffect(want, got), bootNotes(want, got), nil
		}
	}
	return got, nil, fmt.Errorf("boot device was set to %q %d times and reads back %q: %w", want, bootTries, got, ErrIgnored)
}

// readBack reads the override until it is the one wanted or time is up.
func readBack(ctx context.Context, m Booter, want Boot, limit time.Duration) (Boot, error) {
	end := time.Now().Add(limit)
	pause := 50 * time.Millisecond
	for {
		got, err := m.Boot(ctx)
		if err != nil || sameDevice(want, got) && len(bootNotes(want, got)) == 0 {
			return got, err
		}
		if time.Now().After(end) {
			return got, nil
		}
		if !Sleep(ctx, pause) {
			return got, errors.Join(context.Cause(ctx))
		}
		pause *= 2
	}
}

// sameDevice says whether an override is in effect as wanted. To ask for the
// firmware's own order and to have no override is the same.
func sameDevice(want, got Boot) bool {
	if want.Device == Default {
		return got.Device == Default || got.Device == NoOverride
	}
	return want.Device == got.Device || got.Device == NoOverride && want.Device == got.Unmarked
}

// inEffect is got with a device that is noted but not marked as valid taken
// for set.
func inEffect(want, got Boot) Boot {
	if got.Device == NoOverride && want.Device == got.Unmarked {
		got.Device = want.Device
	}
	return got
}

func bootNotes(want, got Boot) []string {
	var notes []string
	if want.Device == Default {
		return nil
	}
	if got.Device != want.Device {
		return []string{"the machine keeps the device and does not mark it as valid; it may not follow it"}
	}
	if want.UEFI && !got.UEFI {
		notes = append(notes, "the machine did not keep the UEFI flag; it boots the way its firmware is set up")
	}
	if want.Persistent && !got.Persistent {
		notes = append(notes, "the machine keeps the device for the next boot only")
	}
	if !want.Persistent && got.Persistent {
		notes = append(notes, "the machine keeps the device for every boot, not only the next; undo it with rsetboot def")
	}
	return notes
}
