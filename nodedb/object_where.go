package nodedb

import (
	"fmt"
	"regexp"
	"strings"
)

// A Where is a condition on a value, as typed: attr==value, attr!=value,
// attr=~regexp or attr!~regexp.
type Where struct {
	Attr  string
	Op    string // ==, !=, =~ or !~
	Value string

	re *regexp.Regexp
}

// ParseWhere parses a condition; a single = is ==. A regular expression may
// stand between slashes. The error wraps ErrInvalid.
func ParseWhere(s string) (Where, error) {
	i := strings.IndexAny(s, "=!")
	if i <= 0 || i+1 >= len(s) && s[i] == '!' {
		return Where{}, fmt.Errorf("%q: not of the form attr==value: %w", s, ErrInvalid)
	}
	w := Where{Attr: s[:i]}
	switch rest := s[i:]; {
	case strings.HasPrefix(rest, "=="), strings.HasPrefix(rest, "!="), strings.HasPrefix(rest, "=~"), strings.HasPrefix(rest, "!~"):
		w.Op, w.Value = rest[:2], rest[2:]
	case rest[0] == '=':
		w.Op, w.Value = "==", rest[1:]
	default:
		return Where{}, fmt.Errorf("%q: not of the form attr==value: %w", s, ErrInvalid)
	}
	if w.Op[1] != '~' {
		return w, nil
	}
	pattern := w.Value
	if n := len(pattern); n > 1 && pattern[0] == '/' && pattern[n-1] == '/' {
		pattern = pattern[1 : n-1]
	}
	re, err := perlRegexp(pattern)
	if err != nil {
		return Where{}, fmt.Errorf("%q: %v: %w", s, err, ErrInvalid)
	}
	w.re = re
	return w, nil
}

// Match reports whether a value meets the condition.
func (w Where) Match(value string) bool {
	switch w.Op {
	case "==":
		return value == w.Value
	case "!=":
		return value != w.Value
	case "=~":
		return w.re.MatchString(value)
	}
	return !w.re.MatchString(value)
}

// String is the condition as it is kept in nodegroup.wherevals.
func (w Where) String() string { return w.Attr + w.Op + w.Value }
