package nfs

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// A server plays the three services at one port, and is strict: what is no
// call that a real one would take is not answered.
type server struct {
	exports []string
	noMount bool
	noNFS   bool
}

func (s *server) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			if msg, err := readRecord(c); err == nil {
				if reply := s.answer(msg, l.Addr().(*net.TCPAddr).Port); reply != nil {
					half := len(reply) / 2 // in two fragments
					c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(half)), reply[:half]...))
					c.Write(append(binary.BigEndian.AppendUint32(nil, 1<<31|uint32(len(reply)-half)), reply[half:]...))
				}
			}
		}()
	}
}

func (s *server) answer(msg []byte, port int) []byte {
	x := &xdr{p: msg}
	xid, call, rpc, prog, vers, proc := x.word(), x.word(), x.word(), x.word(), x.word(), x.word()
	x.word()
	x.opaque()
	x.word()
	x.opaque()
	if x.bad || call != 0 || rpc != 2 {
		return nil
	}
	word := binary.BigEndian.AppendUint32
	reply := func(status uint32) []byte {
		b := word(word(word(nil, xid), 1), 0)
		b = word(word(b, 0), 0) // verifier
		return word(b, status)
	}
	switch {
	case prog == progNFS && s.noNFS:
		return word(word(reply(2), 4), 4)
	case prog == progNFS && vers == 3 && proc == procNull && len(x.p) == 0:
		return reply(0)
	case prog == progPortmap && vers == 2 && proc == procGetPort:
		if x.word() != progMount || x.word() != 3 || x.word() != 6 || x.word() != 0 || x.bad || len(x.p) > 0 {
			return reply(4) // GARBAGE_ARGS
		}
		if s.noMount {
			port = 0
		}
		return word(reply(0), uint32(port))
	case prog == progMount && vers == 3 && proc == procExport && len(x.p) == 0:
		b := reply(0)
		text := func(s string) {
			b = append(word(b, uint32(len(s))), s...)
			for len(b)%4 != 0 {
				b = append(b, 0)
			}
		}
		for _, e := range s.exports {
			b = word(b, 1)
			text(e)
			b = word(b, 1)
			text("10.1.0.0/16")
			b = word(b, 0)
		}
		return word(b, 0)
	}
	return reply(1)
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name string
		server
		dir, want string
	}{
		{"exported", server{exports: []string{"/a", "/vms"}}, "/vms", ""},
		{"below an export", server{exports: []string{"/vms"}}, "/vms/vmware/", ""},
		{"another", server{exports: []string{"/vms", "/b"}}, "/vmsother", "it does not export /vmsother, but /vms /b"},
		{"nothing", server{}, "/vms", "it exports nothing"},
		{"no mountd", server{noMount: true}, "/vms", "knows no mount service"},
		{"version 4 alone", server{noNFS: true}, "/vms", "no NFS 3 at port N: it has versions 4 to 4 only"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go tt.serve(l)
			_, port, _ := net.SplitHostPort(l.Addr().String())
			n := l.Addr().(*net.TCPAddr).Port
			err = Asker{Portmap: n, Port: n, Timeout: 20 * time.Second}.Check(t.Context(), "127.0.0.1", tt.dir)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), port, "N"), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// A server that does not answer takes no longer than the timeout; one that is
// not there is said to be so.
func TestSilence(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := l.Addr().(*net.TCPAddr).Port
	if err := (Asker{Port: n, Timeout: 50 * time.Millisecond}).Check(t.Context(), "127.0.0.1", "/x"); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("silent: %v", err)
	}
	l.Close()
	if err := (Asker{Port: n}).Check(t.Context(), "127.0.0.1", "/x"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("not there: %v", err)
	}
}

func FuzzReply(f *testing.F) {
	s := &server{exports: []string{"/vms"}}
	word := binary.BigEndian.AppendUint32
	var call []byte
	for _, w := range []uint32{7, 0, 2, progMount, 3, procExport, 0, 0, 0, 0} {
		call = word(call, w)
	}
	f.Add(s.answer(call, 1))
	f.Fuzz(func(t *testing.T, p []byte) {
		if result, err := parseReply(p, 7); err == nil {
			parseExports(result)
		}
		readRecord(io.LimitReader(strings.NewReader(string(p)), 1<<20))
	})
}
