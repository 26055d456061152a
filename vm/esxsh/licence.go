package esxsh

import (
	"context"
	"strings"

	"margay/vm"
)

// Licence is the one that the host has.
func (c *Conn) Licence(ctx context.Context, _ string) (vm.Licence, error) {
	out, err := c.run(ctx, "vim-cmd vimsvc/license --show")
	return parseLicence(out), err
}

// parseLicence reads vimsvc/license --show: the first licence that it lists.
func parseLicence(out string) (l vm.Licence) {
	for _, line := range strings.Split(out, "\n") {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		switch value = strings.TrimSpace(value); {
		case !ok:
		case key == "serial" && l.Key == "":
			l.Key = value
		case key == "name" && l.Name == "":
			l.Name = value
		}
	}
	return l
}

// SetLicence gives the host the licence of a key.
func (c *Conn) SetLicence(ctx context.Context, host, key string) error {
	if err := safe(key); err != nil {
		return err
	}
	_, err := c.run(ctx, line("vim-cmd", "vimsvc/license", "--set", key))
	return c.settle(ctx, err, func(ctx context.Context) bool {
		l, err := c.Licence(ctx, host)
		return err == nil && l.Key == key
	})
}
