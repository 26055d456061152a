package provision

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"margay/nodedb"
)

// kindName keeps the names that others gave by DNS updates (RFC 2136): our
// own record, named by the whole name.
const kindName nodedb.Kind = "margay.name"

// ErrNameTaken says that an update may not have a name: it is a node's, or in
// no domain of ours.
var ErrNameTaken = errors.New("not a name that may be updated")

// A NameChange is one step of a DNS update.
type NameChange struct {
	Delete bool
	Name   string
	Type   string // A or CNAME; empty when all of a name is deleted
	Value  string // empty when all of a type is deleted
}

// UpdateNames makes changes to the names that are not nodes', all or none.
func (s *Service) UpdateNames(ctx context.Context, changes []NameChange) error {
	return s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		names := NewNames(tx.Snapshot(), s.Now())
		for _, c := range changes {
			if err := updateName(tx, names, c); err != nil {
				return err
			}
		}
		return nil
	})
}

func updateName(tx *nodedb.Tx, names *Names, c NameChange) error {
	k := nodedb.Key{Kind: kindName, Name: c.Name}
	label, domain, ok := strings.Cut(c.Name, ".")
	if !ok || !isLabel(label) || !slices.Contains(names.Domains(), domain) {
		return ErrNameTaken
	}
	_, given := tx.Get(k)
	if !given { // what was given before may go and come back in one update
		_, given = names.snap.Record(k)
	}
	if _, _, taken := names.Lookup(c.Name); taken && !given {
		return ErrNameTaken
	}
	col := map[string]string{"A": "name.a", "CNAME": "name.cname"}[c.Type]
	switch {
	case c.Delete && c.Type == "":
		tx.Delete(k)
		return nil
	case col == "":
		return ErrNameTaken // other types are ours to make
	case c.Delete:
		tx.Set(k, col, "")
		return nil
	case c.Type == "A":
		a, err := netip.ParseAddr(c.Value)
		if err != nil || !a.Is4() || tx.Snapshot().NetworkOf(a) == nil || tx.Snapshot().NodeByAddr(a) != nil {
			return ErrNameTaken
		}
	}
	tx.Set(k, col, strings.ToLower(c.Value))
	return nil
}

// given adds the names that updates gave, and those of dynamic clients.
func (n *Names) given() {
	domain := strings.ToLower(n.snap.Site("domain"))
	for _, r := range n.snap.Records(kindLeaseName) {
		a, _ := netip.ParseAddr(r.Name)
		lease, _ := n.snap.Record(leaseKey(a))
		l := leaseOf(lease)
		if !a.IsValid() || l.Bad || !l.Expires.After(n.now) {
			continue
		}
		if first := n.ends.Load(); first == 0 || l.Expires.Unix() < first {
			n.ends.Store(l.Expires.Unix())
		}
		d := domain
		if nw := n.snap.NetworkOf(a); nw != nil {
			if dd := nw.Attr("networks.ddnsdomain"); dd != "" {
				d = strings.ToLower(dd)
			} else if nw.Domain != "" {
				d = strings.ToLower(nw.Domain)
			}
		}
		n.give(r.Attrs["leasename.name"]+"."+d, other{addr: a, lease: true})
	}
	for _, r := range n.snap.Records(kindName) {
		if alias := r.Attrs["name.cname"]; alias != "" {
			n.give(r.Name, other{alias: alias})
		} else if a, err := netip.ParseAddr(r.Attrs["name.a"]); err == nil {
			n.give(r.Name, other{addr: a})
		}
	}
}

// give adds a name that no node has.
func (n *Names) give(name string, o other) {
	label, domain, _ := strings.Cut(name, ".")
	if node, err := n.snap.Node(label); err == nil && n.named(node) && domainOf(n.snap, node.Addr) == domain {
		return
	}
	if _, taken := n.other[name]; !taken && name != n.server {
		n.other[name] = o
	}
}
