// Package templates has the text that machines are sent: built-in files, under
// those that an operator puts into a directory of the same layout. Nothing
// else in the program holds such text.
//
// A template is text/template's language. Data is a struct whose fields are
// documented in docs/templates.md; a field that does not exist is an error, as
// is a key that a map lacks. Functions beyond the language's own:
//
//	include "name" .   the text of another template, rendered with the same data
//	quote .            a word quoted for a shell
//	join "," .         a list in one text
//	indent 4 .         text with blanks before each line
package templates

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"text/template"
)

//go:embed esxi ipxe linux
var builtin embed.FS

// A Set is the built-in templates with an operator's over them. It may be used
// by several goroutines at once.
type Set struct {
	dir  string
	root fs.FS             // nil without a directory
	note func(file string) // nil: nobody wants to know

	found *found
}

// A found is the templates that were parsed before.
type found struct {
	mu    sync.Mutex
	cache map[string]*Template // by where it comes from; guarded by mu
}

// New returns the templates with those of dir over them. dir may be empty or
// not exist; it is looked at anew for every template.
func New(dir string) *Set {
	s := &Set{dir: dir, found: &found{cache: map[string]*Template{}}}
	if dir != "" {
		s.root = os.DirFS(dir)
	}
	return s
}

// Noting is the same templates, and tells note of each file of an operator's
// that is looked for, found or not, before it is: by Find and by what is
// included. With a nil note it is s itself.
func (s *Set) Noting(note func(file string)) *Set {
	if note == nil {
		return s
	}
	c := *s
	c.note = note
	return &c
}

// A Template is a text that was found.
type Template struct {
	Name   string // "esxi/base.tmpl"
	Source string // where it comes from, for the operator: a path, or "built-in ..."
	Text   string
	Mode   fs.FileMode // its permissions, but none for others to write

	set   *Set
	parse func() (*template.Template, error)
}

// Find returns the first template that exists under the names given. The
// operator's directory is asked for all names before the built-in ones are, so
// that a general template of the operator's stands over a special built-in
// one. An absolute name is a file. The error wraps fs.ErrNotExist.
func (s *Set) Find(names ...string) (*Template, error) {
	for _, l := range s.layers() {
		for _, name := range names {
			t, err := l(name)
			if err == nil && s.note != nil {
				own := *t
				own.set, t = s, &own // what it includes is noted too
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return t, err
			}
		}
	}
	return nil, fmt.Errorf("no template %s%s: %w", strings.Join(names, ", "), s.where(), fs.ErrNotExist)
}

func (s *Set) where() string {
	if s.dir == "" {
		return " among the built-in ones"
	}
	return " in " + s.dir + " or among the built-in ones"
}

// Files returns all files below a directory of the operator's, sorted by name;
// none if there is no such directory.
func (s *Set) Files(dir string) ([]*Template, error) {
	if s.root == nil {
		return nil, nil
	}
	var out []*Template
	err := fs.WalkDir(s.root, dir, func(p string, d fs.DirEntry, err error) error {
		if p == dir && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		t, err := s.fromDisk(p)
		if err != nil {
			return err
		}
		out = append(out, t)
		return nil
	})
	return out, err
}

// Open implements fs.FS: a file of the operator's directory, else a built-in one.
func (s *Set) Open(name string) (fs.File, error) {
	if s.root != nil {
		if f, err := s.root.Open(name); err == nil {
			return f, nil
		}
	}
	return builtin.Open(name)
}

func (s *Set) layers() []func(string) (*Template, error) {
	return []func(string) (*Template, error){s.fromDisk, s.fromBuiltin}
}

// fromDisk reads an operator's template, each time anew: he edits them.
func (s *Set) fromDisk(name string) (*Template, error) {
	file := name
	if !filepath.IsAbs(name) {
		if s.root == nil || !fs.ValidPath(name) {
			return nil, fs.ErrNotExist
		}
		file = filepath.Join(s.dir, name)
	}
	if s.note != nil {
		s.note(file)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	mode := fs.FileMode(0o644)
	if fi, err := os.Stat(file); err == nil {
		mode = fi.Mode().Perm() & 0o755
	}
	s.found.mu.Lock()
	defer s.found.mu.Unlock()
	if t := s.found.cache[file]; t != nil && t.Text == string(b) && t.Mode == mode {
		return t, nil
	}
	t := s.template(name, file, string(b))
	t.Mode = mode
	s.found.cache[file] = t
	return t, nil
}

func (s *Set) fromBuiltin(name string) (*Template, error) {
	s.found.mu.Lock()
	defer s.found.mu.Unlock()
	if t := s.found.cache["built-in "+name]; t != nil {
		return t, nil
	}
	if !fs.ValidPath(name) {
		return nil, fs.ErrNotExist
	}
	b, err := builtin.ReadFile(name)
	if err != nil {
		return nil, err
	}
	t := s.template(name, "built-in "+name, string(b))
	s.found.cache[t.Source] = t
	return t, nil
}

func (s *Set) template(name, source, text string) *Template {
	t := &Template{Name: name, Source: source, Text: text, Mode: 0o644, set: &Set{dir: s.dir, root: s.root, found: s.found}}
	t.parse = sync.OnceValues(func() (*template.Template, error) {
		return template.New(source).Option("missingkey=error").Funcs(stubs()).Parse(text)
	})
	return t
}

// stubs are the functions as the parser must know them; Render binds them.
func stubs() template.FuncMap {
	return template.FuncMap{
		"include": func(string, any) (string, error) { return "", nil },
		"quote":   Quote,
		"join":    func(sep string, list []string) string { return strings.Join(list, sep) },
		"indent":  indent,
	}
}

// maxIncludes bounds how deep templates include each other.
const maxIncludes = 16

// Render fills the template in. The error names the template and the line.
func (t *Template) Render(data any) ([]byte, error) { return t.render(data, 0) }

func (t *Template) render(data any, depth int) ([]byte, error) {
	if depth > maxIncludes {
		return nil, fmt.Errorf("template %s: includes itself", t.Source)
	}
	parsed, err := t.parse()
	if err != nil {
		return nil, err
	}
	bound, err := parsed.Clone() // several may render at once
	if err != nil {
		return nil, err
	}
	bound.Funcs(template.FuncMap{"include": func(name string, data any) (string, error) {
		in, err := t.set.Find(t.relative(name), name)
		if err != nil {
			return "", err
		}
		b, err := in.render(data, depth+1)
		return string(b), err
	}})
	var b bytes.Buffer
	if err := bound.Execute(&b, data); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// relative is the name of an included template beside this one.
func (t *Template) relative(name string) string {
	return path.Join(path.Dir(t.Name), name)
}

// Quote quotes a word for a POSIX shell.
func Quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func indent(n int, text string) string {
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(text, "\n", "\n"+pad)
}
