package provision

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"margay/nodedb"
)

// kindMedia keeps what copycds took in: our own record, named by os and arch.
const kindMedia nodedb.Kind = "margay.media"

// manifest is the file in a tree that lists the others as they were on the
// medium: sha256, size and name, as sha256sum(1) but for the size.
const manifest = ".margay-manifest"

// Media is an installer medium that copycds took in.
type Media struct {
	OS, Arch string
	Title    string
	ISO      string // where it was, or is served from
	SHA256   string // of the whole medium, in hexadecimal; empty for one in place
	Size     int64
	ModTime  time.Time
	Taken    time.Time
	InPlace  bool
	Own      bool   // ISO is ours: it came from elsewhere, and goes with the medium
	Source   string // the address that it came from, if it did
	Dir      string // of its tree, where that is not <installdir>/<os>/<arch>
}

func mediaKey(os, arch string) nodedb.Key {
	return nodedb.Key{Kind: kindMedia, Name: os + nodedb.KeySep + arch}
}

func mediaOf(snap *nodedb.Snapshot, os, arch string) (Media, bool) {
	r, ok := snap.Record(mediaKey(os, arch))
	if !ok {
		return Media{}, false
	}
	return mediaFrom(r), true
}

func mediaFrom(r nodedb.Record) Media {
	a := r.Attrs
	m := Media{Title: a["media.title"], ISO: a["media.iso"], SHA256: a["media.sha256"], InPlace: a["media.inplace"] != "", Own: a["media.own"] != "", Source: a["media.source"], Dir: a["media.dir"]}
	m.OS, m.Arch, _ = strings.Cut(r.Name, nodedb.KeySep)
	m.Size, _ = strconv.ParseInt(a["media.size"], 10, 64)
	m.ModTime, _ = time.Parse(time.RFC3339Nano, a["media.modtime"])
	m.Taken, _ = time.Parse(time.RFC3339, a["media.taken"])
	return m
}

func (m Media) attrs() map[string]string {
	a := map[string]string{
		"media.title": m.Title, "media.iso": m.ISO, "media.size": strconv.FormatInt(m.Size, 10),
		"media.modtime": m.ModTime.Format(time.RFC3339Nano), "media.taken": m.Taken.Format(time.RFC3339),
	}
	if m.SHA256 != "" {
		a["media.sha256"] = m.SHA256
	}
	if m.InPlace {
		a["media.inplace"] = "1"
	}
	if m.Own {
		a["media.own"] = "1"
	}
	if m.Source != "" {
		a["media.source"] = m.Source
	}
	if m.Dir != "" {
		a["media.dir"] = m.Dir
	}
	return a
}

// Library lists the media that were taken in, by os and arch.
func Library(snap *nodedb.Snapshot) []Media {
	var out []Media
	for _, r := range snap.Records(kindMedia) {
		out = append(out, mediaFrom(r))
	}
	return out
}

// sumFile is the sha256 of a file, in hexadecimal.
func sumFile(ctx context.Context, name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return sum(ctx, f)
}

func sum(ctx context.Context, r io.Reader) (string, error) {
	h := sha256.New()
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := r.Read(buf)
		h.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
}

// writeManifest lists the files of a medium with their sums.
func writeManifest(ctx context.Context, medium fs.FS, w io.Writer) error {
	b := bufio.NewWriter(w)
	err := fs.WalkDir(medium, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := medium.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		fi, err := f.Stat()
		if err != nil {
			return err
		}
		s, err := sum(ctx, f)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(b, "%s %d %s\n", s, fi.Size(), name)
		return err
	})
	if err != nil {
		return err
	}
	return b.Flush()
}

// A Fault is a file of a tree that is not as it was on the medium.
type Fault struct {
	Name string
	What string // missing, changed, not on the medium
}

// Verify compares an install tree with the medium that it came from.
func (s *Service) Verify(ctx context.Context, m Media, progress func(done, total int64)) ([]Fault, error) {
	snap := s.DB.Snapshot()
	if m.InPlace {
		return s.verifyInPlace(ctx, snap, m)
	}
	tree, err := s.tree(snap, m.OS, m.Arch)
	if err != nil {
		return nil, err
	}
	text, err := fs.ReadFile(tree, manifest)
	if err != nil {
		return nil, fmt.Errorf("%s/%s: no list of its files; run copycds again to make one: %w", m.OS, m.Arch, nodedb.ErrNotFound)
	}
	want, total := parseManifest(string(text))
	var faults []Fault
	var done int64
	for name, e := range want {
		if what, err := compare(ctx, tree, name, e); err != nil {
			return nil, err
		} else if what != "" {
			faults = append(faults, Fault{name, what})
		}
		if done += e.size; progress != nil {
			progress(done, total)
		}
	}
	fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if _, ok := want[name]; err == nil && d.Type().IsRegular() && !ok && name != manifest {
			faults = append(faults, Fault{name, "not on the medium"})
		}
		return nil
	})
	sort.Slice(faults, func(i, j int) bool { return faults[i].Name < faults[j].Name })
	return faults, nil
}

// verifyInPlace checks the file that a medium is served from. copycds does not
// wait for its sum, so the first audit notes it.
func (s *Service) verifyInPlace(ctx context.Context, snap *nodedb.Snapshot, m Media) ([]Fault, error) {
	if _, err := s.tree(snap, m.OS, m.Arch); err != nil {
		return []Fault{{m.ISO, err.Error()}}, nil
	}
	got, err := sumFile(ctx, m.ISO)
	if err != nil {
		return nil, err
	}
	if m.SHA256 != "" {
		if got != m.SHA256 {
			return []Fault{{m.ISO, "changed: its sha256 is " + got}}, nil
		}
		return nil, nil
	}
	return nil, s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		if now, ok := mediaOf(tx.Snapshot(), m.OS, m.Arch); ok && now.ISO == m.ISO && now.ModTime.Equal(m.ModTime) {
			tx.Set(mediaKey(m.OS, m.Arch), "media.sha256", got)
		}
		return nil
	})
}

type listed struct {
	sum  string
	size int64
}

func parseManifest(text string) (map[string]listed, int64) {
	out, total := map[string]listed{}, int64(0)
	for _, line := range strings.Split(text, "\n") {
		p := strings.SplitN(line, " ", 3)
		if len(p) != 3 {
			continue
		}
		size, _ := strconv.ParseInt(p[1], 10, 64)
		out[p[2]] = listed{p[0], size}
		total += size
	}
	return out, total
}

func compare(ctx context.Context, tree fs.FS, name string, want listed) (string, error) {
	f, err := tree.Open(name)
	if err != nil {
		return "missing", nil
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || fi.Size() != want.size {
		return "changed: another size", nil
	}
	s, err := sum(ctx, f)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		return "not readable: " + err.Error(), nil
	}
	if s != want.sum {
		return "changed", nil
	}
	return "", nil
}

// Users are the nodes that boot from a medium or have one of its osimages.
func Users(snap *nodedb.Snapshot, m Media) []string {
	images := map[string]bool{}
	for _, r := range snap.Records(nodedb.KindImage) {
		if r.Attrs["osimage.osvers"] == m.OS && r.Attrs["osimage.osarch"] == m.Arch {
			images[r.Name] = true
		}
	}
	var out []string
	for _, n := range snap.Nodes() {
		boots := n.OS == m.OS && n.Arch == m.Arch && (n.Mode == nodedb.ModeInstall || n.Mode == nodedb.ModeNetboot)
		if boots || images[n.ProvMethod] {
			out = append(out, n.Name)
		}
	}
	return out
}

// RemoveMedia removes a medium's tree and osimages; refused while a node uses
// it.
func (s *Service) RemoveMedia(ctx context.Context, m Media) error {
	err := s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		if users := Users(tx.Snapshot(), m); len(users) > 0 {
			return fmt.Errorf("%s/%s: %s uses it; set it to another image, or nodeset %s offline: %w", m.OS, m.Arch, summary(users), users[0], nodedb.ErrInvalid)
		}
		for _, r := range tx.Snapshot().Records(nodedb.KindImage) {
			if r.Attrs["osimage.osvers"] == m.OS && r.Attrs["osimage.osarch"] == m.Arch {
				tx.Delete(r.Key)
			}
		}
		tx.Delete(mediaKey(m.OS, m.Arch))
		return nil
	})
	if err == nil && m.Own {
		err = os.Remove(m.ISO)
	}
	if err != nil || m.InPlace {
		return err
	}
	// Renamed first: a tree is there whole or not at all.
	dir := s.treeDir(s.DB.Snapshot(), m.OS, m.Arch, m.Dir)
	gone := filepath.Join(filepath.Dir(dir), partial+filepath.Base(dir)+"-removed")
	os.RemoveAll(gone)
	if err := os.Rename(dir, gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = os.RemoveAll(gone)
	os.Remove(filepath.Dir(dir)) // if it was the last arch
	return err
}

// summary names a few of many.
func summary(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d others", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}
