package nodedb

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// WriteCSV writes rows of a table as tabdump does: a line of column names
// behind a #, then a line a row. A value stands between double quotes, which
// are doubled within it; a column without value is empty.
func WriteCSV(w io.Writer, t *Table, rows []Row) error {
	var b strings.Builder
	writeHeader(&b, t)
	for _, row := range rows {
		row.writeCSV(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Row) writeCSV(b *strings.Builder) {
	for i, v := range r.Values {
		if i > 0 {
			b.WriteByte(',')
		}
		if v != "" {
			b.WriteByte('"')
			b.WriteString(strings.ReplaceAll(v, `"`, `""`))
			b.WriteByte('"')
		}
	}
	b.WriteByte('\n')
}

func writeHeader(b *strings.Builder, t *Table) {
	b.WriteByte('#')
	for i, c := range t.Columns {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(c.Name)
	}
	b.WriteByte('\n')
}

// ParseCSV reads what WriteCSV writes: the rows, each in the order of the
// table's columns. Columns that the header leaves out are empty; further lines
// that begin with # are skipped. Errors name the line and wrap ErrInvalid.
func ParseCSV(t *Table, text string) ([][]string, error) {
	p := &csvParser{text: text, line: 1}
	return p.rows(t)
}

// rows reads a whole file.
func (p *csvParser) rows(t *Table) ([][]string, error) {
	header, err := p.header(t)
	if err != nil {
		return nil, err
	}
	var rows [][]string
	lines := make(map[string]int)
	for p.more() {
		line := p.line
		fields, err := p.row()
		if err != nil {
			return nil, err
		}
		if len(fields) > len(header) {
			return nil, fmt.Errorf("Too many fields on line %d: %d, and the header has %d: %w", line, len(fields), len(header), ErrInvalid)
		}
		values := make([]string, len(t.Columns))
		for i, f := range fields {
			values[header[i]] = f
		}
		if err := t.checkRow(values); err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		key := t.keyName(values)
		if first, twice := lines[key]; twice {
			return nil, fmt.Errorf("line %d: the same %s as on line %d: %w", line, strings.Join(t.Keys, ", "), first, ErrInvalid)
		}
		lines[key] = line
		rows = append(rows, values)
	}
	return rows, nil
}

// A csvParser reads fields from text.
type csvParser struct {
	text string
	line int
}

// header reads the first line and returns the table's column for each field.
func (p *csvParser) header(t *Table) ([]int, error) {
	line, rest, _ := strings.Cut(p.text, "\n")
	line = strings.TrimSuffix(line, "\r")
	if !strings.HasPrefix(line, "#") {
		return nil, fmt.Errorf("Data missing header line starting with #: %w", ErrInvalid)
	}
	p.text, p.line = rest, 2
	var columns []int
	for name := range strings.SplitSeq(line[1:], ",") {
		name = strings.Trim(strings.TrimSpace(name), `"`)
		i := t.Index(name)
		if i < 0 {
			return nil, fmt.Errorf("The header line indicates that column '%s' should exist, which is not defined in the schema for '%s': %w", name, t.Name, ErrInvalid)
		}
		if slices.Contains(columns, i) {
			return nil, fmt.Errorf("line 1: column %s twice: %w", name, ErrInvalid)
		}
		columns = append(columns, i)
	}
	return columns, nil
}

// more skips empty lines and remarks and reports whether a row is left.
func (p *csvParser) more() bool {
	for p.text != "" {
		line, rest, _ := strings.Cut(p.text, "\n")
		if s := strings.TrimSpace(line); s != "" && s[0] != '#' {
			return true
		}
		p.text = rest
		p.line++
	}
	return false
}

// row reads the fields of one row and the end of its line.
func (p *csvParser) row() ([]string, error) {
	var fields []string
	for {
		f, err := p.field()
		if err != nil {
			return nil, err
		}
		fields = append(fields, f)
		if p.text == "" {
			return fields, nil
		}
		c := p.text[0]
		p.text = p.text[1:]
		if c == '\n' {
			p.line++
			return fields, nil
		}
	}
}

// field reads one field; what is left begins with a comma or a line's end.
func (p *csvParser) field() (string, error) {
	rest := strings.TrimLeft(p.text, " \t")
	if !strings.HasPrefix(rest, `"`) {
		i := strings.IndexAny(p.text, ",\n")
		if i < 0 {
			i = len(p.text)
		}
		f := strings.TrimSpace(p.text[:i])
		p.text = p.text[i:]
		if strings.Contains(f, `"`) {
			return "", fmt.Errorf("CSV unmatched quote in line %d: %w", p.line, ErrInvalid)
		}
		return f, nil
	}
	line := p.line
	f, rest, err := unquote(rest[1:])
	if err != nil {
		return "", fmt.Errorf("CSV unmatched quote in line %d: %w", line, ErrInvalid)
	}
	p.line += strings.Count(f, "\n")
	p.text = strings.TrimLeft(rest, " \t\r")
	if p.text != "" && p.text[0] != ',' && p.text[0] != '\n' {
		return "", fmt.Errorf("CSV unescaped \" in record on line %d: %w", p.line, ErrInvalid)
	}
	return f, nil
}

var errUnquoted = errors.New("no closing quote")

// unquote reads up to the closing quote.
func unquote(s string) (field, rest string, err error) {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '"')
		if i < 0 {
			return "", "", errUnquoted
		}
		b.WriteString(s[:i])
		if !strings.HasPrefix(s[i+1:], `"`) {
			return b.String(), s[i+1:], nil
		}
		b.WriteByte('"')
		s = s[i+2:]
	}
}
