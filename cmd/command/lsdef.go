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

const lsdefUsage = "[-t types] [-l | -s] [-a] [-S] [-i attrs [-c]] [-z] [-w attr==val ...] [--osimage] [--nics] [--reveal] [[-o] names] | -h -t types [-i attrs] | [-t types] --template [names]"

var lsdefCmd = &Command{
	Name:  "lsdef",
	Usage: lsdefUsage,
	Short: "list definitions",
	Group: GroupTable,
	Flags: func(fs *pflag.FlagSet) {
		defFlags(fs)
		xmlFlag(fs)
		fs.BoolP("all", "a", false, "objects of every type but the logs, passwd, switch and vmmaster")
		fs.BoolP("compress", "c", false, "a line an attribute, with the object before it; needs -i")
		fs.StringP("attributes", "i", "", "only these attributes, separated by commas")
		fs.BoolP("long", "l", false, "with all attributes")
		fs.BoolP("short", "s", false, "names only")
		fs.BoolP("hidden", "S", false, "hidden nodes too")
		fs.BoolP("stanza", "z", false, "in stanza form, as mkdef -z reads it")
		fs.StringArrayP("where", "w", nil, "condition that the objects meet, as attr==val, attr!=val, attr=~regexp, attr!~regexp")
		fs.Bool("osimage", false, "with the attributes of the nodes' osimage")
		fs.Bool("nics", false, "the attributes of interfaces only")
		fs.Bool("template", false, "list templates that mkdef --template takes")
		revealFlag(fs)
	},
	Run: lsdef,
}

// A lister prints objects.
type lister struct {
	s       *Session
	d       *defArgs
	view    *nodedb.View
	long    bool
	stanza  bool
	attrs   []string // -i, sorted; nil for all
	scripts scriptDefaults
	secrets secretForm
	out     strings.Builder
	found   map[string]bool // names of which there is an object
	missing []defItem       // objects that there are not
	shown   bool            // some object was
}

func lsdef(ctx context.Context, s *Session, args []string) error {
	if describes(s, args) {
		return describe(s)
	}
	if answered(s, "lsdef "+lsdefUsage, "Lists objects. A node's values are those that hold for it, inherited ones included.\nWith -h -t TYPE, the attributes of a type.") {
		return nil
	}
	if err := errors.Join(lsdefConflicts(s), s.mayReveal()); err != nil {
		return err
	}
	if len(args) > 1 && !s.Bool("template") {
		return Usagef("one noderange or list of names at most")
	}
	s.settleAudit(ctx, s.String("types"))
	d := &defArgs{snap: s.DB.Snapshot()}
	if err := d.parseTypes(s.String("types")); err != nil {
		return err
	}
	if s.Flags.Changed("objects") {
		d.named, d.objects = true, s.String("objects")
	} else if len(args) > 0 {
		d.named, d.objects = true, strings.Join(args, ",")
	}
	if s.Bool("template") {
		return listTemplates(s, d)
	}
	for _, w := range s.Strings("where") {
		where, err := nodedb.ParseWhere(w)
		if err != nil {
			return errors.New("Incorrect selection string specified with -w flag.")
		}
		d.wheres = append(d.wheres, where)
	}
	if s.Bool("all") {
		d.types = slices.DeleteFunc(slices.Clone(nodedb.Types()), func(t *nodedb.Type) bool { return t.Aside })
		d.typed = false
	}
	l := &lister{s: s, d: d, view: nodedb.NewView(d.snap), stanza: s.Bool("stanza"), secrets: s.secretForm(), found: make(map[string]bool)}
	l.scripts = defaultScripts(d.snap)
	if err := l.choose(); err != nil {
		return err
	}
	return l.run(ctx)
}

func lsdefConflicts(s *Session) error {
	attrs := s.Flags.Changed("attributes")
	switch {
	case s.Bool("xml"):
		return errNoXML
	case attrs && s.Bool("osimage"):
		return errors.New("The flags '-i' and '--osimage' cannot be used together.")
	case s.Bool("stanza") && s.Bool("osimage"):
		return errors.New("The flags '-z' and '--osimage' cannot be used together.")
	case s.Bool("all") && s.Flags.Changed("types"):
		return errors.New("The flags '-a' and '-t' cannot be used together.")
	case s.Bool("nics") && attrs:
		return errors.New("The flags '-i' and '--nics' cannot be used together.")
	case attrs && s.Bool("short"):
		return errors.New("The flags '-i' and '-s' cannot be used together.")
	case s.Bool("long") && s.Bool("short"):
		return errors.New("The flags '-l' and '-s' cannot be used together.")
	case s.Bool("compress") && !attrs:
		return errors.New("The flags '-c' and '-i' must be used together.")
	}
	return nil
}

// choose works out which attributes are shown, and names those that there are
// not.
func (l *lister) choose() error {
	if list := l.s.String("attributes"); list != "" {
		for attr := range strings.SplitSeq(list, ",") {
			if attr = strings.TrimSpace(attr); attr != "" {
				l.attrs = append(l.attrs, attr)
			}
		}
		slices.Sort(l.attrs)
		l.attrs = slices.Compact(l.attrs)
	}
	var bad error
	for _, t := range l.d.types {
		if l.s.Bool("all") {
			break
		}
		for _, attr := range l.attrs {
			if t.Attribute(attr) == nil {
				l.s.Error("%s", defError(&nodedb.UnknownError{Type: t.Name, Attr: attr}))
			}
		}
		for _, w := range l.d.wheres {
			if t.Attribute(w.Attr) == nil {
				bad = errors.Join(bad, &nodedb.UnknownError{Type: t.Name, Attr: w.Attr})
			}
		}
	}
	if bad != nil {
		return errors.New(defError(bad))
	}
	l.long = l.s.Bool("long") || l.attrs != nil || l.stanza || l.s.Bool("osimage") || l.s.Bool("nics") ||
		l.d.named && !l.s.Bool("short")
	if l.s.Bool("short") {
		l.long = false
	}
	return nil
}

func (l *lister) run(ctx context.Context) error {
	if l.stanza {
		l.out.WriteString(nodedb.StanzaHeader + "\n")
	}
	for _, t := range l.d.types {
		if err := l.list(ctx, t); err != nil {
			return err
		}
	}
	l.flush()
	for _, m := range l.missing {
		if len(l.d.types) == 1 || !l.found[m.name] {
			notFound(l.s, m.t, m.name)
		}
	}
	if len(l.found) > 0 && !l.shown && !l.stanza {
		l.s.Line("No object definitions have been found")
	}
	return nil
}

// list lists the objects of one type.
func (l *lister) list(ctx context.Context, t *nodedb.Type) error {
	names, err := l.names(t)
	if err != nil {
		return errors.New(defError(err))
	}
	if len(names) == 0 && !l.d.named && !l.s.Bool("all") {
		l.s.Error("Could not get objects of type '%s'.", t.Name)
		return nil
	}
	if len(names) == 0 && l.d.named {
		l.missing = append(l.missing, defItem{t: t, name: l.d.objects})
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l.object(t, name)
	}
	return nil
}

func (l *lister) names(t *nodedb.Type) ([]string, error) {
	switch {
	case l.d.named:
		names, err := l.d.names(l.s, t)
		return l.visible(t, names), err
	case t.Name == "node":
		return l.visible(t, l.view.Names(t)), nil
	}
	return l.view.Names(t), nil
}

// visible leaves out hidden nodes that were not named one by one.
func (l *lister) visible(t *nodedb.Type, names []string) []string {
	if t.Name != "node" || l.s.Bool("hidden") {
		return names
	}
	typed := strings.Split(l.d.objects, ",")
	return slices.DeleteFunc(names, func(name string) bool {
		r, _ := l.d.snap.Record(nodedb.Key{Kind: nodedb.KindNode, Name: name})
		hidden := r.Attrs["nodelist.hidden"]
		return (hidden == "1" || hidden == "yes") && !slices.Contains(typed, name)
	})
}

// object prints one object.
func (l *lister) object(t *nodedb.Type, name string) {
	if !l.long && len(l.d.wheres) == 0 {
		if !l.view.Has(t, name) {
			l.missing = append(l.missing, defItem{t: t, name: name})
			return
		}
		l.found[name], l.shown = true, true
		l.line(name, "  (", t.Name, ")")
		return
	}
	o, ok := l.view.Object(t, name)
	if !ok {
		l.missing = append(l.missing, defItem{t: t, name: name})
		return
	}
	l.found[name] = true
	if !meets(o, l.d.wheres) {
		return
	}
	l.shown = true
	if !l.long {
		l.line(name, "  (", t.Name, ")")
		return
	}
	l.print(o)
}

func (l *lister) print(o *nodedb.Object) {
	values := l.values(o)
	switch {
	case l.stanza:
		nodedb.WriteStanza(&l.out, o, values)
		l.flushIfMuch()
		return
	case l.s.Bool("compress"):
		for _, v := range values {
			l.line(o.Name, ": ", v.Name, "=", v.Text)
		}
		return
	case len(l.d.types) > 1:
		l.line("Object name: ", o.Name, "  (", o.Type.Name, ")")
	default:
		l.line("Object name: ", o.Name)
	}
	verbose := l.s.Bool("verbose")
	for _, v := range values {
		if verbose && v.Place.Table != nil {
			l.line("    ", v.Name, "=", v.Text, "\t(Table:", v.Place.Table.Name, " - Key:", v.Place.Table.Keys[0], " - Column:", v.Place.Column.Name, ")")
			continue
		}
		l.line("    ", v.Name, "=", v.Text)
	}
}

// values are the values of an object that are shown.
func (l *lister) values(o *nodedb.Object) []nodedb.Value {
	if l.scripts != nil && o.Type.Name == "node" && !l.stanza {
		l.addScripts(o)
	}
	var out []nodedb.Value
	switch {
	case l.attrs != nil:
		for _, attr := range l.attrs {
			if o.Type.Attribute(attr) != nil || l.s.Bool("all") {
				out = append(out, valuesOf(o, attr)...)
			}
		}
	case l.s.Bool("nics"):
		for _, v := range o.Values {
			if v.Place.Table.Name == "nics" {
				out = append(out, v)
			}
		}
	default:
		out = o.Values
	}
	if l.s.Bool("osimage") && o.Type.Name == "node" {
		out = append(slices.Clone(out), l.imageValues(o)...)
	}
	return l.secrets.values(out)
}

// imageValues are those values of a node's osimage that the node has none for.
func (l *lister) imageValues(o *nodedb.Object) (out []nodedb.Value) {
	name := o.Get("provmethod")
	switch name {
	case "", "install", "netboot", "statelite":
		os, arch, profile := o.Get("os"), o.Get("arch"), o.Get("profile")
		if name == "" || os == "" || arch == "" || profile == "" {
			l.s.Error("Missing attributes for node %s, check the node attributes 'os', 'arch','profile' and 'provmethod'.", o.Name)
			return nil
		}
		name = strings.Join([]string{os, arch, name, profile}, "-")
	}
	image, ok := l.view.Object(nodedb.TypeByName("osimage"), name)
	if !ok {
		l.s.Warn("%s: could not find information for osimage %s", o.Name, name)
		return nil
	}
	for _, v := range image.Values {
		if o.Get(v.Name) == "" {
			out = append(out, v)
		}
	}
	return out
}

// valuesOf are the values of an attribute that was asked for; it is shown
// even if it has none.
func valuesOf(o *nodedb.Object, attr string) []nodedb.Value {
	if nics := o.NICs(attr); len(nics) > 0 && o.Type.Attribute(attr) != nil && !o.Type.IsSite() {
		return nics
	}
	i, found := slices.BinarySearchFunc(o.Values, attr, func(v nodedb.Value, name string) int { return strings.Compare(v.Name, name) })
	if found {
		return o.Values[i : i+1]
	}
	return []nodedb.Value{{Name: attr}}
}

// addScripts puts the scripts that every node runs before the node's own.
func (l *lister) addScripts(o *nodedb.Object) {
	for _, attr := range []string{"postbootscripts", "postscripts"} {
		if len(l.scripts[attr]) == 0 {
			continue
		}
		i, found := slices.BinarySearchFunc(o.Values, attr, func(v nodedb.Value, name string) int { return strings.Compare(v.Name, name) })
		if !found {
			place := o.Type.Attribute(attr).Places[0]
			o.Values = slices.Insert(o.Values, i, nodedb.Value{Name: attr, Place: place})
		}
		o.Values[i].Text = l.scripts.with(attr, o.Values[i].Text)
	}
}

// line prints a line; fmt would take longer than all the rest.
func (l *lister) line(parts ...string) {
	for _, p := range parts {
		l.out.WriteString(p)
	}
	l.out.WriteByte('\n')
	l.flushIfMuch()
}

func (l *lister) flushIfMuch() {
	if l.out.Len() > 64<<10 {
		l.flush()
	}
}

func (l *lister) flush() {
	l.s.Text(l.out.String())
	l.out.Reset()
}

// listTemplates lists the templates that ship, or shows some.
func listTemplates(s *Session, d *defArgs) error {
	var found bool
	var b strings.Builder
	if s.Bool("stanza") {
		b.WriteString(nodedb.StanzaHeader + "\n")
	}
	for _, t := range defTemplates() {
		switch {
		case d.typed && !slices.ContainsFunc(d.types, func(x *nodedb.Type) bool { return x.Name == t.typ }):
		case !d.named && !s.Bool("stanza"):
			fmt.Fprintf(&b, "%s  (%s)\n", t.name, t.typ)
		case !d.named || slices.Contains(strings.Split(d.objects, ","), t.name):
			found = true
			if s.Bool("stanza") {
				fmt.Fprintf(&b, "\n%s:\n    objtype=%s\n", t.name, t.typ)
			} else {
				fmt.Fprintf(&b, "Object name: %s\n", t.name)
			}
			list := slices.SortedFunc(slices.Values(t.assigns), func(a, b nodedb.Assign) int { return strings.Compare(a.Attr, b.Attr) })
			for _, a := range list {
				fmt.Fprintf(&b, "    %s=%s\n", a.Attr, a.Value)
			}
		}
	}
	if d.named && !found {
		return fmt.Errorf("Could not find %s in xCAT templates", d.objects)
	}
	s.Text(b.String())
	return nil
}
