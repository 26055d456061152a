// Package bmc holds the words of bare-metal control: what a management
// controller is asked, what it answers, how many are asked at a time. Its
// children speak to the controllers: ipmi and redfish.
//
// A controller is a small, slow computer that is often dead, sometimes lies
// and has few sessions. So all that is said here is bounded in time, what was
// set is read back, and a silent one costs nobody but itself.
package bmc

import (
	"context"
	"io"

	"margay/nodedb"
)

// A Machine can be switched on and off.
type Machine interface {
	// State is the power as the controller reports it now.
	State(ctx context.Context) (nodedb.PowerState, error)
	// Do sends one order as it is, without looking first. ErrUnsupported: the
	// machine cannot.
	Do(ctx context.Context, a Action) error
}

// A Booter can be told what to boot from.
type Booter interface {
	// Boot is the override that is set now.
	Boot(ctx context.Context) (Boot, error)
	// WriteBoot sets the override, without reading it back. SetBoot does both.
	WriteBoot(ctx context.Context, b Boot) error
}

// A Teller says what the machine is and how it fares.
type Teller interface {
	// Inventory fetches what the given kinds need; none means all.
	Inventory(ctx context.Context, kinds ...string) (*Inventory, error)
	// Vitals reads the sensors of the given kinds; none means all.
	Vitals(ctx context.Context, kinds ...string) ([]Sensor, error)
	// Events returns the newest n entries of the event log, newest first; all
	// of them if n is 0.
	Events(ctx context.Context, n int) ([]Event, error)
	// ClearEvents empties the event log.
	ClearEvents(ctx context.Context) error
	// MACs are the host's interfaces as far as the controller knows them.
	MACs(ctx context.Context) ([]MAC, error)
	// Beacon turns the locator light on or off.
	Beacon(ctx context.Context, on bool) error
}

// A Configurer has settings of its own.
type Configurer interface {
	// Net is how the controller is on the network.
	Net(ctx context.Context) (Net, error)
	// SetNet changes what is not nil in c. A controller whose address was
	// changed does not answer at the old one any more.
	SetNet(ctx context.Context, c NetChange) error
	// SetPassword changes the password of a user of the controller.
	SetPassword(ctx context.Context, user string, password Secret) error
}

// A Media can show the machine an image as a disc.
type Media interface {
	// Media is the image in the virtual drive, "" if it is empty.
	Media(ctx context.Context) (string, error)
	// InsertMedia puts the image at url into the machine's virtual drive.
	InsertMedia(ctx context.Context, url string) error
	// EjectMedia empties the virtual drive.
	EjectMedia(ctx context.Context) error
}

// A Controller is a session with one management controller. It is used by one
// goroutine at a time and must be closed: controllers have few sessions.
type Controller interface {
	Machine
	Booter
	Teller
	Configurer
	Media
	// Console opens the machine's serial console. Closing it leaves the
	// controller's session open.
	Console(ctx context.Context) (io.ReadWriteCloser, error)
	// Close ends the session, telling the controller if it still answers.
	Close() error
}

// A Dialer opens a session with a target's controller.
type Dialer interface {
	Dial(ctx context.Context, t Target) (Controller, error)
}

// DialFunc is a function as a Dialer.
type DialFunc func(ctx context.Context, t Target) (Controller, error)

// Dial calls f.
func (f DialFunc) Dial(ctx context.Context, t Target) (Controller, error) { return f(ctx, t) }
