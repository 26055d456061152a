// Package vmx reads and writes .vmx files, the text in which ESXi keeps what a
// guest is: lines of key = "value". Keys are the same in any case; what is not
// understood is kept, in its place.
package vmx

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"margay/vm"
)

// A Document is a .vmx file as it is written, line by line.
type Document struct {
	lines []line
	index map[string]int // by lower-case key
}

// A line is a key with its value, or anything else as it stood.
type line struct {
	key, value string
	text       string // of lines without a key
}

// maxSize bounds a file; real ones have a few kilobytes.
const maxSize = 1 << 20

// Parse reads a .vmx file. A line that is neither empty, a comment nor key =
// value is an error; of a key that stands twice the last counts, as for ESXi.
func Parse(b []byte) (*Document, error) {
	if len(b) > maxSize {
		return nil, vm.Errorf(vm.ErrInvalid, "vmx: %d bytes are too many for a .vmx file", len(b))
	}
	d := &Document{index: map[string]int{}}
	text := string(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")))
	if !utf8.ValidString(text) {
		text = fromLatin1(text) // written before .encoding was
	}
	for n, raw := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		l, err := parseLine(strings.TrimRight(raw, "\r"))
		if err != nil {
			return nil, vm.Errorf(vm.ErrInvalid, "vmx: line %d: %v", n+1, err)
		}
		d.add(l)
	}
	return d, nil
}

func fromLatin1(s string) string {
	out := make([]rune, 0, len(s))
	for i := range len(s) {
		out = append(out, rune(s[i]))
	}
	return string(out)
}

func parseLine(s string) (line, error) {
	t := strings.TrimSpace(s)
	if t == "" || t[0] == '#' {
		return line{text: s}, nil
	}
	key, value, ok := strings.Cut(t, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	if !ok || key == "" || strings.ContainsAny(key, " \t\"") {
		return line{}, fmt.Errorf("%q is not key = \"value\"", clip(t))
	}
	if strings.HasPrefix(value, `"`) {
		end := strings.IndexByte(value[1:], '"')
		if end < 0 {
			return line{}, fmt.Errorf("value of %s has no closing quote", key)
		}
		value = value[1 : 1+end]
	}
	return line{key: key, value: unescape(value)}, nil
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

// unescape turns |22 into a quote, |7C into a bar, |0A into a line feed, and
// likewise any other byte that is written in hexadecimal.
func unescape(s string) string {
	if !strings.Contains(s, "|") {
		return s
	}
	var out []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '|' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				out = append(out, byte(n))
				i += 2
				continue
			}
		}
		out = append(out, s[i])
	}
	return strings.ToValidUTF8(string(out), "\uFFFD")
}

func escape(s string) string {
	var out strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '|' || c < 0x20 || c == 0x7f:
			fmt.Fprintf(&out, "|%02X", c)
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}

func (d *Document) add(l line) {
	if l.key == "" {
		d.lines = append(d.lines, l)
		return
	}
	k := strings.ToLower(l.key)
	if i, ok := d.index[k]; ok {
		d.lines[i].value = l.value
		return
	}
	d.index[k] = len(d.lines)
	d.lines = append(d.lines, l)
}

// Format is the document as a file.
func (d *Document) Format() []byte {
	var out bytes.Buffer
	for _, l := range d.lines {
		if l.key == "" {
			fmt.Fprintln(&out, l.text)
			continue
		}
		fmt.Fprintf(&out, "%s = \"%s\"\n", l.key, escape(l.value))
	}
	return out.Bytes()
}

// Keys are all keys, in order.
func (d *Document) Keys() []string {
	var out []string
	for _, l := range d.lines {
		if l.key != "" {
			out = append(out, l.key)
		}
	}
	return out
}

// Get is a key's value.
func (d *Document) Get(key string) (string, bool) {
	i, ok := d.index[strings.ToLower(key)]
	if !ok {
		return "", false
	}
	return d.lines[i].value, true
}

func (d *Document) value(key string) string {
	v, _ := d.Get(key)
	return v
}

// Set changes a key in its place, or adds it at the end.
func (d *Document) Set(key, value string) { d.add(line{key: key, value: value}) }

// Delete removes the keys that is says.
func (d *Document) Delete(is func(key string) bool) {
	var kept []line
	for _, l := range d.lines {
		if l.key == "" || !is(strings.ToLower(l.key)) {
			kept = append(kept, l)
		}
	}
	d.lines, d.index = kept, map[string]int{}
	for i, l := range kept {
		if l.key != "" {
			d.index[strings.ToLower(l.key)] = i
		}
	}
}

// yes is how .vmx files say true.
func yes(s string) bool {
	switch strings.ToLower(s) {
	case "true", "1", "yes":
		return true
	}
	return false
}

func tf(b bool) string {
	if b {
		return "TRUE"
	}
	return "FALSE"
}
