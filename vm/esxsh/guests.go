package esxsh

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"margay/nodedb"
	"margay/vm"
)

// VMs returns guests: one command for the list, one for all of their states,
// and for detail two more for their files.
func (c *Conn) VMs(ctx context.Context, q vm.Query) ([]vm.VM, error) {
	out, err := c.run(ctx, "vim-cmd vmsvc/getallvms")
	if err != nil {
		return nil, err
	}
	list := parseVMs(out)
	if q.Names != nil {
		list = wanted(list, q.Names)
	}
	if len(list) == 0 {
		return nil, nil
	}
	cmds := make([]string, len(list))
	for i, l := range list {
		cmds[i] = "vim-cmd vmsvc/get.summary " + l.id
	}
	parts, err := c.batch(ctx, cmds)
	if err != nil {
		return nil, err
	}
	var vms []vm.VM
	for i, l := range list {
		vms = append(vms, l.vm(parts[i]))
	}
	if q.Detail {
		return c.detail(ctx, vms)
	}
	return vms, nil
}

func wanted(list []listed, names []string) []listed {
	want := map[string]bool{}
	for _, n := range names {
		want[n] = true
	}
	var out []listed
	for _, l := range list {
		if want[l.name] {
			out = append(out, l)
		}
	}
	return out
}

const marker = "==margay=="

// batch runs many commands that only read in one session and returns what each printed. A
// command that fails prints its fault; the others go on.
func (c *Conn) batch(ctx context.Context, cmds []string) ([]string, error) {
	var b strings.Builder
	for i, cmd := range cmds {
		fmt.Fprintf(&b, "echo %s%d; %s; ", marker, i, cmd)
	}
	b.WriteString("echo " + marker + "end")
	free, err := c.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer free()
	out, err := c.often(ctx, b.String(), nil, nil, func(_ string, err error) bool { return errors.As(err, new(lost)) })
	if _, failed := err.(*failure); err != nil && !failed {
		return nil, err
	}
	parts := make([]string, len(cmds))
	for i := range cmds {
		_, rest, ok := strings.Cut(out, fmt.Sprintf("%s%d\n", marker, i))
		if !ok {
			return nil, vm.Errorf(vm.ErrInvalid, "the shell of %s stopped in the middle: %q", c.e, clip(out))
		}
		out = rest
		parts[i], _, _ = strings.Cut(rest, marker)
	}
	return parts, nil
}

// vm puts a row and its summary together.
func (l listed) vm(summary string) vm.VM {
	v := vm.VM{ID: l.id, Name: l.name, Path: l.path, GuestID: l.guest, State: nodedb.PowerUnknown}
	d, err := parseDump(summary)
	if err != nil {
		v.Invalid = true
		return v
	}
	switch d.str("runtime", "powerState") {
	case "poweredOn":
		v.State = nodedb.PowerOn
	case "poweredOff":
		v.State = nodedb.PowerOff
	case "suspended":
		v.State = nodedb.PowerSuspended
	}
	v.UUID, v.CPUs, v.MemoryMB = d.str("config", "uuid"), int(d.int("config", "numCpu")), d.int("config", "memorySizeMB")
	v.Template = d.str("config", "template") == "true"
	v.Address = d.str("guest", "ipAddress")
	v.Tools = d.str("guest", "toolsRunningStatus") == "guestToolsRunning"
	if id := d.str("config", "guestId"); id != "" {
		v.GuestID = id
	}
	return v
}

var extentLine = regexp.MustCompile(`(?m)^RW (\d+) `)

// detail reads guests' .vmx files, and then how large their disks are.
func (c *Conn) detail(ctx context.Context, vms []vm.VM) ([]vm.VM, error) {
	cmds := make([]string, len(vms))
	for i, v := range vms {
		cmds[i] = line("cat", v.Path.Volume())
	}
	parts, err := c.batch(ctx, cmds)
	if err != nil {
		return nil, err
	}
	var disks []*vm.Disk
	for i := range vms {
		s, err := c.d.Codec.Decode([]byte(parts[i]))
		if err != nil || s.Name == "" {
			vms[i].Invalid = true
			continue
		}
		vms[i].Spec = s
		if vms[i].UUID == "" {
			vms[i].UUID = s.UUID
		}
		for d := range s.Disks {
			if s.Disks[d].Path.Datastore == "" {
				s.Disks[d].Path = vms[i].Path.Dir().Join(s.Disks[d].Path.File)
			}
			disks = append(disks, &s.Disks[d])
		}
	}
	return vms, c.sizes(ctx, disks)
}

func (c *Conn) sizes(ctx context.Context, disks []*vm.Disk) error {
	if len(disks) == 0 {
		return nil
	}
	cmds := make([]string, len(disks))
	for i, d := range disks {
		cmds[i] = line("cat", d.Path.Volume())
	}
	parts, err := c.batch(ctx, cmds)
	if err != nil {
		return err
	}
	for i, d := range disks {
		for _, m := range extentLine.FindAllStringSubmatch(parts[i], -1) {
			sectors, _ := strconv.ParseInt(m[1], 10, 64)
			d.KB += sectors / 2
		}
		d.Format = vm.ZeroedThick
		if strings.Contains(parts[i], `ddb.thinProvisioned = "1"`) {
			d.Format = vm.Thin
		}
	}
	return nil
}

// id is a guest's number here. The API's name for it is the same number on a
// host; where it is not, the .vmx tells.
func (c *Conn) id(ctx context.Context, v vm.VM) (string, error) {
	if _, err := strconv.Atoi(v.ID); err == nil {
		return v.ID, nil
	}
	out, err := c.run(ctx, "vim-cmd vmsvc/getallvms")
	if err != nil {
		return "", err
	}
	for _, l := range parseVMs(out) {
		if l.path == v.Path || v.Path.IsZero() && l.name == v.Name {
			return l.id, nil
		}
	}
	return "", vm.Errorf(vm.ErrNotFound, "the host does not know %s", v.Name)
}

func (c *Conn) state(ctx context.Context, id string) (nodedb.PowerState, error) {
	out, err := c.run(ctx, "vim-cmd vmsvc/power.getstate "+id)
	if err != nil {
		return nodedb.PowerUnknown, err
	}
	switch lastLine(out) {
	case "Powered on":
		return nodedb.PowerOn, nil
	case "Powered off":
		return nodedb.PowerOff, nil
	case "Suspended":
		return nodedb.PowerSuspended, nil
	}
	return nodedb.PowerUnknown, vm.Errorf(vm.ErrInvalid, "power state %q is unknown", clip(out))
}
