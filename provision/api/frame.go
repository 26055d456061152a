package api

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// appendFrame appends a frame as a line of JSON, as encoding/json writes it but
// quicker.
func appendFrame(b []byte, f Frame) []byte {
	b = append(b, `{"k":`...)
	b = appendString(b, string(f.Kind))
	for _, field := range [...]struct{ name, value string }{
		{`,"node":`, f.Node}, {`,"level":`, f.Level}, {`,"label":`, f.Label}, {`,"text":`, f.Text},
	} {
		if field.value != "" {
			b = appendString(append(b, field.name...), field.value)
		}
	}
	if f.Code != 0 {
		b = strconv.AppendInt(append(b, `,"code":`...), int64(f.Code), 10)
	}
	return append(b, "}\n"...)
}

// appendRaw appends a frame that prints text as it is.
func appendRaw(b, text []byte) []byte {
	b = appendString(append(b, `{"k":"raw","text":`...), text)
	return append(b, "}\n"...)
}

// plain are the bytes that a JSON string has as they are.
var plain = func() (is [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		is[c] = c != '"' && c != '\\'
	}
	return is
}()

// parseFrame reads a line as appendFrame writes it; ok is false if it was
// written otherwise, and encoding/json has to read it.
func parseFrame(line []byte) (f Frame, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"k":`))
	if !ok {
		return f, false
	}
	for field := (*string)(&f.Kind); ; {
		if *field, rest, ok = cutString(rest); !ok {
			return f, false
		}
		switch {
		case string(rest) == "}":
			return f, true
		case bytes.HasPrefix(rest, []byte(`,"text":`)):
			field, rest = &f.Text, rest[len(`,"text":`):]
		case bytes.HasPrefix(rest, []byte(`,"node":`)):
			field, rest = &f.Node, rest[len(`,"node":`):]
		case bytes.HasPrefix(rest, []byte(`,"label":`)):
			field, rest = &f.Label, rest[len(`,"label":`):]
		case bytes.HasPrefix(rest, []byte(`,"level":`)):
			field, rest = &f.Level, rest[len(`,"level":`):]
		default:
			return f, false
		}
	}
}

// cutString takes a JSON string off the front of b, if it has none but the
// shortest escapes.
func cutString(b []byte) (s string, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return "", nil, false
	}
	b = b[1:]
	var out []byte // nil: no escape so far
	start, i := 0, 0
	for ; i < len(b) && b[i] != '"'; i++ {
		if plain[b[i]] || b[i] >= utf8.RuneSelf {
			continue
		}
		if b[i] != '\\' || i+1 >= len(b) {
			return "", nil, false
		}
		if out == nil {
			out = make([]byte, 0, len(b))
		}
		out = append(out, b[start:i]...)
		i++
		switch b[i] {
		case 'n':
			out = append(out, '\n')
		case 't':
			out = append(out, '\t')
		case '"', '\\':
			out = append(out, b[i])
		default:
			return "", nil, false
		}
		start = i + 1
	}
	if i >= len(b) {
		return "", nil, false
	}
	if out != nil {
		out = append(out, b[start:i]...)
	} else {
		out = b[:i]
	}
	return string(out), b[i+1:], utf8.Valid(out)
}

// appendString appends a JSON string (RFC 8259, 7). What is not UTF-8 becomes
// U+FFFD.
func appendString[S string | []byte](b []byte, s S) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if plain[c] {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			if r == utf8.RuneError && n == 1 {
				b = append(append(b, s[start:i]...), `\ufffd`...)
				start = i + 1
			}
			i += n
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '\n':
			b = append(b, `\n`...)
		case '\t':
			b = append(b, `\t`...)
		case '"', '\\':
			b = append(b, '\\', c)
		default:
			b = append(b, `\u00`...)
			b = append(b, hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}
