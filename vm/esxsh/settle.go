package esxsh

import (
	"context"
	"errors"
	"slices"
	"strings"

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

// follow is settle for a command that takes long: the host may be at it still,
// which is waited for.
func (c *Conn) follow(ctx context.Context, err error, busy, done func(context.Context) bool) error {
	if !errors.As(err, new(lost)) {
		return err
	}
	for {
		still := busy(ctx) // first: what ends between the two looks is seen to be done
		if done(ctx) {
			return nil
		}
		if !still || vm.Pause(ctx, followPause) != nil {
			return err
		}
	}
}

// followPause is how many tries vm.Pause takes there to have been: what takes
// long is looked at every second and a half.
const followPause = 4

// runs says whether the host still runs a command, by words of its line.
func (c *Conn) runs(words ...string) func(context.Context) bool {
	return func(ctx context.Context) bool {
		out, err := c.run(ctx, "ps -c")
		return err == nil && slices.ContainsFunc(strings.Split(out, "\n"), func(l string) bool {
			return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(l, w) })
		})
	}
}

// atWork says whether the host works on a task of a guest's.
func (c *Conn) atWork(ctx context.Context, id string) bool {
	out, err := c.run(ctx, "vim-cmd vmsvc/get.tasklist "+id)
	if err != nil {
		return false
	}
	var cmds []string
	for _, task := range parseTasks(out) {
		cmds = append(cmds, line("vim-cmd", "vimsvc/task_info", task))
	}
	parts, err := c.batch(ctx, cmds)
	return err == nil && slices.ContainsFunc(parts, func(text string) bool {
		d, err := parseDump(text)
		return err == nil && (d.str("state") == "running" || d.str("state") == "queued")
	})
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
