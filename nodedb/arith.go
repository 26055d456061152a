package nodedb

import (
	"fmt"
	"strconv"
	"strings"
)

// A term is something in a value expression that has a value for a node.
type term interface {
	eval(m match) (val, error)
}

// A match is what the groups of a pattern matched in a node's name.
type match []string

// A val is a text or, if isInt, a whole number.
type val struct {
	text  string
	n     int64
	isInt bool
}

func number(n int64) val  { return val{n: n, isInt: true} }
func str(s string) val    { return val{text: s} }
func (v val) empty() bool { return !v.isInt && v.text == "" }

func (v val) String() string {
	if v.isInt {
		return strconv.FormatInt(v.n, 10)
	}
	return v.text
}

// int is the value as a number. Perl would make of "12x" what it begins with;
// we say that it is none.
func (v val) int() (int64, error) {
	if v.isInt {
		return v.n, nil
	}
	n, err := strconv.ParseInt(v.text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", v.text)
	}
	return n, nil
}

// literal is a number or a text that stands in the expression.
type literal val

func (l literal) eval(match) (val, error) { return val(l), nil }

// groupRef is $1, $2, ...: what a group matched.
type groupRef int

func (g groupRef) eval(m match) (val, error) {
	if int(g) >= len(m) {
		return val{}, fmt.Errorf("there is no $%d: the name has %d numbers", int(g), len(m)-1)
	}
	return str(m[g]), nil
}

// A unary is -x or +x.
type unary struct {
	op byte
	x  term
}

func (u unary) eval(m match) (val, error) {
	v, err := u.x.eval(m)
	if err != nil {
		return val{}, err
	}
	n, err := v.int()
	if u.op == '-' {
		n = -n
	}
	return number(n), err
}

// An infix is x op y, in whole numbers: Perl under "use integer".
type infix struct {
	op   byte
	x, y term
}

func (b infix) eval(m match) (val, error) {
	x, err := b.x.eval(m)
	if err != nil {
		return val{}, err
	}
	y, err := b.y.eval(m)
	if err != nil {
		return val{}, err
	}
	i, err := x.int()
	if err != nil {
		return val{}, err
	}
	j, err := y.int()
	if err != nil {
		return val{}, err
	}
	return b.apply(i, j)
}

func (b infix) apply(i, j int64) (val, error) {
	if j == 0 && (b.op == '/' || b.op == '%') {
		return val{}, fmt.Errorf("division by zero")
	}
	switch b.op {
	case '+':
		return number(i + j), nil
	case '-':
		return number(i - j), nil
	case '*':
		return number(i * j), nil
	case '/':
		return number(i / j), nil
	}
	return number(i % j), nil
}

// A call is name(args...).
type call struct {
	fn   func([]val) (val, error)
	args []term
}

func (c call) eval(m match) (val, error) {
	args := make([]val, len(c.args))
	for i, a := range c.args {
		v, err := a.eval(m)
		if err != nil {
			return val{}, err
		}
		args[i] = v
	}
	return c.fn(args)
}

// An arithParser reads the arithmetic in parentheses.
type arithParser struct {
	src    string
	i      int
	depth  int
	groups int // how many groups the pattern has; -1: not known
}

// maxDepth bounds how deep parentheses may be nested.
const maxDepth = 64

// parseArith reads an expression that takes up all of src.
func parseArith(src string, groups int) (term, error) {
	p := &arithParser{src: src, groups: groups}
	t, err := p.sum()
	if err != nil {
		return nil, err
	}
	if p.peek() != 0 {
		return nil, p.unexpected()
	}
	return t, nil
}

// peek returns the next character that is not blank, 0 at the end.
func (p *arithParser) peek() byte {
	for p.i < len(p.src) && p.src[p.i] == ' ' {
		p.i++
	}
	if p.i == len(p.src) {
		return 0
	}
	return p.src[p.i]
}

func (p *arithParser) unexpected() error {
	if p.peek() == 0 {
		return fmt.Errorf("(%s) ends too early", p.src)
	}
	return fmt.Errorf("(%s) has an unexpected %q", p.src, p.src[p.i:])
}

func (p *arithParser) sum() (term, error) {
	return p.chain("+-", p.product)
}

func (p *arithParser) product() (term, error) {
	return p.chain("*/%", p.factor)
}

// chain reads operands with operators of one strength between them.
func (p *arithParser) chain(ops string, operand func() (term, error)) (term, error) {
	x, err := operand()
	if err != nil {
		return nil, err
	}
	for {
		op := p.peek()
		if op == 0 || strings.IndexByte(ops, op) < 0 {
			return x, nil
		}
		if err := p.doubled(op); err != nil {
			return nil, err
		}
		p.i++
		y, err := operand()
		if err != nil {
			return nil, err
		}
		x = infix{op, x, y}
	}
}

// doubled refuses **, // and the like: they are other operators in Perl.
func (p *arithParser) doubled(op byte) error {
	if p.i+1 < len(p.src) && p.src[p.i+1] == op {
		return fmt.Errorf("(%s): %c%c is not supported", p.src, op, op)
	}
	return nil
}

func (p *arithParser) factor() (term, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	defer func() { p.depth-- }()
	switch c := p.peek(); {
	case c == '-' || c == '+':
		if err := p.doubled(c); err != nil {
			return nil, err
		}
		p.i++
		x, err := p.factor()
		return unary{c, x}, err
	case c == '(':
		p.i++
		x, err := p.sum()
		if err != nil {
			return nil, err
		}
		return x, p.expect(')')
	case c == '$':
		return p.ref()
	case c >= '0' && c <= '9':
		return p.number()
	case c == '\'' || c == '"':
		return p.quoted(c)
	case isWord(c):
		return p.call()
	}
	return nil, p.unexpected()
}

func (p *arithParser) expect(c byte) error {
	if p.peek() != c {
		return p.unexpected()
	}
	p.i++
	return nil
}

// ref reads $1 or ${1}.
func (p *arithParser) ref() (term, error) {
	n, size := groupRefAt(p.src[p.i:])
	if size == 0 {
		return nil, p.unexpected()
	}
	p.i += size
	return groupRef(n), checkRef(n, p.groups)
}

// groupRefAt reads $1 or ${1} at the start of s; size 0 if there is none.
func groupRefAt(s string) (n, size int) {
	m := groupRefText.FindStringSubmatch(s)
	if m == nil {
		return 0, 0
	}
	n, err := strconv.Atoi(m[1] + m[2])
	if err != nil {
		return 0, 0
	}
	return n, len(m[0])
}

// checkRef refuses a reference to a group that the pattern does not have.
func checkRef(n, groups int) error {
	if groups >= 0 && n > groups {
		return fmt.Errorf("there is no $%d: the pattern has %d groups", n, groups)
	}
	return nil
}

func (p *arithParser) number() (term, error) {
	start := p.i
	for p.i < len(p.src) && isWord(p.src[p.i]) {
		p.i++
	}
	digits := p.src[start:p.i]
	if len(digits) > 1 && digits[0] == '0' {
		return nil, fmt.Errorf("%s is an octal number in Perl; write it without the leading zero", digits)
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%s is not a whole number", digits)
	}
	return literal(number(n)), nil
}

// quoted reads a text. Perl's escapes and variables in texts are not
// supported: those that do the same with both quotes are taken, no others.
func (p *arithParser) quoted(q byte) (term, error) {
	end := strings.IndexByte(p.src[p.i+1:], q)
	if end < 0 {
		return nil, fmt.Errorf("(%s) has a text without end", p.src)
	}
	text := p.src[p.i+1 : p.i+1+end]
	if strings.Contains(text, `\`) || q == '"' && strings.ContainsAny(text, "$@") {
		return nil, fmt.Errorf("(%s): escapes and variables in a text are not supported", p.src)
	}
	p.i += end + 2
	return literal(str(text)), nil
}

func (p *arithParser) call() (term, error) {
	start := p.i
	for p.i < len(p.src) && isWord(p.src[p.i]) {
		p.i++
	}
	name := p.src[start:p.i]
	fn := helper(name)
	if fn == nil {
		return nil, fmt.Errorf("(%s): there is no function %s", p.src, name)
	}
	if err := p.expect('('); err != nil {
		return nil, err
	}
	args, err := p.args()
	return call{fn, args}, err
}

// args reads arguments up to the closing parenthesis.
func (p *arithParser) args() ([]term, error) {
	var args []term
	for p.peek() != ')' {
		a, err := p.sum()
		if err != nil {
			return nil, err
		}
		args = append(args, a)
		if p.peek() == ')' {
			break
		}
		if err := p.expect(','); err != nil {
			return nil, err
		}
	}
	p.i++
	return args, nil
}
