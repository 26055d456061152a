package nodedb

import (
	"fmt"
	"strings"
)

// ExpandOptions say how a noderange is read.
type ExpandOptions struct {
	// ReadFile reads the file of ^path; without it such atoms are refused.
	ReadFile func(path string) ([]byte, error)
	// Prefix and Suffix go round an atom that is all digits; an empty Prefix
	// is "node".
	Prefix, Suffix string
	// All leaves site.excludenodes out of account.
	All bool
}

// A RangeError names the parts of a noderange that are neither nodes nor
// groups. It wraps ErrNotFound.
type RangeError struct {
	Names []string // the first of them
	More  int      // how many there are besides
}

func (e *RangeError) Error() string {
	text := "Invalid nodes and/or groups in noderange: " + strings.Join(e.Names, ",")
	if e.More > 0 {
		text += fmt.Sprintf(" and %d more", e.More)
	}
	return text
}

// Unwrap makes it an ErrNotFound.
func (e *RangeError) Unwrap() error { return ErrNotFound }

func (e *RangeError) add(name string) {
	if len(e.Names) < maxShown {
		e.Names = append(e.Names, name)
		return
	}
	e.More++
}

const (
	maxShown  = 1000    // names in an error
	maxNames  = 1 << 19 // names that one noderange may spell out
	maxNested = 64      // parentheses, files in files, dynamic groups
)

// Expand returns the nodes of a noderange, sorted by name. Names that are
// neither nodes nor groups make a RangeError; an empty result does not.
func (s *Snapshot) Expand(noderange string) ([]*Node, error) {
	return s.ExpandWith(noderange, ExpandOptions{})
}

// ExpandWith is Expand with options.
func (s *Snapshot) ExpandWith(noderange string, o ExpandOptions) ([]*Node, error) {
	set, err := s.expand(noderange, o, true)
	if err != nil {
		return nil, err
	}
	return s.nodesOf(set), nil
}

// ExpandNames expands a noderange to names, sorted, without asking whether
// they exist: what mkdef does. Groups that exist stand for their members;
// what is no range stands for itself.
func (s *Snapshot) ExpandNames(noderange string) ([]string, error) {
	return s.ExpandNamesWith(noderange, ExpandOptions{})
}

// ExpandNamesWith is ExpandNames with options.
func (s *Snapshot) ExpandNamesWith(noderange string, o ExpandOptions) ([]string, error) {
	set, err := s.expand(noderange, o, false)
	if err != nil {
		return nil, err
	}
	return set.names(), nil
}

func (s *Snapshot) expand(noderange string, o ExpandOptions, verify bool) (*nodeSet, error) {
	x := &expander{snap: s, table: s.kind(KindNode), opts: o, verify: verify, left: maxNames}
	if isDigits(x.opts.Prefix + x.opts.Suffix + "0") {
		x.opts.Prefix = "node"
	}
	set, err := x.noderange(strings.NewReplacer("'", "", `"`, "").Replace(noderange))
	if err != nil {
		return nil, err
	}
	if len(x.unknown.Names) > 0 {
		return nil, &x.unknown
	}
	if o.All {
		return set, nil
	}
	e := s.excludedNodes()
	if e.err != nil {
		return nil, fmt.Errorf("site.excludenodes: %w", e.err)
	}
	if e.set != nil {
		set.subtract(e.set)
	}
	return set, nil
}

// excluded is what site.excludenodes names.
type excluded struct {
	set *nodeSet
	err error
}

func (s *Snapshot) excludedNodes() excluded {
	return s.exclude.get(func() excluded {
		text := s.Site("excludenodes")
		if text == "" {
			return excluded{}
		}
		x := &expander{snap: s, table: s.kind(KindNode), opts: ExpandOptions{Prefix: "node"}, verify: true, left: maxNames}
		set, err := x.noderange(text) // what is unknown in it excludes nothing
		return excluded{set, err}
	})
}

// An expander works out one noderange.
type expander struct {
	snap    *Snapshot
	table   *sorted[*slot]
	opts    ExpandOptions
	verify  bool // names have to exist
	depth   int
	left    int // how many names may still be spelled out
	unknown RangeError
}

func (x *expander) empty() *nodeSet { return newNodeSet(x.table) }

// enter counts nesting; leave ends it.
func (x *expander) enter() error {
	if x.depth++; x.depth > maxNested {
		return fmt.Errorf("noderange: nested deeper than %d: %w", maxNested, ErrInvalid)
	}
	return nil
}

func (x *expander) leave() { x.depth-- }

// noderange evaluates elements from left to right: , adds, @ keeps what is in
// both, ,- takes away, whatever comes later. An element may itself be an
// intersection: a,b@c is a and what b and c share. A parenthesis is combined
// with all that stands before it.
func (x *expander) noderange(text string) (*nodeSet, error) {
	if err := x.enter(); err != nil {
		return nil, err
	}
	defer x.leave()
	if strings.ContainsAny(text, " \t\n") {
		return nil, fmt.Errorf("noderange can not contain spaces.: %w", ErrInvalid)
	}
	elements, err := splitRange(text)
	if err != nil {
		return nil, err
	}
	have, less := x.empty(), x.empty()
	for _, el := range elements {
		set, err := x.element(el)
		if err != nil {
			return nil, err
		}
		switch el.op {
		case opAdd:
			have.union(set)
		case opBoth:
			have.intersect(set)
		case opLess:
			less.union(set)
		}
	}
	have.subtract(less)
	return have, nil
}

// element evaluates one element: its first atom, and what the others share
// with it.
func (x *expander) element(el rangeElement) (*nodeSet, error) {
	set, err := x.atom(el.atoms[0])
	if err != nil {
		return nil, err
	}
	for _, a := range el.atoms[1:] {
		other, err := x.atom(a)
		if err != nil {
			return nil, err
		}
		set.intersect(other)
	}
	return set, nil
}

// atom evaluates an atom: the first reading that fits, in xCAT's order.
func (x *expander) atom(text string) (*nodeSet, error) {
	if inner, ok := strings.CutPrefix(text, "("); ok {
		return x.noderange(strings.TrimSuffix(inner, ")"))
	}
	if path, ok := strings.CutPrefix(text, "^"); ok {
		return x.file(path)
	}
	set := x.empty()
	if set.addNode(text) {
		return set, nil
	}
	if members, ok, err := x.group(text); ok || err != nil {
		return members, err
	}
	if strings.ContainsAny(text, "=~") && text[0] != '/' {
		return x.selection(text)
	}
	if re, ok := strings.CutPrefix(text, "/"); ok {
		return set, x.regexp(set, re)
	}
	return set, x.spelled(set, text)
}

// name adds one name that a range or an atom spells out: a node, a group, or
// else an error or just a name. A bare number has a prefix put before it.
func (x *expander) name(set *nodeSet, name string) error {
	if set.addNode(name) {
		return nil
	}
	members, ok, err := x.group(name)
	if err != nil {
		return err
	}
	switch {
	case ok:
		set.union(members)
	case isDigits(name):
		return x.name(set, x.opts.Prefix+name+x.opts.Suffix)
	case x.verify:
		x.unknown.add(name)
	default:
		set.addName(name)
	}
	return nil
}

// regexp adds the nodes whose whole names match.
func (x *expander) regexp(set *nodeSet, text string) error {
	open, err := perlRegexp(text)
	if err != nil {
		return errRegexp(text, err)
	}
	re, err := perlRegexp("^(?:" + text + ")$")
	if err != nil {
		return errRegexp(text, err)
	}
	prefix, _ := open.LiteralPrefix()
	set.addNamed(prefix, re.MatchString)
	return nil
}

// errRegexp is in xCAT's words, and says what is wrong.
func errRegexp(text string, err error) error {
	why := strings.TrimPrefix(err.Error(), "regular expression "+text+": ")
	why = strings.TrimPrefix(why, "error parsing regexp: ")
	why = strings.TrimSuffix(why, ": "+ErrInvalid.Error())
	return fmt.Errorf("Invalid regular expression %s, check the noderange syntax. (%s): %w", text, why, ErrInvalid)
}

// file evaluates every line of a file. Lines that begin with # or ^ are
// skipped; a line ends at the first colon or blank.
func (x *expander) file(path string) (*nodeSet, error) {
	if x.opts.ReadFile == nil {
		return nil, fmt.Errorf("noderange ^%s: files cannot be read here: %w", path, ErrInvalid)
	}
	data, err := x.opts.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("noderange ^%s: %w", path, err)
	}
	set := x.empty()
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "^") || strings.HasPrefix(line, "#") {
			continue
		}
		if end := strings.IndexAny(line, ": \t"); end >= 0 {
			line = line[:end]
		}
		if line == "" {
			continue
		}
		part, err := x.noderange(line)
		if err != nil {
			return nil, fmt.Errorf("noderange ^%s: %w", path, err)
		}
		set.union(part)
	}
	return set, nil
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
