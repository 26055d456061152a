package command

import (
	"context"
	"crypto/sha1" // manifests of older packages
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/vm"
	"margay/vm/ovf"
	"margay/vm/vmdk"
)

var ovfCmd = &Command{
	Name:  "ovf",
	Usage: "show package | import node package | export node directory|file.ova",
	Short: "take guests in from OVF packages, and give them out as such",
	Long: `Take a guest in from an OVF package (a .ovf file with its disks beside it, or a
.ova archive), or give one out as such. Where a guest goes is what the table
says of it: vmhost, vmstorage, and vmnics for its network cards in their order
unless --network names others; its addresses and its UUID are the table's. The
sums of the package's manifest are compared, and a guest whose disks are not
what they should be is not kept. Ctrl-C gives the transfer up, and what was
made of the guest with it.`,
	Group: GroupGuest,
	Flags: func(f *pflag.FlagSet) {
		f.StringArray("network", nil, "import: which network one of the package is: theirs=ours, ours as in vmnics")
		f.StringArray("property", nil, "import: set a property of the package: key=value")
		f.String("option", "", "import, show: the size in which to install it")
		f.String("format", "", "import: thin, zeroedthick or eagerzeroedthick")
		f.Bool("accept-eula", false, "import: accept the package's licence")
		f.Bool("dry-run", false, "import: say what would be made")
		f.BoolP("force", "f", false, "export: in the place of files that are there")
	},
	Complete: func(s *Session, args []string, word string) []string {
		switch {
		case len(args) == 0:
			return withPrefix([]string{"show", "import", "export"}, word)
		case len(args) == 1 && args[0] != "show":
			return s.completeRange(word)
		}
		return nil
	},
	Run: ovfRun,
}

func ovfRun(ctx context.Context, s *Session, args []string) error {
	if len(args) == 2 && args[0] == "show" {
		return ovfShow(s, args[1])
	}
	if len(args) != 3 || args[0] != "import" && args[0] != "export" {
		return Usagef("show and a package, import, a node and a package, or export, a node and a directory, are wanted")
	}
	nodes, _, err := s.guests(s.DB.Snapshot(), args[1:2], "nodehm.mgt")
	if err != nil || len(nodes) == 0 {
		return err
	}
	if len(nodes) > 1 {
		return Usagef("%s wants one node", args[0])
	}
	if args[0] == "export" {
		return ovfExport(ctx, s, nodes[0], s.Path(args[2]))
	}
	return ovfImport(ctx, s, nodes[0], s.Path(args[2]))
}

// openPackage opens a package whose descriptor is what its manifest says.
func openPackage(s *Session, name string) (*ovf.Source, *ovf.Package, error) {
	src, err := ovf.OpenFile(name)
	if err != nil {
		return nil, nil, err
	}
	p, err := ovf.Parse(src.Descriptor, s.String("option"))
	if err == nil && src.Manifest != nil {
		if want, ok := src.Manifest[src.Name]; ok {
			h := newHash(want.Algorithm)
			h.Write(src.Descriptor)
			err = compareSum(src.Name, want, h)
		}
	}
	if err != nil {
		src.Close()
		return nil, nil, err
	}
	return src, p, nil
}

func newHash(algorithm string) hash.Hash {
	switch algorithm {
	case "SHA1":
		return sha1.New()
	case "SHA512":
		return sha512.New()
	}
	return sha256.New()
}

func compareSum(name string, want ovf.Sum, h hash.Hash) error {
	if got := hex.EncodeToString(h.Sum(nil)); got != want.Hex {
		return fmt.Errorf("%s: %s is %s, and not %s as the manifest says", name, strings.ToLower(want.Algorithm), got, want.Hex)
	}
	return nil
}

func ovfShow(s *Session, name string) error {
	src, p, err := openPackage(s, s.Path(name))
	if err != nil {
		return err
	}
	defer src.Close()
	s.Line("name: %s", p.Name)
	if p.Product != "" {
		s.Line("product: %s", p.Product)
	}
	for _, o := range p.Options {
		note := ""
		if o.Default {
			note = ", the default"
		}
		s.Line("option: %s (%s%s)", o.ID, o.Label, note)
	}
	s.Line("guest: %d cpus, %d MB, %s", p.Spec.CPUs, p.Spec.MemoryMB, p.Spec.GuestID)
	for _, d := range p.Spec.Disks {
		s.Line("disk: %s, %d MB, from %s", d.ID(), d.KB>>10, orNone(d.Path.File))
	}
	for _, n := range p.Spec.NICs {
		s.Line("nic: %s on %s", n.Model, n.Network)
	}
	for _, f := range p.Files {
		s.Line("file: %s, %d bytes", f.Href, f.Size)
	}
	for _, prop := range p.Properties {
		s.Line("property: %s (%s) %s", prop.Key, prop.Type, prop.Label)
	}
	if src.Manifest == nil {
		s.Line("manifest: none")
	} else {
		s.Line("manifest: %d sums", len(src.Manifest))
	}
	if len(p.EULA) > 0 {
		s.Line("licence: must be accepted (--accept-eula)")
		for _, e := range p.EULA {
			s.Text(strings.TrimSpace(e) + "\n")
		}
	}
	return nil
}

func ovfImport(ctx context.Context, s *Session, node *nodedb.Node, name string) error {
	src, p, err := openPackage(s, name)
	if err != nil {
		return err
	}
	defer src.Close()
	if len(p.EULA) > 0 && !s.Bool("accept-eula") {
		return errors.New("the package has a licence; read it with ovf show, and accept it with --accept-eula")
	}
	for _, n := range p.Notes {
		s.NodeWarn(node.Name, "%s", n)
	}
	req, err := ovfRequest(s, p)
	if err != nil {
		return err
	}
	f := &packageFiles{src: src, hashes: map[string]*summed{}}
	req.Open, req.Check, req.Disk = f.stream, f.check, f.disk
	nodes := []*nodedb.Node{node}
	if !req.DryRun {
		nodes, err = s.allocate(ctx, nodes, func(*nodedb.Node) (int, error) { return max(1, len(p.Spec.NICs)), nil })
		if err != nil || len(nodes) == 0 {
			return err
		}
	}
	req.Import.Descriptor = string(src.Descriptor)
	emit, flush := s.emit(ctx)
	s.Guests.ImportPackage(ctx, s.DB.Snapshot(), nodes[0], req, emit)
	return flush()
}

func ovfRequest(s *Session, p *ovf.Package) (vm.PackageRequest, error) {
	req := vm.PackageRequest{Spec: &p.Spec, Names: p.Networks, Networks: map[string]string{}, DryRun: s.Bool("dry-run")}
	req.Import.Option = s.String("option")
	for _, n := range s.Strings("network") {
		from, to, ok := strings.Cut(n, "=")
		if !ok {
			return req, Usagef("--network %s: write theirs=ours", n)
		}
		req.Networks[from] = to
	}
	for _, kv := range s.Strings("property") {
		k, v, ok := strings.Cut(kv, "=")
		if !ok {
			return req, Usagef("--property %s: write key=value", kv)
		}
		at := slices.IndexFunc(p.Properties, func(p ovf.Property) bool { return p.Key == k })
		if at < 0 {
			return req, fmt.Errorf("the package has no property %q; see ovf show", k)
		}
		if p.Properties[at].Fixed {
			return req, fmt.Errorf("property %s is not for setting", k)
		}
		req.Properties = append(req.Properties, vm.Setting{Key: k, Value: v})
	}
	format, err := vm.ParseFormat(s.String("format"))
	req.Format = format
	return req, err
}

// packageFiles are a package's files, whose sums are taken as they are read.
type packageFiles struct {
	src    *ovf.Source
	hashes map[string]*summed
}

// A summed file is one that was read from its beginning.
type summed struct {
	io.ReadCloser
	h    hash.Hash
	n    int64
	size int64
}

func (s *summed) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.h.Write(p[:n])
	s.n += int64(n)
	return n, err
}

// stream opens a file for sending. Hosts take disks as streams only; any
// other kind is made one on the way.
func (f *packageFiles) stream(name string) (io.ReadCloser, int64, error) {
	r, size, err := f.src.Open(name)
	if err != nil {
		return nil, 0, err
	}
	if strings.HasSuffix(strings.ToLower(name), ".vmdk") {
		img, err := f.image(name, r, size)
		if err != nil {
			r.Close()
			return nil, 0, err
		}
		if img.format != "streamOptimized" {
			return streamOf(img), -1, nil
		}
		if _, err := r.Seek(0, io.SeekStart); err != nil {
			r.Close()
			return nil, 0, err
		}
	}
	s := &summed{ReadCloser: r, h: newHash(f.src.Manifest[name].Algorithm), size: size}
	f.hashes[name] = s
	return s, size, nil
}

// streamOf makes a stream of a disk as it is read.
func streamOf(img *diskImage) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		w.CloseWithError(img.Stream(w, nil))
		img.Close()
	}()
	return r
}

// image opens a disk of the package; closing it closes r.
func (f *packageFiles) image(name string, r io.ReadSeekCloser, size int64) (*diskImage, error) {
	ra, ok := r.(io.ReaderAt)
	if !ok {
		return nil, fmt.Errorf("%s cannot be read at any place", name)
	}
	d, format, err := vmdk.OpenAny(oneFile{name, ra, size}, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &diskImage{d, name, format, r}, nil
}

// disk opens a disk for a host that takes no streams.
func (f *packageFiles) disk(name string) (vm.DiskImage, error) {
	r, size, err := f.src.Open(name)
	if err != nil {
		return nil, err
	}
	img, err := f.image(name, r, size)
	if err != nil {
		r.Close()
		return nil, err
	}
	return img, nil
}

// check compares a file's sum with the manifest's.
func (f *packageFiles) check(name string) error {
	want, ok := f.src.Manifest[name]
	if !ok {
		return nil
	}
	if s := f.hashes[name]; s != nil && s.n == s.size {
		return compareSum(name, want, s.h)
	}
	r, _, err := f.src.Open(name) // it was read in places, or in part
	if err != nil {
		return err
	}
	defer r.Close()
	h := newHash(want.Algorithm)
	if _, err := io.Copy(h, r); err != nil {
		return err
	}
	return compareSum(name, want, h)
}

// An exported package is written beside its place.
type exported struct {
	dir   string
	name  string
	data  []ovf.Data
	sums  ovf.Manifest
	files []string
}

func ovfExport(ctx context.Context, s *Session, node *nodedb.Node, to string) error {
	archive := strings.EqualFold(filepath.Ext(to), ".ova")
	dir := to
	if archive {
		if _, err := os.Stat(to); err == nil && !s.Bool("force") {
			return fmt.Errorf("%s is there already; -f puts a new one in its place", to)
		}
		dir = filepath.Dir(to)
	} else if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(dir, ".ovf")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	e := &exported{dir: tmp, name: node.Name, sums: ovf.Manifest{}}
	progress := func(p int) { s.Progress("%s: %d%%", node.Name, p) }
	v, err := s.Guests.ExportGuest(ctx, s.DB.Snapshot(), node, progress, e.disk)
	if err == nil {
		err = e.describe(v)
	}
	if err != nil {
		s.NodeError(node.Name, err)
		return nil
	}
	if archive {
		err = e.archive(to)
	} else {
		err = e.place(to, s.Bool("force"))
	}
	if err != nil {
		return err
	}
	s.Node(node.Name, "given out to %s: %d disks, %d bytes", to, len(e.data), e.size())
	return nil
}

// disk writes one disk, and looks whether it is whole.
func (e *exported) disk(i int, r io.Reader) error {
	name := fmt.Sprintf("%s-disk%d.vmdk", e.name, i+1)
	h := sha256.New()
	size, err := writeFile(filepath.Join(e.dir, name), io.TeeReader(r, h))
	if err != nil {
		return err
	}
	img, err := openDisk(filepath.Join(e.dir, name))
	if err != nil {
		return err
	}
	img.Close()
	e.data = append(e.data, ovf.Data{Href: name, Size: size})
	e.sums[name] = ovf.Sum{Algorithm: "SHA256", Hex: hex.EncodeToString(h.Sum(nil))}
	e.files = append(e.files, name)
	return nil
}

// writeFile writes a new file and has it on the disk.
func writeFile(name string, r io.Reader) (int64, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return n, err
}

// describe writes the descriptor and the manifest.
func (e *exported) describe(v *vm.VM) error {
	spec := v.Spec.ForOthers()
	text, err := ovf.Format(spec, e.data)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	e.sums[e.name+".ovf"] = ovf.Sum{Algorithm: "SHA256", Hex: hex.EncodeToString(sum[:])}
	if _, err := writeFile(filepath.Join(e.dir, e.name+".ovf"), strings.NewReader(string(text))); err != nil {
		return err
	}
	if _, err := writeFile(filepath.Join(e.dir, e.name+".mf"), strings.NewReader(string(e.sums.Format()))); err != nil {
		return err
	}
	e.files = append([]string{e.name + ".ovf", e.name + ".mf"}, e.files...)
	return nil
}

func (e *exported) size() int64 {
	n := int64(0)
	for _, d := range e.data {
		n += d.Size
	}
	return n
}

// place moves the files to their folder, the descriptor last: without it the
// others are no package.
func (e *exported) place(to string, force bool) error {
	for _, f := range e.files {
		if _, err := os.Stat(filepath.Join(to, f)); err == nil && !force {
			return fmt.Errorf("%s is there already; -f puts a new one in its place", filepath.Join(to, f))
		}
	}
	for _, f := range slices.Backward(e.files) {
		if err := os.Rename(filepath.Join(e.dir, f), filepath.Join(to, f)); err != nil {
			return err
		}
	}
	return nil
}

func (e *exported) archive(to string) error {
	part := filepath.Join(e.dir, "archive")
	f, err := os.Create(part)
	if err != nil {
		return err
	}
	defer f.Close()
	err = ovf.WriteArchive(f, e.files, time.Now(), func(name string) (io.ReadCloser, int64, error) {
		f, err := os.Open(filepath.Join(e.dir, name))
		if err != nil {
			return nil, 0, err
		}
		st, err := f.Stat()
		return f, st.Size(), err
	})
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return err
	}
	return os.Rename(part, to)
}
