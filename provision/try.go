package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"margay/netboot"
	"margay/nodedb"
)

// try says which try of its attempt a machine's request belongs to. Asking
// for the first file of a boot begins one; after maxTries that no installer
// brought to an end the node is held, and held says why.
func (s *Service) try(node string, a *Attempt, file string, m netboot.Machine) (try int, held string) {
	if a == nil {
		return 0, ""
	}
	try = s.journal.try(node)
	if s.dry(m) {
		return max(try, 1), ""
	}
	if a.Phase == PhaseFailed && a.Reason != "" {
		return try, a.Reason
	}
	if m.Head || (file != "script" && !isBootProgram(file)) {
		return max(try, 1), ""
	}
	if bad := s.journal.bad(node); a.Mode == nodedb.ModeInstall && bad >= maxTries {
		held = fmt.Sprintf("%d boots began the install and none reported its end; margay watch %s shows them, margay hold %s --release lets it try again", bad, node, node)
		s.hold(node, held)
		return try, held
	}
	return s.journal.beginTry(node, a.Mode, a.Try), ""
}

// isBootProgram says whether file is what UEFI HTTP boot begins with.
func isBootProgram(file string) bool {
	file = strings.ToLower(file)
	return slices.Contains([]string{"bootx64.efi", "bootaa64.efi", "shimx64.efi", "shimaa64.efi", "mboot.efi"}, file)
}

// hold stops a node from trying again until nodeset is run for it.
func (s *Service) hold(node, reason string) {
	s.journal.step(node, nodedb.ModeInstall, StepHeld, reason)
	s.journal.later(func(tx *nodedb.Tx) {
		snap := tx.Snapshot()
		a := attempt(snap, node)
		if a == nil || a.Phase == PhaseFailed {
			return
		}
		a.Phase, a.Reason = PhaseFailed, reason
		tx.Put(attemptKey(node), a.attrs())
		s.setStatus(tx, node, nodedb.StatusFailed)
	})
}

// Hold keeps a node from booting what it is set to, until Unhold or nodeset.
func (s *Service) Hold(ctx context.Context, node, reason string) error {
	if reason = clean(reason); strings.TrimSpace(reason) == "" {
		return errors.New("no reason is given")
	}
	var mode nodedb.Mode
	err := s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		n, err := tx.Snapshot().Node(node)
		if err != nil {
			return err
		}
		a := attempt(tx.Snapshot(), node)
		if a == nil || n.Mode != nodedb.ModeInstall && n.Mode != nodedb.ModeNetboot {
			return fmt.Errorf("set to %q, which needs no holding", n.CurrState)
		}
		mode, a.Phase, a.Reason = n.Mode, PhaseFailed, reason
		tx.Put(attemptKey(node), a.attrs())
		s.setStatus(tx, node, nodedb.StatusFailed)
		return nil
	})
	if err == nil {
		s.journal.step(node, mode, StepHeld, reason)
	}
	return err
}

// Unhold lets a held node try again.
func (s *Service) Unhold(ctx context.Context, node string) error {
	err := s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		a := attempt(tx.Snapshot(), node)
		if a == nil || a.Phase != PhaseFailed {
			return errors.New("not held")
		}
		a.Phase, a.Reason = PhaseArmed, ""
		tx.Put(attemptKey(node), a.attrs())
		s.setStatus(tx, node, nodedb.StatusDefined)
		return nil
	})
	if err == nil {
		s.journal.good(node)
	}
	return err
}

// heldFile is what a held node is sent: a script that says why.
func (s *Service) heldFile(n *nodedb.Node, file, why string) ([]byte, *netboot.File, error) {
	if file != "script" {
		return nil, nil, &netboot.Refusal{Node: n.Name, Reason: "node " + n.Name + " is held: " + why}
	}
	text := "#!ipxe\n#held\necho " + clean("margay: node "+n.Name+" is held: "+why) + "\nsleep 20\n"
	tail := strings.SplitN(string(exitScript("held", "")), "\n", 3)[2]
	return []byte(text + tail), nil, nil
}

// A modules is what a boot loader will fetch. It is never changed.
type modules struct {
	size  map[string]int64 // by lower-case name
	total int64
}

// modulesOf is what the boot loader will fetch; nil if that cannot be told.
func modulesOf(b *Boot, f Family) *modules {
	list, err := f.Modules(b)
	if err != nil {
		return nil
	}
	mods := &modules{size: make(map[string]int64, len(list))}
	for _, m := range list {
		if isLoader(m.Name) {
			continue // loaded before boot.cfg, or at the loader's pleasure
		}
		mods.size[strings.ToLower(m.Name)] = m.Size
	}
	for _, size := range mods.size {
		mods.total += size
	}
	return mods
}

// isLoader says whether a file of the tree is a boot program or a part of one.
func isLoader(name string) bool {
	name = strings.ToLower(name)
	return strings.HasSuffix(name, ".efi") && !strings.HasPrefix(name, osMemtest) || strings.HasSuffix(name, ".c32")
}

// setStatus writes nodelist.status and its time, in xCAT's format.
func (s *Service) setStatus(tx *nodedb.Tx, node string, status nodedb.Status) {
	k := nodedb.Key{Kind: nodedb.KindNode, Name: node}
	if _, ok := tx.Get(k); !ok {
		return
	}
	tx.Set(k, "nodelist.status", string(status))
	tx.Set(k, "nodelist.statustime", s.Now().Format("01-02-2006 15:04:05"))
}
