package esxsh

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"margay/nodedb"
	"margay/vm"
)

// Snapshots reads guests' snapshots: two commands a guest, all in one session.
func (c *Conn) Snapshots(ctx context.Context, vms []vm.VM) (map[string][]vm.Snapshot, error) {
	var cmds []string
	for _, v := range vms {
		id, err := c.id(ctx, v)
		if err != nil {
			return nil, err
		}
		cmds = append(cmds, "vim-cmd vmsvc/snapshot.get "+id, "vim-cmd vmsvc/get.snapshotinfo "+id)
	}
	parts, err := c.batch(ctx, cmds)
	if err != nil {
		return nil, err
	}
	out := map[string][]vm.Snapshot{}
	for i, v := range vms {
		out[v.ID] = parseSnapshots(parts[2*i], parts[2*i+1])
	}
	return out, nil
}

var (
	snapshotField   = regexp.MustCompile(`^(-+)Snapshot (Name|Id|Desciption|Description|Created On|State)\s*:\s?(.*)$`)
	currentSnapshot = regexp.MustCompile(`(?m)^\s*currentSnapshot = '[\w.]+:(?:\w+-)*?(\d+)'`)
)

// parseSnapshots reads vmsvc/snapshot.get, whose dashes tell how deep each is,
// and takes from get.snapshotinfo which is the current one. "Desciption" is
// how hosts spell it. Times are UTC, as the host's clock is.
func parseSnapshots(tree, info string) []vm.Snapshot {
	current := -1
	if m := currentSnapshot.FindStringSubmatch(info); m != nil {
		current, _ = strconv.Atoi(m[1])
	}
	var out []vm.Snapshot
	for _, l := range strings.Split(tree, "\n") {
		m := snapshotField.FindStringSubmatch(strings.TrimSpace(l))
		if m == nil {
			continue
		}
		value := strings.TrimSpace(m[3])
		if m[2] == "Name" {
			out = append(out, vm.Snapshot{Name: value, Depth: max(0, len(m[1])/2-1), State: nodedb.PowerOff})
			continue
		}
		if len(out) == 0 {
			continue
		}
		s := &out[len(out)-1]
		switch m[2] {
		case "Id":
			s.ID, _ = strconv.Atoi(value)
			s.Current = s.ID == current
		case "Desciption", "Description":
			s.Description = value
		case "Created On":
			s.Created, _ = time.Parse("1/2/2006 15:4:5", value)
		case "State":
			s.State = snapshotState(value)
		}
	}
	return out
}

func snapshotState(s string) nodedb.PowerState {
	switch strings.ToLower(s) {
	case "powered on":
		return nodedb.PowerOn
	case "suspended":
		return nodedb.PowerSuspended
	}
	return nodedb.PowerOff
}

// TakeSnapshot takes a snapshot. Hosts return before it is taken: its name is
// waited for.
func (c *Conn) TakeSnapshot(ctx context.Context, v vm.VM, s vm.SnapshotSpec, _ vm.Progress) error {
	if err := safe(s.Name, s.Description); err != nil {
		return err
	}
	return c.snapshot(ctx, v, "snapshot.create", []string{s.Name, s.Description, digit(s.Memory), digit(s.Quiesce)}, true, func(now []vm.Snapshot) bool {
		for _, h := range now {
			if h.Name == s.Name {
				return true
			}
		}
		return false
	})
}

func digit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// RevertSnapshot makes a guest what it was when a snapshot was taken.
func (c *Conn) RevertSnapshot(ctx context.Context, v vm.VM, s vm.Snapshot, _ vm.Progress) error {
	return c.snapshot(ctx, v, "snapshot.revert", []string{strconv.Itoa(s.ID), "0"}, !s.Current, func(now []vm.Snapshot) bool {
		for _, h := range now {
			if h.ID == s.ID {
				return h.Current
			}
		}
		return false
	})
}

// DropSnapshot forgets a snapshot.
func (c *Conn) DropSnapshot(ctx context.Context, v vm.VM, s vm.Snapshot, children bool, _ vm.Progress) error {
	args := []string{strconv.Itoa(s.ID)}
	if children {
		args = append(args, "1")
	}
	return c.snapshot(ctx, v, "snapshot.remove", args, true, func(now []vm.Snapshot) bool {
		for _, h := range now {
			if h.ID == s.ID {
				return false
			}
		}
		return true
	})
}

// longSnapshot bounds how long a host may take over a snapshot.
const longSnapshot = 12 * time.Hour

// snapshot runs one of vim-cmd's words for snapshots and waits until the
// guest's list shows that it is done. Where done is so before already, it does
// not tell, and what became of a lost connection's command is not known.
func (c *Conn) snapshot(ctx context.Context, v vm.VM, word string, args []string, tells bool, done func([]vm.Snapshot) bool) error {
	id, err := c.id(ctx, v)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, longSnapshot)
	defer cancel()
	out, err := c.run(ctx, line(append([]string{"vim-cmd", "vmsvc/" + word, id}, args...)...))
	if errors.As(err, new(lost)) {
		busy := func(ctx context.Context) bool { return c.atWork(ctx, id) || c.runs("vmsvc/"+word+" "+id)(ctx) }
		return c.follow(ctx, err, busy, func(ctx context.Context) bool {
			now, err := c.Snapshots(ctx, []vm.VM{v})
			return tells && err == nil && done(now[v.ID])
		})
	}
	if err != nil {
		return err
	}
	if last := lastLine(out); strings.HasSuffix(last, "failed") {
		return vm.Errorf(vm.ErrInvalid, "%s", last)
	}
	for {
		now, err := c.Snapshots(ctx, []vm.VM{v})
		if err != nil {
			return err
		}
		if done(now[v.ID]) {
			return nil
		}
		select {
		case <-time.After(questionPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
