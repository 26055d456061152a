package provision

import (
	"context"
	"fmt"
	"strings"

	"margay/netboot"
	"margay/nodedb"
)

// Line acts on a line of xCAT's install monitor. It names no boot and no token:
// the address alone says which node it is, and no secret is answered.
func (s *Service) Line(ctx context.Context, m netboot.Machine, line string) (reply string, err error) {
	snap := s.DB.Snapshot()
	n := snap.NodeByAddr(m.Addr)
	if n == nil || !s.ownsAddr(n, m.Addr) {
		return "", alarm("", "no node has the address %s", m.Addr)
	}
	if other := s.stranger(n, m.Addr); other != nil {
		return "", alarm(n.Name, "%s answers for the address of node %s, which is not its interface", other, n.Name)
	}
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "next":
		if a := attempt(snap, n.Name); a != nil && n.Mode.Works() {
			return "", s.stepDone(ctx, n, a)
		}
		return "", s.lineStep(ctx, n, PhaseInstalled)
	case "installstatus":
		status, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		return "", s.lineStatus(ctx, n, nodedb.Status(status))
	case "getpostscript":
		s.journal.step(n.Name, n.Mode, StepReport, "port 3002: asks for its postscripts, which it is sent by HTTP only")
		return "#END OF SCRIPT\n", nil
	case "syncfiles", "setiscsiparms", "hpcbootstatus", "locktftpdir", "unlocktftpdir":
		s.journal.step(n.Name, n.Mode, StepReport, "port 3002: "+word)
		return "", nil
	}
	return "", &netboot.Refusal{Node: n.Name, Reason: fmt.Sprintf("port 3002: %.40q is none of xCAT's words", line)}
}

// lineStep is a node's word that it is at a phase of its attempt.
func (s *Service) lineStep(ctx context.Context, n *nodedb.Node, phase Phase) error {
	a := attempt(s.DB.Snapshot(), n.Name)
	if a == nil {
		s.journal.step(n.Name, n.Mode, StepReport, "port 3002: says "+string(phase)+", and nodeset did not begin anything")
		return nil
	}
	try := max(s.journal.try(n.Name), a.Try, 1)
	status := map[Phase]nodedb.Status{PhaseInstalling: nodedb.StatusInstalling, PhaseInstalled: nodedb.StatusInstalled, PhaseBooted: nodedb.StatusBooted}[phase]
	if phase == PhaseInstalling && a.Mode == nodedb.ModeNetboot {
		status = nodedb.StatusNetbooting
	}
	return s.reached(ctx, n, a, try, phase, status, "by xCAT's port 3002")
}

// lineStatus is a node's word on its status, in xCAT's vocabulary.
func (s *Service) lineStatus(ctx context.Context, n *nodedb.Node, status nodedb.Status) error {
	switch status {
	case nodedb.StatusInstalling, nodedb.StatusNetbooting:
		return s.lineStep(ctx, n, PhaseInstalling)
	case nodedb.StatusBooted:
		return s.lineStep(ctx, n, PhaseBooted)
	case nodedb.StatusFailed:
		if a := attempt(s.DB.Snapshot(), n.Name); a != nil {
			return s.failed(ctx, n, a, "by xCAT's port 3002")
		}
	case nodedb.StatusBooting, "postbooting", "configuring", "discovering", "standingby", "shell", "alive":
	default:
		return &netboot.Refusal{Node: n.Name, Reason: fmt.Sprintf("port 3002: %.40q is no status of xCAT's", status)}
	}
	err := s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		s.setStatus(tx, n.Name, status)
		return nil
	})
	if err == nil {
		s.journal.step(n.Name, n.Mode, StepReport, "port 3002: "+string(status))
	}
	return err
}
