package nodedb

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// perlRegexp compiles a regular expression in Perl's syntax. Go's is nearly
// the same; what means something else there is translated, and what Go lacks
// (back-references, look-around, possessive quantifiers, ...) is refused, so
// that no expression silently matches other names than it did in Perl.
func perlRegexp(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("regular expression of %d bytes: at most %d are allowed: %w", len(pattern), maxPattern, ErrInvalid)
	}
	t := translator{src: pattern}
	if err := t.run(); err != nil {
		return nil, fmt.Errorf("regular expression %s: %v: %w", pattern, err, ErrInvalid)
	}
	re, err := regexp.Compile(t.out.String())
	if err == nil {
		err = checkLoops(t.out.String())
	}
	if err != nil {
		return nil, fmt.Errorf("regular expression %s: %v: %w", pattern, err, ErrInvalid)
	}
	return re, nil
}

// checkLoops refuses loops over what may be empty, as (a*)*: Perl goes round
// once more than Go and leaves other text in the group.
func checkLoops(pattern string) error {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return err
	}
	return checkLoop(tree)
}

func checkLoop(re *syntax.Regexp) error {
	loop := re.Op == syntax.OpStar || re.Op == syntax.OpPlus || re.Op == syntax.OpRepeat && re.Max != 1
	if loop && mayBeEmpty(re.Sub[0]) {
		return fmt.Errorf("%s repeats what may be empty", re)
	}
	for _, sub := range re.Sub {
		if err := checkLoop(sub); err != nil {
			return err
		}
	}
	return nil
}

func mayBeEmpty(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpStar, syntax.OpQuest, syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText,
		syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return true
	case syntax.OpRepeat:
		return re.Min == 0 || mayBeEmpty(re.Sub[0])
	case syntax.OpCapture, syntax.OpPlus:
		return mayBeEmpty(re.Sub[0])
	case syntax.OpConcat:
		return !slices.ContainsFunc(re.Sub, func(sub *syntax.Regexp) bool { return !mayBeEmpty(sub) })
	case syntax.OpAlternate:
		return slices.ContainsFunc(re.Sub, mayBeEmpty)
	}
	return false
}

// maxPattern bounds what an operator may have us compile.
const maxPattern = 4096

// A translator rewrites one expression.
type translator struct {
	src string
	i   int
	out strings.Builder
}

func (t *translator) run() error {
	for t.i < len(t.src) {
		if err := t.step(); err != nil {
			return err
		}
	}
	return nil
}

// rest is what has not been read yet.
func (t *translator) rest() string { return t.src[t.i:] }

// keep copies n bytes.
func (t *translator) keep(n int) {
	t.out.WriteString(t.src[t.i : t.i+n])
	t.i += n
}

// replace puts text in place of n bytes.
func (t *translator) replace(n int, text string) {
	t.out.WriteString(text)
	t.i += n
}

func (t *translator) step() error {
	switch c := t.src[t.i]; c {
	case '\\':
		return t.escape()
	case '[':
		return t.class()
	case '(':
		return t.group()
	case '$', '@':
		return t.sigil(c)
	case '{':
		return t.brace()
	}
	t.keep(1)
	return nil
}

// sigil refuses variables, which Perl would put values in place of. A lone $
// is an anchor; Perl's also matches before a newline at the end, which names
// and values of the table do not have.
func (t *translator) sigil(c byte) error {
	rest := t.rest()[1:]
	if rest != "" && (isWord(rest[0]) || rest[0] == '{' || rest[0] == '$' || rest[0] == '&') {
		return fmt.Errorf("%c%c is a variable in Perl; write \\%c for the character", c, rest[0], c)
	}
	t.keep(1)
	return nil
}

// brace refuses {,n}, which newer Perls take for a quantifier and older ones
// for plain characters.
func (t *translator) brace() error {
	if strings.HasPrefix(t.rest(), "{,") {
		return fmt.Errorf("{,n} means different things in different Perls; write {0,n}")
	}
	t.keep(1)
	return nil
}

// escape translates what stands after a backslash, outside a class.
func (t *translator) escape() error {
	if len(t.rest()) < 2 {
		return fmt.Errorf("it ends with a backslash")
	}
	switch c := t.rest()[1]; c {
	case 'Z':
		t.replace(2, `(?:\n?\z)`)
	case 'b', 'B':
		if strings.HasPrefix(t.rest()[2:], "{") {
			return fmt.Errorf(`\%c{ is not supported`, c)
		}
		t.keep(2)
	default:
		return t.escapeInClass(c, `[\t\n\v\f\r ]`, `[^\t\n\v\f\r ]`, `[\t ]`, `[^\t ]`)
	}
	return nil
}

// escapeInClass translates the escapes that classes may hold too; space and
// the others are what stands for \s, \S, \h and \H.
func (t *translator) escapeInClass(c byte, space, notSpace, blank, notBlank string) error {
	switch {
	case c == 's' && space != "":
		t.replace(2, space)
	case c == 'S' && notSpace != "":
		t.replace(2, notSpace)
	case c == 'h' && blank != "":
		t.replace(2, blank)
	case c == 'H' && notBlank != "":
		t.replace(2, notBlank)
	case c == 'e':
		t.replace(2, `\x1b`)
	case strings.IndexByte("dDwWtnrfaAzpPx", c) >= 0:
		t.keep(2)
	case c < 0x80 && !isWord(c):
		t.keep(2)
	case c == '_':
		t.replace(2, "_")
	case c >= '0' && c <= '9':
		return fmt.Errorf(`\%c (a back-reference or an octal number) is not supported`, c)
	default:
		return fmt.Errorf(`\%c is not supported`, c)
	}
	return nil
}

// group lets pass the groups that both know alike.
func (t *translator) group() error {
	rest := t.rest()
	if strings.HasPrefix(rest, "(*") {
		return fmt.Errorf("(* is not supported")
	}
	if !strings.HasPrefix(rest, "(?") {
		t.keep(1)
		return nil
	}
	if strings.HasPrefix(rest, "(?:") {
		t.keep(3)
		return nil
	}
	if name := groupName.FindString(rest); name != "" {
		t.keep(len(name))
		return nil
	}
	if flags := groupFlags.FindString(rest); flags != "" {
		t.keep(len(flags))
		return nil
	}
	return fmt.Errorf("%.4s is not supported", rest)
}

var (
	groupName  = regexp.MustCompile(`^\(\?P?<[A-Za-z_]\w*>`)
	groupFlags = regexp.MustCompile(`^\(\?[ims]*(-[ims]+)?[:)]`)
)

// class copies a bracketed class.
func (t *translator) class() error {
	start := t.i
	t.keep(1)
	if strings.HasPrefix(t.rest(), "^") {
		t.keep(1)
	}
	if strings.HasPrefix(t.rest(), "]") {
		t.replace(1, `\]`)
	}
	for t.i < len(t.src) {
		switch c := t.src[t.i]; {
		case c == ']':
			t.keep(1)
			return nil
		case c == '\\':
			if err := t.classEscape(); err != nil {
				return err
			}
		case strings.HasPrefix(t.rest(), "[:"):
			if err := t.posix(); err != nil {
				return err
			}
		case c == '[':
			t.replace(1, `\[`)
		case c == '$' || c == '@':
			if err := t.sigil(c); err != nil {
				return err
			}
		default:
			t.keep(1)
		}
	}
	return fmt.Errorf("%s has no end", t.src[start:])
}

func (t *translator) classEscape() error {
	if len(t.rest()) < 2 {
		return fmt.Errorf("it ends with a backslash")
	}
	c := t.rest()[1]
	if c == 'b' { // in a class, the backspace
		t.replace(2, `\x08`)
		return nil
	}
	if c == 'A' || c == 'z' {
		return fmt.Errorf(`\%c in a class is not supported`, c)
	}
	return t.escapeInClass(c, `\t\n\v\f\r `, "", `\t `, "")
}

// posix copies a class such as [:alpha:] inside a class.
func (t *translator) posix() error {
	name, _, ok := strings.Cut(t.rest()[2:], ":]")
	if !ok || strings.Trim(name, "^abcdefghijklmnopqrstuvwxyz") != "" {
		t.replace(1, `\[`)
		return nil
	}
	t.keep(len("[:") + len(name) + len(":]"))
	return nil
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
