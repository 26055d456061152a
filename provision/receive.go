package provision

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"margay/netboot"
	"margay/nodedb"
)

// maxReport bounds the text that a machine may post with a callback, in bytes.
const maxReport = 4 << 10

// Receive takes a machine's word: callback/<token>/<step>. Steps are
// installing, report (text for the timeline), installed, booted, failed, those
// of work (working, next, undone) and state, with the configuration of a
// stateless host. A step is in the table before Receive returns nil; said twice it is harmless.
func (s *Service) Receive(ctx context.Context, m netboot.Machine, name string, body io.Reader) error {
	name, _, _ = strings.Cut(name, "?")
	rest, ok := strings.CutPrefix(name, "callback/")
	token, step, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return netboot.ErrNotFound
	}
	snap := s.DB.Snapshot()
	n, a, err := s.caller(snap, m, token, step)
	if err != nil {
		return err
	}
	if s.dry(m) {
		return nil
	}
	switch step {
	case "state":
		return s.saveState(n, body)
	case "working", "next", "undone":
		return s.work(ctx, n, a, step, body)
	}
	text, _ := io.ReadAll(io.LimitReader(body, maxReport))
	_, try, _ := splitToken(token)
	s.journal.sawTry(n.Name, try)
	switch step {
	case "installing":
		if a.Mode == nodedb.ModeNetboot {
			return s.reached(ctx, n, a, try, PhaseInstalling, nodedb.StatusNetbooting, "the system's kernel runs")
		}
		return s.reached(ctx, n, a, try, PhaseInstalling, nodedb.StatusInstalling, "the installer has begun")
	case "report":
		s.journal.step(n.Name, n.Mode, StepReport, clean(string(text)))
		return nil
	case "installed":
		return s.reached(ctx, n, a, try, PhaseInstalled, nodedb.StatusInstalled, "installed; boots from its disk from now on")
	case "booted":
		return s.reached(ctx, n, a, try, PhaseBooted, nodedb.StatusBooted, "the system is up")
	case "failed":
		return s.failed(ctx, n, a, clean(string(text)))
	}
	return netboot.ErrNotFound
}

// caller is the node that a token names, if the token is good and the machine
// asks from an address of that node.
func (s *Service) caller(snap *nodedb.Snapshot, m netboot.Machine, token, step string) (*nodedb.Node, *Attempt, error) {
	name, try, ok := splitToken(token)
	if !ok {
		return nil, nil, alarm("", "callback: the token is not one of ours")
	}
	n, err := snap.Node(name)
	if err != nil {
		return nil, nil, alarm("", "callback: the token is not one of ours")
	}
	a := attempt(snap, name)
	if a == nil || !a.checks(token, bootMAC(n)) {
		return nil, nil, alarm(name, "callback: the token is not of the attempt that runs; nodeset was run again since, or it is forged")
	}
	if !s.plays(m, name) && !s.mayReport(snap, n, m.Addr) {
		return nil, nil, alarm(name, "callback: node %s reports from %s, which is not its address", name, m.Addr)
	}
	// A system that was installed before its chain went on boots after that.
	late := step == "booted" && a.Phase == PhaseInstalled && try == a.Try
	if now := s.journal.try(name); try < now && !late {
		return nil, nil, &netboot.Refusal{Node: name, Reason: fmt.Sprintf("callback: the token is of boot %d, and boot %d is running", try, now)}
	}
	return n, a, nil
}

// mayReport says whether a node may call back from an address: its own, or
// one that no other node has. Once installed a host may answer from a
// management network that the table need not know.
func (s *Service) mayReport(snap *nodedb.Snapshot, n *nodedb.Node, addr netip.Addr) bool {
	if s.ownsAddr(n, addr) {
		return true
	}
	return addr.IsValid() && snap.NodeByAddr(addr) == nil
}

// reached writes that a node says it is at a phase. Within a try phases only
// go forward; an earlier one, or the same again, changes nothing.
func (s *Service) reached(ctx context.Context, n *nodedb.Node, a *Attempt, try int, phase Phase, status nodedb.Status, text string) error {
	changed := false
	var bad error
	err := s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		changed, bad = false, nil
		now := attempt(tx.Snapshot(), n.Name)
		if now == nil || now.Secret != a.Secret || try < now.Try || try == now.Try && order[phase] <= order[now.Phase] {
			return nil
		}
		changed = true
		now.Phase, now.Try, now.Reason, now.At, now.Up = phase, try, "", s.Now(), false
		s.setStatus(tx, n.Name, status)
		// Who is up was installed, even if that word was lost.
		at, err := tx.Snapshot().Node(n.Name)
		if phase == PhaseInstalled || phase == PhaseBooted && err == nil && at.Mode == nodedb.ModeInstall {
			bad = s.afterInstall(tx, n.Name, now)
		}
		tx.Put(attemptKey(n.Name), now.attrs())
		// Stateless ESXi is given the same key each time; diskless Linux makes one.
		if phase == PhaseInstalled || a.Mode == nodedb.ModeNetboot && !strings.HasPrefix(n.Attr("nodetype.os"), "esx") {
			tx.Delete(nodedb.Key{Kind: KindHostKey, Name: n.Name})
		}
		return nil
	})
	if err != nil || !changed {
		return err
	}
	if bad != nil {
		defer s.journal.step(n.Name, nodedb.ModeBoot, StepReport, "its chain ends here: "+bad.Error())
	}
	s.journal.step(n.Name, a.Mode, stepOf[phase], text)
	if phase == PhaseInstalled || phase == PhaseBooted {
		s.journal.good(n.Name)
		s.expectArrival(n.Name, n.OS, a.Secret)
	}
	return nil
}

// afterInstall takes the next step of an installed node's chain, which is to
// boot from its disk unless it says otherwise.
func (s *Service) afterInstall(tx *nodedb.Tx, node string, a *Attempt) error {
	n, err := tx.Snapshot().Node(node)
	if err != nil {
		return err
	}
	word, err := s.advance(tx, n, a)
	if err != nil || n.Attr("chain.currchain") == "" {
		s.put(tx, n, target{mode: nodedb.ModeBoot}, "", []string{string(nodedb.ModeBoot)})
	}
	if err != nil {
		return fmt.Errorf("%s: %w", word, err)
	}
	return nil
}

var (
	order  = map[Phase]int{PhaseArmed: 0, PhaseInstalling: 1, PhaseFailed: 1, PhaseInstalled: 2, PhaseBooted: 3}
	stepOf = map[Phase]StepName{PhaseInstalling: StepInstalling, PhaseInstalled: StepInstalled, PhaseBooted: StepBooted}
)

// failed writes that the installer gave up, and why. The node stays as it is
// and may try again.
func (s *Service) failed(ctx context.Context, n *nodedb.Node, a *Attempt, why string) error {
	if why == "" {
		why = "the installer gave up without saying why"
		if !s.journal.reached(n.Name, StepKickstart) {
			why = "its boot loader did not start, or gave up; its screen says why"
		}
	}
	err := s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		if now := attempt(tx.Snapshot(), n.Name); now != nil && now.Phase != PhaseInstalled && now.Phase != PhaseBooted {
			s.setStatus(tx, n.Name, nodedb.StatusFailed)
		}
		return nil
	})
	if err == nil {
		s.journal.step(n.Name, a.Mode, StepFailed, why)
	}
	return err
}
