package provision

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"margay/netboot"
	"margay/nodedb"
)

// Statements are what an operator adds to what machines are told by DHCP, in
// ISC dhcpd's syntax: the part of it that says something of one machine's
// answer. What is not of that part is an error and not passed over.
type Statements struct{ list []statement }

// A statement does something to a plan.
type statement interface {
	apply(p *netboot.Plan, m netboot.Machine)
}

// apply does all of them in their order; the later word counts.
func (s *Statements) apply(p *netboot.Plan, m netboot.Machine) {
	for _, st := range s.list {
		st.apply(p, m)
	}
}

type setOption struct {
	code uint8
	data []byte
}

func (s setOption) apply(p *netboot.Plan, _ netboot.Machine) {
	if p.Options == nil {
		p.Options = map[uint8][]byte{}
	}
	p.Options[s.code] = s.data
}

type setFile string

func (s setFile) apply(p *netboot.Plan, _ netboot.Machine) { p.File = string(s) }

type setNext netip.Addr

func (s setNext) apply(p *netboot.Plan, _ netboot.Machine) { p.Next = netip.Addr(s) }

type setLease time.Duration

func (s setLease) apply(p *netboot.Plan, _ netboot.Machine) { p.Lease = time.Duration(s) }

// booting denied is no answer at all to a machine that boots.
type denyBooting struct{}

func (denyBooting) apply(p *netboot.Plan, m netboot.Machine) {
	p.Denied = p.Denied || m.PXE || m.HTTPBoot || m.Loader
}

// A choice is if, elsif and else.
type choice struct{ arms []arm }

type arm struct {
	when condition // nil: else
	then []statement
}

func (c choice) apply(p *netboot.Plan, m netboot.Machine) {
	for _, a := range c.arms {
		if a.when == nil || a.when(m) {
			for _, st := range a.then {
				st.apply(p, m)
			}
			return
		}
	}
}

// A condition looks at who asks; a value is what it has there, nil: nothing.
type (
	condition func(netboot.Machine) bool
	value     func(netboot.Machine) []byte
)

// asked are the options of a request that conditions may look at.
var asked = map[uint8]value{
	12: func(m netboot.Machine) []byte { return text(m.Hostname) },
	60: func(m netboot.Machine) []byte { return text(m.Class) },
	61: func(m netboot.Machine) []byte { return m.ClientID },
	77: func(m netboot.Machine) []byte { return text(m.UserClass) },
	82: func(m netboot.Machine) []byte { return m.RelayInfo },
	93: func(m netboot.Machine) []byte {
		if !m.HasArch {
			return nil
		}
		return binary.BigEndian.AppendUint16(nil, m.Arch)
	},
	97: func(m netboot.Machine) []byte {
		if len(m.UUID) == 0 {
			return nil
		}
		return append([]byte{0}, m.UUID...)
	},
}

func text(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

// hardware is the type and the address, as dhcpd has it.
func hardware(m netboot.Machine) []byte { return append([]byte{1}, m.MAC...) }

func equal(a, b value) condition {
	return func(m netboot.Machine) bool {
		x, y := a(m), b(m)
		return x != nil && y != nil && bytes.Equal(x, y)
	}
}

func not(c condition) condition { return func(m netboot.Machine) bool { return !c(m) } }

func substring(v value, from, length int) value {
	return func(m netboot.Machine) []byte {
		b := v(m)
		if b == nil || from >= len(b) {
			return nil
		}
		return b[from:min(from+length, len(b))]
	}
}

func suffix(v value, length int) value {
	return func(m netboot.Machine) []byte {
		b := v(m)
		return b[max(0, len(b)-length):]
	}
}

// statements are the site's, then those of the network, then those of the node:
// site.dhcpstatements, site.dhcpstatements.NETWORK, bootparams.dhcpstatements
// and bootparams.adddhcpstatements.
func (s *Service) statements(snap *nodedb.Snapshot, p *netboot.Plan, nw *nodedb.Network, n *nodedb.Node, m netboot.Machine) error {
	for _, key := range siteStatements(nw) {
		if err := s.state(p, snap.Site(key), m); err != nil {
			return &netboot.Refusal{Node: p.Node, Reason: fmt.Sprintf("site.%s: %v", key, err)}
		}
	}
	if n != nil {
		for _, column := range nodeStatements {
			if err := s.state(p, n.Attr(column), m); err != nil {
				return &netboot.Refusal{Node: n.Name, Reason: fmt.Sprintf("node %s: %s: %v", n.Name, column, err)}
			}
		}
	}
	if p.Denied {
		return netboot.ErrIgnore
	}
	return nil
}

// siteStatements are the site's keys that hold for a network.
func siteStatements(nw *nodedb.Network) []string {
	return []string{"dhcpstatements", "dhcpstatements." + nw.Name}
}

var nodeStatements = []string{"bootparams.dhcpstatements", "bootparams.adddhcpstatements"}

// maxStatements is how many texts are kept as they were read.
const maxStatements = 1000

func (s *Service) state(p *netboot.Plan, text string, m netboot.Machine) error {
	if text == "" {
		return nil
	}
	known, ok := s.stated.Load(text)
	if !ok {
		read, err := ParseStatements(text)
		if err != nil {
			return err
		}
		if s.statedCount.Add(1) > maxStatements {
			s.stated.Clear()
			s.statedCount.Store(0)
		}
		s.stated.Store(text, read)
		known = read
	}
	known.(*Statements).apply(p, m)
	return nil
}

// StatementProblem is what is wrong with the DHCP statements of a node or its
// network, either of which may be nil; nil if they are understood.
func StatementProblem(snap *nodedb.Snapshot, nw *nodedb.Network, n *nodedb.Node) error {
	if nw != nil {
		for _, key := range siteStatements(nw) {
			if _, err := ParseStatements(snap.Site(key)); err != nil {
				return fmt.Errorf("site.%s: %w", key, err)
			}
		}
	}
	if n != nil {
		for _, column := range nodeStatements {
			if _, err := ParseStatements(n.Attr(column)); err != nil {
				return fmt.Errorf("node %s: %s: %w", n.Name, column, err)
			}
		}
	}
	return nil
}
