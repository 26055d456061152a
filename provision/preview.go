package provision

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"

	"margay/nodedb"
)

// A Preview is what nodeset would change of one node.
type Preview struct {
	Node  string
	State string   // the state that it would have
	Plan  []string // in words, where the family has any
	Diff  string   // of every file that it would be sent, as a unified diff
	Err   error
}

// Preview says what nodeset would do, and does nothing. Hashes are hidden.
func (s *Service) Preview(snap *nodedb.Snapshot, nodes []string, act Action) []Preview {
	var out []Preview
	for _, name := range nodes {
		p := Preview{Node: name}
		p.Err = s.preview(snap, name, act, &p)
		out = append(out, p)
	}
	return out
}

func (s *Service) preview(snap *nodedb.Snapshot, name string, act Action, p *Preview) error {
	n, err := snap.Node(name)
	if err != nil {
		return err
	}
	t, _, err := resolve(snap, n, act)
	if err != nil {
		return err
	}
	if t.mode.Loads() {
		if err := s.rehearse(snap, n, t); err != nil {
			return err
		}
		if p.Plan, err = s.outline(snap, n, t); err != nil {
			return err
		}
	}
	if err := s.rehearseChain(snap, n, act.Next); err != nil {
		return err
	}
	before := s.filesFor(snap, n, current(snap, n))
	after := s.filesFor(snap, n, t)
	head := ""
	if n.CurrState != t.state() {
		head = fmt.Sprintf("-currstate=%s\n+currstate=%s\n", n.CurrState, t.state())
	}
	if was, will := n.Attr("chain.currchain"), strings.Join(restOf(t, act.Next), ","); was != will {
		head += fmt.Sprintf("-currchain=%s\n+currchain=%s\n", was, will)
	}
	p.State, p.Diff = t.state(), head+diffFiles(before, after)
	return nil
}

// outline is what a boot would do, in words.
func (s *Service) outline(snap *nodedb.Snapshot, n *nodedb.Node, t target) ([]string, error) {
	b, f, err := s.boot(snap, n, t, s.facing(snap, n, netip.Addr{}))
	if err != nil {
		return nil, err
	}
	if o, ok := f.(Outliner); ok {
		return o.Outline(b)
	}
	return nil, nil
}

// filesFor are all files that a node is sent for a target, by firmware.
func (s *Service) filesFor(snap *nodedb.Snapshot, n *nodedb.Node, t target) map[string][]byte {
	out := map[string][]byte{}
	if t.mode == nodedb.ModeBoot {
		out[n.Name+"/script"] = exitScript(t.state(), "")
		return out
	}
	if !t.mode.Loads() {
		return out
	}
	b, f, err := s.boot(snap, n, t, s.facing(snap, n, netip.Addr{}))
	if err != nil {
		return out
	}
	for _, fw := range firmwares {
		if !forArch(fw.firmware, t.arch) {
			continue
		}
		b.Firmware, b.HTTPBoot = fw.firmware, fw.http
		for _, file := range f.Files(b) {
			if text, err := f.Make(b, file); err == nil {
				maps.Copy(out, conceal(n.Name+"/"+fw.name+"/"+file, text))
			}
		}
	}
	return out
}
