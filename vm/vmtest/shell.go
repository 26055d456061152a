package vmtest

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// A Shell is a World's SSH face: what ESXi's shell prints for the commands
// that guests are managed with.
type Shell struct {
	Addr        string // host:port
	Fingerprint string // of the host key, as ssh-keygen -l prints it
	// Gate, if set, answers a command in the Shell's place; it is set before
	// the first connection.
	Gate func(cmd string) (out string, status int, answered bool)
	// Done, if set, is told of a command that was carried out, before its answer
	// goes out; it is set before the first connection.
	Done func(cmd string)

	w     *World
	l     net.Listener
	key   ssh.PublicKey // may log in too; nil: none
	mu    sync.Mutex
	log   []string // guarded by mu, as what follows
	now   []string // what runs
	conns []net.Conn
}

// ServeSSH opens the World's shell. A key in authorized_keys form may log in
// as well as the password.
func (w *World) ServeSSH(tb testing.TB, authorized string) *Shell {
	tb.Helper()
	s, err := w.StartSSH(authorized)
	if err != nil {
		tb.Fatalf("vmtest: %v", err)
	}
	return s
}

// StartSSH is ServeSSH without a test.
func (w *World) StartSSH(authorized string) (*Shell, error) {
	s := &Shell{w: w}
	if authorized != "" {
		var err error
		if s.key, _, _, _, err = ssh.ParseAuthorizedKey([]byte(authorized)); err != nil {
			return nil, err
		}
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	s.Fingerprint = ssh.FingerprintSHA256(signer.PublicKey())
	if s.l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	s.Addr = s.l.Addr().String()
	cfg := s.config()
	cfg.AddHostKey(signer)
	w.mu.Lock()
	w.shells = append(w.shells, s)
	w.mu.Unlock()
	go s.accept(cfg)
	return s, nil
}

var errDenied = errors.New("denied")

func (s *Shell) config() *ssh.ServerConfig {
	right := func(user, pass string) (*ssh.Permissions, error) {
		if user == s.w.User && pass == s.w.Password {
			return nil, nil
		}
		return nil, errDenied
	}
	return &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-OpenSSH_8.8",
		PasswordCallback: func(c ssh.ConnMetadata, p []byte) (*ssh.Permissions, error) {
			return right(c.User(), string(p))
		},
		KeyboardInteractiveCallback: func(c ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			a, err := ask("", "", []string{"Password: "}, []bool{false})
			if err != nil || len(a) != 1 {
				return nil, errDenied
			}
			return right(c.User(), a[0])
		},
		PublicKeyCallback: func(c ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
			if s.key != nil && bytes.Equal(k.Marshal(), s.key.Marshal()) && c.User() == s.w.User {
				return nil, nil
			}
			return nil, errDenied
		},
	}
}

func (s *Shell) accept(cfg *ssh.ServerConfig) {
	for {
		conn, err := s.l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns = append(s.conns, conn)
		s.mu.Unlock()
		go s.session(conn, cfg)
	}
}

func (s *Shell) session(conn net.Conn, cfg *ssh.ServerConfig) {
	defer conn.Close()
	_, chans, reqs, err := ssh.NewServerConn(conn, cfg)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	for nc := range chans {
		if nc.ChannelType() != "session" {
			nc.Reject(ssh.UnknownChannelType, "")
			continue
		}
		ch, rq, err := nc.Accept()
		if err != nil {
			return
		}
		go s.channel(ch, rq)
	}
}

func (s *Shell) channel(ch ssh.Channel, reqs <-chan *ssh.Request) {
	defer ch.Close()
	for r := range reqs {
		if r.Type != "exec" {
			r.Reply(r.Type == "env", nil)
			continue
		}
		var p struct{ Cmd string }
		ssh.Unmarshal(r.Payload, &p)
		r.Reply(true, nil)
		out, status := s.run(p.Cmd, ch)
		io.WriteString(ch, out)
		ch.SendRequest("exit-status", false, ssh.Marshal(struct{ S uint32 }{uint32(status)}))
		return
	}
}

// Log are the commands that were run.
func (s *Shell) Log() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.log...)
}

// Drop breaks every connection.
func (s *Shell) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
	s.conns = nil
}

func (s *Shell) close() {
	s.l.Close()
	s.Drop()
}

// processes is what "ps -c" prints: what runs, with its words unquoted.
func (s *Shell) processes() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := "WID      CID      WorldName                  \n2097153  2097153  idle0\n"
	for i, l := range s.now {
		for _, cmd := range splitLine(l) {
			out += fmt.Sprintf("%-7d  %-7[1]d  %-25s  %s\n", 2100000+i, filepath.Base(cmd.words[0]), strings.Join(cmd.words, " "))
		}
	}
	return out
}

// run runs one line: commands with ";" or "&&" between them, the last one's
// status.
func (s *Shell) run(line string, stdin io.Reader) (string, int) {
	s.mu.Lock()
	s.log = append(s.log, line)
	s.now = append(s.now, line)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		i := slices.Index(s.now, line)
		s.now = slices.Delete(s.now, i, i+1)
	}()
	if s.Gate != nil {
		if out, status, ok := s.Gate(line); ok {
			return out, status
		}
	}
	if c := unquoted(line); c != 0 {
		return "-sh: " + string(c) + " is not quoted\n", 2
	}
	out, status := "", 0
	in := bufio.NewReader(stdin)
	for _, cmd := range splitLine(line) {
		if cmd.and && status != 0 {
			continue
		}
		var text string
		text, status = s.command(cmd.words, in)
		out += text
	}
	if s.Done != nil {
		s.Done(line)
	}
	return out, status
}

// unquoted is a character that a real shell would act on where a name was
// meant, 0 if there is none; ";", "&&" and the ">" of a redirection are meant.
func unquoted(line string) rune {
	var quote rune
	line = strings.ReplaceAll(line, " && ", " ; ")
	esc, start := false, true
	for _, r := range line {
		switch {
		case esc:
			esc = false
		case r == '\\' && quote != '\'':
			esc = true
		case quote != 0 && r == quote:
			quote = 0
		case quote == '\'':
		case strings.ContainsRune("$`", r):
			return r
		case quote != 0:
		case r == '\'' || r == '"':
			quote = r
		case strings.ContainsRune("&|()<*?[{}\n\r", r), start && strings.ContainsRune("~#!", r):
			return r
		}
		start = r == ' ' && quote == 0
	}
	return quote
}

// A part of a line is one command; after "&&" it runs if the one before it did
// well.
type part struct {
	words []string
	and   bool
}

// splitLine splits a line at ";" and "&&" and each part into words, as a POSIX
// shell does with quotes and backslashes.
func splitLine(line string) []part {
	var cmds []part
	var words []string
	var word []rune
	in, esc, and := false, false, false
	var quote rune
	end := func() {
		if in {
			words, word, in = append(words, string(word)), nil, false
		}
	}
	for _, r := range line {
		switch {
		case esc:
			word, esc = append(word, r), false
		case r == '\\' && quote != '\'':
			esc, in = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word = append(word, r)
		case r == '\'' || r == '"':
			quote, in = r, true
		case r == ' ' || r == '\t':
			end()
		case r == ';' || r == '\n' || r == '&':
			end()
			if len(words) > 0 { // there is nothing between the two of "&&"
				cmds = append(cmds, part{words, and})
			}
			words, and = nil, r == '&'
		default:
			word, in = append(word, r), true
		}
	}
	end()
	if len(words) > 0 {
		cmds = append(cmds, part{words, and})
	}
	return cmds
}
