package media

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A node is a file, directory or link of the medium.
type node struct {
	name    string
	mode    fs.FileMode
	size    int64
	mod     time.Time
	link    string
	extents []Extent
	kids    []*node // sorted by name
}

// kid returns the entry of a directory, nil if there is none.
func (n *node) kid(name string) *node {
	i, ok := slices.BinarySearchFunc(n.kids, name, func(k *node, name string) int { return strings.Compare(k.name, name) })
	if !ok {
		return nil
	}
	return n.kids[i]
}

// sort puts the entries in order and drops all but the first of each name: of
// several versions of a file the newest stands first (ECMA-119 9.3).
func (n *node) sort() {
	slices.SortStableFunc(n.kids, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	n.kids = slices.CompactFunc(n.kids, func(a, b *node) bool { return a.name == b.name })
}

func (n *node) entries() []fs.DirEntry {
	out := make([]fs.DirEntry, len(n.kids))
	for i, k := range n.kids {
		out[i] = entry{k}
	}
	return out
}

// walk calls fn for n's entries and all below them, parents first.
func (n *node) walk(dir string, fn func(p string, n *node) error) error {
	for _, k := range n.kids {
		p := path.Join(dir, k.name)
		if err := fn(p, k); err != nil {
			return err
		}
		if err := k.walk(p, fn); err != nil {
			return err
		}
	}
	return nil
}

// trim cuts the extents to the node's size. Fewer bytes than that mean an
// image that does not agree with itself.
func (n *node) trim() error {
	left := n.size
	for i, e := range n.extents {
		if e.Len >= left {
			n.extents[i].Len = left
			n.extents = n.extents[:i+1]
			left = 0
			break
		}
		left -= e.Len
	}
	if left > 0 {
		return fmt.Errorf("%s: %d of %d bytes are nowhere on the image: %w", n.name, left, n.size, ErrFormat)
	}
	if n.size == 0 {
		n.extents = nil
	}
	return nil
}

// cleanName is a name fit for fs.FS: valid UTF-8 (other bytes are read as
// Latin-1, which old discs have), no separator, not a dot.
func cleanName(b string) (string, error) {
	if !utf8.ValidString(b) {
		r := make([]rune, len(b))
		for i := range len(b) {
			r[i] = rune(b[i])
		}
		b = string(r)
	}
	if b == "" || b == "." || b == ".." || strings.ContainsAny(b, "/\x00") {
		return "", fmt.Errorf("bad file name %q on the medium: %w", b, ErrFormat)
	}
	return b, nil
}

// lookup finds a node; links are followed in all but the last part of name.
func (im *Image) lookup(op, name string) (*node, error) {
	return im.find(op, name, false)
}

// follow is lookup that follows a link in the last part too.
func (im *Image) follow(op, name string) (*node, error) {
	return im.find(op, name, true)
}

// maxLinks is how many links one look-up follows, as Linux does.
const maxLinks = 40

func (im *Image) find(op, name string, last bool) (*node, error) {
	fail := func(err error) (*node, error) { return nil, &fs.PathError{Op: op, Path: name, Err: err} }
	if !fs.ValidPath(name) {
		return fail(fs.ErrInvalid)
	}
	stack := []*node{im.root}
	todo := strings.Split(name, "/")
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..": // only from links
			if len(stack) == 1 {
				return fail(fs.ErrNotExist) // leads out of the medium
			}
			stack = stack[:len(stack)-1]
			continue
		}
		n := stack[len(stack)-1].kid(part)
		switch {
		case n == nil:
			return fail(fs.ErrNotExist)
		case n.mode&fs.ModeSymlink == 0 || len(todo) == 0 && !last:
			stack = append(stack, n)
			continue
		case strings.HasPrefix(n.link, "/"):
			return fail(fs.ErrNotExist)
		}
		if links++; links > maxLinks {
			return fail(errors.New("too many symbolic links"))
		}
		todo = append(strings.Split(n.link, "/"), todo...)
	}
	return stack[len(stack)-1], nil
}

// An info is a node's fs.FileInfo.
type info struct{ n *node }

func (i info) Name() string {
	if i.n.name == "" {
		return "."
	}
	return i.n.name
}
func (i info) Size() int64        { return i.n.size }
func (i info) Mode() fs.FileMode  { return i.n.mode }
func (i info) ModTime() time.Time { return i.n.mod }
func (i info) IsDir() bool        { return i.n.mode.IsDir() }
func (i info) Sys() any           { return nil }

// An entry is a node's fs.DirEntry.
type entry struct{ n *node }

func (e entry) Name() string               { return e.n.name }
func (e entry) IsDir() bool                { return e.n.mode.IsDir() }
func (e entry) Type() fs.FileMode          { return e.n.mode.Type() }
func (e entry) Info() (fs.FileInfo, error) { return info(e), nil }
func (e entry) String() string             { return fs.FormatDirEntry(e) }
