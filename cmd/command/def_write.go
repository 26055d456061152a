package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"margay/nodedb"
)

// A defItem is one object that is to be made or changed.
type defItem struct {
	t       *nodedb.Type
	name    string
	assigns []nodedb.Assign
}

// items are the objects that a command line names, or standard input; unknown
// are the attributes there that their type does not have.
func (d *defArgs) items(s *Session) (items []defItem, unknown []error, err error) {
	if s.Bool("stanza") {
		return d.stanzaItems(s)
	}
	items, err = d.namedItems(s)
	return items, nil, err
}

func (d *defArgs) namedItems(s *Session) ([]defItem, error) {
	t := d.types[0]
	if len(d.types) > 1 {
		return nil, errors.New("Cannot combine multiple types with 'att=val' pairs on the command line.")
	}
	var names []string
	var err error
	switch {
	case d.named:
		names, err = d.names(s, t)
	case t.IsSite():
		names = []string{nodedb.SiteObject}
	case len(d.wheres) > 0:
		names = nodedb.NewView(d.snap).Names(t)
	}
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errors.New("No object names were provided.")
	}
	var items []defItem
	for _, name := range names {
		items = append(items, defItem{t, name, d.assigns})
	}
	return items, nil
}

func (d *defArgs) stanzaItems(s *Session) (items []defItem, unknown []error, err error) {
	if d.typed {
		return nil, nil, errors.New("Cannot combine '-t' and '-a', '-z', or '-x' options.")
	}
	if d.named {
		return nil, nil, errors.New("Cannot use '-z' with '-o' or a noderange.")
	}
	stanzas, err := readStanzas(s)
	if err != nil {
		return nil, nil, err
	}
	for _, st := range stanzas {
		if err := st.Type.Check(d.assigns); err != nil {
			return nil, nil, err
		}
		unknown = append(unknown, st.Unknown...)
		for i := range st.Assigns {
			st.Assigns[i].Op = d.op
		}
		items = append(items, defItem{st.Type, st.Name, slices.Concat(st.Assigns, d.assigns)})
	}
	return items, unknown, nil
}

// dynamic makes the items dynamic groups whose members meet the conditions.
func (d *defArgs) dynamic(items []defItem, op nodedb.Op) error {
	for i, item := range items {
		switch {
		case item.t.Name != "group":
			return errors.New("The '-d' option is valid for the group type only.")
		case len(d.wheres) == 0:
			return fmt.Errorf("The 'where' attributes and values were not provided for dynamic group '%s'.", item.name)
		case len(item.assigns) > 0:
			return fmt.Errorf("Can not assign attributes to dynamic node group '%s'.", item.name)
		}
		items[i].assigns = []nodedb.Assign{
			{Attr: "grouptype", Value: "dynamic"},
			{Attr: "wherevals", Op: op, Value: d.conditions()},
		}
	}
	return nil
}

// conditions are those of -w, as groups keep them.
func (d *defArgs) conditions() string {
	var list []string
	for _, w := range d.wheres {
		list = append(list, w.String())
	}
	return strings.Join(list, "::")
}

// members has -w say who is in the groups: those nodes that meet the
// conditions now, or whoever does so, if the group is dynamic already.
func (d *defArgs) members(items []defItem, op nodedb.Op) error {
	view := nodedb.NewView(d.snap)
	var found []string
	for _, n := range d.snap.Nodes() {
		if o, ok := view.Object(nodedb.TypeByName("node"), n.Name); ok && meets(o, d.wheres) {
			found = append(found, n.Name)
		}
	}
	for i, item := range items {
		if slices.ContainsFunc(item.assigns, func(a nodedb.Assign) bool { return a.Attr == "members" }) {
			return errors.New("Cannot use a list of members together with the '-w' option.")
		}
		a := nodedb.Assign{Attr: "members", Op: op, Value: strings.Join(found, ",")}
		if g, ok := view.Object(item.t, item.name); ok && g.Get("grouptype") == "dynamic" {
			a = nodedb.Assign{Attr: "wherevals", Op: op, Value: d.conditions()}
		}
		items[i].assigns = append(slices.Clone(item.assigns), a)
	}
	return nil
}

// A defResult is what became of the items, gathered within a transaction and
// printed when it is done.
type defResult struct {
	lines    []defLine
	done     []string // objects made or changed
	created  []string // those that were made by a command that changes
	nodes    []string // nodes among done
	groups   []string // groups among done
	networks []string // networks among done
	failed   bool
	refused  bool // an item that could not be made or changed at all
}

// A defLine is a line for standard error.
type defLine struct{ level, text string }

func (r *defResult) fail(err error) {
	var cond *nodedb.ConditionError
	var item *nodedb.NoItemError
	r.failed = true
	r.refused = r.refused || !errors.As(err, &cond) && !errors.As(err, &item)
	r.lines = append(r.lines, defLine{"Error", defError(err)})
}

func (r *defResult) warn(text string) { r.lines = append(r.lines, defLine{"Warning", text}) }

func (r *defResult) did(item defItem) {
	r.done = append(r.done, item.name)
	switch item.t.Name {
	case "node":
		r.nodes = append(r.nodes, item.name)
	case "group":
		r.groups = append(r.groups, item.name)
	case "network":
		r.networks = append(r.networks, item.name)
	}
}

// write runs do for each item in one transaction. An item that fails is left
// as it was; the others are done.
func write(ctx context.Context, s *Session, items []defItem, do func(*nodedb.Editor, *defResult, defItem)) (*defResult, error) {
	if err := checkDefStatements(items); err != nil {
		return nil, err
	}
	var r *defResult
	err := s.Update(ctx, func(tx *nodedb.Tx) error {
		r = &defResult{}
		e := nodedb.Edit(tx)
		scripts := defaultScripts(tx.Snapshot())
		for _, item := range items {
			item.assigns = scripts.without(r, item)
			item.assigns = withoutStrangers(e, r, item)
			do(e, r, item)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDry) {
		return nil, err
	}
	for _, l := range r.lines {
		if l.level == "Error" {
			s.Error("%s", l.text)
		} else {
			s.Warn("%s", l.text)
		}
	}
	if err != nil {
		return nil, err
	}
	r.doubt(s, items)
	return r, nil
}

// withoutStrangers leaves out members of a group that are no nodes, and says so.
func withoutStrangers(e *nodedb.Editor, r *defResult, item defItem) []nodedb.Assign {
	at := slices.IndexFunc(item.assigns, func(a nodedb.Assign) bool { return a.Attr == "members" })
	if item.t.Name != "group" || at < 0 {
		return item.assigns
	}
	names, unknown, err := e.Expand(item.assigns[at].Value)
	if err != nil || len(unknown) == 0 {
		return item.assigns // it is said where they are set
	}
	for _, name := range unknown {
		r.failed = true
		r.lines = append(r.lines, defLine{"Error", "Could not find a node named '" + name + "', skipping to the next node."})
	}
	out := slices.Clone(item.assigns)
	if out[at].Value = strings.Join(names, ","); len(names) == 0 {
		out = slices.Delete(out, at, at+1)
	}
	return out
}

// doubt warns of what is allowed and hardly meant about what was written.
func (r *defResult) doubt(s *Session, items []defItem) {
	touched := make(map[string]bool)
	for _, item := range items {
		for _, a := range item.assigns {
			touched[a.Attr] = true
		}
	}
	warnDoubts(s, append(r.nodes, membersOf(s, r.groups)...), touched)
	if touched["membergroups"] || touched["wherevals"] {
		warnGroups(s, r.done)
	}
	for _, n := range s.DB.Snapshot().Networks() {
		if slices.Contains(r.networks, n.Name) {
			printDoubts(s, n.Doubts(), nil)
		}
	}
}

// warnDoubts warns of what is doubtful about the attributes of nodes that were
// touched.
func warnDoubts(s *Session, nodes []string, touched map[string]bool) {
	for _, attr := range []string{"mac", "ip", "bmc", "provmethod", "vmhost"} {
		if touched[attr] && len(nodes) > 0 {
			printDoubts(s, s.DB.Snapshot().Doubts(nodes), touched)
			return
		}
	}
}

// warnGroups warns of what is doubtful about what groups are made of.
func warnGroups(s *Session, groups []string) {
	for _, d := range s.DB.Snapshot().Check() {
		if name, ok := strings.CutPrefix(d.Node, "group "); ok && slices.Contains(groups, name) {
			s.NodeWarn(d.Node, "%s", d.Text)
		}
	}
}

// maxWarned is how many warnings of a kind a command prints, and how many
// members of a group it looks at: margay check looks at all.
const (
	maxWarned  = 50
	maxMembers = 10000
)

// membersOf returns the nodes that inherit from groups, if they are not too
// many to be looked at while somebody waits.
func membersOf(s *Session, groups []string) (nodes []string) {
	for _, g := range groups {
		if members := s.DB.Snapshot().Members(g); len(members) <= maxMembers {
			nodes = append(nodes, names(members)...)
		}
	}
	slices.Sort(nodes)
	return slices.Compact(nodes)
}

func printDoubts(s *Session, list []nodedb.Doubt, touched map[string]bool) {
	n := 0
	for _, d := range list {
		if d.Attr != "" && !touched[d.Attr] {
			continue
		}
		if n++; n <= maxWarned {
			s.NodeWarn(d.Node, "%s", d.Text)
		}
	}
	if n > maxWarned {
		s.Warn("%d more are doubtful; margay check names all", n-maxWarned)
	}
}

// scriptDefaults are the scripts that every node runs: the row xcatdefaults of
// the postscripts table.
type scriptDefaults map[string][]string

func defaultScripts(snap *nodedb.Snapshot) scriptDefaults {
	r, ok := snap.Record(nodedb.Key{Kind: nodedb.KindGroup, Name: "xcatdefaults"})
	if !ok {
		return nil
	}
	d := make(scriptDefaults)
	for _, attr := range []string{"postscripts", "postbootscripts"} {
		if list := r.Attrs["postscripts."+attr]; list != "" {
			d[attr] = strings.Split(list, ",")
		}
	}
	return d
}

// without leaves out scripts that every node runs anyway, and says so.
func (d scriptDefaults) without(r *defResult, item defItem) []nodedb.Assign {
	if item.t.Name != "node" && item.t.Name != "group" {
		return item.assigns
	}
	out := item.assigns
	for i, a := range item.assigns {
		defaults := d[a.Attr]
		if a.Op == nodedb.Minus || len(defaults) == 0 || a.Value == "" {
			continue
		}
		var keep []string
		for script := range strings.SplitSeq(a.Value, ",") {
			if slices.Contains(defaults, script) {
				r.warn(item.name + ": " + a.Attr + " '" + script + "' is already included in the 'xcatdefaults'.")
				continue
			}
			keep = append(keep, script)
		}
		if &out[0] == &item.assigns[0] {
			out = slices.Clone(out)
		}
		out[i].Value = strings.Join(keep, ",")
	}
	return out
}

// with puts the scripts that every node runs before a node's own.
func (d scriptDefaults) with(attr, value string) string {
	list := slices.Clone(d[attr])
	for script := range strings.SplitSeq(value, ",") {
		if script != "" && !slices.Contains(list, script) {
			list = append(list, script)
		}
	}
	return strings.Join(list, ",")
}
