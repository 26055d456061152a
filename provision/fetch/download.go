package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// notes ends the name of the file that says what a part is a part of.
const notes = ".json"

// syncEvery is how often what came is put on the disk for good: a machine that
// loses its power goes on from there.
const syncEvery = 64 << 20

// state is what is noted of a part.
type state struct {
	ETag     string `json:"etag,omitempty"`
	Modified string `json:"modified,omitempty"`
	Synced   int64  `json:"synced"`
}

// validator is what a server knows the same file by (RFC 9110, 13.1.5: a weak
// tag does not do).
func (s state) validator() string {
	if s.ETag != "" && !strings.HasPrefix(s.ETag, "W/") {
		return s.ETag
	}
	return s.Modified
}

// A download is one address on its way into a file.
type download struct {
	url      *url.URL
	client   *http.Client
	stall    time.Duration
	max      int64
	progress Progress

	file  *os.File
	state state
	size  int64 // of what has come
	hash  hash.Hash
}

// open finds or makes the part of an address, and locks it.
func (f *Fetcher) open(u *url.URL) (*download, error) {
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return nil, err
	}
	key := sha256.Sum256([]byte(u.String()))
	file, err := os.OpenFile(filepath.Join(f.Dir, hex.EncodeToString(key[:12])+".part"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: is being fetched already", u.Redacted())
	}
	d := &download{url: u, client: f.Client, stall: f.Stall, max: f.max(), file: file, hash: sha256.New()}
	if d.client == nil {
		d.client = &http.Client{CheckRedirect: stayEncrypted}
	}
	if d.stall == 0 {
		d.stall = time.Minute
	}
	if err := d.recall(); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *download) close() { d.file.Close() }

// stayEncrypted refuses a redirect from https to http.
func stayEncrypted(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("ten redirects in a row")
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("redirects from https to http")
	}
	return nil
}

// recall reads what an earlier run brought and put on the disk for good.
func (d *download) recall() error {
	text, err := os.ReadFile(d.file.Name() + notes)
	if err != nil || json.Unmarshal(text, &d.state) != nil || d.state.validator() == "" {
		return d.restart()
	}
	fi, err := d.file.Stat()
	if err != nil {
		return err
	}
	if d.size = min(fi.Size(), d.state.Synced); d.size < 0 {
		d.size = 0
	}
	if err := d.file.Truncate(d.size); err != nil {
		return err
	}
	_, err = io.Copy(d.hash, d.file)
	return err
}

// restart forgets what has come.
func (d *download) restart() error {
	d.state, d.size = state{}, 0
	d.hash.Reset()
	if err := d.file.Truncate(0); err != nil {
		return err
	}
	_, err := d.file.Seek(0, io.SeekStart)
	return err
}

// more asks for what is missing and takes what comes. No error: all is here.
func (d *download) more(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(d.stall, func() { cancel(fmt.Errorf("no byte came for %s", d.stall)) })
	defer watch.Stop()
	resp, err := d.ask(ctx)
	if err != nil {
		return because(ctx, err)
	}
	defer resp.Body.Close()
	total, err := d.accept(resp)
	if err != nil || total == d.size {
		return err
	}
	if err := d.take(ctx, resp.Body, total, watch); err != nil {
		return because(ctx, err)
	}
	if total >= 0 && d.size != total {
		return fmt.Errorf("%d of %d bytes came", d.size, total)
	}
	return d.keep()
}

// because prefers the reason that ended a context to the word that it ended.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (d *download) ask(ctx context.Context) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "identity") // sizes must be the file's
	req.Header.Set("User-Agent", "margay")
	if v := d.state.validator(); d.size > 0 && v != "" {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.size))
		req.Header.Set("If-Range", v)
	}
	resp, err := d.client.Do(req)
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // it would repeat the address, with its password
	}
	return resp, err
}

// accept looks at an answer's head and returns the size of the whole file, -1
// if the server does not say.
func (d *download) accept(resp *http.Response) (total int64, err error) {
	switch {
	case resp.StatusCode == http.StatusOK:
		if err := d.restart(); err != nil {
			return 0, err
		}
		d.state = state{ETag: resp.Header.Get("ETag"), Modified: resp.Header.Get("Last-Modified")}
		total = resp.ContentLength
	case resp.StatusCode == http.StatusPartialContent:
		from, whole, ok := contentRange(resp.Header.Get("Content-Range"))
		if !ok || from != d.size {
			d.state = state{} // it cannot do ranges after all
			return 0, fmt.Errorf("asked for byte %d on, the server sends %q", d.size, resp.Header.Get("Content-Range"))
		}
		total = whole
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && d.size > 0:
		if _, whole, ok := contentRange(resp.Header.Get("Content-Range")); ok && whole == d.size {
			return whole, nil
		}
		return 0, errors.Join(errors.New("the file is another one by now"), d.restart())
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusRequestTimeout:
		return 0, fmt.Errorf("the server says %s", resp.Status)
	default:
		return 0, final("the server says %s", resp.Status)
	}
	if total > d.max {
		return 0, final("%d bytes, and %d is the most that is taken", total, d.max)
	}
	return total, room(d.file, max(total, 0)-d.size)
}

// contentRange reads "bytes 5-9/10" or "bytes */10".
func contentRange(text string) (from, total int64, ok bool) {
	text, ok = strings.CutPrefix(text, "bytes ")
	span, size, ok2 := strings.Cut(text, "/")
	total, err := strconv.ParseInt(size, 10, 64)
	if !ok || !ok2 || err != nil || total < 0 {
		return 0, 0, false
	}
	if span == "*" {
		return 0, total, true
	}
	first, _, _ := strings.Cut(span, "-")
	from, err = strconv.ParseInt(first, 10, 64)
	return from, total, err == nil && from >= 0
}

// take writes a body behind what has come.
func (d *download) take(ctx context.Context, body io.Reader, total int64, watch *time.Timer) error {
	buf := make([]byte, 1<<20)
	for {
		n, err := body.Read(buf)
		watch.Reset(d.stall)
		if d.size+int64(n) > d.max || total >= 0 && d.size+int64(n) > total {
			return final("more than %d bytes came", d.size)
		}
		if _, err := d.file.Write(buf[:n]); err != nil {
			return &finalError{err}
		}
		d.hash.Write(buf[:n])
		d.size += int64(n)
		if d.size-d.state.Synced >= syncEvery {
			if err := d.keep(); err != nil {
				return err
			}
		}
		if d.progress != nil {
			d.progress(d.size, max(total, 0))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return errors.Join(err, d.keep())
		}
	}
}

// keep puts what has come on the disk and notes how much that is.
func (d *download) keep() error {
	if err := d.file.Sync(); err != nil {
		return err
	}
	d.state.Synced = d.size
	text, err := json.Marshal(d.state)
	if err != nil {
		return err
	}
	tmp := d.file.Name() + notes + ".new"
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, d.file.Name()+notes)
}
