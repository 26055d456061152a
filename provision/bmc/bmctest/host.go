// Package bmctest plays management controllers and the machines behind them,
// strictly enough that what works against it has a chance against hardware.
// Tests and the demo use it; the product never links it.
//
// A Host is the machine. IPMI and Redfish are faces that show it to the
// network, and Lossy stands between a face and its client.
package bmctest

import (
	"slices"
	"sync"
	"time"

	"margay/provision/bmc"
)

// A Hook makes power real: a qemu machine, say. A Host without one only
// remembers.
type Hook interface {
	// PowerOn starts the machine from what it should boot.
	PowerOn(b bmc.Boot, media string) error
	// PowerOff stops it at once, and returns when it has stopped.
	PowerOff() error
}

// A Host is a machine with a power button.
type Host struct {
	Hook Hook
	// Lag is how long a power order takes to show.
	Lag time.Duration
	// IgnoreBoot: boot overrides are accepted and forgotten.
	IgnoreBoot bool
	// IgnorePower: power orders are accepted and forgotten.
	IgnorePower bool

	mu     sync.Mutex // guards what follows
	on     bool
	moving *time.Timer
	boot   bmc.Boot
	media  string
	beacon bool
	boots  []bmc.Boot
	orders []string
}

// On says whether the machine is on.
func (h *Host) On() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.on
}

// Orders are the power orders that were accepted, in order.
func (h *Host) Orders() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.orders)
}

// Boots are what the machine booted from each time it was started.
func (h *Host) Boots() []bmc.Boot {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.boots)
}

// Beacon says whether the locator light is on.
func (h *Host) Beacon() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.beacon
}

// Boot is the override that is set.
func (h *Host) Boot() bmc.Boot {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.boot
}

// Media is the image in the virtual drive.
func (h *Host) Media() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.media
}

// SetPower switches the machine, as its button would.
func (h *Host) SetPower(on bool) error {
	word := "off"
	if on {
		word = "on"
	}
	return h.order(word, func() error { return h.power(on) })
}

// Restart stops the machine and starts it, under the order's name.
func (h *Host) Restart(name string) error {
	return h.order(name, func() error {
		if err := h.power(false); err != nil {
			return err
		}
		return h.power(true)
	})
}

// Note remembers an order that changes nothing here.
func (h *Host) Note(name string) { _ = h.order(name, func() error { return nil }) }

func (h *Host) order(name string, do func() error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.orders = append(h.orders, name)
	if h.IgnorePower {
		return nil
	}
	if h.Lag <= 0 {
		return do()
	}
	if h.moving != nil {
		h.moving.Stop()
	}
	h.moving = time.AfterFunc(h.Lag, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		_ = do()
	})
	return nil
}

// power does the switching; a boot uses up a one-time override. The caller
// holds mu.
func (h *Host) power(on bool) error {
	if on == h.on {
		return nil
	}
	if h.Hook != nil && !on {
		if err := h.Hook.PowerOff(); err != nil {
			return err
		}
	}
	h.on = on
	if !on {
		return nil
	}
	b := h.boot
	h.boots = append(h.boots, b)
	if !b.Persistent {
		h.boot = bmc.Boot{}
	}
	if h.Hook != nil {
		return h.Hook.PowerOn(b, h.media)
	}
	return nil
}

// Stopped tells the host that its machine has ended by itself.
func (h *Host) Stopped() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.on = false
}

func (h *Host) setBoot(b bmc.Boot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.IgnoreBoot {
		h.boot = b
	}
}

func (h *Host) setMedia(url string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.media = url
}

func (h *Host) setBeacon(on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.beacon = on
}
