package provision

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"strings"

	"margay/nodedb"
)

// osWork and osMemtest are the names under which what is not of any operating
// system lies in the install directory, as <name>/<arch>.
const (
	osWork    = "genesis" // the small system for work, in xCAT's word
	osMemtest = "memtest"
)

// steps splits a chain, as nodeset and chain.chain have it.
func steps(chain string) []string {
	var out []string
	for _, w := range strings.FieldsFunc(chain, func(c rune) bool { return c == ',' || c == ';' }) {
		if w = strings.TrimSpace(w); w != "" {
			out = append(out, w)
		}
	}
	return out
}

// sticks says whether the last step of a chain stays: what a machine is in
// goes on, what it does is done once.
func sticks(m nodedb.Mode) bool {
	switch m {
	case nodedb.ModeCommand, nodedb.ModeArchive, nodedb.ModeReboot, nodedb.ModeMemtest:
		return false
	}
	return true
}

// rehearseChain makes what each of a chain's later steps will load, so that
// nothing is found wrong with it when half of it is done.
func (s *Service) rehearseChain(snap *nodedb.Snapshot, n *nodedb.Node, words []string) error {
	for i, w := range words {
		act, err := parseStep(w)
		if err == nil {
			err = s.rehearseStep(snap, n, act)
		}
		if err != nil {
			return fmt.Errorf("step %d, %s: %w", i+2, w, err)
		}
	}
	return nil
}

func (s *Service) rehearseStep(snap *nodedb.Snapshot, n *nodedb.Node, act Action) error {
	t, _, err := resolve(snap, n, act)
	if err != nil || !t.mode.Loads() {
		return err
	}
	return s.rehearse(snap, n, t)
}

// put writes a node's target and the steps behind it.
func (s *Service) put(tx *nodedb.Tx, n *nodedb.Node, t target, provmethod string, rest []string) {
	k := nodedb.Key{Kind: nodedb.KindNode, Name: n.Name}
	if t.mode == nodedb.ModeInstall || t.mode == nodedb.ModeNetboot {
		// Group values stay the group's: only what differs is the node's own.
		for col, v := range map[string]string{"nodetype.os": t.os, "nodetype.arch": t.arch, "nodetype.profile": t.profile, "nodetype.provmethod": provmethod} {
			if n.Attr(col) != v {
				tx.Set(k, col, v)
			}
		}
	}
	tx.Set(k, "chain.currstate", t.state())
	tx.Set(k, "chain.currchain", strings.Join(restOf(t, rest), ","))
}

// restOf is what comes after a target: an install leads to the disk.
func restOf(t target, rest []string) []string {
	if len(rest) == 0 && t.mode == nodedb.ModeInstall {
		return []string{string(nodedb.ModeBoot)}
	}
	return rest
}

// advance takes the next step of a node's chain: of currchain, of chain once
// that is empty, or standby (xCAT's nextdestiny). The last step stays, if it is
// a state to be in. A step that cannot be made ready is an error, and changes
// nothing.
func (s *Service) advance(tx *nodedb.Tx, n *nodedb.Node, a *Attempt) (string, error) {
	rest := steps(n.Attr("chain.currchain"))
	if len(rest) == 0 {
		rest = steps(n.Attr("chain.chain"))
	}
	if len(rest) == 0 {
		rest = []string{string(nodedb.ModeStandby)}
	}
	word := rest[0]
	act, err := parseStep(word)
	if err != nil {
		return word, err
	}
	t, provmethod, err := resolve(tx.Snapshot(), n, act)
	if err != nil {
		return word, err
	}
	if t.mode.Loads() {
		if err := s.rehearse(tx.Snapshot(), n, t); err != nil {
			return word, err
		}
	}
	if rest = rest[1:]; len(rest) == 0 && sticks(t.mode) && t.mode != nodedb.ModeInstall {
		rest = []string{word}
	}
	s.put(tx, n, t, provmethod, rest)
	if t.mode.Loads() {
		a.Mode = t.mode
	}
	a.Step++
	return t.state(), nil
}

// Next moves nodes to the next step of their chains, as nodeset next does.
func (s *Service) Next(ctx context.Context, nodes []string) ([]Result, error) {
	var results []Result
	err := s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		results = results[:0]
		for _, name := range nodes {
			state, err := s.nextOne(tx, name)
			results = append(results, Result{Node: name, State: state, Err: err})
		}
		return nil
	})
	return results, err
}

func (s *Service) nextOne(tx *nodedb.Tx, name string) (string, error) {
	n, err := tx.Snapshot().Node(name)
	if err != nil {
		return "", err
	}
	a := attempt(tx.Snapshot(), name)
	if a == nil || a.Phase == PhaseFailed {
		a = &Attempt{Node: name, Secret: rand.Text(), Phase: PhaseArmed}
	}
	state, err := s.advance(tx, n, a)
	if err != nil {
		return "", fmt.Errorf("%s: %w", state, err)
	}
	tx.Put(attemptKey(name), a.attrs())
	return state, nil
}

// chainSoon has a node that was discovered begin its chain, unless it was told
// already what to do.
func (s *Service) chainSoon(node string) {
	s.journal.after(func() {
		n, err := s.DB.Snapshot().Node(node)
		if err != nil || n.CurrState != "" || n.Attr("chain.chain") == "" {
			return
		}
		act, err := ParseAction(n.Attr("chain.chain"))
		var res []Result
		if err == nil {
			res, err = s.Nodeset(context.Background(), []string{node}, act)
		}
		if err == nil && len(res) == 1 {
			err = res[0].Err
		}
		if err != nil {
			s.journal.note(node, n.Mode, StepReport, "its chain cannot begin: "+err.Error())
		}
	})
}

// maxStep bounds the id that a machine posts with its word about a step.
const maxStep = 64

// workStatus is nodelist.status while a node works, in xCAT's words.
var workStatus = map[nodedb.Mode]nodedb.Status{
	nodedb.ModeCommand: nodedb.StatusConfiguring,
	nodedb.ModeArchive: nodedb.StatusConfiguring,
	nodedb.ModeShell:   nodedb.StatusShell,
	nodedb.ModeStandby: nodedb.StatusStandingBy,
}

// work takes a word about the step that a machine is at: working, next (it is
// done) or undone (it failed). The body begins with the step's id: a word about
// another step than the one that stands is old, and changes nothing.
func (s *Service) work(ctx context.Context, n *nodedb.Node, a *Attempt, word string, body io.Reader) error {
	text, _ := io.ReadAll(io.LimitReader(body, maxStep+maxReport))
	id, rest, _ := strings.Cut(string(text), "\n")
	if !n.Mode.Works() || strings.TrimSpace(id) != a.stepID() {
		return nil
	}
	switch word {
	case "working":
		return s.working(ctx, n)
	case "next":
		return s.stepDone(ctx, n, a)
	}
	return s.stepFailed(ctx, n, clean(rest))
}

func (s *Service) working(ctx context.Context, n *nodedb.Node) error {
	if status := workStatus[n.Mode]; status != "" {
		if err := s.DB.Update(ctx, func(tx *nodedb.Tx) error { s.setStatus(tx, n.Name, status); return nil }); err != nil {
			return err
		}
	}
	s.journal.step(n.Name, n.Mode, StepWorking, n.CurrState)
	return nil
}

// stepDone moves a node on. A next step that cannot be made ready leaves it
// standing by, where it waits for nodeset.
func (s *Service) stepDone(ctx context.Context, n *nodedb.Node, a *Attempt) error {
	var state string
	var bad error
	err := s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		state, bad = "", nil
		now := attempt(tx.Snapshot(), n.Name)
		node, err := tx.Snapshot().Node(n.Name)
		if now == nil || err != nil || now.stepID() != a.stepID() {
			return nil
		}
		state, bad = s.advance(tx, node, now)
		if bad != nil {
			s.put(tx, node, target{mode: nodedb.ModeStandby}, "", nil)
			s.setStatus(tx, n.Name, nodedb.StatusFailed)
			now.Mode, now.Step = nodedb.ModeStandby, now.Step+1
		}
		tx.Put(attemptKey(n.Name), now.attrs())
		return nil
	})
	if err != nil || state == "" {
		return err
	}
	s.journal.good(n.Name)
	s.journal.step(n.Name, n.Mode, StepDone, n.CurrState+"; next: "+state)
	if bad != nil {
		s.journal.step(n.Name, nodedb.ModeStandby, StepFailed, state+" cannot be made ready: "+bad.Error())
	}
	return nil
}

// stepFailed keeps a node at its step: what comes after may build on it.
func (s *Service) stepFailed(ctx context.Context, n *nodedb.Node, why string) error {
	err := s.DB.Update(ctx, func(tx *nodedb.Tx) error { s.setStatus(tx, n.Name, nodedb.StatusFailed); return nil })
	if err == nil {
		s.journal.step(n.Name, n.Mode, StepFailed, fmt.Sprintf("%s: %s; nodeset %s next goes on all the same", n.CurrState, why, n.Name))
	}
	return err
}
