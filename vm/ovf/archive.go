package ovf

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A Source is a package's files: a folder, or an archive.
type Source struct {
	Name       string // of the descriptor
	Descriptor []byte
	Manifest   Manifest // nil: none
	open       func(name string) (io.ReadSeekCloser, int64, error)
	close      func() error
}

// OpenFile opens NAME.ovf with the files beside it, or NAME.ova.
func OpenFile(name string) (*Source, error) {
	if strings.EqualFold(path.Ext(name), ".ova") {
		return openArchive(name)
	}
	if !strings.EqualFold(path.Ext(name), ".ovf") {
		return nil, invalidf("%s: a file that ends in .ovf or .ova is wanted", path.Base(name))
	}
	dir, err := os.OpenRoot(path.Dir(name))
	if err != nil {
		return nil, err
	}
	s := &Source{Name: path.Base(name), close: dir.Close}
	s.open = func(n string) (io.ReadSeekCloser, int64, error) {
		f, err := dir.Open(n)
		if err != nil {
			return nil, 0, err
		}
		st, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, 0, err
		}
		return f, st.Size(), nil
	}
	if err := s.read(); err != nil {
		dir.Close()
		return nil, err
	}
	return s, nil
}

// read reads the descriptor and the manifest.
func (s *Source) read() error {
	var err error
	if s.Descriptor, err = s.whole(s.Name); err != nil {
		return err
	}
	mf, err := s.whole(strings.TrimSuffix(s.Name, path.Ext(s.Name)) + ".mf")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.Manifest, err = ParseManifest(mf)
	return err
}

func (s *Source) whole(name string) ([]byte, error) {
	f, _, err := s.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxDescriptor+1))
	if err == nil && len(b) > maxDescriptor {
		err = invalidf("%s is too large", name)
	}
	return b, err
}

// Open opens a file of the package.
func (s *Source) Open(name string) (io.ReadSeekCloser, int64, error) {
	f, size, err := s.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s names %s, which is not there: %w", s.Name, name, fs.ErrNotExist)
	}
	return f, size, err
}

// Close closes the package.
func (s *Source) Close() error { return s.close() }

// A member is a file in an archive.
type member struct{ at, size int64 }

// maxMembers bounds what an archive may hold.
const maxMembers = 10000

// openArchive finds the files in an archive; the descriptor is its first
// (DSP0243, 6.4).
func openArchive(name string) (*Source, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	members, first, err := index(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	s := &Source{Name: first, close: f.Close}
	s.open = func(n string) (io.ReadSeekCloser, int64, error) {
		m, ok := members[n]
		if !ok {
			return nil, 0, &fs.PathError{Op: "open", Path: n, Err: fs.ErrNotExist}
		}
		return part{io.NewSectionReader(f, m.at, m.size)}, m.size, nil
	}
	if err := s.read(); err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

type part struct{ *io.SectionReader }

func (part) Close() error { return nil }

func index(f io.ReadSeeker) (map[string]member, string, error) {
	members, first := map[string]member{}, ""
	t := tar.NewReader(f)
	for {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, "", invalidf("archive: %v", err)
		}
		if h.Typeflag != tar.TypeReg || len(members) == maxMembers {
			continue
		}
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, "", err
		}
		n := path.Base(h.Name)
		if _, twice := members[n]; twice {
			return nil, "", invalidf("the archive holds %s twice", n)
		}
		members[n] = member{at, h.Size}
		if first == "" && strings.EqualFold(path.Ext(n), ".ovf") {
			first = n
		}
	}
	if first == "" {
		return nil, "", invalidf("the archive holds no .ovf file")
	}
	return members, first, nil
}

// A Sum is what a manifest says of a file.
type Sum struct {
	Algorithm string // SHA1, SHA256, SHA512
	Hex       string
}

// A Manifest is the sums of a package's files.
type Manifest map[string]Sum

var manifestLine = regexp.MustCompile(`^(SHA1|SHA256|SHA512)\s*\(([^()]+)\)\s*=\s*([0-9a-fA-F]+)$`)

// ParseManifest reads "SHA256(file)= hex" lines.
func ParseManifest(b []byte) (Manifest, error) {
	m := Manifest{}
	sc := bufio.NewScanner(bytes.NewReader(b))
	for sc.Scan() {
		l := strings.TrimSpace(sc.Text())
		if l == "" {
			continue
		}
		p := manifestLine.FindStringSubmatch(l)
		if p == nil {
			return nil, invalidf("manifest line %q", clip(l))
		}
		raw, err := hex.DecodeString(p[3])
		if want := map[string]int{"SHA1": 20, "SHA256": 32, "SHA512": 64}[p[1]]; err != nil || len(raw) != want {
			return nil, invalidf("manifest line %q", clip(l))
		}
		m[p[2]] = Sum{p[1], strings.ToLower(p[3])}
	}
	if err := sc.Err(); err != nil {
		return nil, invalidf("manifest: %v", err)
	}
	return m, nil
}

// Format writes the manifest, with the descriptor before the rest.
func (m Manifest) Format() []byte {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int {
		if x, y := strings.HasSuffix(a, ".ovf"), strings.HasSuffix(b, ".ovf"); x != y {
			if x {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	var b bytes.Buffer
	for _, n := range names {
		fmt.Fprintf(&b, "%s(%s)= %s\n", m[n].Algorithm, n, m[n].Hex)
	}
	return b.Bytes()
}

// WriteArchive packs files into an archive, the descriptor first. The sizes
// are those that open tells.
func WriteArchive(w io.Writer, names []string, at time.Time, open func(name string) (io.ReadCloser, int64, error)) error {
	t := tar.NewWriter(w)
	for _, n := range names {
		f, size, err := open(n)
		if err != nil {
			return err
		}
		err = t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: n, Size: size, Mode: 0o644, ModTime: at, Format: tar.FormatUSTAR})
		if err != nil && size >= 8<<30 { // too large for the oldest form
			err = t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: n, Size: size, Mode: 0o644, ModTime: at, Format: tar.FormatGNU})
		}
		if err == nil {
			_, err = io.Copy(t, f)
		}
		f.Close()
		if err != nil {
			return err
		}
	}
	return t.Close()
}
