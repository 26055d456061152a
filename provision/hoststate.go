package provision

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"

	"margay/netboot"
	"margay/nodedb"
)

// MaxState bounds what a stateless host may post of itself, in bytes.
const MaxState = 64 << 20

// keepStates is how many versions of a host's configuration are kept.
const keepStates = 10

// A Version is a stateless host's configuration as it once posted it.
type Version struct {
	ID     string // its time: 20260102-030405.000
	Time   time.Time
	Size   int64
	SHA256 string
}

const versionFormat = "20060102-150405.000"

func (s *Service) stateDir(node string) string { return filepath.Join(s.State, "hoststate", node) }

// saveState keeps what a host posted, unless it is what was kept last. Only a
// gzip tar is taken.
func (s *Service) saveState(n *nodedb.Node, body io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(body, MaxState+1))
	if err != nil {
		return err
	}
	if len(data) > MaxState {
		return &netboot.Refusal{Node: n.Name, Reason: fmt.Sprintf("the state of %s is over %d MiB", n.Name, MaxState>>20)}
	}
	if _, err := tarFiles(data); err != nil {
		return &netboot.Refusal{Node: n.Name, Reason: fmt.Sprintf("the state of %s is no gzip tar: %v", n.Name, err)}
	}
	if last, err := s.hostState(n.Name); err == nil && bytes.Equal(last, data) {
		return nil
	}
	dir := s.stateDir(n.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := s.putState(dir, data); err != nil {
		return err
	}
	s.journal.step(n.Name, n.Mode, StepReport, fmt.Sprintf("posted its configuration, %d bytes", len(data)))
	return s.dropStates(n.Name)
}

// putState writes a version beside and renames it into place.
func (s *Service) putState(dir string, data []byte) error {
	tmp, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), filepath.Join(dir, s.Now().UTC().Format(versionFormat)+".tgz"))
}

func (s *Service) dropStates(node string) error {
	all, err := s.States(node)
	if err != nil {
		return err
	}
	for _, v := range all[:max(0, len(all)-keepStates)] {
		if err := os.Remove(filepath.Join(s.stateDir(node), v.ID+".tgz")); err != nil {
			return err
		}
	}
	return nil
}

// States are the kept versions of a host's configuration, the newest last.
func (s *Service) States(node string) ([]Version, error) {
	names, err := filepath.Glob(filepath.Join(s.stateDir(node), "2*.tgz"))
	if err != nil {
		return nil, err
	}
	sort.Strings(names)
	var out []Version
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(data)
		id := strings.TrimSuffix(filepath.Base(name), ".tgz")
		at, _ := time.Parse(versionFormat, id)
		out = append(out, Version{ID: id, Time: at, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])})
	}
	return out, nil
}

// hostState is the configuration that a host gets back at its next boot.
func (s *Service) hostState(node string) ([]byte, error) {
	names, _ := filepath.Glob(filepath.Join(s.stateDir(node), "2*.tgz"))
	if len(names) == 0 {
		return nil, fmt.Errorf("node %s: no state is kept: %w", node, fs.ErrNotExist)
	}
	sort.Strings(names)
	return os.ReadFile(names[len(names)-1])
}

func (s *Service) readState(node, id string) ([]byte, error) {
	if _, err := time.Parse(versionFormat, id); err != nil {
		return nil, fmt.Errorf("version %q: not one; see margay hoststate list %s", id, node)
	}
	data, err := os.ReadFile(filepath.Join(s.stateDir(node), id+".tgz"))
	if err != nil {
		return nil, fmt.Errorf("node %s: no version %s is kept; see margay hoststate list %s", node, id, node)
	}
	return data, nil
}

// RollbackState makes an older version the one that the host gets back.
func (s *Service) RollbackState(node, id string) error {
	data, err := s.readState(node, id)
	if err != nil {
		return err
	}
	return s.putState(s.stateDir(node), data)
}

// DiffStates shows what differs between two versions, file by file. Archives
// inside are opened; what is not text is only said to differ.
func (s *Service) DiffStates(node, from, to string) (string, error) {
	a, err := s.readState(node, from)
	if err != nil {
		return "", err
	}
	b, err := s.readState(node, to)
	if err != nil {
		return "", err
	}
	before, err := stateFiles(a)
	if err != nil {
		return "", err
	}
	after, err := stateFiles(b)
	if err != nil {
		return "", err
	}
	return diffFiles(before, after), nil
}

// stateFiles are the files of a saved configuration as they may be shown. One
// whose secret alone changed is said to differ.
func stateFiles(data []byte) (map[string][]byte, error) {
	files, err := tarFiles(data)
	for n, t := range files {
		if shown := hideSecrets(t); !bytes.Equal(shown, t) {
			files[n] = fmt.Appendf(shown, "# sha256 of the whole file: %x\n", sha256.Sum256(t))
		}
	}
	return files, err
}

// diffFiles is the unified diff of two sets of files.
func diffFiles(before, after map[string][]byte) string {
	names := map[string]bool{}
	for n := range before {
		names[n] = true
	}
	for n := range after {
		names[n] = true
	}
	sorted := make([]string, 0, len(names))
	for n := range names {
		sorted = append(sorted, n)
	}
	sort.Strings(sorted)
	var out strings.Builder
	for _, n := range sorted {
		a, b := before[n], after[n]
		switch {
		case bytes.Equal(a, b):
		case !isText(a) || !isText(b):
			fmt.Fprintf(&out, "%s: differs (%d and %d bytes)\n", n, len(a), len(b))
		default:
			out.Write(diff.Diff("a/"+n, a, "b/"+n, b))
		}
	}
	return out.String()
}

func isText(b []byte) bool { return !bytes.ContainsRune(b, 0) && len(b) < 1<<20 }

// tarFiles are the files of a gzip tar; a .tgz inside is opened in turn, one
// level deep, as ESXi's state.tgz holds a local.tgz.
func tarFiles(data []byte) (map[string][]byte, error) {
	out := map[string][]byte{}
	if err := addTar(out, "", data, 1); err != nil {
		return nil, err
	}
	return out, nil
}

func addTar(out map[string][]byte, prefix string, data []byte, deeper int) error {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	t := tar.NewReader(io.LimitReader(z, 4*MaxState))
	for len(out) < 10_000 {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(t, MaxState))
		if err != nil {
			return err
		}
		name := prefix + strings.TrimPrefix(h.Name, "./")
		if deeper > 0 && strings.HasSuffix(name, ".tgz") && addTar(out, name+"/", text, deeper-1) == nil {
			continue
		}
		out[name] = text
	}
	return errors.New("too many files")
}
