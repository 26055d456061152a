package vm

import (
	"cmp"
	"context"
	"crypto/md5" // recorded beside SHA-256 for those who compare by it
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// An Image is what guests are made of, or a disc that they are given: files in
// the repository, and what is known of them.
type Image struct {
	Name        string      `json:"name"`
	Description string      `json:"description,omitempty"`
	Origin      string      `json:"origin,omitempty"` // file, address or guest that it came from
	OS          string      `json:"os,omitempty"`
	Arch        string      `json:"arch,omitempty"`
	GuestID     string      `json:"guestid,omitempty"`
	Firmware    string      `json:"firmware,omitempty"`
	Bus         Bus         `json:"bus,omitempty"`
	Created     time.Time   `json:"created"`
	Creator     string      `json:"creator,omitempty"`
	Disc        bool        `json:"disc,omitempty"` // an ISO image
	Disks       []ImageDisk `json:"disks"`
}

// An ImageDisk is one disk of an image.
type ImageDisk struct {
	Name   string      `json:"name"` // of the file that is the disk
	Format string      `json:"format"`
	Bytes  int64       `json:"bytes"` // of the disk
	Files  []ImageFile `json:"files"`
}

// An ImageFile is one file of a disk.
type ImageFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	MD5    string `json:"md5"`
}

// Bytes is how large the image's files are.
func (i *Image) Bytes() int64 {
	n := int64(0)
	for _, d := range i.Disks {
		for _, f := range d.Files {
			n += f.Size
		}
	}
	return n
}

// ID tells two images of one name apart: it changes with any of the files.
func (i *Image) ID() string {
	h := sha256.New()
	for _, d := range i.Disks {
		for _, f := range d.Files {
			fmt.Fprintf(h, "%s %d %s\n", f.Name, f.Size, f.SHA256)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// A Repository is where images are kept: a folder for each below Dir, with its
// files and a description of them.
type Repository struct {
	Dir    string
	Open   DiskOpener
	Export *Location // under which hosts may have Dir mounted; nil: they have not
	Now    func() time.Time
}

// imageIndex is the file that describes an image.
const imageIndex = "image.json"

var imageName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$`)

// CheckImageName refuses names that are no good for a folder or an address.
func CheckImageName(name string) error {
	if !imageName.MatchString(name) {
		return Errorf(ErrInvalid, "image name %q: up to 80 letters, digits, dots, dashes and underscores", name)
	}
	return nil
}

// List returns all images, by name. A folder that is no image is left out.
func (r *Repository) List() ([]*Image, error) {
	entries, err := os.ReadDir(r.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []*Image
	for _, e := range entries {
		if !e.IsDir() || CheckImageName(e.Name()) != nil {
			continue
		}
		if img, err := r.Image(e.Name()); err == nil {
			out = append(out, img)
		}
	}
	slices.SortFunc(out, func(a, b *Image) int { return cmp.Compare(a.Name, b.Name) })
	return out, err
}

// Image finds one image.
func (r *Repository) Image(name string) (*Image, error) {
	if err := CheckImageName(name); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(r.Dir, name, imageIndex))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Errorf(ErrNotFound, "there is no image %q; image list names those that there are", name)
	}
	if err != nil {
		return nil, err
	}
	return ParseImage(b)
}

// ParseImage reads a description. It may come from a host's datastore, where
// others write too.
func ParseImage(b []byte) (*Image, error) {
	var img Image
	if err := json.Unmarshal(b, &img); err != nil {
		return nil, Errorf(ErrInvalid, "description of an image: %v", err)
	}
	if err := CheckImageName(img.Name); err != nil {
		return nil, err
	}
	for _, d := range img.Disks {
		for _, n := range append([]string{d.Name}, namesOf(d)...) {
			if n == "" || n != filepath.Base(n) || n == ".." || strings.ContainsAny(n, "\r\n\x00") {
				return nil, Errorf(ErrInvalid, "image %s has a file %q", img.Name, n)
			}
		}
	}
	return &img, nil
}

func namesOf(d ImageDisk) []string {
	var out []string
	for _, f := range d.Files {
		out = append(out, f.Name)
	}
	return out
}

// Path is where a file of an image is.
func (r *Repository) Path(img *Image, file string) string {
	return filepath.Join(r.Dir, img.Name, file)
}

// Add makes an image: fill writes its files into a folder and returns its
// disks' names. It is put in its place when all of it is there and summed up;
// replace lets it take another's.
func (r *Repository) Add(ctx context.Context, img *Image, replace bool, fill func(dir string) ([]string, error), report func(done, total int64)) error {
	if err := CheckImageName(img.Name); err != nil {
		return err
	}
	to := filepath.Join(r.Dir, img.Name)
	if _, err := os.Stat(to); err == nil && !replace {
		return Errorf(ErrExists, "image %s is there already; -f puts a new one in its place", img.Name)
	}
	if err := os.MkdirAll(r.Dir, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(r.Dir, ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	disks, err := fill(tmp)
	if err != nil {
		return err
	}
	if err := r.describe(ctx, img, tmp, disks, report); err != nil {
		return err
	}
	return r.settle(tmp, to)
}

// settle puts an image in its place; an old one goes out of the way first and
// is deleted last.
func (r *Repository) settle(tmp, to string) error {
	old := tmp + ".old"
	if err := os.Rename(to, old); err == nil {
		defer os.RemoveAll(old)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(tmp, to)
}

// describe looks into the disks, sums up all of their files and writes the
// description.
func (r *Repository) describe(ctx context.Context, img *Image, dir string, disks []string, report func(done, total int64)) error {
	img.Disks = nil
	seen := map[string]bool{imageIndex: true}
	for _, name := range disks {
		d := ImageDisk{Name: name, Format: "iso"}
		files := []string{name}
		if !img.Disc {
			open, err := r.Open(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			d.Format, d.Bytes, files = open.Format(), open.Size(), open.Files()
			open.Close()
			if err := pairs(d.Format, files); err != nil {
				return err
			}
		}
		for _, f := range files {
			seen[f] = true
			d.Files = append(d.Files, ImageFile{Name: f})
		}
		img.Disks = append(img.Disks, d)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !seen[e.Name()] {
			return Errorf(ErrInvalid, "%s does not belong to the image: its folder must hold the disk's files and nothing else", e.Name())
		}
	}
	if err := sumAll(ctx, img, dir, report); err != nil {
		return err
	}
	img.Created = r.now().UTC().Truncate(time.Second)
	b, err := json.MarshalIndent(img, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, imageIndex), append(b, '\n'), 0o644)
}

// pairs refuses a descriptor whose data have another name: whoever is given
// the address of the one must find the other.
func pairs(format string, files []string) error {
	if format != "vmfs" && format != "monolithicFlat" || len(files) != 2 {
		return nil
	}
	want := strings.TrimSuffix(files[0], ".vmdk") + "-flat.vmdk"
	if files[1] != want {
		return Errorf(ErrInvalid, "%s has its data in %s: descriptor and data must lie in one folder and have one name, as %s and %s", files[0], files[1], files[0], want)
	}
	return nil
}

func (r *Repository) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

func sumAll(ctx context.Context, img *Image, dir string, report func(done, total int64)) error {
	var total, done int64
	for _, d := range img.Disks {
		for i := range d.Files {
			st, err := os.Stat(filepath.Join(dir, d.Files[i].Name))
			if err != nil {
				return err
			}
			d.Files[i].Size = st.Size()
			total += st.Size()
		}
	}
	for _, d := range img.Disks {
		for i := range d.Files {
			f := &d.Files[i]
			var err error
			f.SHA256, f.MD5, err = sumFile(ctx, filepath.Join(dir, f.Name), func(n int64) {
				if report != nil {
					report(done+n, total)
				}
			})
			if err != nil {
				return err
			}
			done += f.Size
		}
	}
	return nil
}

func sumFile(ctx context.Context, name string, report func(int64)) (sha, md string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	h, m := sha256.New(), md5.New()
	c := &counter{r: f, report: func(done, _ int64) { report(done) }}
	if _, err := io.Copy(io.MultiWriter(h, m), stopping{ctx, c}); err != nil {
		return "", "", err
	}
	return hex.EncodeToString(h.Sum(nil)), hex.EncodeToString(m.Sum(nil)), nil
}

// A stopping reader ends with a context.
type stopping struct {
	ctx context.Context
	r   io.Reader
}

func (s stopping) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}

// Verify compares an image's files with the sums that it was taken in with,
// and says what differs.
func (r *Repository) Verify(ctx context.Context, img *Image, report func(done, total int64)) ([]string, error) {
	var faults []string
	now := Image{Name: img.Name}
	for _, d := range img.Disks {
		c := ImageDisk{Name: d.Name}
		for _, f := range d.Files {
			st, err := os.Stat(r.Path(img, f.Name))
			switch {
			case err != nil:
				faults = append(faults, f.Name+": missing")
			case st.Size() != f.Size:
				faults = append(faults, fmt.Sprintf("%s: %d bytes, was %d", f.Name, st.Size(), f.Size))
			default:
				c.Files = append(c.Files, ImageFile{Name: f.Name})
			}
		}
		now.Disks = append(now.Disks, c)
	}
	if err := sumAll(ctx, &now, filepath.Join(r.Dir, img.Name), report); err != nil {
		return nil, err
	}
	for i, d := range now.Disks {
		for _, f := range d.Files {
			at := slices.IndexFunc(img.Disks[i].Files, func(x ImageFile) bool { return x.Name == f.Name })
			if img.Disks[i].Files[at].SHA256 != f.SHA256 {
				faults = append(faults, f.Name+": changed")
			}
		}
	}
	return faults, nil
}

// Remove deletes an image; what hosts have of it stays.
func (r *Repository) Remove(name string) error {
	img, err := r.Image(name)
	if err != nil {
		return err
	}
	old := filepath.Join(r.Dir, ".old-"+img.Name)
	if err := os.Rename(filepath.Join(r.Dir, img.Name), old); err != nil {
		return err
	}
	return os.RemoveAll(old)
}

// stored is how much room a file takes: holes take none.
func stored(name string) int64 {
	st, err := os.Stat(name)
	if err != nil {
		return 0
	}
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return min(st.Size(), s.Blocks*512)
	}
	return st.Size()
}
