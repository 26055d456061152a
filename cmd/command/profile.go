package command

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"margay/nodedb"
)

// kindProfile is the table of guests' profiles.
const kindProfile nodedb.Kind = "vmprofile"

// profileColumns are the columns of a node that a profile has values for.
var profileColumns = map[string]string{
	"cpus": "vm.cpus", "memory": "vm.memory", "storage": "vm.storage", "storagemodel": "vm.storagemodel",
	"nics": "vm.nics", "nicmodel": "vm.nicmodel", "guestostype": "vm.guestostype", "othersettings": "vm.othersettings",
}

// profile is the profile that --profile names, over the one called default.
func (s *Session) profile(snap *nodedb.Snapshot) (map[string]string, error) {
	values := map[string]string{}
	for _, name := range []string{"default", s.String("profile")} {
		row, ok := snap.Record(nodedb.Key{Kind: kindProfile, Name: name})
		if d := row.Attrs["vmprofile.disable"]; d == "1" || strings.EqualFold(d, "yes") {
			ok = false
		}
		if !ok && name != "default" && name != "" {
			return nil, fmt.Errorf("there is no profile %q in the table vmprofile", name)
		}
		for k, v := range row.Attrs {
			if ok && v != "" {
				values[strings.TrimPrefix(k, "vmprofile.")] = v
			}
		}
	}
	return values, nil
}

// adopt gives nodes what they lack of a profile: from then on that is theirs.
// It returns the table as it is then, or as it would be with dry.
func (s *Session) adopt(ctx context.Context, nodes []*nodedb.Node, values map[string]string, dry bool) (*nodedb.Snapshot, error) {
	snap := s.DB.Snapshot()
	if len(values) == 0 {
		return snap, nil
	}
	if dry {
		return snap.With(lacking(snap, nodes, values)...), nil
	}
	err := s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		for _, r := range lacking(tx.Snapshot(), nodes, values) {
			tx.Put(r.Key, r.Attrs)
		}
		return nil
	})
	return s.DB.Snapshot(), err
}

// lacking are the nodes' records with what they lack of a profile.
func lacking(snap *nodedb.Snapshot, nodes []*nodedb.Node, values map[string]string) []nodedb.Record {
	var out []nodedb.Record
	for _, n := range nodes {
		r, ok := snap.Record(nodedb.Key{Kind: nodedb.KindNode, Name: n.Name})
		if !ok {
			continue
		}
		r.Attrs = maps.Clone(r.Attrs)
		for from, column := range profileColumns {
			if v := values[from]; v != "" && n.Attr(column) == "" {
				r.Attrs[column] = v
			}
		}
		out = append(out, r)
	}
	return out
}

// again are the nodes as a later snapshot has them.
func (s *Session) again(snap *nodedb.Snapshot, nodes []*nodedb.Node) ([]*nodedb.Node, error) {
	var out []*nodedb.Node
	for _, n := range nodes {
		fresh, err := snap.Node(n.Name)
		if err != nil {
			s.NodeError(n.Name, err)
			continue
		}
		out = append(out, fresh)
	}
	return out, nil
}

// fill sets what is empty.
func fill(to *string, value string) {
	if *to == "" {
		*to = value
	}
}
