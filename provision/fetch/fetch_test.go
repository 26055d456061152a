package fetch

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A source is a web server that breaks off after some bytes of each answer.
type source struct {
	*httptest.Server
	data   []byte
	breaks atomic.Int64 // bytes after which an answer breaks off; 0: never
	etag   atomic.Value
	asked  atomic.Int64
	sent   atomic.Int64
}

func newSource(t *testing.T, size int, breaks int64) *source {
	s := &source{data: make([]byte, size)}
	s.breaks.Store(breaks)
	rand.Read(s.data)
	s.etag.Store(`"one"`)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		if tag := s.etag.Load().(string); tag != "" {
			w.Header().Set("ETag", tag)
		}
		http.ServeContent(&breaking{ResponseWriter: w, s: s}, r, "", time.Time{}, bytes.NewReader(s.data))
	}))
	t.Cleanup(s.Close)
	return s
}

type breaking struct {
	http.ResponseWriter
	s *source
	n int64
}

func (b *breaking) Write(p []byte) (int, error) {
	if at := b.s.breaks.Load(); at > 0 && b.n+int64(len(p)) > at {
		n, _ := b.ResponseWriter.Write(p[:at-b.n])
		b.s.sent.Add(int64(n))
		http.NewResponseController(b.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	n, err := b.ResponseWriter.Write(p)
	b.n += int64(n)
	b.s.sent.Add(int64(n))
	return n, err
}

func (s *source) sum() string {
	sum := sha256.Sum256(s.data)
	return hex.EncodeToString(sum[:])
}

func fetcher(t *testing.T) *Fetcher {
	return &Fetcher{Dir: filepath.Join(t.TempDir(), "fetch"), Wait: time.Millisecond}
}

func (f *Fetcher) must(t *testing.T, s *source) string {
	t.Helper()
	name, sum, err := f.Fetch(t.Context(), s.URL+"/a.iso", nil)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(name)
	if !bytes.Equal(got, s.data) || sum != s.sum() {
		t.Fatalf("%d bytes with sum %s, want %d with %s", len(got), sum, len(s.data), s.sum())
	}
	return name
}

// TestResume: each answer breaks off; every byte comes once.
func TestResume(t *testing.T) {
	s := newSource(t, 1_000_000, 130_000)
	f := fetcher(t)
	f.Drop(f.must(t, s))
	if sent := s.sent.Load(); sent != 1_000_000 {
		t.Errorf("%d bytes were sent for a file of 1000000", sent)
	}
	if left, _ := os.ReadDir(f.Dir); len(left) > 0 {
		t.Errorf("Drop leaves %v", left)
	}
}

// TestAgain: a fetch that was cut short goes on in another process.
func TestAgain(t *testing.T) {
	s := newSource(t, 1_000_000, 600_000)
	f := fetcher(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err := f.Fetch(ctx, s.URL+"/a.iso", func(done, total int64) {
		if total != 1_000_000 {
			t.Errorf("of %d bytes", total)
		}
		if done > 650_000 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	s.breaks.Store(0)
	before := s.sent.Load()
	f = &Fetcher{Dir: f.Dir}
	f.must(t, s)
	if sent := s.sent.Load() - before; sent > 400_000 {
		t.Errorf("%d bytes were sent again", sent)
	}
	asked := s.asked.Load()
	f.must(t, s) // whole: one question
	if s.asked.Load() != asked+1 || s.sent.Load()-before > 400_000 {
		t.Error("a whole file was fetched again")
	}
}

// TestChanged: what another file had brought is not kept.
func TestChanged(t *testing.T) {
	for _, tag := range []string{`"two"`, "", `W/"weak"`} {
		s := newSource(t, 500_000, 300_000)
		f := fetcher(t)
		s.breaks.Store(300_000)
		ctx, cancel := context.WithCancel(t.Context())
		f.Fetch(ctx, s.URL+"/a.iso", func(done, _ int64) {
			if done >= 300_000 {
				cancel()
			}
		})
		rand.Read(s.data)
		s.breaks.Store(0)
		s.etag.Store(tag)
		f.must(t, s)
		cancel()
	}
}

// TestPowerLost: what was not yet put on the disk for good counts as not there.
func TestPowerLost(t *testing.T) {
	s := newSource(t, 500_000, 0)
	f := fetcher(t)
	name := f.must(t, s)
	os.WriteFile(name+notes, []byte(`{"etag":"\"one\"","synced":100000}`), 0o600)
	junk, _ := os.OpenFile(name, os.O_RDWR, 0)
	junk.WriteAt(make([]byte, 400_000), 100_000)
	junk.Close()
	f.must(t, s)
	os.WriteFile(name+notes, []byte(`{"synced":-5`), 0o600)
	f.must(t, s)
}

func TestRefused(t *testing.T) {
	s := newSource(t, 5_000, 0)
	f := fetcher(t)
	f.Max = 4_000
	if _, _, err := f.Fetch(t.Context(), s.URL, nil); err == nil || !strings.Contains(err.Error(), "4000 is the most") {
		t.Errorf("too big: %v", err)
	}
	if _, _, err := f.Store(t.Context(), bytes.NewReader(s.data), nil); err == nil || !strings.Contains(err.Error(), "more than 4000") {
		t.Errorf("too big a stream: %v", err)
	}
	for _, address := range []string{"ftp://h/x", "file:///etc/passwd", "http://", "http://h:x/"} {
		if _, _, err := f.Fetch(t.Context(), address, nil); err == nil {
			t.Errorf("%s was fetched", address)
		}
	}
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1000)); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	if _, _, err := f.Fetch(t.Context(), endless.URL, nil); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("endless: %v", err)
	}
	if _, _, err := f.Store(t.Context(), strings.NewReader(""), nil); err == nil {
		t.Error("nothing was stored")
	}
	if _, _, err := f.Store(t.Context(), io.MultiReader(strings.NewReader("x"), broken{}), nil); err == nil {
		t.Error("half a stream was stored")
	}
	f.Clean(time.Now().Add(8 * 24 * time.Hour))
	if left, _ := os.ReadDir(f.Dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestServerErrors: what may pass is tried again, what may not ends at once;
// no error shows the password.
func TestServerErrors(t *testing.T) {
	for status, asked := range map[int]int64{404: 1, 403: 1, 500: tries, 429: tries} {
		var n atomic.Int64
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n.Add(1)
			w.WriteHeader(status)
		}))
		_, _, err := fetcher(t).Fetch(t.Context(), strings.Replace(s.URL, "//", "//me:Secret-1@", 1), nil)
		if err == nil || n.Load() != asked || !strings.Contains(err.Error(), fmt.Sprint(status)) || strings.Contains(err.Error(), "Secret-1") {
			t.Errorf("%d: asked %d times, %v", status, n.Load(), err)
		}
		s.Close()
		if _, _, err = fetcher(t).Fetch(t.Context(), strings.Replace(s.URL, "//", "//me:Secret-1@", 1), nil); err == nil || strings.Contains(err.Error(), "Secret-1") {
			t.Errorf("nobody there: %v", err)
		}
	}
}

// TestStall: a server that says no more is asked again.
func TestStall(t *testing.T) {
	s := newSource(t, 200_000, 0)
	var n atomic.Int64
	inner := s.Config.Handler
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			w.Header().Set("Content-Length", "200000")
			w.Header().Set("ETag", `"one"`)
			w.Write(s.data[:1000])
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		inner.ServeHTTP(w, r)
	})
	f := fetcher(t)
	f.Stall = 2 * time.Second
	f.must(t, s)
	if n.Load() != 2 {
		t.Errorf("asked %d times", n.Load())
	}
}

// TestOne: two at once for one address; the second is told.
func TestOne(t *testing.T) {
	s := newSource(t, 200_000, 0)
	f := fetcher(t)
	said := false
	_, _, err := f.Fetch(t.Context(), s.URL, func(int64, int64) {
		if said {
			return
		}
		said = true
		if _, _, err := f.Fetch(t.Context(), s.URL, nil); err == nil || !strings.Contains(err.Error(), "already") {
			t.Errorf("the second: %v", err)
		}
	})
	if err != nil || !said {
		t.Error(err)
	}
}

// TestDowngrade: from https to http goes no redirect.
func TestDowngrade(t *testing.T) {
	s := newSource(t, 100, 0)
	secure := httptest.NewTLSServer(http.RedirectHandler(s.URL, http.StatusFound))
	defer secure.Close()
	f := fetcher(t)
	f.Client = secure.Client()
	f.Client.CheckRedirect = stayEncrypted
	if _, _, err := f.Fetch(t.Context(), secure.URL, nil); err == nil || !strings.Contains(err.Error(), "https to http") {
		t.Errorf("got %v", err)
	}
}

func TestContentRange(t *testing.T) {
	for text, want := range map[string][2]int64{"bytes 5-9/10": {5, 10}, "bytes */10": {0, 10}} {
		if from, total, ok := contentRange(text); !ok || from != want[0] || total != want[1] {
			t.Errorf("%s: %d %d %v", text, from, total, ok)
		}
	}
	for _, text := range []string{"", "bytes", "bytes 1-2", "bytes x-2/3", "bytes 1-2/*", "bytes -5-2/10", "bytes 1-2/-3", "lines 1-2/3"} {
		if _, _, ok := contentRange(text); ok {
			t.Errorf("%q was read", text)
		}
	}
}
