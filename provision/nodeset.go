package provision

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"margay/nodedb"
)

// An Action is what nodeset was told, parsed.
type Action struct {
	Mode   nodedb.Mode
	Image  string   // osimage=NAME; "-" for osimage alone
	Target string   // install=TARGET, netboot=TARGET
	Arg    string   // runcmd=COMMAND, runimage=URL
	Next   []string // what comes after it, in nodeset's words
}

// ParseAction reads nodeset's one word: a step, or several with commas between.
func ParseAction(word string) (Action, error) {
	words := steps(word)
	if len(words) == 0 {
		return Action{}, fmt.Errorf("Invalid argument: '%s'", word)
	}
	for _, w := range words[1:] {
		if _, err := parseStep(w); err != nil {
			return Action{}, err
		}
	}
	act, err := parseStep(words[0])
	act.Next = words[1:]
	return act, err
}

func parseStep(word string) (Action, error) {
	name, value, has := strings.Cut(word, "=")
	value = strings.TrimSuffix(value, ":reboot4deploy")
	switch name {
	case "install", "netboot", "statelite":
		mode := nodedb.ModeNetboot
		if name == "install" {
			mode = nodedb.ModeInstall
		}
		if has && value == "" {
			return Action{}, fmt.Errorf("Invalid argument: '%s'", word)
		}
		return Action{Mode: mode, Target: value}, nil
	case "osimage":
		if !has {
			value = "-"
		}
		if value == "" {
			return Action{}, fmt.Errorf("OS image name must be specified in nodetype.provmethod")
		}
		return Action{Image: value}, nil
	case "runcmd", "runimage":
		if value = strings.TrimSpace(value); value != "" {
			return Action{Mode: nodedb.Mode(name), Arg: value}, nil
		}
	case "boot", "offline", "shell", "standby", "reboot", "shutdown", "memtest":
		if !has {
			return Action{Mode: nodedb.Mode(name)}, nil
		}
	}
	return Action{}, fmt.Errorf("Invalid argument: '%s'", word)
}

// A Result is what became of one node.
type Result struct {
	Node  string
	State string // the new state, in xCAT's words
	Err   error
}

// Nodeset sets what nodes boot next. Every file that a node's boot will ask
// for is made before anything is written; a node for which one cannot be made
// keeps its state and its Result says why. The others are written together.
func (s *Service) Nodeset(ctx context.Context, nodes []string, act Action) ([]Result, error) {
	var results []Result
	err := s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		results = results[:0]
		snap := tx.Snapshot()
		for _, name := range nodes {
			t, err := s.setOne(tx, snap, name, act)
			results = append(results, Result{Node: name, State: t.state(), Err: err})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var stateless []string
	for _, r := range results {
		if r.Err != nil {
			continue
		}
		s.journal.reset(r.Node)
		if strings.HasPrefix(r.State, string(nodedb.ModeNetboot)+" esxi") {
			stateless = append(stateless, r.Node)
		}
	}
	s.keysSoon(stateless)
	return results, nil
}

func (s *Service) setOne(tx *nodedb.Tx, snap *nodedb.Snapshot, name string, act Action) (target, error) {
	n, err := snap.Node(name)
	if err != nil {
		return target{}, err
	}
	t, provmethod, err := resolve(snap, n, act)
	if err != nil {
		return t, err
	}
	if t.mode.Loads() {
		if err := s.rehearse(snap, n, t); err != nil {
			return t, err
		}
	}
	if err := s.rehearseChain(snap, n, act.Next); err != nil {
		return t, err
	}
	s.put(tx, n, t, provmethod, act.Next)
	if !t.mode.Loads() && len(act.Next) == 0 {
		tx.Delete(attemptKey(name))
		return t, nil
	}
	a := Attempt{Node: name, Secret: rand.Text(), Mode: t.mode, Phase: PhaseArmed}
	tx.Put(attemptKey(name), a.attrs())
	return t, nil
}

// resolve is the target that an action means for a node, and its provmethod.
func resolve(snap *nodedb.Snapshot, n *nodedb.Node, act Action) (target, string, error) {
	if act.Image != "" {
		return resolveImage(snap, n, act.Image)
	}
	t := target{mode: act.Mode, os: n.OS, arch: n.Arch, profile: n.Profile}
	if act.Mode != nodedb.ModeInstall && act.Mode != nodedb.ModeNetboot {
		return workTarget(n, act.Mode, act.Arg), n.ProvMethod, nil
	}
	if act.Target != "" {
		if p := strings.SplitN(act.Target, "-", 3); len(p) == 3 {
			t.os, t.arch, t.profile = p[0], p[1], p[2]
		} else {
			t.profile = act.Target
		}
	}
	for _, f := range []struct{ col, v string }{{"os", t.os}, {"arch", t.arch}, {"profile", t.profile}} {
		if f.v == "" {
			return t, "", fmt.Errorf("nodetype.%s not defined for %s", f.col, n.Name)
		}
	}
	if sup := n.Attr("nodetype.supportedarchs"); sup != "" && !slices.Contains(list(sup), t.arch) {
		return t, "", fmt.Errorf("Requested architecture %s is not one of the architectures supported by %s  (per nodetype.supportedarchs, it supports %s)", t.arch, n.Name, sup)
	}
	if img, err := snap.Image(fmt.Sprintf("%s-%s-%s-%s", t.os, t.arch, t.mode, t.profile)); err == nil {
		t.image = img
	}
	return t, string(act.Mode), nil
}

func resolveImage(snap *nodedb.Snapshot, n *nodedb.Node, name string) (target, string, error) {
	if name == "-" {
		name = n.ProvMethod
		if name == "" || name == "install" || name == "netboot" {
			return target{}, "", fmt.Errorf("OS image name must be specified in nodetype.provmethod")
		}
	}
	img, err := snap.Image(name)
	if err != nil {
		return target{}, "", fmt.Errorf("Cannot find the OS image %s in the osimage table.", name)
	}
	t := target{mode: nodedb.Mode(img.ProvMethod), os: img.OS, arch: img.Arch, profile: img.Profile, image: img}
	if img.ProvMethod == "" {
		return t, "", fmt.Errorf("osimage.provmethod for %s must be set.", name)
	}
	if t.mode != nodedb.ModeInstall && t.mode != nodedb.ModeNetboot {
		return t, "", fmt.Errorf("osimage %s: provmethod %q is neither install nor netboot", name, img.ProvMethod)
	}
	return t, name, nil
}

// rehearse makes every file that the node's boot will ask for, for each way
// it may boot, and throws them away.
func (s *Service) rehearse(snap *nodedb.Snapshot, n *nodedb.Node, t target) error {
	if !n.Addr.IsValid() {
		return fmt.Errorf("no ip; set one with chdef %s ip=ADDRESS: %w", n.Name, nodedb.ErrInvalid)
	}
	if snap.NetworkOf(n.Addr) == nil {
		return fmt.Errorf("%s is in none of the networks; define it with mkdef -t network: %w", n.Addr, nodedb.ErrInvalid)
	}
	b, f, err := s.boot(snap, n, t, s.facing(snap, n, netip.Addr{}))
	if err != nil {
		return err
	}
	b.Rehearsed = true
	ways := 0
	for _, fw := range firmwares {
		if !forArch(fw.firmware, t.arch) {
			continue
		}
		b.Firmware, b.HTTPBoot = fw.firmware, fw.http
		err = makeAll(b, f)
		if err == nil {
			ways++
		} else if !errors.Is(err, nodedb.ErrNotFound) {
			return err // not for want of a loader for this firmware
		}
	}
	if ways == 0 {
		return err
	}
	return nil
}

func makeAll(b *Boot, f Family) error {
	for _, name := range f.Files(b) {
		if _, err := f.Make(b, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	_, err := f.Modules(b)
	return err
}
