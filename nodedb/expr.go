package nodedb

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
)

var (
	groupRefText = regexp.MustCompile(`^\$(?:([1-9]\d*)|\{([1-9]\d*)\})`)
	directive    = regexp.MustCompile(`^(-?0?\d{0,2}(?:\.\d{1,2})?)([diusxXobc%])`)
)

// An expr is a value that is worked out from a node's name. There are three
// forms; all replace what a pattern matches in the name:
//
//	/pattern/text/         by the text
//	|pattern|text|         by the text, with arithmetic in its parentheses
//	|text|                 the same; the pattern is made from the name: $1, $2
//	                       are its numbers, and all of it is replaced
//
// In the text $1 (or ${1}) is what the pattern's first group matched. A
// pattern that does not match, or an empty result, is no value.
type expr struct {
	re    *regexp.Regexp // nil in the third form
	parts []term
}

// isExpr says whether a value is an expression.
func isExpr(v string) bool {
	if len(v) < 2 {
		return false
	}
	first, last := v[0], v[len(v)-1]
	return first == '|' && last == '|' || first == '/' && last == '/' && strings.Count(v, "/") == 3
}

// CheckExpression returns what is wrong with a value that has the form of a
// value expression, nil for any other value. It wraps ErrInvalid.
func CheckExpression(value string) error {
	if !isExpr(value) {
		return nil
	}
	_, err := parseExpr(value)
	return err
}

func parseExpr(v string) (*expr, error) {
	x, err := readExpr(v)
	if err != nil {
		return nil, fmt.Errorf("value %s: %v: %w", v, err, ErrInvalid)
	}
	return x, nil
}

func readExpr(v string) (*expr, error) {
	body, sep := v[1:len(v)-1], v[:1]
	pattern, text, ok := strings.Cut(body, sep)
	if !ok {
		parts, err := parseText(pattern, -1, true)
		return &expr{parts: parts}, err
	}
	if pattern == "" {
		return nil, fmt.Errorf("its pattern is empty")
	}
	re, err := perlRegexp(pattern)
	if err != nil {
		return nil, err
	}
	parts, err := parseText(text, re.NumSubexp(), sep == "|")
	return &expr{re, parts}, err
}

// parseText reads the text that replaces the match.
func parseText(text string, groups int, arith bool) ([]term, error) {
	var parts []term
	var plain strings.Builder
	flush := func() {
		if plain.Len() > 0 {
			parts = append(parts, literal(str(plain.String())))
			plain.Reset()
		}
	}
	for i := 0; i < len(text); {
		if n, size := groupRefAt(text[i:]); size > 0 {
			if err := checkRef(n, groups); err != nil {
				return nil, err
			}
			flush()
			parts = append(parts, groupRef(n))
			i += size
			continue
		}
		if !arith || text[i] != '(' {
			plain.WriteByte(text[i])
			i++
			continue
		}
		end := closing(text[i:])
		if end < 0 {
			return nil, fmt.Errorf("a parenthesis is not closed")
		}
		t, err := parseArith(text[i+1:i+end], groups)
		if err != nil {
			return nil, err
		}
		flush()
		parts = append(parts, t)
		i += end + 1
	}
	flush()
	return parts, nil
}

// closing returns where the parenthesis that s begins with is closed, -1 if
// nowhere. Those in quoted texts do not count.
func closing(s string) int {
	depth, quote := 0, byte(0)
	for i := range len(s) {
		switch c := s[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// eval returns the value for a name, "" for none.
func (x *expr) eval(name string) (string, error) {
	before, m, after := "", match(nil), ""
	if x.re == nil {
		m = numbers(name)
	} else {
		loc := x.re.FindStringSubmatchIndex(name)
		if loc == nil {
			return "", nil
		}
		before, after = name[:loc[0]], name[loc[1]:]
		for i := 0; i < len(loc); i += 2 {
			if loc[i] < 0 {
				m = append(m, "")
				continue
			}
			m = append(m, name[loc[i]:loc[i+1]])
		}
	}
	var b strings.Builder
	b.WriteString(before)
	for _, p := range x.parts {
		v, err := p.eval(m)
		if err != nil {
			return "", err
		}
		b.WriteString(v.String())
	}
	b.WriteString(after)
	return b.String(), nil
}

// numbers returns the numbers in a name, from place 1 on and less their
// leading zeros. A zero that another number follows is passed over, as xCAT
// does: r0n5 has the one number 5.
func numbers(name string) match {
	m := match{name}
	zero := false
	for i := 0; i < len(name); i++ {
		start := i
		for i < len(name) && name[i] >= '0' && name[i] <= '9' {
			i++
		}
		if i == start {
			continue
		}
		n := strings.TrimLeft(name[start:i], "0")
		if zero = n == ""; !zero {
			m = append(m, n)
		}
	}
	if zero {
		m = append(m, "0")
	}
	return m
}

// An exprCache keeps parsed expressions by their text: one of a group serves
// all its members.
type exprCache struct {
	mu sync.RWMutex
	m  map[string]parsedExpr
}

type parsedExpr struct {
	x   *expr
	err error
}

// exprCacheMax bounds the cache; it is emptied when full.
const exprCacheMax = 4096

func (c *exprCache) get(text string) (*expr, error) {
	c.mu.RLock()
	p, ok := c.m[text]
	c.mu.RUnlock()
	if ok {
		return p.x, p.err
	}
	p.x, p.err = parseExpr(text)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) >= exprCacheMax {
		c.m = make(map[string]parsedExpr)
	}
	c.m[text] = p
	return p.x, p.err
}

// eval returns the value of text for a node: text itself unless it is an
// expression.
func (c *exprCache) eval(text, node string) (string, error) {
	if !isExpr(text) {
		return text, nil
	}
	x, err := c.get(text)
	if err != nil {
		return "", err
	}
	v, err := x.eval(node)
	if err != nil {
		return "", fmt.Errorf("value %s: %v: %w", text, err, ErrInvalid)
	}
	return v, nil
}
