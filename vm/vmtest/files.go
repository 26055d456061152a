package vmtest

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/simulator"
)

// folder is a host's HTTP access to its datastores. It wants the right
// datacenter and a folder that is there, writes nothing where the licence
// forbids it, and breaks off where the datastore is full.
func (w *World) folder(rw http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	dir := w.Dir(q.Get("dsName"))
	if q.Get("dcPath") != w.datacenter() || dir == filepath.Join(w.dir, "none") {
		http.Error(rw, "404 Not Found", http.StatusNotFound)
		return
	}
	if r.Method == http.MethodPut || r.Method == http.MethodPost {
		w.upload(rw, r, dir)
		return
	}
	w.syncVMX(filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(r.URL.Path, "/folder"))))
	if cut := w.takeCut(); cut > 0 && r.Method == http.MethodGet {
		rw = &cutWriter{ResponseWriter: rw, left: cut}
	}
	w.model.Service.ServeMux.ServeHTTP(rw, r)
}

func (w *World) upload(rw http.ResponseWriter, r *http.Request, dir string) {
	if w.restricted.Load() {
		http.Error(rw, "403 Forbidden", http.StatusForbidden)
		return
	}
	if w.readOnly(r.URL.Query().Get("dsName")) {
		http.Error(rw, "500 Internal Server Error", http.StatusInternalServerError)
		return
	}
	file := filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(r.URL.Path, "/folder")))
	if st, err := os.Stat(filepath.Dir(file)); err != nil || !st.IsDir() {
		http.Error(rw, "404 Not Found", http.StatusNotFound)
		return
	}
	f, err := os.Create(file)
	if err != nil {
		http.Error(rw, "500 Internal Server Error", http.StatusInternalServerError)
		return
	}
	defer f.Close()
	body := io.Reader(r.Body)
	if cut := w.takeCut(); cut > 0 {
		io.CopyN(f, body, cut)
		panic(http.ErrAbortHandler) // the connection breaks
	}
	room := w.room(r.URL.Query().Get("dsName"))
	n, err := io.Copy(f, io.LimitReader(body, room))
	extra, _ := io.CopyN(io.Discard, body, 1)
	if err != nil || extra > 0 || n < r.ContentLength {
		http.Error(rw, "500 Internal Server Error", http.StatusInternalServerError)
		return
	}
	rw.WriteHeader(http.StatusCreated)
}

// datacenter is the path of the World's datacenter.
func (w *World) datacenter() string {
	for _, o := range w.model.Map().All("Datacenter") {
		return o.(*simulator.Datacenter).Name
	}
	return ""
}

// room is how much is left on a datastore.
func (w *World) room(name string) int64 {
	for _, o := range w.model.Map().All("Datastore") {
		if ds := o.(*simulator.Datastore); ds.Name == name {
			return ds.Summary.FreeSpace
		}
	}
	return 0
}

// Cut breaks the next transfers of files after so many bytes each, one for
// each number.
func (w *World) Cut(after ...int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cuts = after
}

func (w *World) takeCut() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.cuts) == 0 {
		return 0
	}
	n := w.cuts[0]
	w.cuts = w.cuts[1:]
	return n
}

// A cutWriter breaks a connection after so many bytes.
type cutWriter struct {
	http.ResponseWriter
	left int64
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > c.left {
		c.ResponseWriter.Write(p[:c.left])
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= int64(len(p))
	return c.ResponseWriter.Write(p)
}

// redirect writes what comes in to a file, or to its end.
func (s *Shell) redirect(how, name string, stdin io.Reader) (string, int) {
	flag := os.O_TRUNC
	if how == ">>" {
		flag = os.O_APPEND
	}
	f, err := os.OpenFile(s.file(name), os.O_WRONLY|os.O_CREATE|flag, 0o644)
	if err != nil {
		return "-sh: can't create " + name + ": nonexistent directory\n", 1
	}
	defer f.Close()
	ds, _ := splitPath(name)
	room := int64(1 << 40)
	if strings.HasPrefix(name, "/vmfs/volumes/") {
		room = s.w.room(ds)
	}
	if cut := s.w.takeCut(); cut > 0 {
		io.CopyN(f, stdin, cut)
		f.Close()
		s.Drop() // the connection breaks
		return "", 255
	}
	io.Copy(f, io.LimitReader(stdin, room))
	if n, _ := io.CopyN(io.Discard, stdin, 1); n > 0 {
		return "cat: write error: No space left on device\n", 1
	}
	return "", 0
}

// find lists one folder and runs stat on what is in it.
func (s *Shell) find(w []string) (string, int) {
	if len(w) < 8 || w[1] != "-maxdepth" || w[2] != "1" || w[3] != "-exec" || w[4] != "stat" || w[len(w)-1] != ";" {
		return "find: unrecognized: " + strings.Join(w, " ") + "\n", 1
	}
	entries, err := os.ReadDir(s.file(w[0]))
	if err != nil {
		return "find: " + w[0] + ": No such file or directory\n", 1
	}
	s.w.syncVMX(s.file(w[0]))
	out, _ := s.stat([]string{"-c", w[6], w[0]})
	for _, e := range entries {
		text, _ := s.stat([]string{"-c", w[6], strings.TrimSuffix(w[0], "/") + "/" + e.Name()})
		out += text
	}
	return out, 0
}

func (s *Shell) stat(w []string) (string, int) {
	if len(w) != 3 || w[0] != "-c" {
		return "stat: unrecognized option\n", 1
	}
	s.w.syncVMX(s.file(w[2]))
	st, err := os.Stat(s.file(w[2]))
	if err != nil {
		return "stat: can't stat '" + w[2] + "': No such file or directory\n", 1
	}
	kind := "regular file"
	if st.IsDir() {
		kind = "directory"
	}
	return strings.NewReplacer("%F", kind, "%s", strconv.FormatInt(st.Size(), 10), "%Y", strconv.FormatInt(st.ModTime().Unix(), 10), "%n", w[2]).Replace(w[1]) + "\n", 0
}

func (s *Shell) tail(w []string) (string, int) {
	if len(w) != 3 || w[0] != "-c" || !strings.HasPrefix(w[1], "+") {
		return "tail: unrecognized option\n", 1
	}
	from, err := strconv.Atoi(w[1][1:])
	b, err2 := os.ReadFile(s.file(w[2]))
	if err != nil || err2 != nil {
		return "tail: can't open '" + w[2] + "': No such file or directory\n", 1
	}
	return string(b[min(from-1, len(b)):]), 0
}

func (s *Shell) sum(w []string) (string, int) {
	f, err := os.Open(s.file(w[0]))
	if err != nil {
		return "sha256sum: can't open '" + w[0] + "': No such file or directory\n", 1
	}
	defer f.Close()
	h := sha256.New()
	io.Copy(h, f)
	return fmt.Sprintf("%x  %s\n", h.Sum(nil), w[0]), 0
}
