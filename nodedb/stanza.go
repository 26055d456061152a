package nodedb

import (
	"fmt"
	"slices"
	"strings"
)

// A Stanza is one object of a stanza file: its attributes in the order in
// which they are written, those of its type's default stanza first. Unknown has
// an UnknownError for each that its type does not have; Assigns lacks those.
type Stanza struct {
	Line    int
	Name    string
	Type    *Type
	Assigns []Assign
	Unknown []error
}

// StanzaHeader is the first line of a stanza file.
const StanzaHeader = "# <xCAT data object stanza file>"

// ParseStanzas reads a stanza file. Errors name the line and wrap ErrInvalid.
func ParseStanzas(text string) ([]Stanza, error) {
	p := &stanzaParser{defaults: make(map[string][]Assign), seen: make(map[string]int)}
	for line := range strings.SplitSeq(text, "\n") {
		p.line++
		if err := p.read(strings.TrimSpace(line)); err != nil {
			return nil, fmt.Errorf("line %d: %w", p.line, err)
		}
	}
	if err := p.end(); err != nil {
		return nil, err
	}
	return p.list, nil
}

type stanzaParser struct {
	line     int
	now      *Stanza
	objtype  string
	defaults map[string][]Assign // by type; an empty value turns a default off
	seen     map[string]int      // type and name: line
	list     []Stanza
}

// read takes one line, without blanks around it.
func (p *stanzaParser) read(line string) error {
	switch {
	case line == "", line[0] == '#':
		return nil
	case line[len(line)-1] == ':' && !strings.Contains(line, "="):
		if err := p.end(); err != nil {
			return err
		}
		p.now, p.objtype = &Stanza{Line: p.line, Name: strings.TrimSpace(line[:len(line)-1])}, ""
		if p.now.Name == "" {
			return fmt.Errorf("no name before the colon: %w", ErrInvalid)
		}
		return nil
	}
	attr, value, ok := strings.Cut(line, "=")
	attr, value = strings.TrimSpace(attr), unquoteStanza(strings.TrimSpace(value))
	switch {
	case !ok || attr == "" || strings.ContainsAny(attr, " \t"):
		return fmt.Errorf("%.40q is neither attr=value nor a name with a colon: %w", line, ErrInvalid)
	case p.now == nil:
		return fmt.Errorf("%s before the first object: %w", attr, ErrInvalid)
	case checkText(value) != "":
		return fmt.Errorf("%s: %s in the value: %w", attr, checkText(value), ErrInvalid)
	case attr == "objtype":
		p.objtype = value
		return nil
	}
	p.now.Assigns = append(p.now.Assigns, Assign{Attr: attr, Value: value})
	return nil
}

// end closes the stanza that is being read.
func (p *stanzaParser) end() error {
	s := p.now
	p.now = nil
	if s == nil {
		return nil
	}
	if typ, ok := strings.CutPrefix(s.Name, "default-"); ok && (p.objtype == "" || p.objtype == typ) {
		s.Type = TypeByName(typ)
		if s.Type == nil {
			return fmt.Errorf("line %d: %s: not an object type: %w", s.Line, typ, ErrInvalid)
		}
		p.defaults[typ] = merge(p.defaults[typ], s.Assigns)
		return nil
	}
	if p.objtype == "" {
		return fmt.Errorf("line %d: %s has no objtype: %w", s.Line, s.Name, ErrInvalid)
	}
	if s.Type = TypeByName(p.objtype); s.Type == nil {
		return fmt.Errorf("line %d: %s: not an object type: %w", s.Line, p.objtype, ErrInvalid)
	}
	if first := p.seen[p.objtype+" "+s.Name]; first != 0 {
		return fmt.Errorf("line %d: %s is there twice, first on line %d: %w", s.Line, s.Name, first, ErrInvalid)
	}
	p.seen[p.objtype+" "+s.Name] = s.Line
	defaults := slices.DeleteFunc(slices.Clone(p.defaults[p.objtype]), func(a Assign) bool { return a.Value == "" })
	s.Assigns, s.Unknown = s.Type.Known(merge(defaults, s.Assigns))
	for i, err := range s.Unknown {
		s.Unknown[i] = fmt.Errorf("line %d: %s: %w", s.Line, s.Name, err)
	}
	p.list = append(p.list, *s)
	return nil
}

// merge puts what is given behind those defaults that are not.
func merge(defaults, given []Assign) []Assign {
	var out []Assign
	for _, d := range defaults {
		taken := false
		for _, a := range given {
			taken = taken || a.Attr == d.Attr
		}
		if !taken {
			out = append(out, d)
		}
	}
	return append(out, given...)
}

// unquoteStanza takes one pair of quotes from around a value.
func unquoteStanza(v string) string {
	if n := len(v); n > 1 && (v[0] == '"' || v[0] == '\'') && v[n-1] == v[0] {
		return v[1 : n-1]
	}
	return v
}

// quoteStanza puts quotes around a value that would not be read back without.
func quoteStanza(v string) string {
	if v != strings.TrimSpace(v) || v != unquoteStanza(v) {
		return `"` + v + `"`
	}
	return v
}

// WriteStanza writes one object with the values, which are its own or a choice
// of them.
func WriteStanza(b *strings.Builder, o *Object, values []Value) {
	b.WriteString("\n" + o.Name + ":\n    objtype=" + o.Type.Name + "\n")
	for _, v := range values {
		b.WriteString("    " + v.Name + "=" + quoteStanza(v.Text) + "\n")
	}
}
