// Package redfish speaks Redfish (DSP0266) to management controllers. Requests
// and sessions are gofish's; what the resources are read into is ours, and
// asks of a service only what every one has.
package redfish

import (
	"context"
	"errors"
	"fmt"
	"io"

	"margay/provision/bmc"
)

// A Dialer opens sessions. Pins keeps the certificates that services showed.
type Dialer struct {
	Pins bmc.Pins
}

// Dial opens a session with a target's service. It fails with bmc.ErrTimeout,
// ErrPassword, ErrPrivilege, ErrBusy or ErrPin. The caller closes it.
func (d *Dialer) Dial(ctx context.Context, t bmc.Target) (bmc.Controller, error) {
	first, err := knock(ctx, t.HostPort(443), t.Patience())
	if err != nil {
		return nil, bmc.Timeout(err)
	}
	h := client(t, first, func(shown string) error { return bmc.CheckPin(ctx, d.Pins, t.Node, shown) })
	s, err := login(ctx, t, h)
	if err != nil {
		h.CloseIdleConnections()
		return nil, err
	}
	c := &Controller{s: s}
	if err := c.look(ctx); err != nil {
		s.close()
		return nil, err
	}
	return c, nil
}

// A Controller is a session with one service and the system behind it. It
// implements bmc.Controller.
type Controller struct {
	s      *session
	root   root
	system string // path
	vendor vendor
}

var _ bmc.Controller = (*Controller)(nil)

type link struct {
	ID string `json:"@odata.id"`
}

type collection struct {
	Members []link `json:"Members"`
}

// root is the service root (DSP0268, ServiceRoot).
type root struct {
	Vendor         string
	Product        string
	RedfishVersion string
	Systems        link
	Managers       link
	Chassis        link
	AccountService link
	OEM            map[string]any `json:"Oem"`
}

// look finds the system. A service with several is a chassis of blades or an
// aggregator, where one cannot tell which is the node.
func (c *Controller) look(ctx context.Context) error {
	if err := c.s.get(ctx, "/redfish/v1/", &c.root); err != nil {
		return err
	}
	systems, err := c.members(ctx, c.root.Systems)
	if err != nil {
		return err
	}
	switch len(systems) {
	case 0:
		return fmt.Errorf("the service has no system: %w", bmc.ErrUnsupported)
	case 1:
		c.system = systems[0]
	default:
		return fmt.Errorf("the service has %d systems, not one: give the address of the node's own BMC: %w", len(systems), bmc.ErrUnsupported)
	}
	var s system
	if err := c.s.get(ctx, c.system, &s); err != nil {
		return err
	}
	c.vendor = vendorOf(c.root, s.Manufacturer)
	return nil
}

// maxMembers bounds a walk: more, and the service makes them up.
const maxMembers = 512

// members are the paths in a collection; none if there is no collection.
func (c *Controller) members(ctx context.Context, l link) ([]string, error) {
	if l.ID == "" {
		return nil, nil
	}
	var list collection
	if err := c.s.get(ctx, l.ID, &list); err != nil {
		if gone(err) {
			return nil, nil
		}
		return nil, err
	}
	var out []string
	for _, m := range list.Members {
		if m.ID != "" && len(out) < maxMembers {
			out = append(out, m.ID)
		}
	}
	return out, nil
}

// each reads every member of a collection into a T. One that is not there or
// does not parse is passed over: it should not hide the others.
func each[T any](ctx context.Context, c *Controller, l link, fn func(path string, v T) error) error {
	paths, err := c.members(ctx, l)
	if err != nil {
		return err
	}
	for _, p := range paths {
		var v T
		if err := c.s.get(ctx, p, &v); err != nil {
			if gone(err) || errors.Is(err, errParse) {
				continue
			}
			return err
		}
		if err := fn(p, v); err != nil {
			return err
		}
	}
	return nil
}

// gone says that a resource is not there, though something links to it.
func gone(err error) bool {
	switch status(err) {
	case 404, 405, 410, 501:
		return true
	}
	return false
}

// Close ends the session and tells the service so.
func (c *Controller) Close() error {
	c.s.close()
	return nil
}

// Console is not Redfish's: it tells where one is, not how it goes.
func (c *Controller) Console(context.Context) (io.ReadWriteCloser, error) {
	return nil, unsupported(errors.New("redfish has no console of its own; it is reached by serial over LAN"))
}

func unsupported(err error) error { return fmt.Errorf("%w: %w", err, bmc.ErrUnsupported) }
