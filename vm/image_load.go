package vm

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"margay/nodedb"
)

// ImageFolder is where images lie on a datastore.
const ImageFolder = "images"

// A LoadRequest copies an image to a host's datastore.
type LoadRequest struct {
	Image     *Image
	From      *Repository
	Datastore string
	Format    Format
	// MakeRoom lets other images that no guest uses be deleted where there is
	// no room. Without it nothing ever is.
	MakeRoom bool
	Replace  bool // in the place of another version
}

// A Loaded image is one on a datastore.
type Loaded struct {
	Disks  []Path // in the order of the image's disks
	Copied bool   // it was not there before
	How    string // how it came there
	Freed  []string
}

// LoadImage copies an image to a datastore of a host, if it is not there.
func (m *Manager) LoadImage(ctx context.Context, snap *nodedb.Snapshot, host string, req LoadRequest, report Progress) (Loaded, error) {
	e, err := Route(snap, host)
	if err != nil {
		return Loaded{}, err
	}
	hv, err := m.Open(ctx, e)
	if err != nil {
		return Loaded{}, err
	}
	// One command at a time: two guests of one image want it copied once.
	defer m.lock(e.Key() + "/image/" + req.Datastore + "/" + req.Image.Name).Unlock()
	f, err := m.files(ctx, snap, hv, host, e)
	if err != nil {
		return Loaded{}, err
	}
	req.MakeRoom = req.MakeRoom || strings.EqualFold(snap.Site("vmimagemode"), "dedicated")
	l := &loader{m: m, f: f, req: req, at: Where{Host: f.host.Name, Path: e.Path}, report: report}
	return l.load(ctx)
}

// A loader copies one image to one datastore.
type loader struct {
	m      *Manager
	f      *Files
	req    LoadRequest
	at     Where
	report Progress
}

// folder is where the image goes.
func (l *loader) folder() Path {
	return Path{l.req.Datastore, ImageFolder + "/" + l.req.Image.Name}
}

// disk is what an image's i-th disk is called on a datastore.
func (l *loader) disk(i int) Path {
	if l.req.Image.Disc {
		return l.folder().Join(l.req.Image.Disks[i].Name)
	}
	return l.folder().Join(diskFile(l.req.Image.Name, i))
}

func (l *loader) load(ctx context.Context) (Loaded, error) {
	out := Loaded{}
	for i := range l.req.Image.Disks {
		out.Disks = append(out.Disks, l.disk(i))
	}
	if _, err := l.f.on(l.folder(), true); err != nil {
		return out, err
	}
	have, err := l.there(ctx)
	switch {
	case err != nil:
		return out, err
	case have != nil && have.ID() == l.req.Image.ID():
		return out, nil
	case have != nil && !l.req.Replace:
		return out, Errorf(ErrExists, "%s holds another version of image %s; --replace puts this one in its place, if no guest uses that", l.folder(), l.req.Image.Name)
	}
	if out.Freed, err = l.room(ctx); err != nil {
		return out, err
	}
	if err := l.clear(ctx); err != nil {
		return out, err
	}
	out.How, err = l.copy(ctx)
	if err != nil {
		clean, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer stop()
		l.f.hv.Delete(clean, l.f.host.Name, l.folder())
		return out, err
	}
	out.Copied = true
	return out, l.mark(ctx)
}

// there is the description of the image that the datastore has; nil: none.
func (l *loader) there(ctx context.Context) (*Image, error) {
	return l.f.image(ctx, l.folder())
}

// image reads the description in a folder of a datastore. It is written last:
// a folder without one is half an image.
func (f *Files) image(ctx context.Context, dir Path) (*Image, error) {
	r, _, err := f.fs.Get(ctx, f.host.Name, dir.Join(imageIndex), 0)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return nil, err
	}
	img, err := ParseImage(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir.Join(imageIndex), err)
	}
	return img, nil
}

// mark writes the description.
func (l *loader) mark(ctx context.Context) error {
	b, err := json.MarshalIndent(l.req.Image, "", "  ")
	if err != nil {
		return err
	}
	return l.f.fs.Put(ctx, l.f.host.Name, l.folder().Join(imageIndex), bytes.NewReader(b), int64(len(b)))
}

// clear makes the folder anew; what guests use is left alone.
func (l *loader) clear(ctx context.Context) error {
	_, err := l.f.fs.Stat(ctx, l.f.host.Name, l.folder())
	switch {
	case err == nil:
		if err := l.f.unused(ctx, l.folder()); err != nil {
			return err
		}
		if err := l.f.hv.Delete(ctx, l.f.host.Name, l.folder()); err != nil {
			return err
		}
	case !errors.Is(err, ErrNotFound):
		return err
	}
	return l.f.hv.MakeDir(ctx, l.f.host.Name, l.folder())
}

// need is how much room the image takes, in KiB.
func (l *loader) need() int64 {
	var n int64
	for _, d := range l.req.Image.Disks {
		if l.req.Format != Thin && l.req.Format != "" && !l.req.Image.Disc {
			n += d.Bytes
			continue
		}
		for _, f := range d.Files {
			n += stored(l.req.From.Path(l.req.Image, f.Name))
		}
	}
	return (n + 1023) / 1024
}

// room looks whether the image fits. Where it does not, other images that no
// guest uses make room, oldest first, but only if that is wanted.
func (l *loader) room(ctx context.Context) ([]string, error) {
	need := l.need()
	d := l.f.host.Datastore(l.req.Datastore)
	if d.FreeKB < 0 || d.FreeKB >= need {
		return nil, nil
	}
	spare, err := l.spare(ctx)
	if err != nil {
		return nil, err
	}
	free := d.FreeKB
	var names []string
	for _, img := range spare {
		if free >= need {
			break
		}
		free += (img.Bytes() + 1023) / 1024
		names = append(names, img.Name)
	}
	short := Errorf(ErrNoSpace, "datastore %s has %s MB free, image %s needs %s MB", d.Name, megabytes(d.FreeKB), l.req.Image.Name, megabytes(need))
	if free < need {
		return nil, short
	}
	if !l.req.MakeRoom {
		return nil, fmt.Errorf("%w; --make-room would delete the images that no guest there uses: %s", short, strings.Join(names, ", "))
	}
	for _, n := range names {
		if err := l.f.hv.Delete(ctx, l.f.host.Name, Path{d.Name, ImageFolder + "/" + n}); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// spare are the images on the datastore that no guest uses, oldest first.
func (l *loader) spare(ctx context.Context) ([]*Image, error) {
	list, err := l.f.fs.List(ctx, l.f.host.Name, Path{l.req.Datastore, ImageFolder})
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []*Image
	for _, d := range list {
		if !d.Dir || d.Path.Base() == l.req.Image.Name {
			continue
		}
		img, err := l.f.image(ctx, d.Path)
		if err != nil || img == nil || img.Name != d.Path.Base() {
			continue // not ours to delete
		}
		if l.f.unused(ctx, d.Path) == nil {
			out = append(out, img)
		}
	}
	slices.SortFunc(out, func(a, b *Image) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name)) })
	return out, nil
}

// copy brings the files. A host that has the repository mounted copies and
// converts by itself; another is sent them.
func (l *loader) copy(ctx context.Context) (string, error) {
	if l.req.Image.Disc {
		return "sent", l.sendDisc(ctx)
	}
	repo := l.mounted(ctx)
	for i, d := range l.req.Image.Disks {
		part := func(p int) { l.tell(i, p) }
		if repo != "" && copies(d.Format) {
			from := Path{repo, l.req.Image.Name + "/" + d.Name}
			err := l.f.hv.CopyDisk(ctx, l.f.host.Name, from, l.disk(i), l.format(), part)
			if err == nil {
				continue
			}
			if !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrInvalid) {
				return "", fmt.Errorf("copying %s: %w", from, err)
			}
			repo = "" // this host does not read that format
		}
		if err := l.send(ctx, i, d, part); err != nil {
			return "", err
		}
	}
	if repo != "" {
		return "copied by the host from " + repo, nil
	}
	return "sent", nil
}

func (l *loader) format() Format {
	if l.req.Format == "" {
		return Thin
	}
	return l.req.Format
}

func (l *loader) tell(i, percent int) {
	if l.report != nil {
		l.report((i*100 + percent) / len(l.req.Image.Disks))
	}
}

// copies says whether hosts copy from a format: from their own, and from
// split sparse sets if they have the module for it.
func copies(format string) bool {
	return format == "vmfs" || format == "twoGbMaxExtentSparse" || format == "monolithicFlat" || format == "twoGbMaxExtentFlat"
}

// mounted is the datastore by which the host has the repository; "" if it has
// not.
func (l *loader) mounted(ctx context.Context) string {
	if l.req.From.Export == nil {
		return ""
	}
	for _, d := range l.f.host.Datastores {
		if !d.Accessible || !l.req.From.Export.Matches(d, l.m.resolve) {
			continue
		}
		// What is exported may be another folder by now.
		if img, err := l.f.image(ctx, Path{d.Name, l.req.Image.Name}); err == nil && img != nil && img.ID() == l.req.Image.ID() {
			return d.Name
		}
	}
	return ""
}

// send sends one disk.
func (l *loader) send(ctx context.Context, i int, d ImageDisk, part Progress) error {
	img, err := l.req.From.Open(l.req.From.Path(l.req.Image, d.Name))
	if err != nil {
		return err
	}
	defer img.Close()
	return l.m.putDisk(ctx, l.f.hv, l.f.host.Name, l.at, img, l.disk(i), l.format(), func(done, total int64) {
		part(int(done * 100 / max(total, 1)))
	})
}

// sendDisc sends an ISO image as it is, and compares its sum.
func (l *loader) sendDisc(ctx context.Context) error {
	for i, d := range l.req.Image.Disks {
		name := l.req.From.Path(l.req.Image, d.Name)
		_, err := l.f.Put(ctx, Sending{To: l.disk(i), Open: func() (io.ReadSeekCloser, error) { return os.Open(name) },
			Size: d.Files[0].Size, Sum: d.Files[0].SHA256, Progress: func(done, total int64) { l.tell(i, int(done*100/max(total, 1))) }})
		if err != nil {
			return err
		}
	}
	return nil
}

// Capture copies a guest's disks into an image of the repository. A host that
// has the repository mounted copies by itself; from another they are fetched.
// format is what they are kept in; "" is a flat pair.
func (m *Manager) Capture(ctx context.Context, snap *nodedb.Snapshot, node *nodedb.Node, r *Repository, img *Image, format string, replace bool, report Progress) ([]string, error) {
	var notes []string
	if format == "" {
		format = "vmfs"
	}
	err := r.Add(ctx, img, replace, func(dir string) ([]string, error) {
		if v, disks, err := m.captureMounted(ctx, snap, node, r, img, dir, format, report); v != nil || err != nil {
			if err == nil {
				img.know(v)
				notes = sealNotes(v)
			}
			return disks, err
		}
		var disks []string
		v, err := m.ExportGuest(ctx, snap, node, report, func(i int, s io.Reader) error {
			name, err := m.keep(dir, img.Name, i, format, s)
			disks = append(disks, name)
			return err
		})
		if err != nil {
			return nil, err
		}
		img.know(v)
		notes = sealNotes(v)
		return disks, nil
	}, nil)
	return notes, err
}

// one finds one guest on its hypervisor.
func (m *Manager) one(ctx context.Context, snap *nodedb.Snapshot, node *nodedb.Node) (Hypervisor, *Guest, *VM, error) {
	g, err := NewGuest(snap, node)
	if err != nil {
		return nil, nil, nil, err
	}
	hv, err := m.Open(ctx, g.Endpoint)
	if err != nil {
		return nil, nil, nil, err
	}
	_, found := look(ctx, hv, []*Guest{g}, Query{Detail: true}, func(r Result) { err = r.Err })
	if err != nil {
		return nil, nil, nil, err
	}
	v, ok := found[g.Name]
	if !ok {
		return nil, nil, nil, Errorf(ErrNotFound, "VM does not appear to exist")
	}
	return hv, g, &v, nil
}

// captureMounted has the host copy a guest's disks into the folder of an image
// that is being made, if it has the repository mounted: it sees that folder
// then. It returns no guest if it has not.
func (m *Manager) captureMounted(ctx context.Context, snap *nodedb.Snapshot, node *nodedb.Node, r *Repository, img *Image, dir, format string, report Progress) (*VM, []string, error) {
	if r.Export == nil || format != "vmfs" {
		return nil, nil, nil
	}
	hv, g, v, err := m.one(ctx, snap, node)
	if err != nil {
		return nil, nil, err
	}
	if err := exportable(*v); err != nil {
		return nil, nil, err
	}
	f, err := m.files(ctx, snap, hv, g.Host, g.Endpoint)
	if err != nil {
		return nil, nil, err
	}
	for _, d := range f.host.Datastores {
		to := Path{d.Name, filepath.Base(dir)}
		if !d.Accessible || d.ReadOnly || !r.Export.Matches(d, m.resolve) {
			continue
		}
		if _, err := f.fs.Stat(ctx, f.host.Name, to); err != nil {
			continue // another folder is exported by now
		}
		var disks []string
		for i, disk := range v.Spec.Disks {
			name := diskFile(img.Name, i)
			err := hv.CopyDisk(ctx, f.host.Name, disk.Path, to.Join(name), Thin, func(p int) {
				if report != nil {
					report((i*100 + p) / len(v.Spec.Disks))
				}
			})
			if err != nil {
				return nil, nil, fmt.Errorf("copying %s to %s: %w", disk.Path, to, err)
			}
			disks = append(disks, name)
		}
		return v, disks, nil
	}
	return nil, nil, nil
}

// keep writes a disk that comes as a stream in the repository's format.
func (m *Manager) keep(dir, name string, i int, format string, s io.Reader) (string, error) {
	file := diskFile(name, i)
	if format == "streamOptimized" {
		return file, create(filepath.Join(dir, file), s)
	}
	work, err := os.MkdirTemp(dir, ".stream")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	in := filepath.Join(work, "disk.vmdk")
	if err := create(in, s); err != nil {
		return "", err
	}
	open, err := m.OpenDisk(in)
	if err != nil {
		return "", err
	}
	defer open.Close()
	files, err := open.Convert(dir, file, format, nil)
	if err != nil {
		return "", err
	}
	return files[0], nil
}

func create(name string, r io.Reader) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// know takes from a guest what its clones are made like.
func (i *Image) know(v *VM) {
	i.GuestID, i.Firmware = v.Spec.GuestID, v.Spec.Firmware
	if len(v.Spec.Disks) > 0 {
		i.Bus = busOf(v.Spec, v.Spec.Disks[0].Controller)
	}
}

// sealNotes are what can be seen from outside of a guest that is to be an
// image and is not fit for it.
func sealNotes(v *VM) []string {
	var out []string
	for _, cd := range v.Spec.CDROMs {
		if !cd.ISO.IsZero() {
			out = append(out, fmt.Sprintf("%s is in the CD drive; clones do not get it", cd.ISO))
		}
	}
	if len(v.Snapshots) > 0 {
		out = append(out, "the guest has snapshots ("+strings.Join(v.Snapshots, ", ")+"); the image is how it is now")
	}
	for _, d := range v.Spec.Disks {
		if strings.HasPrefix(d.Mode, "independent_nonpersistent") {
			out = append(out, d.Label+" forgets what is written to it")
		}
	}
	return out
}

// Sealed says what stands against making an image of a guest, as far as its
// host can tell.
func (m *Manager) Sealed(ctx context.Context, snap *nodedb.Snapshot, node *nodedb.Node) ([]string, error) {
	_, _, v, err := m.one(ctx, snap, node)
	if err != nil {
		return nil, err
	}
	if v.Spec == nil {
		return nil, Errorf(ErrInvalid, "VM is in an invalid state")
	}
	out := sealNotes(v)
	if v.State != nodedb.PowerOff {
		out = append(out, fmt.Sprintf("the guest is %s; turn it off from within", v.State))
	}
	for _, d := range v.Spec.Disks {
		if d.Parent != nil {
			out = append(out, fmt.Sprintf("%s is linked to %s; clone it whole first (clonevm -d)", d.Label, d.Parent))
		}
	}
	return out, nil
}
