package vsphere

import (
	"bytes"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/vmware/govmomi/vim25/types"
)

// A scanner reads the answer to RetrievePropertiesEx where its values are
// plain: strings, numbers, states and references. It stops at whatever else
// there is, so that what it does read is what the library reads.
type scanner struct {
	b     []byte
	at    int
	xsi   []byte                  // prefix of XML Schema, if the envelope has one
	props []types.DynamicProperty // room for those of the next objects
	last  []seenValue             // the value before, by its place among an object's properties
}

// A seenValue is a value and the text that it was read from: hosts and states
// are the same for many guests in a row.
type seenValue struct {
	raw []byte
	val types.AnyType
}

// A tag is one element's start or end.
type tag struct {
	prefix []byte
	name   []byte
	space  []byte // what the prefix stands for, if it says so itself
	decl   []byte // prefix of XML Schema, likewise
	typ    []byte // attribute "type"
	xsi    []byte // attribute "type" of XML Schema
	guid   []byte // attribute "serverGuid"
	end    bool
	empty  bool // <name/>
}

const (
	soapSpace = "http://schemas.xmlsoap.org/soap/envelope/"
	xsiSpace  = "http://www.w3.org/2001/XMLSchema-instance"
)

// scanObjects reads a whole answer; nil is one without a result. Not ok means that the
// library has to read it.
func scanObjects(b []byte) (*types.RetrieveResult, bool) {
	if !utf8.Valid(b) || bytes.IndexByte(b, '\r') >= 0 {
		return nil, false
	}
	s := &scanner{b: b}
	if !s.prolog() {
		return nil, false
	}
	t, ok := s.tag()
	if !ok || t.end || t.empty || string(t.name) != "Envelope" || string(t.space) != soapSpace {
		return nil, false
	}
	s.xsi = t.decl
	if !s.start("Body") {
		return nil, false
	}
	t, ok = s.tag()
	if !ok || t.end || t.empty {
		return nil, false
	}
	method := t.name
	switch string(method) {
	case "RetrievePropertiesExResponse", "ContinueRetrievePropertiesExResponse":
	default:
		return nil, false
	}
	r, ok := s.result(string(method))
	if !ok || !s.finish("Body") || !s.finish("Envelope") {
		return nil, false
	}
	s.blanks()
	return r, s.at == len(b)
}

// prolog passes <?xml version="1.0" encoding="UTF-8"?>.
func (s *scanner) prolog() bool {
	if !bytes.HasPrefix(s.b, []byte("<?xml ")) {
		return true
	}
	end := bytes.Index(s.b, []byte("?>"))
	if end < 0 {
		return false
	}
	head := bytes.ToUpper(s.b[:end])
	s.at = end + 2
	return bytes.Contains(head, []byte(`VERSION="1.0"`)) && (!bytes.Contains(head, []byte("ENCODING")) || bytes.Contains(head, []byte(`ENCODING="UTF-8"`)))
}

func (s *scanner) result(method string) (*types.RetrieveResult, bool) {
	t, ok := s.tag()
	if !ok {
		return nil, false
	}
	if t.end {
		return nil, string(t.name) == method
	}
	r := &types.RetrieveResult{}
	if string(t.name) != "returnval" || t.xsi != nil {
		return nil, false
	}
	if !t.empty && !s.objects(r) {
		return nil, false
	}
	return r, s.finish(method)
}

func (s *scanner) objects(r *types.RetrieveResult) bool {
	r.Objects = make([]types.ObjectContent, 0, min(bytes.Count(s.b, []byte("<objects")), 1<<16))
	for {
		t, ok := s.tag()
		switch {
		case !ok || t.empty:
			return false
		case t.end:
			if len(r.Objects) == 0 {
				r.Objects = nil
			}
			return string(t.name) == "returnval"
		case string(t.name) == "token":
			text, ok := s.text()
			if !ok || !s.finish("token") {
				return false
			}
			r.Token = string(text)
		case string(t.name) == "objects" && t.xsi == nil:
			o, ok := s.object()
			if !ok {
				return false
			}
			r.Objects = append(r.Objects, o)
		default:
			return false
		}
	}
}

func (s *scanner) object() (o types.ObjectContent, ok bool) {
	t, ok := s.tag()
	if !ok || t.end || string(t.name) != "obj" {
		return o, false
	}
	if o.Obj, ok = s.reference(t); !ok {
		return o, false
	}
	first := len(s.props)
	for n := 0; ; n++ {
		t, ok := s.tag()
		if !ok || t.empty {
			return o, false
		}
		if t.end {
			if n > 0 {
				o.PropSet = s.props[first:len(s.props):len(s.props)]
			}
			return o, string(t.name) == "objects"
		}
		if string(t.name) != "propSet" || t.xsi != nil {
			return o, false
		}
		p, ok := s.property(n)
		if !ok {
			return o, false
		}
		if len(s.props) == cap(s.props) { // what the object has so far goes along
			s.props = append(make([]types.DynamicProperty, 0, 1024+n), s.props[first:]...)
			first = 0
		}
		s.props = append(s.props, p)
	}
}

// property reads the n-th property of an object, behind its <propSet>.
func (s *scanner) property(n int) (p types.DynamicProperty, ok bool) {
	if !s.start("name") {
		return p, false
	}
	name, ok := s.text()
	if !ok || !s.finish("name") {
		return p, false
	}
	p.Name = propertyName(name)
	from := s.at
	if n < len(s.last) {
		if raw := s.last[n].raw; bytes.HasPrefix(s.b[from:], raw) {
			s.at += len(raw)
			p.Val = s.last[n].val
			return p, s.finish("propSet")
		}
	}
	t, ok := s.tag()
	if !ok || t.end || string(t.name) != "val" {
		return p, false
	}
	if p.Val, ok = s.value(t); !ok {
		return p, false
	}
	if n < 16 {
		s.last = slices.Grow(s.last, 16)[:max(len(s.last), n+1)]
		s.last[n] = seenValue{s.b[from:s.at], p.Val}
	}
	return p, s.finish("propSet")
}

// value reads what is in a <val>, and its end.
func (s *scanner) value(t tag) (types.AnyType, bool) {
	switch string(t.xsi) {
	case "ManagedObjectReference":
		return boxed(s.reference(t))
	case "ArrayOfManagedObjectReference":
		return s.references(t)
	}
	var text []byte
	if !t.empty {
		var ok bool
		if text, ok = s.text(); !ok || !s.finish("val") {
			return nil, false
		}
	}
	switch string(t.xsi) {
	case "xsd:string":
		return string(text), true
	case "xsd:boolean":
		return string(text) == "true", string(text) == "true" || string(text) == "false"
	case "xsd:int":
		n, err := strconv.ParseInt(string(text), 10, 32)
		return int32(n), err == nil
	case "xsd:long":
		n, err := strconv.ParseInt(string(text), 10, 64)
		return n, err == nil
	case "VirtualMachinePowerState":
		return types.VirtualMachinePowerState(text), true
	case "VirtualMachineConnectionState":
		return types.VirtualMachineConnectionState(text), true
	}
	return nil, false
}

func boxed(r types.ManagedObjectReference, ok bool) (types.AnyType, bool) { return r, ok }

// reference reads what is behind an element that is a reference.
func (s *scanner) reference(t tag) (r types.ManagedObjectReference, ok bool) {
	r.Type, r.ServerGUID = typeName(t.typ), string(t.guid)
	if t.empty {
		return r, true
	}
	text, ok := s.text()
	if !ok {
		return r, false
	}
	r.Value = string(text)
	return r, s.finish(string(t.name))
}

func (s *scanner) references(t tag) (types.AnyType, bool) {
	var list types.ArrayOfManagedObjectReference
	if t.empty {
		return list, true
	}
	for {
		t, ok := s.tag()
		if !ok {
			return nil, false
		}
		if t.end {
			return list, string(t.name) == "val"
		}
		if string(t.name) != "ManagedObjectReference" {
			return nil, false
		}
		r, ok := s.reference(t)
		if !ok {
			return nil, false
		}
		list.ManagedObjectReference = append(list.ManagedObjectReference, r)
	}
}

// propertyName and typeName spare a copy of the names that come for every guest.
func propertyName(b []byte) string {
	switch string(b) {
	case "name":
		return "name"
	case "runtime.host":
		return "runtime.host"
	case "runtime.powerState":
		return "runtime.powerState"
	}
	return string(b)
}

func typeName(b []byte) string {
	switch string(b) {
	case "VirtualMachine":
		return "VirtualMachine"
	case "HostSystem":
		return "HostSystem"
	}
	return string(b)
}

// start wants an element's start next, finish its end.
func (s *scanner) start(name string) bool {
	t, ok := s.tag()
	return ok && !t.end && !t.empty && string(t.name) == name
}

func (s *scanner) finish(name string) bool {
	t, ok := s.tag()
	return ok && t.end && string(t.name) == name
}

func (s *scanner) blanks() {
	for s.at < len(s.b) && (s.b[s.at] == ' ' || s.b[s.at] == '\n' || s.b[s.at] == '\t') {
		s.at++
	}
}

// tag reads the next tag, with nothing but blanks before it.
func (s *scanner) tag() (t tag, ok bool) {
	s.blanks()
	if s.at+1 >= len(s.b) || s.b[s.at] != '<' {
		return t, false
	}
	s.at++
	if s.b[s.at] == '/' {
		t.end = true
		s.at++
	}
	if t.prefix, t.name, ok = s.name(); !ok {
		return t, false
	}
	for {
		before := s.at
		s.blanks()
		switch {
		case s.at >= len(s.b):
			return t, false
		case s.b[s.at] == '>':
			s.at++
			return t, true
		case t.end:
			return t, false
		case s.b[s.at] == '/':
			s.at += 2
			t.empty = true
			return t, s.at <= len(s.b) && s.b[s.at-1] == '>'
		case before == s.at || !s.attribute(&t):
			return t, false
		}
	}
}

// attribute reads one; those that mean something are kept.
func (s *scanner) attribute(t *tag) bool {
	prefix, name, ok := s.name()
	if !ok || s.at+1 >= len(s.b) || s.b[s.at] != '=' || s.b[s.at+1] != '"' {
		return false
	}
	s.at += 2
	end := bytes.IndexByte(s.b[s.at:], '"')
	if end < 0 {
		return false
	}
	value := s.b[s.at : s.at+end]
	s.at += end + 1
	for _, c := range value {
		if c < ' ' || c == '<' || c == '&' {
			return false
		}
	}
	switch {
	case string(prefix) == "xmlns":
		if bytes.Equal(name, t.prefix) {
			t.space = value
		}
		if string(value) == xsiSpace {
			t.decl = name
		}
		return string(value) == xsiSpace || !bytes.Equal(name, s.xsi)
	case string(name) == "xmlns":
		if t.prefix == nil {
			t.space = value
		}
	case string(name) == "serverGuid":
		t.guid = value
	case string(name) == "type" && prefix == nil:
		t.typ = value
	case string(name) == "type":
		t.xsi = value
		return bytes.Equal(prefix, t.decl) || bytes.Equal(prefix, s.xsi)
	}
	return true
}

// name reads a name, in two at its colon.
func (s *scanner) name() (prefix, local []byte, ok bool) {
	from := s.at
	for s.at < len(s.b) {
		c := s.b[s.at]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
		case s.at > from && (c >= '0' && c <= '9' || c == '-' || c == '.'):
		case c == ':' && prefix == nil && s.at > from:
			prefix = s.b[from:s.at]
			from = s.at + 1
		default:
			return prefix, s.b[from:s.at], s.at > from
		}
		s.at++
	}
	return nil, nil, false
}

// text reads up to the next tag.
func (s *scanner) text() ([]byte, bool) {
	end := bytes.IndexByte(s.b[s.at:], '<')
	if end < 0 {
		return nil, false
	}
	raw := s.b[s.at : s.at+end]
	s.at += end
	plain := true
	for i, c := range raw {
		switch {
		case c < ' ' && c != '\n' && c != '\t', c == ']' && bytes.HasPrefix(raw[i:], []byte("]]>")), c == 0xef && bytes.HasPrefix(raw[i:], []byte("\xef\xbf")):
			return nil, false
		case c == '&':
			plain = false
		}
	}
	if plain {
		return raw, true
	}
	return unescape(raw)
}

// unescape reads XML's five entities and characters by number.
func unescape(raw []byte) ([]byte, bool) {
	out := make([]byte, 0, len(raw))
	for {
		before, after, found := bytes.Cut(raw, []byte("&"))
		out = append(out, before...)
		if !found {
			return out, true
		}
		name, rest, ok := bytes.Cut(after, []byte(";"))
		if !ok {
			return nil, false
		}
		switch string(name) {
		case "amp":
			out = append(out, '&')
		case "lt":
			out = append(out, '<')
		case "gt":
			out = append(out, '>')
		case "quot":
			out = append(out, '"')
		case "apos":
			out = append(out, '\'')
		default:
			n, ok := charRef(name)
			if !ok {
				return nil, false
			}
			out = utf8.AppendRune(out, n)
		}
		raw = rest
	}
}

// charRef reads "#34" or "#x22". What XML does not allow is left to the library.
func charRef(name []byte) (rune, bool) {
	digits, ok := bytes.CutPrefix(name, []byte("#"))
	if !ok {
		return 0, false
	}
	base := 10
	if hex, ok := bytes.CutPrefix(digits, []byte("x")); ok {
		digits, base = hex, 16
	}
	n, err := strconv.ParseUint(string(digits), base, 21)
	r := rune(n)
	return r, err == nil && (r == '\t' || r == '\n' || r >= ' ' && r < 0xd800 || r > 0xdfff && r < 0xfffe)
}
