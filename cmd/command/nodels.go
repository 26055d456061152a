package command

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"margay/nodedb"
)

const nodelsUsage = "[noderange] [-b] [-H] [-S] [--reveal] [table.column | table | shortname] [table.column==value] ..."

var nodelsCmd = &Command{
	Name:  "nodels",
	Usage: nodelsUsage,
	Short: "list nodes and columns of theirs",
	Group: GroupTable,
	Flags: func(fs *pflag.FlagSet) {
		tableFlags(fs)
		fs.BoolP("blame", "b", false, "say which group a value is inherited from")
		fs.BoolP("with-fieldname", "H", false, "with the column's name before each value")
		fs.BoolP("hidden", "S", false, "hidden nodes too")
		revealFlag(fs)
	},
	Run: nodels,
}

// A nodeCell is a column that nodels shows.
type nodeCell struct {
	label string // as it was typed
	t     *nodedb.Table
	c     *nodedb.Column
}

func nodels(ctx context.Context, s *Session, args []string) error {
	if answered(s, "nodels "+nodelsUsage, "Lists nodes. Values are those that hold for the node, inherited ones included.\nOperators of conditions are ==, !=, =~ and !~; groups, tags and mgt are short for their columns.") {
		return nil
	}
	if err := s.mayReveal(); err != nil {
		return err
	}
	snap := s.DB.Snapshot()
	noderange, nodes := "", snap.Nodes()
	if len(args) > 0 {
		var err error
		noderange = args[0]
		if nodes, args, err = s.Nodes(snap, args); err != nil {
			return err
		}
	}
	cells, conds, err := parseCells(args)
	if err != nil {
		return err
	}
	r := newNodeReader(snap)
	nodes = slices.DeleteFunc(slices.Clone(nodes), func(n *nodedb.Node) bool {
		return n.Off() || hiddenFrom(s, n, noderange) || slices.ContainsFunc(conds, func(c nodeCond) bool { return !c.where.Match(r.value(n, c.t, c.c)) })
	})
	// Conditions count as columns do, for what is shown with its name.
	printNodes(s, r, nodes, cells, len(cells)+len(conds) > 1 || s.Bool("with-fieldname"))
	return nil
}

// hiddenFrom reports whether a node is hidden and was not named by itself.
func hiddenFrom(s *Session, n *nodedb.Node, noderange string) bool {
	hidden := n.Attr("nodelist.hidden")
	return (hidden == "1" || hidden == "yes") && !s.Bool("hidden") && !slices.Contains(strings.Split(noderange, ","), n.Name)
}

// A nodeCond is a condition on a column of nodes.
type nodeCond struct {
	where nodedb.Where
	t     *nodedb.Table
	c     *nodedb.Column
}

// parseCells tells columns from conditions.
func parseCells(args []string) (cells []nodeCell, conds []nodeCond, err error) {
	for _, arg := range args {
		if strings.ContainsAny(arg, "=!~") {
			cond, err := parseCond(arg)
			if err != nil {
				return nil, nil, err
			}
			conds = append(conds, cond)
			continue
		}
		if t := nodedb.TableByName(arg); t != nil && t.ByNode() {
			for i := range t.Columns {
				cells = append(cells, nodeCell{t.Attr(t.Columns[i].Name), t, &t.Columns[i]})
			}
			continue
		}
		t, c, err := nodeColumn(arg)
		if err != nil {
			return nil, nil, err
		}
		cells = append(cells, nodeCell{label: arg, t: t, c: c})
	}
	return cells, conds, nil
}

func parseCond(arg string) (nodeCond, error) {
	w, err := nodedb.ParseWhere(arg)
	if err != nil {
		return nodeCond{}, fmt.Errorf("Malformed argument %s", arg)
	}
	t, c, err := nodeColumn(w.Attr)
	return nodeCond{w, t, c}, err
}

func printNodes(s *Session, r *nodeReader, nodes []*nodedb.Node, cells []nodeCell, label bool) {
	blame := s.Bool("blame")
	form := s.secretForm()
	for _, n := range nodes {
		if len(cells) == 0 {
			s.Line("%s", n.Name)
			continue
		}
		for _, cell := range cells {
			value := r.value(n, cell.t, cell.c)
			if cell.c.Secret {
				value = form.show(nodedb.Key{Kind: nodedb.KindNode, Name: n.Name}, cell.t.Attr(cell.c.Name), value)
			}
			if blame {
				if g := r.source(n, cell.t, cell.c); g != "" {
					value += " (inherited from group " + g + ")"
				}
			}
			if label {
				s.Label(n.Name, cell.label, "%s", value)
				continue
			}
			s.NodeText(n.Name, value)
		}
	}
}

// A nodeReader reads columns of nodes, those of tables with further keys too.
type nodeReader struct {
	snap  *nodedb.Snapshot
	keyed map[*nodedb.Table]map[string]nodedb.Row // by node or group: its first row
}

func newNodeReader(snap *nodedb.Snapshot) *nodeReader {
	return &nodeReader{snap: snap, keyed: make(map[*nodedb.Table]map[string]nodedb.Row)}
}

// value returns the effective value of a column.
func (r *nodeReader) value(n *nodedb.Node, t *nodedb.Table, c *nodedb.Column) string {
	switch {
	case t.Kind == nodedb.KindNode && t.Keys[0] != c.Name:
		return n.Attr(c.Attr())
	case t.Kind == nodedb.KindNode:
		if r.holder(n, t) == "" {
			return ""
		}
		return n.Name
	}
	_, row, ok := r.row(n, t)
	switch {
	case !ok:
		return ""
	case t.Keys[0] == c.Name:
		return n.Name
	}
	return row.Get(t, c.Name)
}

// source returns the group that a value is inherited from, "" if it is the
// node's own.
func (r *nodeReader) source(n *nodedb.Node, t *nodedb.Table, c *nodedb.Column) string {
	if t.Kind == nodedb.KindNode && t.Keys[0] != c.Name {
		return n.Source(c.Attr())
	}
	name := r.holder(n, t)
	if name == n.Name {
		return ""
	}
	return name
}

// holder returns the node, or else the first of its groups, that has a row. A
// node is in nodelist in any case.
func (r *nodeReader) holder(n *nodedb.Node, t *nodedb.Table) string {
	if t.Name == "nodelist" {
		return n.Name
	}
	if t.Kind != nodedb.KindNode {
		name, _, _ := r.row(n, t)
		return name
	}
	for _, name := range append([]string{n.Name}, n.Groups...) {
		if len(r.snap.Find(t, map[string]string{t.Keys[0]: name})) > 0 {
			return name
		}
	}
	return ""
}

// row returns the first row that a node or one of its groups has.
func (r *nodeReader) row(n *nodedb.Node, t *nodedb.Table) (string, nodedb.Row, bool) {
	byName, ok := r.keyed[t]
	if !ok {
		byName = make(map[string]nodedb.Row)
		for _, row := range r.snap.Rows(t) {
			if _, first := byName[row.Values[0]]; !first {
				byName[row.Values[0]] = row
			}
		}
		r.keyed[t] = byName
	}
	for _, name := range append([]string{n.Name}, n.Groups...) {
		if row, ok := byName[name]; ok {
			return name, row, true
		}
	}
	return "", nodedb.Row{}, false
}
