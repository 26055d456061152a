package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"margay/nodedb"
)

const nodechUsage = "noderange table.column=value | table.column,=value | table.column^=value | table.column==value ... | -d noderange table ..."

var nodechCmd = &Command{
	Name:  "nodech",
	Usage: nodechUsage,
	Short: "set columns of nodes",
	Group: GroupTable,
	Flags: func(fs *pflag.FlagSet) {
		tableFlags(fs)
		fs.BoolP("delete", "d", false, "delete the nodes' rows in the tables")
		safetyFlags(fs)
	},
	Run: nodech,
}

// A nodeSet is what becomes of a column of nodes.
type nodeSet struct {
	t     *nodedb.Table
	c     *nodedb.Column
	op    byte // '=' sets, ',' puts before a list, '^' takes out of it
	value string
}

func nodech(ctx context.Context, s *Session, args []string) error {
	if answered(s, "nodech "+nodechUsage, "= sets a column, ,= puts a value before a list, ^= takes it out, =@ sets even what looks like a condition.\n==, !=, =~ and !~ choose among the nodes.") {
		return nil
	}
	if len(args) < 2 {
		return Usagef("a noderange and what to set are required")
	}
	snap := s.DB.Snapshot()
	nodes, args, err := s.Nodes(snap, args)
	if err != nil {
		return err
	}
	if s.Bool("delete") {
		return nodechDelete(ctx, s, names(nodes), args)
	}
	sets, conds, err := parseSets(s, args)
	if err != nil {
		return err
	}
	r := newNodeReader(snap)
	nodes = slices.DeleteFunc(nodes, func(n *nodedb.Node) bool {
		return slices.ContainsFunc(conds, func(c nodeCond) bool { return !c.where.Match(r.value(n, c.t, c.c)) })
	})
	if slices.ContainsFunc(sets, func(c nodeSet) bool { return c.value == "" || c.op == '^' }) {
		if err := s.Confirm(len(nodes), "take values from nodes"); err != nil {
			return err
		}
	}
	saysDynamic(s, snap, sets)
	err = s.Update(ctx, func(tx *nodedb.Tx) error {
		e := nodedb.Edit(tx)
		for _, n := range nodes {
			if err := setNode(e, n.Name, sets, true); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return plain(err)
	}
	warnNodes(s, names(nodes), sets)
	return nil
}

// saysDynamic says of groups that nodes are put into by name that they are
// dynamic: who is in them is theirs to say.
func saysDynamic(s *Session, snap *nodedb.Snapshot, sets []nodeSet) {
	for _, c := range sets {
		if c.t.Name != "nodelist" || c.c.Name != "groups" || c.op == '^' {
			continue
		}
		for group := range strings.SplitSeq(c.value, ",") {
			if r, _ := snap.Record(nodedb.Key{Kind: nodedb.KindGroup, Name: group}); r.Attrs["nodegroup.grouptype"] == "dynamic" {
				s.Line("nodegroup %s is a dynamic node group, should not add a node into a dynamic node group statically.", group)
			}
		}
	}
}

// parseSets tells assignments from conditions. What is neither is named, and
// the rest is done.
func parseSets(s *Session, args []string) (sets []nodeSet, conds []nodeCond, err error) {
	for _, arg := range args {
		i := strings.IndexAny(arg, "=!")
		switch {
		case i <= 0:
			s.Error("Malformed argument %s ignored.", arg)
		case arg[i] == '!' || strings.HasPrefix(arg[i:], "==") || strings.HasPrefix(arg[i:], "=~"):
			cond, err := parseCond(arg)
			if err != nil {
				return nil, nil, err
			}
			conds = append(conds, cond)
		default:
			set, err := parseSet(arg[:i], strings.TrimPrefix(arg[i+1:], "@"))
			if err != nil {
				return nil, nil, err
			}
			sets = append(sets, set)
		}
	}
	return sets, conds, nil
}

func parseSet(name, value string) (nodeSet, error) {
	set := nodeSet{op: '=', value: value}
	if last := name[len(name)-1]; last == ',' || last == '^' {
		set.op, name = last, name[:len(name)-1]
	}
	var err error
	if set.t, set.c, err = nodeColumn(name); err != nil {
		return set, err
	}
	if set.t.IsKey(set.c.Name) && set.t.Keys[0] == set.c.Name {
		return set, fmt.Errorf("%s cannot be set; rename the node with chdef -n", name)
	}
	if set.op == '^' {
		return set, nil
	}
	return set, checkStatements(set.t.Attr(set.c.Name), value)
}

// apply works out the column's value. inherits says that no value would let a
// group's through.
func (c nodeSet) apply(old string, inherits bool) string {
	items := strings.Split(old, ",")
	if old == "" || old == nodedb.NoValue {
		items = nil
	}
	value := c.value
	switch c.op {
	case ',':
		if !slices.Contains(items, c.value) {
			items = slices.Insert(items, 0, c.value)
		}
		value = strings.Join(items, ",")
	case '^':
		value = strings.Join(slices.DeleteFunc(items, func(s string) bool { return s == c.value }), ",")
	}
	if value == "" && inherits {
		return nodedb.NoValue
	}
	return value
}

// setNode sets columns of a node or group, a row a table.
func setNode(e *nodedb.Editor, name string, sets []nodeSet, node bool) error {
	var tables []*nodedb.Table
	for _, c := range sets {
		if !slices.Contains(tables, c.t) {
			tables = append(tables, c.t)
		}
	}
	for _, t := range tables {
		var old *nodedb.Row
		values := make([]string, len(t.Columns))
		values[t.Index(t.Keys[0])] = name
		if found := e.Find(t, map[string]string{t.Keys[0]: name}); len(found) > 0 {
			old = &found[0]
			copy(values, old.Values)
		}
		for _, c := range sets {
			if c.t == t {
				i := t.Index(c.c.Name)
				values[i] = c.apply(values[i], node && t.Name != "nodelist")
			}
		}
		if err := e.PutRow(t, old, values); err != nil {
			return err
		}
	}
	return nil
}

func warnNodes(s *Session, nodes []string, sets []nodeSet) {
	touched := make(map[string]bool)
	for _, c := range sets {
		touchColumn(touched, c.t.Attr(c.c.Name))
	}
	warnDoubts(s, nodes, touched)
}

func nodechDelete(ctx context.Context, s *Session, nodes, tables []string) error {
	if len(tables) == 0 {
		return Usagef("the tables are missing")
	}
	var list []*nodedb.Table
	for _, name := range tables {
		if strings.ContainsAny(name, "=.") {
			return errors.New(". and = not valid in delete mode.")
		}
		t, err := tableNamed(name)
		if err != nil {
			return err
		}
		if !t.ByNode() {
			return fmt.Errorf("%s is no table of nodes", name)
		}
		list = append(list, t)
	}
	if err := s.Confirm(len(nodes), "delete rows of nodes"); err != nil {
		return err
	}
	return s.Update(ctx, func(tx *nodedb.Tx) error {
		e := nodedb.Edit(tx)
		for _, t := range list {
			for _, n := range nodes {
				for _, row := range e.Find(t, map[string]string{t.Keys[0]: n}) {
					e.DeleteRow(t, row)
				}
			}
		}
		return nil
	})
}
