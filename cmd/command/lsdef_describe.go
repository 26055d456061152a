package command

import (
	"errors"
	"slices"
	"strings"

	"margay/nodedb"
)

// describes reports whether -h stands with -t, which asks for the attributes
// of a type.
func describes(s *Session, args []string) bool {
	return s.Flags.Changed("help") && s.Flags.Changed("types") && len(args) == 0
}

// describe prints the attributes of the types, those of -i if given.
func describe(s *Session) error {
	d := &defArgs{}
	if err := d.parseTypes(s.String("types")); err != nil {
		return err
	}
	var only []string
	if f := s.Flags.Lookup("attributes"); f != nil && f.Changed {
		only = strings.Split(f.Value.String(), ",")
	}
	for _, t := range d.types {
		for _, attr := range only {
			if t.Attribute(attr) == nil {
				return errors.New(defError(&nodedb.UnknownError{Type: t.Name, Attr: attr}))
			}
		}
		s.Line("")
		if only == nil {
			s.Line("The valid attribute names for object type '%s' are:\n", t.Name)
		}
		s.Line("Attribute          Description\n")
		for _, a := range attributes(t) {
			if only == nil || slices.Contains(only, a.name) {
				s.Line("%s:%s%s\n", a.name, descTab(a.name), a.desc)
			}
		}
	}
	return nil
}

// descTab stands between a name and what it means, so that most of those begin
// in one column.
func descTab(name string) string {
	if len(name) < 7 {
		return "\t\t"
	}
	return "\t"
}

type attribute struct{ name, desc string }

// attributes are the attributes of a type; of site, the settings that are
// known.
func attributes(t *nodedb.Type) []attribute {
	var list []attribute
	if t.IsSite() {
		for _, k := range nodedb.SiteKeys() {
			list = append(list, attribute{k.Name, k.Desc})
		}
		return list
	}
	for _, a := range t.Attributes {
		list = append(list, attribute{a.Name, a.Desc()})
	}
	return list
}

// values hides secrets, unless they are shown as they are.
func (f secretForm) values(values []nodedb.Value) []nodedb.Value {
	if f == nil {
		return values
	}
	out := slices.Clone(values)
	for i, v := range out {
		if v.Place.Column != nil && v.Place.Column.Secret && v.Text != "" {
			out[i].Text = nodedb.Hidden
		}
	}
	return out
}
