package provision

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"margay/nodedb"
)

// A Config is what a Service stands on.
type Config struct {
	DB       *nodedb.DB
	State    string // state directory
	Families []Family
	Loaders  fs.FS  // built-in boot loaders by name: xnba.kpxe, xnba.efi, ...
	Medium   Medium // opens installer media
	HTTPPort int    // where netboot/httpd listens
	TFTPPort int    // 69, but in tests
	Log      *slog.Logger
	Now      func() time.Time // nil: time.Now
	// Local lists our own interfaces' addresses with their masks.
	Local func() []netip.Prefix
}

// A Service decides what each machine boots and keeps count of how far it is.
// It is netboot's Planner, Opener, Receiver and Observer.
type Service struct {
	Config
	journal *journal
	leases  *leaser
	loader  []fs.FS // boot loaders, the operator's first

	mu    sync.Mutex          // guards the fields below
	trees map[string]*os.Root // install trees by path, opened once
	probe string              // the secret of `margay probe`
}

// NewService returns a Service. Run must run for its timelines to be kept.
func NewService(c Config) *Service {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{Config: c, trees: map[string]*os.Root{}, probe: rand.Text()}
	s.loader = []fs.FS{os.DirFS(filepath.Join(c.State, "boot")), os.DirFS("/usr/lib/ipxe")}
	if c.Loaders != nil {
		s.loader = append(s.loader, c.Loaders)
	}
	s.leases = newLeaser(c.DB, c.Now)
	s.journal = newJournal(c.DB, c.Now, c.Log)
	return s
}

// Run keeps the timelines and looks for stalls until ctx is done; then it
// writes what is unwritten.
func (s *Service) Run(ctx context.Context) error { return s.journal.run(ctx) }

// InstallDir is where install trees live: site.installdir, or below the state.
func (s *Service) InstallDir(snap *nodedb.Snapshot) string {
	if dir := snap.Site("installdir"); dir != "" {
		return dir
	}
	return filepath.Join(s.State, "install")
}

// tree opens the install tree of a release. The tree's files are reached
// through it only, so that no link leads out.
func (s *Service) tree(snap *nodedb.Snapshot, osName, arch string) (*os.Root, error) {
	if !plainName(osName) || !plainName(arch) {
		return nil, fmt.Errorf("install tree %s/%s: not a name: %w", osName, arch, nodedb.ErrInvalid)
	}
	dir := filepath.Join(s.InstallDir(snap), osName, arch)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.trees[dir]; r != nil && sameDir(r, dir) {
		return r, nil
	}
	r, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("no install tree %s; run copycds with the %s medium: %w", dir, osName, nodedb.ErrNotFound)
	}
	s.trees[dir] = r // the old one stays open for those who read from it
	return r, nil
}

// sameDir says whether r is still what dir names: copycds swaps whole trees.
func sameDir(r *os.Root, dir string) bool {
	a, err1 := r.Stat(".")
	b, err2 := os.Stat(dir)
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}

// plainName says whether s can be one element of a path and of a URL.
func plainName(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsAny(s, "/\\%?#\x00 ")
}

// family is the family that owns an os name.
func (s *Service) family(osName string) (Family, error) {
	for _, f := range s.Families {
		if f.Owns(osName) {
			return f, nil
		}
	}
	return nil, fmt.Errorf("os %q: no family boots it; set os to a name that copycds made, such as esxi8.0.2: %w", osName, nodedb.ErrInvalid)
}

// hexSum is the first 128 bits of an HMAC, in hexadecimal.
func hexSum(key, text string) string {
	h := hmac.New(sha256.New, []byte(key))
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil)[:16])
}
