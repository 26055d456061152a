package nodedb

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// spelled adds the names that brackets, a range or +N spell out, or the one
// name that text is.
func (x *expander) spelled(set *nodeSet, text string) error {
	if strings.ContainsAny(text, "[]") {
		if !bracketed.MatchString(text) {
			return x.invalid(set, text)
		}
		return x.brackets(set, text)
	}
	r, err := parseSpan(text)
	if err != nil {
		return err
	}
	if r == nil {
		return x.name(set, text)
	}
	return x.each(r, func(name string) error { return x.name(set, name) })
}

// bracketed is a name with pairs of brackets, none of them empty.
var bracketed = regexp.MustCompile(`^[^][]*(\[[^][,]+(,[^][,]+)*\][^][]*)+$`)

// brackets expands the first pair and what stands behind it: the product, from
// left to right.
func (x *expander) brackets(set *nodeSet, text string) error {
	before, rest, ok := strings.Cut(text, "[")
	if !ok {
		return x.name(set, text)
	}
	if err := x.enter(); err != nil {
		return err
	}
	defer x.leave()
	list, after, _ := strings.Cut(rest, "]")
	for part := range strings.SplitSeq(list, ",") {
		left, right, isSpan := strings.Cut(part, "-")
		if !isSpan {
			left, right, isSpan = strings.Cut(part, ":")
		}
		if !isSpan {
			right = left
		}
		r, err := makeSpan(text, before, left, right, after)
		if err != nil {
			return err
		}
		if r == nil && isSpan {
			return x.invalid(set, text)
		}
		if r == nil { // a word
			err = x.brackets(set, before+part+after)
		} else {
			err = x.each(r, func(name string) error { return x.brackets(set, name) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// invalid is a range that cannot be read: unknown, or just a name.
func (x *expander) invalid(set *nodeSet, text string) error {
	if x.verify {
		x.unknown.add(text)
		return nil
	}
	set.addName(text)
	return nil
}

// each calls fn for every name of a span, and counts them.
func (x *expander) each(r *span, fn func(string) error) error {
	if r.last-r.first >= uint64(x.left) {
		return fmt.Errorf("noderange: it spells out more than %d names: %w", maxNames, ErrInvalid)
	}
	for name := range r.all {
		if x.left--; x.left < 0 {
			return fmt.Errorf("noderange: it spells out more than %d names: %w", maxNames, ErrInvalid)
		}
		if err := fn(name); err != nil {
			return err
		}
	}
	return nil
}

// A span is names that differ in one number.
type span struct {
	before, after string
	first, last   uint64
	width         int // of the number, with zeros in front
}

func (r *span) all(yield func(string) bool) {
	var buf []byte
	for n := r.first; ; n++ {
		buf = append(buf[:0], r.before...)
		for w := digits(n); w < r.width; w++ {
			buf = append(buf, '0')
		}
		buf = strconv.AppendUint(buf, n, 10)
		if !yield(string(append(buf, r.after...))) || n >= r.last {
			return
		}
	}
}

// digits is how many digits a number has.
func digits(n uint64) int {
	w := 1
	for ; n >= 10; n /= 10 {
		w++
	}
	return w
}

// makeSpan makes the span of two numbers; nil if they are none. Numbers keep
// the width of the left one. text is for the error.
func makeSpan(text, before, left, right, after string) (*span, error) {
	if !isDigits(left) || !isDigits(right) {
		return nil, nil
	}
	first, err1 := strconv.ParseUint(left, 10, 63)
	last, err2 := strconv.ParseUint(right, 10, 63)
	if err1 != nil || err2 != nil || len(left) > maxDigits {
		return nil, fmt.Errorf("noderange %s: a number is too long: %w", text, ErrInvalid)
	}
	if last < first {
		return nil, fmt.Errorf("noderange %s: %s comes after %s: %w", text, left, right, ErrInvalid)
	}
	r := &span{before: before, after: after, first: first, last: last}
	if left[0] == '0' {
		r.width = len(left)
	}
	return r, nil
}

// maxDigits bounds how far a number is padded.
const maxDigits = 40

var plusForm = regexp.MustCompile(`^(.*?)(\d+)(\..+)?\+(\d+)$`)

// parseSpan reads base+N and left-right or left:right; nil if text is neither.
func parseSpan(text string) (*span, error) {
	if m := plusForm.FindStringSubmatch(text); m != nil {
		r, err := makeSpan(text, m[1], m[2], m[2], m[3])
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseUint(m[4], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("noderange %s: a number is too long: %w", text, ErrInvalid)
		}
		r.last += n
		return r, nil
	}
	left, right, ok := strings.Cut(text, ":")
	if !ok {
		left, right, ok = cutMiddle(text)
	}
	if !ok || strings.Contains(right, ":") {
		return nil, nil
	}
	return sidesSpan(text, left, right)
}

// cutMiddle cuts at the middle hyphen of an odd number of them.
func cutMiddle(text string) (left, right string, ok bool) {
	n := strings.Count(text, "-")
	if n%2 == 0 {
		return "", "", false
	}
	at := 0
	for range n/2 + 1 {
		at += strings.IndexByte(text[at:], '-') + 1
	}
	return text[:at-1], text[at:], true
}

// sidesSpan compares the two sides of a range: the same but for one number.
func sidesSpan(text, left, right string) (*span, error) {
	a, b := runs(left), runs(right)
	if len(a) != len(b) || len(a) == 0 {
		return nil, nil
	}
	at := -1
	for i := range a {
		if a[i] == b[i] {
			continue
		}
		if at >= 0 || !isDigits(a[i]) || !isDigits(b[i]) {
			return nil, nil
		}
		at = i
	}
	if at < 0 { // both sides the same: the last number, or the one name
		at = len(a) - 1
		if !isDigits(a[at]) {
			at--
		}
		if at < 0 {
			return nil, nil
		}
	}
	return makeSpan(text, strings.Join(a[:at], ""), a[at], b[at], strings.Join(a[at+1:], ""))
}

// runs cuts a name into its numbers and what stands between them.
func runs(s string) []string {
	var list []string
	start := 0
	for i := 1; i <= len(s); i++ {
		if i == len(s) || isDigit(s[i]) != isDigit(s[i-1]) {
			list = append(list, s[start:i])
			start = i
		}
	}
	return list
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
