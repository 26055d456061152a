package command

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"margay/nodedb"
)

// defFlags are what mkdef, chdef, lsdef and rmdef share.
func defFlags(fs *pflag.FlagSet) {
	tableFlags(fs)
	fs.StringP("types", "t", "", "object types, separated by commas; node if left out")
	fs.StringP("objects", "o", "", "object names, separated by commas, or a noderange")
	fs.BoolP("verbose", "V", false, "say more")
	fs.Bool("nocache", false, "accepted and without effect: nothing is cached")
	fs.MarkHidden("nocache")
}

// xmlFlag is a flag that xCAT knows and refuses; rmdef says so in other words.
func xmlFlag(fs *pflag.FlagSet) {
	fs.BoolP("xml", "x", false, "")
	fs.MarkHidden("xml")
}

var errNoXML = errors.New("The '-x' (XML format) option is not yet implemented.")

// tableFlags are what all commands on tables share. Help is ours, because
// with -t it describes attributes.
func tableFlags(fs *pflag.FlagSet) {
	fs.VarPF(new(helpValue), "help", "h", "show this help").NoOptDefVal = "true"
	fs.BoolP("version", "v", false, "show the version")
}

// A helpValue is a flag that never tells cobra that it was set, so that the
// command is run and can answer itself.
type helpValue struct{}

func (*helpValue) String() string   { return "false" }
func (*helpValue) Set(string) error { return nil }
func (*helpValue) Type() string     { return "bool" }

// answered answers --version and --help, and reports whether it did.
func answered(s *Session, usage, long string) bool {
	switch {
	case s.Bool("version"):
		s.Line("Version %s", s.Version)
	case s.Flags.Changed("help"):
		s.Line("Usage: %s\n\n%s\n", usage, long)
		s.Text(s.Flags.FlagUsages())
	default:
		return false
	}
	return true
}

// A defArgs is what was typed to one of the object commands.
type defArgs struct {
	snap    *nodedb.Snapshot
	types   []*nodedb.Type
	typed   bool // types were given
	named   bool // objects were given
	objects string
	op      nodedb.Op // what the command does to values
	assigns []nodedb.Assign
	wheres  []nodedb.Where
}

// parseDef takes operands apart: the objects, then attr=value. What is wrong
// with their form is said before anything is done; what attributes there are is
// looked at by the command.
func parseDef(s *Session, args []string, op nodedb.Op) (*defArgs, error) {
	if s.Bool("xml") {
		return nil, errNoXML
	}
	d := &defArgs{snap: s.DB.Snapshot(), op: op}
	types := s.String("types")
	if types == "" && s.Bool("use") {
		types = "osimage"
	}
	if err := d.parseTypes(types); err != nil {
		return nil, err
	}
	if s.Flags.Changed("objects") {
		d.named, d.objects = true, s.String("objects")
	} else if len(args) > 0 && !isAssign(args[0]) {
		d.named, d.objects, args = true, args[0], args[1:]
	}
	for _, arg := range args {
		a, err := parseAssign(arg, op)
		if err != nil {
			return nil, err
		}
		d.assigns = append(d.assigns, a)
	}
	for _, w := range s.Strings("where") {
		where, err := nodedb.ParseWhere(w)
		if err != nil {
			return nil, errors.New("Incorrect selection string specified with -w flag.")
		}
		d.wheres = append(d.wheres, where)
	}
	return d, d.checkWheres()
}

func (d *defArgs) parseTypes(list string) error {
	if list == "" {
		d.types = []*nodedb.Type{nodedb.TypeByName("node")}
		return nil
	}
	d.typed = true
	for name := range strings.SplitSeq(list, ",") {
		t := nodedb.TypeByName(name)
		if t == nil {
			return fmt.Errorf("\nType '%s' is not a valid xCAT object type.", name)
		}
		d.types = append(d.types, t)
	}
	return nil
}

// checkWheres refuses conditions on attributes that a type does not have, all
// of them at once.
func (d *defArgs) checkWheres() error {
	var bad error
	for _, t := range d.types {
		for _, w := range d.wheres {
			if t.Attribute(w.Attr) == nil && !(t.Name == "group" && nodedb.TypeByName("node").Attribute(w.Attr) != nil) {
				bad = errors.Join(bad, &nodedb.UnknownError{Type: t.Name, Attr: w.Attr})
			}
		}
	}
	return bad
}

// known leaves out attributes that the type does not have, and says which they
// are. Stanzas say of what type they are.
func (d *defArgs) known(s *Session) (unknown []error) {
	if s.Bool("stanza") {
		return nil
	}
	d.assigns, unknown = d.types[0].Known(d.assigns)
	return unknown
}

func isAssign(arg string) bool {
	i := strings.IndexByte(arg, '=')
	return i > 0 && !strings.ContainsAny(arg[:i], ",@/~!^()[]")
}

// parseAssign parses attr=value; attr+=value and attr-=value add to a list and
// take from it, whatever the command does with the rest.
func parseAssign(arg string, op nodedb.Op) (nodedb.Assign, error) {
	if !isAssign(arg) {
		return nodedb.Assign{}, fmt.Errorf("Incorrect 'attr=val' pair - %s.", arg)
	}
	attr, value, _ := strings.Cut(arg, "=")
	if base, ok := strings.CutSuffix(attr, "+"); ok {
		attr, op = base, nodedb.Plus
	} else if base, ok := strings.CutSuffix(attr, "-"); ok {
		attr, op = base, nodedb.Minus
	}
	return nodedb.Assign{Attr: strings.TrimSpace(attr), Op: op, Value: value}, nil
}

// names are the objects that were named, for one type: nodes as a noderange,
// which need not exist.
func (d *defArgs) names(s *Session, t *nodedb.Type) ([]string, error) {
	if t.Name == "node" {
		return s.rangeNames(d.snap, d.objects)
	}
	var names []string
	for name := range strings.SplitSeq(d.objects, ",") {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// rangeNames expands a noderange to names without asking whether they exist.
func (s *Session) rangeNames(snap *nodedb.Snapshot, noderange string) ([]string, error) {
	s.noderange = noderange
	return snap.ExpandNamesWith(noderange, s.expandOptions())
}

// meets reports whether an object meets all conditions. One without the
// attribute meets none that mentions it.
func meets(o *nodedb.Object, wheres []nodedb.Where) bool {
	for _, w := range wheres {
		value := o.Get(w.Attr)
		if value == "" || !w.Match(value) {
			return false
		}
	}
	return true
}

// readStanzas reads the stanza file on standard input.
func readStanzas(s *Session) ([]nodedb.Stanza, error) {
	text, err := io.ReadAll(io.LimitReader(s.Stdin(), maxInput+1))
	if err != nil {
		return nil, fmt.Errorf("standard input: %v", err)
	}
	if len(text) > maxInput {
		return nil, fmt.Errorf("standard input: more than %d MB", maxInput>>20)
	}
	list, err := nodedb.ParseStanzas(string(text))
	if err == nil && len(list) == 0 {
		err = errors.New("No object names were provided.")
	}
	return list, err
}

// maxInput bounds files that are read whole.
const maxInput = 256 << 20

// defError says an error of the object layer in xCAT's words.
func defError(err error) string {
	var (
		unknown *nodedb.UnknownError
		cond    *nodedb.ConditionError
		missing *nodedb.MissingError
		item    *nodedb.NoItemError
		name    *nodedb.NameError
		net     *nodedb.SameNetError
	)
	switch {
	case errors.As(err, &unknown):
		return unknownText(err)
	case errors.As(err, &cond):
		return fmt.Sprintf("Cannot set the attr='%s' attribute unless %s value is %s.", cond.Attr, cond.On, strings.Join(cond.Values, " or "))
	case errors.As(err, &missing):
		return missingText(missing)
	case errors.As(err, &item) && item.Item == "":
		return fmt.Sprintf("No value got for attribute '%s' for the '%s' definition.", item.Attr, item.Name)
	case errors.As(err, &item):
		return fmt.Sprintf("%s is not in the attribute of '%s' for the '%s' definition.", item.Item, item.Attr, item.Name)
	case errors.As(err, &net):
		return fmt.Sprintf("A network definition called '%s' already exists that contains the same net and mask values. Cannot create a definition for '%s'.", net.Other, net.Name)
	case errors.As(err, &name) && name.Type == "node" && strings.Contains(name.Name, "."):
		return fmt.Sprintf("The object name '%s' is invalid, Cannot use '.' in node name.", name.Name)
	case errors.As(err, &name):
		return fmt.Sprintf("The object name '%s' is invalid, %s.", name.Name, name.Why)
	}
	return withoutClass(err)
}

// unknownText names every attribute that is unknown, a line each.
func unknownText(err error) string {
	list, ok := err.(interface{ Unwrap() []error })
	if !ok {
		var u *nodedb.UnknownError
		errors.As(err, &u)
		where, _, _ := strings.Cut(err.Error(), u.Error())
		return fmt.Sprintf("%s'%s' is not a valid attribute name for an object type of '%s'.", where, u.Attr, u.Type)
	}
	var lines []string
	for _, e := range list.Unwrap() {
		lines = append(lines, unknownText(e))
	}
	return strings.Join(lines, "\nError: ")
}

func missingText(e *nodedb.MissingError) string {
	if e.Type == "network" {
		return fmt.Sprintf("Net or mask value should not be empty for xCAT network object '%s'.", e.Name)
	}
	return fmt.Sprintf("Attribute '%s' is not specified for %s '%s', skipping to the next %s.", e.Attr, e.Type, e.Name, e.Type)
}

// notFound says that there is no such object.
func notFound(s *Session, t *nodedb.Type, name string) {
	s.Error("Could not find an object named '%s' of type '%s'.", name, t.Name)
}
