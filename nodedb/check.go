package nodedb

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Check looks at what is no node: networks, groups, the site table, rows
// without a node. Nodes are looked at by Doubts.
func (s *Snapshot) Check() []Doubt {
	var list []Doubt
	for _, n := range s.Networks() {
		for _, d := range n.Doubts() {
			d.Node = "network " + n.Name
			list = append(list, d)
		}
		list = append(list, s.checkNetwork(n)...)
	}
	list = append(list, s.checkGroups()...)
	list = append(list, s.checkStrays()...)
	if text := s.Site("excludenodes"); text != "" {
		if _, err := s.Expand(text); err != nil {
			list = append(list, Doubt{Node: "site", Text: fmt.Sprintf("excludenodes=%s: %v", text, err), Wrong: true})
		}
	}
	return list
}

// checkNetwork holds a network against the others and itself.
func (s *Snapshot) checkNetwork(n *Network) (list []Doubt) {
	wrong := func(format string, args ...any) {
		list = append(list, Doubt{Node: "network " + n.Name, Text: fmt.Sprintf(format, args...), Wrong: true})
	}
	for _, o := range s.Networks() {
		if o != n && o.Prefix == n.Prefix && n.Prefix.IsValid() && n.Name < o.Name {
			wrong("network %s is %s too", o.Name, o.Prefix)
		}
	}
	if n.Gateway != "" && n.Gateway != Master && n.Prefix.IsValid() {
		a, err := parseAddr(n.Gateway)
		switch {
		case err != nil:
			wrong("gateway %q is neither an address nor %s", n.Gateway, Master)
		case !n.Prefix.Contains(a):
			list = append(list, Doubt{Node: "network " + n.Name, Text: fmt.Sprintf("gateway %s is not inside %s", a, n.Prefix)})
		case n.InDynamicRange(a):
			wrong("gateway %s lies in the dynamic range", a)
		}
	}
	for i, r := range n.DynamicRanges {
		for _, o := range n.DynamicRanges[i+1:] {
			if r.Contains(o.First) || o.Contains(r.First) {
				wrong("dynamic ranges %s and %s overlap", r, o)
			}
		}
	}
	return list
}

// checkGroups looks at what groups are made of.
func (s *Snapshot) checkGroups() (list []Doubt) {
	parts := make(map[string][]string)
	for _, r := range s.Records(KindGroup) {
		add := func(wrong bool, format string, args ...any) {
			list = append(list, Doubt{"group " + r.Name, "", fmt.Sprintf(format, args...), wrong})
		}
		if r.Attrs["nodegroup.grouptype"] == "dynamic" {
			for where := range strings.SplitSeq(r.Attrs["nodegroup.wherevals"], "::") {
				if w, err := ParseWhere(where); err != nil {
					add(true, "wherevals: %v", err)
				} else if _, err := nodeAttr(w.Attr); err != nil && keyedPlaces(w.Attr) == nil {
					add(true, "wherevals: %v", err)
				}
			}
		}
		parts[r.Name] = splitList(r.Attrs["nodegroup.membergroups"], ",")
		for _, g := range parts[r.Name] {
			if _, found := slices.BinarySearch(s.Groups(), g); !found {
				add(false, "membergroups: group %s is not defined", g)
			}
		}
	}
	for _, g := range slices.Sorted(maps.Keys(parts)) {
		if cycle := cycleFrom(parts, g); cycle != nil {
			list = append(list, Doubt{Node: "group " + g, Text: "it is made of itself by way of membergroups: " + strings.Join(append(cycle, g), " > "), Wrong: true})
		}
	}
	return list
}

// cycleFrom returns the groups by which a group is made of itself, nil if it
// is not.
func cycleFrom(parts map[string][]string, group string) []string {
	seen := make(map[string]bool)
	var walk func(name string, path []string) []string
	walk = func(name string, path []string) []string {
		path = append(slices.Clip(path), name)
		for _, next := range parts[name] {
			if next == group {
				return path
			}
			if seen[next] {
				continue
			}
			seen[next] = true
			if found := walk(next, path); found != nil {
				return found
			}
		}
		return nil
	}
	return walk(group, nil)
}

// strayNames are rows that belong to no node or group and yet mean something.
var strayNames = []string{"xcatdefaults", "service"}

// checkStrays names rows of node tables that nobody has.
func (s *Snapshot) checkStrays() (list []Doubt) {
	known := func(name string) bool {
		_, group := slices.BinarySearch(s.Groups(), name)
		return group || s.HasNode(name) || slices.Contains(strayNames, name)
	}
	strays := make(map[string][]string)
	for _, r := range s.Records(KindGroup) {
		if known(r.Name) {
			continue
		}
		for column := range r.Attrs {
			table, _, _ := strings.Cut(column, ".")
			strays[r.Name] = append(strays[r.Name], table)
		}
	}
	for _, t := range Tables() {
		if !t.ByNode() || t.Kind == KindNode {
			continue
		}
		for _, r := range s.Records(t.Kind) {
			if name := t.KeyValues(r.Name)[0]; !known(name) && name != "" {
				strays[name] = append(strays[name], t.Name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(strays)) {
		tables := strays[name]
		slices.Sort(tables)
		list = append(list, Doubt{Node: name, Text: "neither a node nor a group, and has rows in " + strings.Join(slices.Compact(tables), ", ")})
	}
	return list
}

// values reports every value of a node that does not come out, but for what
// Node.Check has reported.
func (d *doubter) values(n *Node) {
	reported := ""
	if err := n.Check(); err != nil {
		reported = err.Error()
	}
	columns := slices.Collect(maps.Keys(n.src.rec.Attrs))
	if n.src.set != nil {
		for _, row := range n.src.set.rows {
			for column := range row.rec.Attrs {
				if inherits(column) {
					columns = append(columns, column)
				}
			}
		}
	}
	slices.Sort(columns)
	for _, column := range slices.Compact(columns) {
		if _, err := n.src.value(column); err != nil && !strings.Contains(reported, column+": ") {
			d.wrong(n, "", "%s: %s", column, bare(err))
		}
	}
}
