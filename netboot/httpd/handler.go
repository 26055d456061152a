package httpd

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"margay/netboot"
)

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, err := cleanPath(r.URL)
	if err != nil {
		s.bar(w, r, "", http.StatusNotFound, err.Error(), "no such file")
		return
	}
	first, _, _ := strings.Cut(name, "/")
	switch {
	case first == callbacks && s.Receiver != nil:
		s.callback(w, r, withQuery(name, r.URL))
	case s.ours(name):
		s.file(w, r, machine(r), withQuery(name, r.URL))
	default:
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(stallTime)) // it may be an older one's
		s.Fallback.ServeHTTP(w, r)
	}
}

// file answers GET and HEAD of m from the opener.
func (s *Server) file(w http.ResponseWriter, r *http.Request, m netboot.Machine, name string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		s.bar(w, r, name, http.StatusMethodNotAllowed, r.Method+": files are only read", "files are only read")
		return
	}
	f, err := s.Opener.Open(r.Context(), m, name)
	if err != nil {
		s.refuse(w, m, name, err)
		return
	}
	defer f.Body.Close()
	var own *turn
	if !m.Head && f.Size >= largeFile {
		if own, err = s.wait(w, r, m); err != nil {
			s.retry(w, m, f, name)
			return
		}
		defer s.turns().leave(own)
	}
	s.send(w, r, m, f, name, own)
}

// machine is what HTTP tells of who asks.
func machine(r *http.Request) netboot.Machine {
	m := netboot.Machine{
		Agent: r.UserAgent(),
		Head:  r.Method == http.MethodHead,
		Probe: r.Header.Get("Margay-Probe"),
		TLS:   r.TLS != nil,
	}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		m.Addr = peer.Addr().Unmap()
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		m.Local = addrOf(local)
	}
	return m
}

// refuse tells the machine why it gets nothing: firmware shows the status, an
// operator with a browser or curl the sentence, and iPXE what refusal makes of
// it. The observer tells timeline and log.
func (s *Server) refuse(w http.ResponseWriter, m netboot.Machine, name string, err error) {
	var refusal *netboot.Refusal
	e := netboot.Event{Step: netboot.StepRefused, Machine: m, Name: shown(name), Err: err}
	switch {
	case errors.Is(err, netboot.ErrIgnore):
		say(w, http.StatusNotFound, "no such file")
		return
	case errors.Is(err, netboot.ErrNotFound):
		say(w, http.StatusNotFound, "no such file")
	case errors.As(err, &refusal):
		e.Node = refusal.Node
		if showsScripts(m, name) {
			say(w, http.StatusOK, refusalScript(refusal))
		} else {
			say(w, http.StatusForbidden, refusal.Reason)
		}
	case errors.Is(err, context.Canceled):
		return // the client is gone
	default:
		if s.Observer == nil {
			s.log().Error("http: file does not open", "addr", m.Addr, "file", shown(name), "err", err)
		}
		say(w, http.StatusInternalServerError, "server error; see the server's log")
	}
	s.log().Debug("http: refused", "node", e.Node, "addr", m.Addr, "file", shown(name), "err", err)
	s.observe(e)
}

// bar refuses what was asked wrongly, whoever asks.
func (s *Server) bar(w http.ResponseWriter, r *http.Request, name string, status int, why, answer string) {
	m := machine(r)
	s.log().Debug("http: refused", "addr", m.Addr, "file", shown(name), "err", why)
	say(w, status, answer)
	s.observe(netboot.Event{Step: netboot.StepRefused, Machine: m, Name: shown(name), Err: &netboot.Refusal{Reason: why}})
}

// showsScripts says whether iPXE asks for what it would execute. It shows
// nothing of an answer with an error's status but a number of its own, so that
// what is wrong is sent as a script. A probe is told as others are.
func showsScripts(m netboot.Machine, name string) bool {
	name, _, _ = strings.Cut(name, "?")
	return strings.HasPrefix(m.Agent, "iPXE/") && m.Probe == "" && !m.Head && path.Base(name) == "script"
}

// refusalScript has iPXE show a refusal, and then give up as it would have.
func refusalScript(r *netboot.Refusal) string {
	text := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || strings.ContainsRune("${}&|;", c) {
			return ' '
		}
		return c
	}, r.Reason)
	script := "#!ipxe\n#refused\necho\necho margay: " + text + "\n"
	if r.Node != "" && !strings.Contains(text, "margay watch") {
		script += "echo On the server: margay watch " + r.Node + "\n"
	}
	return script + "sleep 20\nexit 1"
}

// say answers with a sentence.
func say(w http.ResponseWriter, status int, text string) {
	if _, own := w.(*reply); !own { // which knows when it is sent
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(stallTime))
	}
	text += "\n"
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

// send sends f and tells of it: once when it begins, once when it is over. Of a
// HEAD nothing is told, for nothing is sent.
func (s *Server) send(w http.ResponseWriter, r *http.Request, m netboot.Machine, f *netboot.File, name string, own *turn) {
	e := netboot.Event{Step: netboot.StepFile, Machine: m, Node: f.Node, Name: f.Name, Size: f.Size}
	if e.Name == "" {
		e.Name = shown(name)
	}
	if !m.Head {
		s.observe(e)
	}
	began := time.Now()
	out := newBody(w, r)
	out.turn = own
	if !out.all(r, f) {
		h := w.Header()
		h.Set("Content-Type", mediaType(f))
		if f.ModTime.IsZero() {
			h.Set("Cache-Control", "no-store")
		}
		http.ServeContent(out, r, "", f.ModTime, f.Body)
	}
	if m.Head {
		return
	}
	e.Done, e.Bytes, e.Took = true, out.sent, time.Since(began)
	if out.sent < out.length {
		e.Err = out.fault()
		s.log().Warn("http: not sent whole", "node", e.Node, "addr", m.Addr, "file", e.Name,
			"bytes", out.sent, "size", out.length, "err", e.Err)
	}
	if out.length >= 0 {
		e.Size = out.length
	}
	s.observe(e)
}

func mediaType(f *netboot.File) string { return cmp.Or(f.Type, "application/octet-stream") }
