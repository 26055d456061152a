package api

import (
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

// appendString appends a JSON string (RFC 8259, 7). What is not UTF-8 becomes
// U+FFFD.
func appendString[S string | []byte](b []byte, s S) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
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
