package esxsh

import (
	"context"
	"strconv"
	"strings"

	"margay/vm"
)

// Autostarts reads which guests start with the host.
func (c *Conn) Autostarts(ctx context.Context, _ string) (vm.Autostarts, error) {
	parts, err := c.batch(ctx, []string{"vim-cmd hostsvc/autostartmanager/get_defaults", "vim-cmd hostsvc/autostartmanager/get_autostartseq"})
	if err != nil {
		return vm.Autostarts{}, err
	}
	for _, p := range parts {
		if err := classify(p, nil); err != nil {
			return vm.Autostarts{}, err
		}
	}
	return parseAutostarts(parts[0], parts[1])
}

func parseAutostarts(defaults, list string) (vm.Autostarts, error) {
	out := vm.Autostarts{Guests: map[string]vm.Autostart{}}
	d, err := parseDump(defaults)
	if err != nil {
		return out, err
	}
	out.Enabled = d.str("enabled") == "true"
	for _, block := range strings.Split(list, "AutoPowerInfo) {")[1:] {
		p, err := parseDump("(AutoPowerInfo) {" + block)
		if err != nil {
			return out, err
		}
		_, id, ok := strings.Cut(p.str("key"), ":")
		if !ok {
			return out, vm.Errorf(vm.ErrInvalid, "vim-cmd lists a guest without a number: %q", clip(block))
		}
		out.Guests[id] = vm.Autostart{On: strings.EqualFold(p.str("startAction"), "powerOn"), Order: max(0, int(p.int("startOrder"))), Delay: int(p.int("startDelay"))}
	}
	return out, nil
}

// SetAutostart says whether a guest starts with the host. "--" lets vim-cmd
// take -1 for a number and not for an option.
func (c *Conn) SetAutostart(ctx context.Context, v vm.VM, a vm.Autostart, enable bool) error {
	id, err := c.id(ctx, v)
	if err != nil {
		return err
	}
	stop := "none"
	if a.On {
		stop = "systemDefault"
	}
	_, err = c.run(ctx, line("vim-cmd", "hostsvc/autostartmanager/update_autostartentry", "--", id, a.StartAction(), strconv.Itoa(a.Delay), strconv.Itoa(a.StartOrder()), stop, "-1", "systemDefault"))
	if err != nil || !enable {
		return err
	}
	_, err = c.run(ctx, "vim-cmd hostsvc/autostartmanager/enable_autostart true")
	return err
}
