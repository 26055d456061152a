package esxsh

import (
	"context"
	"errors"
	"slices"

	"margay/vm"
)

// settle finds out what became of a command whose connection broke under it:
// where the host has carried it out, nothing is wrong.
func (c *Conn) settle(ctx context.Context, err error, done func(context.Context) bool) error {
	if errors.As(err, new(lost)) && done(ctx) {
		return nil
	}
	return err
}

// portGroup finds a port group of the host, as it is now.
func (c *Conn) portGroup(ctx context.Context, name string) (vm.PortGroup, bool) {
	h, err := c.Host(ctx, "")
	if err != nil {
		return vm.PortGroup{}, false
	}
	i := slices.IndexFunc(h.PortGroups, func(pg vm.PortGroup) bool { return pg.Name == name })
	if i < 0 {
		return vm.PortGroup{}, false
	}
	return h.PortGroups[i], true
}

// hasUplink says whether a switch is there and has a card; any with "".
func (c *Conn) hasUplink(ctx context.Context, name, card string) bool {
	h, err := c.Host(ctx, "")
	return err == nil && slices.ContainsFunc(h.Switches, func(s vm.Switch) bool {
		return s.Name == name && (card == "" || slices.Contains(s.Uplinks, card))
	})
}
