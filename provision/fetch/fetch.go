// Package fetch brings files from elsewhere: by HTTP from an address, or from
// a stream. What was interrupted goes on where it stopped, after a crash too.
package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Fetcher keeps what it brings in Dir, which nobody else writes to.
type Fetcher struct {
	Dir    string
	Max    int64         // of one file, in bytes; 0: MaxFile
	Client *http.Client  // nil: one that never turns from https to http
	Wait   time.Duration // before the first try after a failure; 0: a second
	Stall  time.Duration // how long no byte may come; 0: a minute
}

// MaxFile is more than any installer medium has, in bytes.
const MaxFile = 32 << 30

// tries is how often in a row an address may fail without a byte gained.
const tries = 5

// keepPart is how long an unfinished file waits for someone to go on with it.
const keepPart = 7 * 24 * time.Hour

// Progress is told how many bytes have come, and of how many; 0 if unknown.
type Progress = func(done, total int64)

// Fetch brings the file at an address and returns its name here and its
// sha256. The caller gives it back by Drop; until then a further Fetch of the
// same address costs one question.
func (f *Fetcher) Fetch(ctx context.Context, address string, progress Progress) (name, sum string, err error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", "", fmt.Errorf("%s: not an address that begins with http:// or https://", redact(address))
	}
	d, err := f.open(u)
	if err != nil {
		return "", "", err
	}
	defer d.close()
	d.progress = progress
	if err := f.insist(ctx, d); err != nil {
		if d.size == 0 {
			f.Drop(d.file.Name())
		}
		return "", "", fmt.Errorf("%s: %w", u.Redacted(), err)
	}
	return d.file.Name(), hex.EncodeToString(d.hash.Sum(nil)), nil
}

// redact hides a password in what may be an address.
func redact(address string) string {
	if u, err := url.Parse(address); err == nil {
		return u.Redacted()
	}
	return "the address"
}

// insist goes on until the file is here, or nothing more comes.
func (f *Fetcher) insist(ctx context.Context, d *download) error {
	wait := f.Wait
	if wait == 0 {
		wait = time.Second
	}
	for failed := 0; ; {
		before := d.size
		err := d.more(ctx)
		var final *finalError
		switch {
		case err == nil:
			return d.file.Sync()
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &final):
			return err
		}
		if d.size > before {
			failed = 0
		}
		if failed++; failed >= tries {
			return fmt.Errorf("%w; %d bytes have come and are kept, the same command goes on from there", err, d.size)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait << min(failed-1, 5)):
		}
	}
}

// Store writes a stream into a file and returns its name and sha256. The
// caller gives it back by Drop; a crash leaves none.
func (f *Fetcher) Store(ctx context.Context, r io.Reader, progress Progress) (name, sum string, err error) {
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return "", "", err
	}
	file, err := os.CreateTemp(f.Dir, upload)
	if err != nil {
		return "", "", err
	}
	defer func() {
		if file.Close(); err != nil {
			os.Remove(file.Name())
		}
	}()
	h := sha256.New()
	var n int64
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return "", "", context.Cause(ctx)
		}
		m, err := r.Read(buf)
		n += int64(m)
		if n > f.max() {
			return "", "", fmt.Errorf("more than %d bytes, which no medium has", f.max())
		}
		h.Write(buf[:m])
		if _, err := file.Write(buf[:m]); err != nil {
			return "", "", err
		}
		if progress != nil {
			progress(n, 0)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", "", err
		}
	}
	if n == 0 {
		return "", "", errors.New("nothing came")
	}
	return file.Name(), hex.EncodeToString(h.Sum(nil)), file.Sync()
}

// upload begins the names of files that came by a stream.
const upload = "upload-"

func (f *Fetcher) max() int64 {
	if f.Max > 0 {
		return f.Max
	}
	return MaxFile
}

// Drop removes a file that Fetch or Store returned.
func (f *Fetcher) Drop(name string) {
	os.Remove(name)
	os.Remove(name + notes)
}

// Clean removes what crashes left: streams at once, unfinished files of
// addresses after a week.
func (f *Fetcher) Clean(now time.Time) {
	entries, _ := os.ReadDir(f.Dir)
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			continue
		}
		if strings.HasPrefix(e.Name(), upload) || now.Sub(fi.ModTime()) > keepPart {
			os.Remove(filepath.Join(f.Dir, e.Name()))
		}
	}
}

// room refuses what would not fit on the disk.
func room(file *os.File, more int64) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &st); err != nil {
		return err
	}
	if free := int64(st.Bavail) * st.Bsize; more > free {
		return &finalError{fmt.Errorf("%d MB are still to come and %s has room for %d MB; make room, or give another --state", more>>20, filepath.Dir(file.Name()), free>>20)}
	}
	return nil
}

// A finalError is one that trying again does not mend.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

func final(format string, args ...any) error { return &finalError{fmt.Errorf(format, args...)} }
