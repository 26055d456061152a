package nodedb

import (
	"fmt"
	"strings"
)

// rangeOp is how an element is combined with what stands before it.
type rangeOp byte

const (
	opAdd  rangeOp = ','
	opLess rangeOp = '-'
	opBoth rangeOp = '@'
)

// A rangeElement is part of a noderange: atoms that are intersected.
type rangeElement struct {
	op    rangeOp
	atoms []string
}

// A rangeSplitter cuts a noderange into elements and atoms.
type rangeSplitter struct {
	text string
	list []rangeElement
}

// splitRange cuts a noderange. Commas and @ inside brackets or parentheses do
// not cut, nor do those inside a regular expression's own.
func splitRange(text string) ([]rangeElement, error) {
	p := rangeSplitter{text: text}
	for i := 0; i < len(text); {
		end, err := p.one(i)
		if err != nil {
			return nil, err
		}
		i = end
	}
	return p.list, nil
}

// one reads an operator and the atom after it, and returns where it ended.
func (p *rangeSplitter) one(i int) (int, error) {
	op, chained := opAdd, false
	switch p.text[i] {
	case ',':
		i++
	case '@':
		op, chained, i = opBoth, i > 0 && p.text[i-1] != ',', i+1
	}
	if op == opAdd && i < len(p.text) {
		switch p.text[i] {
		case '-':
			op, i = opLess, i+1
		case '@':
			op, i = opBoth, i+1
		}
	}
	end, err := atomEnd(p.text, i)
	if err != nil {
		return 0, err
	}
	if end == i {
		if op == opAdd && (i == len(p.text) || p.text[i] == ',') {
			return end, nil // an empty element, as in a,,b
		}
		return 0, fmt.Errorf("noderange %s: nothing stands after %q: %w", p.text, p.text[:i], ErrInvalid)
	}
	p.add(op, chained, p.text[i:end])
	return end, nil
}

// add appends an atom. An atom chained by @ belongs to the element before it,
// unless it or the atom before it is a parenthesis: that is combined with all
// that stands before.
func (p *rangeSplitter) add(op rangeOp, chained bool, atom string) {
	if n := len(p.list); chained && n > 0 {
		last := &p.list[n-1]
		if before := last.atoms[len(last.atoms)-1]; last.op == opLess || before[0] != '(' && atom[0] != '(' {
			last.atoms = append(last.atoms, atom)
			return
		}
	}
	p.list = append(p.list, rangeElement{op, []string{atom}})
}

// atomEnd returns where the atom that begins at i ends.
func atomEnd(text string, i int) (int, error) {
	if i < len(text) && text[i] == '(' {
		end, err := matching(text, i)
		if err != nil {
			return 0, err
		}
		if end < len(text) && text[end] != ',' && text[end] != '@' {
			return 0, fmt.Errorf("noderange %s: %q after a parenthesis: %w", text, text[end:], ErrInvalid)
		}
		return end, nil
	}
	pattern := i < len(text) && text[i] == '/' || strings.ContainsAny(firstWord(text[i:]), "=~")
	nested := 0
	for ; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && pattern && i+1 < len(text):
			i++
		case c == '[', pattern && (c == '(' || c == '{'):
			nested++
		case c == ']', pattern && (c == ')' || c == '}'):
			nested = max(nested-1, 0)
		case c == '(':
			return 0, fmt.Errorf("noderange %s: nothing may stand right before a parenthesis: %w", text, ErrInvalid)
		case c == ')':
			return 0, errUnbalanced(text)
		case (c == ',' || c == '@') && nested == 0:
			return i, nil
		}
	}
	return i, nil
}

// firstWord is what stands before the first operator or bracket.
func firstWord(s string) string {
	end := strings.IndexAny(s, ",@[(")
	if end < 0 {
		return s
	}
	return s[:end]
}

// matching returns where the parenthesis at i is closed, past it.
func matching(text string, i int) (int, error) {
	depth := 0
	for ; i < len(text); i++ {
		switch text[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1, nil
			}
		}
	}
	return 0, errUnbalanced(text)
}

func errUnbalanced(text string) error {
	return fmt.Errorf("Unbalanced parentheses in noderange: %s: %w", text, ErrInvalid)
}
