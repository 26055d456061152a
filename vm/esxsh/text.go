package esxsh

import (
	"regexp"
	"strconv"
	"strings"

	"margay/vm"
)

// A listed guest is a row of vmsvc/getallvms.
type listed struct {
	id, name string
	path     vm.Path
	guest    string
	version  string
}

var vmRow = regexp.MustCompile(`^(\d+)\s+(.*?)\s+(\[[^\]]+\] .+?\.vmx)\s+(\S+)\s+(vmx-\d+)\s*(.*)$`)

// parseVMs reads vmsvc/getallvms. Names may hold blanks; annotations wrap to
// lines that are no rows; guests whose files are broken have a line of another
// form.
func parseVMs(out string) []listed {
	var list []listed
	for _, l := range strings.Split(out, "\n") {
		m := vmRow.FindStringSubmatch(strings.TrimRight(l, "\r"))
		if m == nil {
			continue
		}
		p, err := vm.ParsePath(m[3])
		if err != nil {
			continue
		}
		list = append(list, listed{m[1], m[2], p, m[4], m[5]})
	}
	return list
}

// A dump is vim-cmd's way to print an object: its fields, of which each is a
// text, another dump or a list of dumps.
type dump struct {
	fields map[string]*dump
	items  []*dump
	text   string
}

// at follows names down.
func (d *dump) at(path ...string) *dump {
	for _, name := range path {
		if d == nil {
			return nil
		}
		d = d.fields[name]
	}
	return d
}

// str is the text at a path; what is unset is "".
func (d *dump) str(path ...string) string {
	if v := d.at(path...); v != nil {
		return v.text
	}
	return ""
}

func (d *dump) int(path ...string) int64 {
	n, _ := strconv.ParseInt(d.str(path...), 10, 64)
	return n
}

// maxDepth bounds how deep dumps lie in one another.
const maxDepth = 64

// parseDump reads the first object in what vim-cmd printed.
func parseDump(out string) (*dump, error) {
	i := strings.Index(out, ") {")
	j := strings.Index(out, ") [")
	if j >= 0 && (i < 0 || j < i) {
		i = j
	}
	if i < 0 {
		return nil, vm.Errorf(vm.ErrInvalid, "vim-cmd printed no object: %q", clip(out))
	}
	p := &dumper{s: out, i: i + 2}
	d, err := p.body(0)
	if err != nil {
		return nil, vm.Errorf(vm.ErrInvalid, "vim-cmd output: %v", err)
	}
	return d, nil
}

type dumper struct {
	s string
	i int
}

type syntaxError string

func (e syntaxError) Error() string { return string(e) }

func (p *dumper) skip() {
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n,", p.s[p.i]) >= 0 {
		p.i++
	}
}

// body reads what follows "(Type) ": "{...}" or "[...]".
func (p *dumper) body(depth int) (*dump, error) {
	if depth > maxDepth {
		return nil, syntaxError("too deep")
	}
	if p.i >= len(p.s) {
		return nil, syntaxError("ends early")
	}
	d := &dump{fields: map[string]*dump{}}
	open := p.s[p.i]
	p.i++
	for {
		p.skip()
		if p.i >= len(p.s) {
			return nil, syntaxError("ends early")
		}
		if p.s[p.i] == '}' || p.s[p.i] == ']' {
			p.i++
			return d, nil
		}
		if open == '[' {
			v, err := p.value(depth + 1)
			if err != nil {
				return nil, err
			}
			d.items = append(d.items, v)
			continue
		}
		name, rest, ok := strings.Cut(p.s[p.i:], "=")
		if !ok || strings.ContainsAny(name, "\n{}") {
			return nil, syntaxError("field without value")
		}
		p.i = len(p.s) - len(rest)
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		d.fields[strings.TrimSpace(name)] = v
	}
}

// value reads "text", 'ref', a word, <unset>, (Type) null or (Type) {...}.
func (p *dumper) value(depth int) (*dump, error) {
	p.skip()
	if p.i >= len(p.s) {
		return nil, syntaxError("ends early")
	}
	switch c := p.s[p.i]; c {
	case '"', '\'':
		end := strings.IndexByte(p.s[p.i+1:], c)
		if end < 0 {
			return nil, syntaxError("text without end")
		}
		v := p.s[p.i+1 : p.i+1+end]
		p.i += end + 2
		return &dump{text: v}, nil
	case '(':
		end := strings.IndexByte(p.s[p.i:], ')')
		if end < 0 {
			return nil, syntaxError("type without end")
		}
		p.i += end + 1
		for p.i < len(p.s) && p.s[p.i] == ' ' {
			p.i++
		}
		if p.i < len(p.s) && (p.s[p.i] == '{' || p.s[p.i] == '[') {
			return p.body(depth)
		}
		p.word()
		return &dump{}, nil
	case '{', '[':
		return p.body(depth)
	}
	w := p.word()
	if w == "" {
		return nil, syntaxError("value is missing")
	}
	if w == "<unset>" || w == "null" {
		w = ""
	}
	return &dump{text: w}, nil
}

func (p *dumper) word() string {
	start := p.i
	for p.i < len(p.s) && strings.IndexByte(",\r\n}]", p.s[p.i]) < 0 {
		p.i++
	}
	return strings.TrimSpace(p.s[start:p.i])
}

// parseTable reads esxcli's tables by the rule under the heads: what stands
// over each dash belongs to its column, whatever blanks are in it.
func parseTable(out string) []map[string]string {
	lines := strings.Split(out, "\n")
	for n := 1; n < len(lines); n++ {
		if strings.Trim(lines[n], "- \r") != "" || !strings.Contains(lines[n], "--") {
			continue
		}
		cols := columns(lines[n])
		var rows []map[string]string
		for _, l := range lines[n+1:] {
			if strings.TrimSpace(l) == "" {
				continue
			}
			row := map[string]string{}
			for _, c := range cols {
				row[cell(lines[n-1], c)] = cell(l, c)
			}
			rows = append(rows, row)
		}
		return rows
	}
	return nil
}

// columns are the spans of dashes; the last is open to the right.
func columns(rule string) [][2]int {
	var out [][2]int
	for i := 0; i < len(rule); {
		if rule[i] != '-' {
			i++
			continue
		}
		start := i
		for i < len(rule) && rule[i] == '-' {
			i++
		}
		out = append(out, [2]int{start, i})
	}
	if len(out) > 0 {
		out[len(out)-1][1] = 1 << 20
	}
	return out
}

func cell(l string, c [2]int) string {
	if c[0] >= len(l) {
		return ""
	}
	return strings.TrimSpace(l[c[0]:min(c[1], len(l))])
}

var taskRow = regexp.MustCompile(`'vim\.Task:([\w.-]+)'`)

// parseTasks reads vmsvc/get.tasklist.
func parseTasks(out string) []string {
	var tasks []string
	for _, m := range taskRow.FindAllStringSubmatch(out, -1) {
		tasks = append(tasks, m[1])
	}
	return tasks
}

var choiceRow = regexp.MustCompile(`^\s*(\w+)\. (.*?)(?: \((.*)\))?( \[default\])?\s*$`)

// parseMessage reads vmsvc/message: nil if nothing is asked.
func parseMessage(out string) *vm.Question {
	head, rest, ok := strings.Cut(out, ":")
	id, is := strings.CutPrefix(strings.TrimSpace(head), "Virtual machine message ")
	if !ok || !is {
		return nil
	}
	q := &vm.Question{ID: id, Default: -1}
	var text []string
	for _, l := range strings.Split(rest, "\n") {
		m := choiceRow.FindStringSubmatch(l)
		switch {
		case m != nil && strings.HasPrefix(l, " "):
			if m[4] != "" {
				q.Default = len(q.Choices)
			}
			q.Choices = append(q.Choices, vm.Choice{Key: m[1], Label: m[2]})
		case strings.TrimSpace(l) == "Answer required.":
		case strings.TrimSpace(l) != "":
			text = append(text, strings.TrimSpace(l))
		}
	}
	q.Text = strings.Join(text, " ")
	return q
}
