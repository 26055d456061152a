package command

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5" // what older repositories record
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"margay/vm"
	"margay/vm/vmdk"
)

// A taker takes one image in.
type taker struct {
	ctx context.Context
	s   *Session
	dir string // where the image's files go
	img *vm.Image
	as  string // format; empty: as it comes, if it is VMware's own
}

func imageImport(ctx context.Context, s *Session, r *vm.Repository, name, from string) error {
	i := &taker{ctx: ctx, s: s, img: &vm.Image{Name: name, Description: s.String("description"), Origin: from, Creator: s.Req.User}}
	if as := s.String("as"); as != "" {
		var err error
		if i.as, err = vmdk.ParseFormat(as); err != nil {
			return err
		}
	}
	err := r.Add(ctx, i.img, s.Bool("force"), func(dir string) ([]string, error) {
		i.dir = dir
		return i.take(from)
	}, progressBar(s))
	if err != nil {
		return err
	}
	s.Line("%s: taken in, %s", name, diskWords(i.img))
	return nil
}

// take brings the files and returns the disks' names.
func (i *taker) take(from string) ([]string, error) {
	if u, err := url.Parse(from); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		return i.fetched(u)
	}
	name := i.s.Path(from)
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		return i.folder(name)
	}
	if err := i.sums(name); err != nil {
		return nil, err
	}
	return i.file(name)
}

// sums compares a file with the sums that it must have.
func (i *taker) sums(name string) error {
	for _, want := range []struct {
		flag string
		h    hash.Hash
	}{{"sha256", sha256.New()}, {"md5", md5.New()}} {
		sum := i.s.String(want.flag)
		if sum == "" {
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(want.h, f)
		f.Close()
		if err != nil {
			return err
		}
		if got := hex.EncodeToString(want.h.Sum(nil)); !strings.EqualFold(got, sum) {
			return fmt.Errorf("%s: %s is %s, and not %s as it should be", name, want.flag, got, sum)
		}
	}
	return nil
}

// file takes in one file that is here: a disc, an archive, or a disk.
func (i *taker) file(name string) ([]string, error) {
	base := strings.ToLower(filepath.Base(name))
	switch {
	case strings.HasSuffix(base, ".iso"):
		i.img.Disc = true
		to := i.img.Name + ".iso"
		return []string{to}, copyFile(name, filepath.Join(i.dir, to))
	case strings.HasSuffix(base, ".tar.gz"), strings.HasSuffix(base, ".tgz"):
		return i.archive(name)
	case strings.HasSuffix(base, "-flat.vmdk"):
		d, err := vmdk.DescriptorName(filepath.Base(name))
		if err != nil {
			return nil, err
		}
		name = filepath.Join(filepath.Dir(name), d)
		if _, err := os.Stat(name); err != nil {
			return nil, fmt.Errorf("%s is not there: the descriptor must lie beside its data, with the same name", name)
		}
	}
	return i.disk(name)
}

// disk takes in a disk, in the format that it is to be kept in.
func (i *taker) disk(name string) ([]string, error) {
	src, err := openDisk(name)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	format := i.as
	own := !strings.HasSuffix(src.format, "qcow2") && src.format != vmdk.FormatVDI && src.format != vmdk.FormatRaw
	if format == "" && !own {
		format = "vmfs"
	}
	if format != "" {
		to := i.img.Name + vmdk.Extension(format)
		files, err := src.Convert(i.dir, to, format, progressBar(i.s))
		if err != nil {
			return nil, err
		}
		return files[:1], nil
	}
	for _, f := range src.Files() {
		if err := copyFile(filepath.Join(filepath.Dir(name), f), filepath.Join(i.dir, f)); err != nil {
			return nil, err
		}
	}
	return []string{filepath.Base(name)}, nil
}

// copyFile copies a file; holes stay holes.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if err = sparseCopy(out, in); err == nil {
		err = out.Sync()
	}
	if e := out.Close(); err == nil {
		err = e
	}
	return err
}

func sparseCopy(out, in *os.File) error {
	st, err := in.Stat()
	if err != nil {
		return err
	}
	if err := out.Truncate(st.Size()); err != nil {
		return err
	}
	const seekData, seekHole = 3, 4 // lseek(2)
	for at := int64(0); at < st.Size(); {
		start, err := in.Seek(at, seekData)
		if err != nil {
			break // no more data, or a file system that cannot tell
		}
		end, err := in.Seek(start, seekHole)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, start), io.NewSectionReader(in, start, end-start)); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// folder takes in a folder with one disk, or several, and nothing else.
func (i *taker) folder(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	claimed := map[string]bool{}
	var disks []string
	for _, e := range entries {
		if !e.Type().IsRegular() {
			return nil, fmt.Errorf("%s holds %s, which is no file; the folder of a disk is flat", dir, e.Name())
		}
		if strings.HasPrefix(e.Name(), ".") || !vm.IsDisk(vm.Path{File: e.Name()}) {
			continue
		}
		src, err := openDisk(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		for _, f := range src.Files() {
			claimed[f] = true
		}
		src.Close()
		disks = append(disks, e.Name())
	}
	if len(disks) == 0 {
		return nil, fmt.Errorf("%s holds no disk's descriptor (NAME.vmdk)", dir)
	}
	for _, e := range entries {
		if !claimed[e.Name()] {
			return nil, fmt.Errorf("%s holds %s, which belongs to no disk; it must hold the disk's files and nothing else", dir, e.Name())
		}
	}
	if len(disks) > 1 && i.as != "" {
		return nil, errors.New("--as: the folder holds several disks; take them in one by one")
	}
	var out []string
	for _, d := range disks {
		names, err := i.disk(filepath.Join(dir, d))
		if err != nil {
			return nil, err
		}
		out = append(out, names...)
	}
	return out, nil
}

// archive takes in a flat folder that was packed.
func (i *taker) archive(name string) ([]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	tmp, err := os.MkdirTemp(filepath.Dir(i.dir), ".unpack-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	if err := unpackFlat(i.ctx, f, tmp); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return i.folder(tmp)
}

// unpackFlat unpacks files that all lie in one folder, whatever that is called.
func unpackFlat(ctx context.Context, r io.Reader, to string) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	t := tar.NewReader(z)
	dir, first := "", true
	for {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		at, base := path.Split(path.Clean("/" + h.Name))
		if h.Typeflag != tar.TypeReg || !first && at != dir {
			return fmt.Errorf("it holds %s; the files of a disk lie flat in one folder", h.Name)
		}
		dir, first = at, false
		f, err := os.OpenFile(filepath.Join(to, base), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, t)
		if e := f.Close(); err == nil {
			err = e
		}
		if err != nil {
			return err
		}
	}
}

// fetched takes in what an address names: a disk's descriptor or its data with
// all that belongs to it, another repository's description, or one file.
func (i *taker) fetched(u *url.URL) ([]string, error) {
	tmp, err := os.MkdirTemp(filepath.Dir(i.dir), ".fetch-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	base := path.Base(u.Path)
	if base == "image.json" {
		return i.fetchImage(u)
	}
	if strings.HasSuffix(base, "-flat.vmdk") {
		d, err := vmdk.DescriptorName(base)
		if err != nil {
			return nil, err
		}
		if err := i.fetch(beside(u, d), filepath.Join(tmp, d)); err != nil {
			return nil, fmt.Errorf("%w; the descriptor must lie beside its data, with the same name", err)
		}
	}
	name := filepath.Join(tmp, base)
	if err := i.fetch(u, name); err != nil {
		return nil, err
	}
	if err := i.sums(name); err != nil {
		return nil, err
	}
	if strings.HasSuffix(base, ".vmdk") && !strings.HasSuffix(base, "-flat.vmdk") {
		if err := i.fetchExtents(u, tmp, base); err != nil {
			return nil, err
		}
	}
	return i.file(name)
}

// beside is the address of a file in the same folder.
func beside(u *url.URL, name string) *url.URL {
	b := *u
	b.Path, b.RawPath = path.Join(path.Dir(u.Path), name), ""
	return &b
}

// fetchExtents fetches what a descriptor names.
func (i *taker) fetchExtents(u *url.URL, dir, base string) error {
	st, err := os.Stat(filepath.Join(dir, base))
	if err != nil || st.Size() > 1<<20 {
		return err // its own data are in it
	}
	b, err := os.ReadFile(filepath.Join(dir, base))
	if err != nil || bytes.HasPrefix(b, []byte("KDMV")) {
		return err
	}
	d, err := vmdk.ParseDescriptor(b)
	if err != nil {
		return err
	}
	for _, e := range d.Extents {
		to := filepath.Join(dir, e.File)
		if _, err := os.Stat(to); e.File == "" || err == nil {
			continue
		}
		if err := i.fetch(beside(u, e.File), to); err != nil {
			return err
		}
	}
	return nil
}

// fetchImage fetches an image of another repository, and compares its sums.
func (i *taker) fetchImage(u *url.URL) ([]string, error) {
	res, err := i.get(u, 0)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	res.Body.Close()
	if err != nil {
		return nil, err
	}
	other, err := vm.ParseImage(b)
	if err != nil {
		return nil, err
	}
	name, description := i.img.Name, i.img.Description
	*i.img = *other
	i.img.Name, i.img.Origin, i.img.Creator = name, u.String(), i.s.Req.User
	if description != "" {
		i.img.Description = description
	}
	var disks []string
	for _, d := range other.Disks {
		for _, f := range d.Files {
			to := filepath.Join(i.dir, f.Name)
			if err := i.fetch(beside(u, f.Name), to); err != nil {
				return nil, err
			}
			if err := sameSum(to, f.SHA256); err != nil {
				return nil, err
			}
		}
		disks = append(disks, d.Name)
	}
	return disks, nil
}

func sameSum(name, want string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("%s: sha256 is %s, and not %s as the repository says", filepath.Base(name), got, want)
	}
	return nil
}

// get asks for a file from an offset on.
func (i *taker) get(u *url.URL, from int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(i.ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusPartialContent {
		res.Body.Close()
		return nil, fmt.Errorf("%s: the server answers %s", u.Redacted(), res.Status)
	}
	return res, nil
}

// fetch fetches a file, going on where the network broke.
func (i *taker) fetch(u *url.URL, to string) error {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	bar := progressBar(i.s)
	at := int64(0)
	for try := 1; ; try++ {
		n, err := i.fetchOnce(u, f, at, bar)
		if n > at {
			try = 1
		}
		at = n
		if err == nil {
			return f.Sync()
		}
		var answer *url.Error
		broke := errors.As(err, &answer) || errors.Is(err, io.ErrUnexpectedEOF)
		if !broke || try == 5 || i.ctx.Err() != nil {
			return err
		}
		select {
		case <-i.ctx.Done():
			return i.ctx.Err()
		case <-time.After(time.Duration(try) * 200 * time.Millisecond):
		}
	}
}

// fetchOnce returns how much is there then.
func (i *taker) fetchOnce(u *url.URL, f *os.File, at int64, bar func(done, total int64)) (int64, error) {
	res, err := i.get(u, at)
	if err != nil {
		return at, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK {
		at = 0 // it knows no ranges
	}
	if _, err := f.Seek(at, io.SeekStart); err != nil {
		return at, err
	}
	total := at + res.ContentLength
	buf := make([]byte, 256<<10)
	for {
		n, err := res.Body.Read(buf)
		if _, werr := f.Write(buf[:n]); werr != nil {
			return at, werr
		}
		at += int64(n)
		bar(at, max(total, 0))
		if err == io.EOF {
			return at, nil
		}
		if err != nil {
			return at, fmt.Errorf("%s: %w", u.Redacted(), errors.Join(io.ErrUnexpectedEOF, err))
		}
	}
}
