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
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
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
	Spool    Spool  // brings media from elsewhere; nil: none
	HTTPPort int    // where netboot/httpd listens
	TLSPort  int    // where it does by HTTPS; 0: nowhere
	TFTPPort int    // 69, but in tests
	Log      *slog.Logger
	Now      func() time.Time // nil: time.Now
	// InUse asks a network who has an address already, before it is given to a
	// machine; nil: not asked. It returns nil where nobody says so.
	InUse func(ctx context.Context, ifname string, addr netip.Addr) net.HardwareAddr
	// Ping does so for networks behind relays; nil: not asked.
	Ping func(ctx context.Context, addr netip.Addr) bool
	// Neighbor is the interface that answers for an address on our networks,
	// as the kernel last saw it; nil if it does not know. It may be nil.
	Neighbor func(addr netip.Addr) net.HardwareAddr
	// Reach says whether somebody answers at a port; its errors are short. It
	// may be nil.
	Reach func(ctx context.Context, at netip.AddrPort) error
	// Issue makes a host's certificate, by the server's own authority. It may be
	// nil.
	Issue func(n HostNames) (crt, key []byte, err error)
	// Local lists our own interfaces' addresses with their masks.
	Local func() []netip.Prefix
	// LocalOn lists those of one interface; nil: not known.
	LocalOn func(ifname string) []netip.Prefix
}

// A Service decides what each machine boots and keeps count of how far it is.
// It is netboot's Planner, Opener, Receiver and Observer.
type Service struct {
	Config
	journal  *journal
	leases   *leaser
	reserved reservations

	stated      sync.Map // *Statements by their text
	statedCount atomic.Int64

	sightings sightings
	said      said
	strangers strangers
	arrivals  arrivals
	keys      hostKeys
	certs     sync.Mutex // held while a host's certificate is made
	loader    []fs.FS    // boot loaders, the operator's first

	renders renders
	open    openFiles // of install trees

	mu      sync.Mutex            // guards the fields below
	roots   map[string]*os.Root   // install trees by path, opened once
	mediums map[string]MediumFile // media that are served in place
	probe   string                // the secret of `margay probe`
}

// NewService returns a Service. Run must run for its timelines to be kept.
func NewService(c Config) *Service {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{Config: c, roots: map[string]*os.Root{}, mediums: map[string]MediumFile{}, probe: rand.Text()}
	s.loader = []fs.FS{os.DirFS(filepath.Join(c.State, "boot")), os.DirFS("/usr/lib/ipxe")}
	if c.Loaders != nil {
		s.loader = append(s.loader, c.Loaders)
	}
	s.sightings.seen = map[string]time.Time{}
	s.arrivals.nodes, s.arrivals.sem = map[string]*arrival{}, make(chan struct{}, knocks)
	s.keys.busy, s.keys.work = map[string]*sync.Mutex{}, make(chan string, 4096)
	s.leases = newLeaser(c.DB, c.Now)
	s.leases.local = c.Local
	s.reserved.said, s.reserved.unsaved, s.reserved.news = map[netip.Addr]Lease{}, map[netip.Addr]bool{}, make(chan struct{}, 1)
	s.journal = newJournal(c.DB, c.Now, c.Log)
	return s
}

// Run keeps the timelines, looks for stalls and for hosts that come up, until
// ctx is done; then it writes what is unwritten.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { s.watchArrivals(ctx) })
	wg.Go(func() { s.makeKeys(ctx) })
	wg.Go(func() { s.watchNames(ctx) })
	wg.Go(func() { s.keepReserved(ctx) })
	defer wg.Wait()
	return s.journal.run(ctx)
}

// InstallDir is where install trees live: site.installdir, or below the state.
func (s *Service) InstallDir(snap *nodedb.Snapshot) string {
	if dir := snap.Site("installdir"); dir != "" {
		return dir
	}
	return filepath.Join(s.State, "install")
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
