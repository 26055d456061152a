package provision

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"margay/netboot"
	"margay/nodedb"
)

// maxDepth bounds how deep statements and conditions are nested.
const maxDepth = 16

// ParseStatements reads statements of ISC dhcpd's syntax:
//
//	option NAME VALUE, ...;            NAME as dhcpd has it, or a number
//	filename "NAME"; next-server ADDRESS; default-lease-time SECONDS;
//	allow booting; deny booting;
//	if CONDITION { ... } elsif CONDITION { ... } else { ... }
//
// where conditions compare options of the request (vendor-class-identifier,
// user-class, client-architecture and others) whole or by substring and
// suffix, and are joined by and, or, not. Anything else is an error.
func ParseStatements(text string) (*Statements, error) {
	p := &statementParser{}
	if err := p.scan(text); err != nil {
		return nil, err
	}
	list, err := p.block(0)
	if err != nil {
		return nil, err
	}
	if p.at < len(p.words) {
		return nil, p.errorf("a } that closes nothing")
	}
	return &Statements{list}, nil
}

type word struct {
	text   string
	quoted bool
}

type statementParser struct {
	words []word
	at    int
}

func (p *statementParser) errorf(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, nodedb.ErrInvalid)...)
}

// scan cuts text into words, strings and marks.
func (p *statementParser) scan(text string) error {
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case c == '#':
			for i < len(text) && text[i] != '\n' {
				i++
			}
		case c == '"':
			s, n, ok := quoted(text[i:])
			if !ok {
				return p.errorf("a string without its end: %.40s", text[i:])
			}
			p.words, i = append(p.words, word{s, true}), i+n
		case strings.ContainsRune("{}();,=", rune(c)):
			p.words, i = append(p.words, word{text: string(c)}), i+1
		case c == '!' && strings.HasPrefix(text[i:], "!="):
			p.words, i = append(p.words, word{text: "!="}), i+2
		case plain(c):
			j := i
			for j < len(text) && plain(text[j]) {
				j++
			}
			p.words, i = append(p.words, word{text: text[i:j]}), j
		default:
			return p.errorf("%q is not of dhcpd's syntax", text[i:i+1])
		}
	}
	return nil
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.:/", c) >= 0
}

// quoted reads a string with dhcpd's escapes, and gives how long it was.
func quoted(s string) (string, int, bool) {
	var out []byte
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return string(out), i + 1, true
		case s[i] == '\\' && i+1 < len(s):
			i++
			switch s[i] {
			case 'n':
				out = append(out, '\n')
			case 't':
				out = append(out, '\t')
			case 'x':
				if i+2 >= len(s) {
					return "", 0, false
				}
				v, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
				if err != nil {
					return "", 0, false
				}
				out = append(out, byte(v))
				i += 2
			default:
				out = append(out, s[i])
			}
		default:
			out = append(out, s[i])
		}
	}
	return "", 0, false
}

// is says whether the next word is a bare one of that text, and takes it.
func (p *statementParser) is(text string) bool {
	if p.at < len(p.words) && !p.words[p.at].quoted && p.words[p.at].text == text {
		p.at++
		return true
	}
	return false
}

func (p *statementParser) next() (word, bool) {
	if p.at == len(p.words) {
		return word{}, false
	}
	p.at++
	return p.words[p.at-1], true
}

func (p *statementParser) want(text string) error {
	if p.is(text) {
		return nil
	}
	if p.at == len(p.words) {
		return p.errorf("it ends where %q is wanted", text)
	}
	return p.errorf("%q where %q is wanted", p.words[p.at].text, text)
}

// block reads statements up to a } or the end.
func (p *statementParser) block(depth int) ([]statement, error) {
	if depth > maxDepth {
		return nil, p.errorf("nested too deeply")
	}
	var list []statement
	for p.at < len(p.words) && p.words[p.at] != (word{text: "}"}) {
		st, err := p.statement(depth)
		if err != nil {
			return nil, err
		}
		if st != nil {
			list = append(list, st)
		}
	}
	return list, nil
}

func (p *statementParser) statement(depth int) (statement, error) {
	w, _ := p.next()
	var st statement
	var err error
	switch {
	case w.quoted:
		return nil, p.errorf("%q is not a statement", w.text)
	case w.text == ";":
		return nil, nil
	case w.text == "if":
		return p.choice(depth)
	case w.text == "option":
		st, err = p.option()
	case w.text == "filename":
		var s string
		s, err = p.text(w.text)
		st = setFile(s)
	case w.text == "next-server":
		var a netip.Addr
		a, err = p.addr(w.text)
		st = setNext(a)
	case w.text == "default-lease-time":
		var n uint64
		n, err = p.number(w.text, 32)
		st = setLease(time.Duration(n) * time.Second)
		if err == nil && n == 0 {
			err = p.errorf("default-lease-time 0")
		}
	case w.text == "deny" || w.text == "ignore" || w.text == "allow":
		if !p.is("booting") {
			return nil, p.errorf("%s: only booting can be allowed or denied here", w.text)
		}
		if w.text != "allow" {
			st = denyBooting{}
		}
	case w.text == "fixed-address" || w.text == "hardware" || w.text == "host-identifier":
		return nil, p.errorf("%s: that is the table's to say; set ip and mac with chdef", w.text)
	default:
		return nil, p.errorf("%s: no statement that can be honoured here; option, filename, next-server, default-lease-time, allow and deny booting, if can", w.text)
	}
	if err != nil {
		return nil, err
	}
	return st, p.want(";")
}

func (p *statementParser) choice(depth int) (statement, error) {
	var c choice
	for {
		when, err := p.or(depth)
		if err != nil {
			return nil, err
		}
		if err := p.arm(&c, when, depth); err != nil {
			return nil, err
		}
		if p.is("elsif") {
			continue
		}
		if !p.is("else") {
			return c, nil
		}
		if p.is("if") {
			continue
		}
		return c, p.arm(&c, nil, depth)
	}
}

func (p *statementParser) arm(c *choice, when condition, depth int) error {
	if err := p.want("{"); err != nil {
		return err
	}
	then, err := p.block(depth + 1)
	if err != nil {
		return err
	}
	c.arms = append(c.arms, arm{when, then})
	return p.want("}")
}

func (p *statementParser) or(depth int) (condition, error) {
	a, err := p.and(depth)
	for err == nil && p.is("or") {
		left := a
		var b condition
		if b, err = p.and(depth); err == nil {
			a = func(m netboot.Machine) bool { return left(m) || b(m) }
		}
	}
	return a, err
}

func (p *statementParser) and(depth int) (condition, error) {
	a, err := p.one(depth)
	for err == nil && p.is("and") {
		left := a
		var b condition
		if b, err = p.one(depth); err == nil {
			a = func(m netboot.Machine) bool { return left(m) && b(m) }
		}
	}
	return a, err
}

func (p *statementParser) one(depth int) (condition, error) {
	if depth > maxDepth {
		return nil, p.errorf("nested too deeply")
	}
	switch {
	case p.is("not"):
		c, err := p.one(depth + 1)
		if err != nil {
			return nil, err
		}
		return not(c), nil
	case p.is("("):
		c, err := p.or(depth + 1)
		if err != nil {
			return nil, err
		}
		return c, p.want(")")
	case p.is("exists"):
		v, err := p.askedOption()
		if err != nil {
			return nil, err
		}
		return func(m netboot.Machine) bool { return v(m) != nil }, nil
	}
	a, err := p.value(depth)
	if err != nil {
		return nil, err
	}
	differs := p.is("!=")
	if !differs {
		if err := p.want("="); err != nil {
			return nil, err
		}
	}
	b, err := p.value(depth)
	if err != nil {
		return nil, err
	}
	if differs {
		return not(equal(a, b)), nil
	}
	return equal(a, b), nil
}

func (p *statementParser) value(depth int) (value, error) {
	if depth > maxDepth {
		return nil, p.errorf("nested too deeply")
	}
	w, ok := p.next()
	switch {
	case !ok:
		return nil, p.errorf("it ends where a value is wanted")
	case w.quoted:
		b := []byte(w.text)
		return func(netboot.Machine) []byte { return b }, nil
	case w.text == "option":
		return p.askedOption()
	case w.text == "hardware":
		return hardware, nil
	case w.text == "substring" || w.text == "suffix":
		return p.part(w.text, depth)
	}
	b, err := octets(w.text)
	if err != nil {
		return nil, p.errorf("%s: neither an option, a string nor octets as 00:07", w.text)
	}
	return func(netboot.Machine) []byte { return b }, nil
}

// part reads substring(VALUE, FROM, LENGTH) and suffix(VALUE, LENGTH).
func (p *statementParser) part(name string, depth int) (value, error) {
	if err := p.want("("); err != nil {
		return nil, err
	}
	v, err := p.value(depth + 1)
	if err != nil {
		return nil, err
	}
	var n [2]int
	count := map[string]int{"substring": 2, "suffix": 1}[name]
	for i := range count {
		if err := p.want(","); err != nil {
			return nil, err
		}
		k, err := p.number(name, 16)
		if err != nil {
			return nil, err
		}
		n[i] = int(k)
	}
	if err := p.want(")"); err != nil {
		return nil, err
	}
	if name == "suffix" {
		return suffix(v, n[0]), nil
	}
	return substring(v, n[0], n[1]), nil
}

func (p *statementParser) askedOption() (value, error) {
	p.is("option") // exists has it without
	w, _ := p.next()
	code, _, err := optionNamed(w.text)
	if err != nil {
		return nil, err
	}
	v, ok := asked[code]
	if !ok {
		return nil, p.errorf("option %s: conditions look at options 12, 60, 61, 77, 82, 93 and 97 only", w.text)
	}
	return v, nil
}

func (p *statementParser) text(what string) (string, error) {
	w, ok := p.next()
	if !ok || !w.quoted {
		return "", p.errorf("%s wants a string in quotation marks", what)
	}
	return w.text, nil
}

func (p *statementParser) addr(what string) (netip.Addr, error) {
	w, _ := p.next()
	a, err := netip.ParseAddr(w.text)
	if err != nil || !a.Is4() || w.quoted {
		return a, p.errorf("%s: %q is not an IPv4 address", what, w.text)
	}
	return a, nil
}

func (p *statementParser) number(what string, bits int) (uint64, error) {
	w, _ := p.next()
	n, err := strconv.ParseUint(w.text, 10, bits)
	if err != nil || w.quoted {
		return 0, p.errorf("%s: %q is not a number of %d bits", what, w.text, bits)
	}
	return n, nil
}

// octets reads 00:07 and the like.
func octets(s string) ([]byte, error) {
	var out []byte
	for part := range strings.SplitSeq(s, ":") {
		v, err := strconv.ParseUint(part, 16, 8)
		if err != nil {
			return nil, err
		}
		out = append(out, byte(v))
	}
	return out, nil
}

// option reads what is after the word option, up to the semicolon.
func (p *statementParser) option() (statement, error) {
	w, _ := p.next()
	code, form, err := optionNamed(w.text)
	if err != nil {
		return nil, err
	}
	if own := ownOptions[code]; own != "" {
		return nil, p.errorf("option %s: %s", w.text, own)
	}
	var data []byte
	for {
		if data, err = p.item(w.text, form, data); err != nil {
			return nil, err
		}
		if !p.is(",") {
			break
		}
		if form == formText || form == formByte || form == formShort || form == formLong || form == formFlag || form == formAddr {
			return nil, p.errorf("option %s takes one value", w.text)
		}
	}
	if len(data) > 1024 {
		return nil, p.errorf("option %s: longer than a message has room for", w.text)
	}
	return setOption{code, data}, nil
}

// item reads one value and appends it as it is sent.
func (p *statementParser) item(name string, form optionForm, data []byte) ([]byte, error) {
	switch form {
	case formText:
		s, err := p.text("option " + name)
		if err == nil && s == "" {
			err = p.errorf("option %s is empty", name)
		}
		return append(data, s...), err
	case formAddr, formAddrs:
		a, err := p.addr("option " + name)
		b := a.AsSlice()
		return append(data, b...), err
	case formByte:
		n, err := p.number("option "+name, 8)
		return append(data, byte(n)), err
	case formShort:
		n, err := p.number("option "+name, 16)
		return binary.BigEndian.AppendUint16(data, uint16(n)), err
	case formLong:
		n, err := p.number("option "+name, 32)
		return binary.BigEndian.AppendUint32(data, uint32(n)), err
	case formFlag:
		for i, yes := range []string{"off", "on", "false", "true", "0", "1"} {
			if p.is(yes) {
				return append(data, byte(i%2)), nil
			}
		}
		return nil, p.errorf("option %s is on or off", name)
	case formNames:
		s, err := p.text("option " + name)
		if err != nil {
			return nil, err
		}
		return p.wireName(name, s, data)
	}
	return p.raw(name, data)
}

func (p *statementParser) wireName(option, name string, data []byte) ([]byte, error) {
	name = strings.TrimSuffix(name, ".")
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || len(name) > 253 {
			return nil, p.errorf("option %s: %q is not a domain", option, name)
		}
		data = append(append(data, byte(len(label))), label...)
	}
	return append(data, 0), nil
}

// raw reads a value of an option whose form nobody tells: a string, an
// address, or octets.
func (p *statementParser) raw(name string, data []byte) ([]byte, error) {
	w, ok := p.next()
	if ok && w.quoted {
		return append(data, w.text...), nil
	}
	if a, err := netip.ParseAddr(w.text); err == nil && a.Is4() {
		return append(data, a.AsSlice()...), nil
	}
	b, err := octets(w.text)
	if err != nil || !ok {
		return nil, p.errorf("option %s: %q is neither an address, a string in quotation marks nor octets as 0a:ff", name, w.text)
	}
	return append(data, b...), nil
}
