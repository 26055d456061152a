package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"margay/nodedb"
	"margay/provision"
	"margay/vm"
)

// guests are the nodes of a noderange that are guests on ESXi; one that is
// not is that node's error.
func (s *Session) guests(snap *nodedb.Snapshot, args []string, columns string) ([]*nodedb.Node, []string, error) {
	if s.Guests == nil {
		return nil, nil, errors.New("this daemon manages no guests")
	}
	nodes, rest, err := s.Nodes(snap, args)
	if err != nil {
		return nil, nil, err
	}
	var out []*nodedb.Node
	for _, n := range nodes {
		if n.Mgt != "esx" {
			s.NodeError(n.Name, fmt.Errorf("Unable to identify plugin for this command, check relevant tables: %s", columns))
			continue
		}
		out = append(out, n)
	}
	return out, rest, nil
}

// hypervisors are the nodes of a noderange that are ESXi hosts: by hosttype,
// by os, or because a guest says so.
func (s *Session) hypervisors(snap *nodedb.Snapshot, args []string) ([]*nodedb.Node, []string, error) {
	if s.Guests == nil {
		return nil, nil, errors.New("this daemon manages no guests")
	}
	nodes, rest, err := s.Nodes(snap, args)
	if err != nil {
		return nil, nil, err
	}
	var out []*nodedb.Node
	for _, n := range nodes {
		if !isHypervisor(snap, n) {
			s.NodeError(n.Name, errors.New("Unable to identify plugin for this command, check relevant tables: hypervisor.type,nodetype.os"))
			continue
		}
		out = append(out, n)
	}
	return out, rest, nil
}

func isHypervisor(snap *nodedb.Snapshot, n *nodedb.Node) bool {
	if n.HostType == "esx" || strings.HasPrefix(n.OS, "esx") {
		return true
	}
	for _, g := range snap.Nodes() {
		if g.VMHost == n.Name {
			return true
		}
	}
	return false
}

// emit prints results as they come and writes what they learned. flush says
// which hypervisors could not be reached and returns what went wrong with
// writing.
func (s *Session) emit(ctx context.Context) (emit vm.Emit, flush func() error) {
	var failed error
	var away []string
	emit = func(r vm.Result) {
		s.result(r)
		if errors.Is(r.Err, vm.ErrUnreachable) {
			away = append(away, hostOf(s.DB.Snapshot(), r.Node))
		}
		if err := s.learn(ctx, r); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	return emit, func() error {
		if slices.Sort(away); len(away) > 0 {
			s.Error("The following hypervisors failed to become ready for the operation: %s", strings.Join(slices.Compact(away), ","))
		}
		return failed
	}
}

// hostOf is the hypervisor that a node is on, or is.
func hostOf(snap *nodedb.Snapshot, node string) string {
	if n, err := snap.Node(node); err == nil && n.VMHost != "" {
		return n.VMHost
	}
	return node
}

// A success remembers for which nodes something went wrong.
type success struct {
	next   vm.Emit
	failed map[string]bool
}

func newSuccess(next vm.Emit) *success { return &success{next, map[string]bool{}} }

func (s *success) emit(r vm.Result) {
	if r.Err != nil {
		s.failed[r.Node] = true
	}
	s.next(r)
}

// of are the nodes for which nothing did.
func (s *success) of(nodes []*nodedb.Node) []*nodedb.Node {
	var out []*nodedb.Node
	for _, n := range nodes {
		if !s.failed[n.Name] {
			out = append(out, n)
		}
	}
	return out
}

func (s *Session) result(r vm.Result) {
	if r.Warn != "" {
		s.NodeWarn(r.Node, "%s", r.Warn)
	}
	switch {
	case r.Err != nil:
		s.NodeError(r.Node, r.Err)
	case r.Text == "" && r.Percent > 0:
		s.Progress("%s: %d%%", r.Node, r.Percent)
	case r.Text != "":
		if label, value, ok := strings.Cut(r.Text, ": "); ok {
			s.Label(r.Node, label, "%s", strings.TrimSpace(value))
			return
		}
		s.Node(r.Node, "%s", r.Text)
	}
}

// learn writes what a command learned of a node. It is written at once: what
// has been done to a guest stays true if the daemon ends here.
func (s *Session) learn(ctx context.Context, r vm.Result) error {
	if len(r.Facts) == 0 && len(r.Records) == 0 {
		return nil
	}
	return s.DB.Update(context.WithoutCancel(ctx), func(tx *nodedb.Tx) error {
		for column, value := range r.Facts {
			tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: r.Node}, column, value)
		}
		for _, rec := range r.Records {
			if len(rec.Attrs) == 0 {
				tx.Delete(rec.Key)
				continue
			}
			tx.Put(rec.Key, rec.Attrs)
		}
		return nil
	})
}

// allocate gives nodes the addresses and UUIDs that they lack, in one commit,
// so that DHCP knows them before any guest is turned on. A node that cannot
// have any is reported and left out.
func (s *Session) allocate(ctx context.Context, nodes []*nodedb.Node, nics func(*nodedb.Node) (int, error)) ([]*nodedb.Node, error) {
	bad := map[string]error{}
	err := s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		clear(bad)
		a := vm.NewAllocator(tx.Snapshot(), randomBytes())
		for _, n := range nodes {
			count, err := nics(n)
			if err != nil {
				bad[n.Name] = err
				continue
			}
			facts, err := a.Guest(n, count)
			if err != nil {
				bad[n.Name] = err
				continue
			}
			for column, value := range facts {
				tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: n.Name}, column, value)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	snap := s.DB.Snapshot()
	var out []*nodedb.Node
	for _, n := range nodes {
		if bad[n.Name] != nil {
			s.NodeError(n.Name, bad[n.Name])
			continue
		}
		fresh, err := snap.Node(n.Name)
		if err != nil {
			s.NodeError(n.Name, err)
			continue
		}
		out = append(out, fresh)
	}
	return out, nil
}

// GuestPower is rpower for nodes with mgt=esx.
func (s *Session) GuestPower(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node, word string, force bool) error {
	w, err := vm.ParsePowerWord(word)
	if err != nil {
		return err
	}
	emit, flush := s.emit(ctx)
	did := map[string]nodedb.Status{}
	s.Guests.Power(ctx, snap, nodes, vm.PowerRequest{Word: w, Force: force, DryRun: s.Bool("dry-run")}, func(r vm.Result) {
		emit(r)
		if status := guestStatus(r.Did); status != "" && r.Err == nil {
			did[r.Node] = status
			s.notePower(snap, r)
		}
	})
	return errors.Join(s.setStatuses(ctx, did), flush())
}

// guestStatus is the nodelist.status of a guest after an order that its host
// has carried out. Such a guest is past powering on: its firmware runs.
func guestStatus(op vm.PowerOp) nodedb.Status {
	switch op {
	case vm.OpOn, vm.OpReset:
		return nodedb.StatusBooting
	case vm.OpOff, vm.OpShutdown:
		return "powering-off"
	}
	return ""
}

// notePower tells the timeline of a guest that boots over the network that it
// was turned on. Of one that starts from its disk nothing more is heard.
func (s *Session) notePower(snap *nodedb.Snapshot, r vm.Result) {
	n, err := snap.Node(r.Node)
	if err == nil && n.Mode.Loads() && (r.Did == vm.OpOn || r.Did == vm.OpReset) {
		s.Service.Note(r.Node, provision.StepPower, string(r.Did)+": "+r.Text)
	}
}

// GuestSetBoot is rsetboot for nodes with mgt=esx.
func (s *Session) GuestSetBoot(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node, arg string) error {
	o, note, err := vm.ParseBootOrder(arg)
	if err != nil {
		return err
	}
	if note != "" {
		s.Error("%s", note)
	}
	emit, flush := s.emit(ctx)
	s.Guests.SetBoot(ctx, snap, nodes, o, s.Bool("dry-run"), emit)
	return flush()
}

// GuestInventory is rinv for nodes with mgt=esx; save is -t.
func (s *Session) GuestInventory(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node, save bool) error {
	emit, flush := s.emit(ctx)
	s.Guests.Inventory(ctx, snap, nodes, save, emit)
	return flush()
}
