package command

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision"
	"margay/provision/api"
	"margay/vm"
)

// Deps are what commands act on. The daemon fills it once.
type Deps struct {
	DB       *nodedb.DB
	Service  *provision.Service
	Guests   *vm.Manager // nil: none
	Hardware *Hardware   // nil: none
	Serial   SerialLines // nil: none
	Shell    *Shell      // nil: none
	Log      *slog.Logger
	Version  string
	Store    StoreName
	Ports    Ports
	Served   func() []provision.Interface // those that the daemon serves, as they are now; nil: none
	Foreign  func(ctx context.Context, ifname string) ([]ForeignDHCP, error)
	Proxied  []string // interfaces on which DHCP is served beside another server
	Others   []string // interfaces on which DHCP is left to others
	Hooks    string   // directory of the operator's hooks; empty: none
	Stop     func()   // ends the daemon; nil in tests
	Audit    *Audit   // nil: no auditlog
	// Backup writes the whole table, with the sealing key if wanted, and says
	// how many records that was.
	Backup func(ctx context.Context, w io.Writer, key bool) (int, error)

	// Outside has DNS servers of others answer for names, or forget them: the
	// one named, or those of the host's resolv.conf. It names those it told.
	Outside func(ctx context.Context, server string, names []provision.Name, forget bool) (told []string, err error)

	// Holders are the other programs that hold a port; nil: not known.
	Holders func(network string, port int) []string

	// Authority vouches for the daemon's HTTPS, and Certificate is what it
	// shows there; both nil where there is none.
	Authority   *x509.Certificate
	Certificate func() Certificate
}

// A StoreName says where the table is, in the words of xCAT's lsxcatd.
type StoreName struct {
	Where  string // as --store has it, without passwords
	Engine string // bbolt or etcd
	Name   string // the file, or the prefix of all keys
	Host   string // empty: this one
	Admin  string // who the daemon is there; empty: nobody in particular
}

// A Certificate is what the daemon shows by HTTPS.
type Certificate struct {
	Own   bool     // the operator's own
	Names []string // that it is good for
	Until time.Time
	Fault error // why machines would not take it
}

// A ForeignDHCP is another DHCP server on one of our networks.
type ForeignDHCP struct {
	Interface string
	Server    netip.Addr // as it calls itself
	Addr      netip.Addr // where it answers from
	Proxy     bool       // it gives boot files, no addresses
}

// Ports are where the daemon listens, for commands that play a machine.
type Ports struct {
	DHCP  netip.AddrPort // for requests from this host; zero: off
	HTTP  int
	HTTPS int
	TFTP  int
	DNS   int
	Links bool // DHCP is served on interfaces
}

// A Session is one command being run: what it acts on, who asked, and where
// its lines go. Its printing methods may be called from several goroutines.
type Session struct {
	*Deps
	Flags *pflag.FlagSet
	Req   *api.Request
	Conn  *api.Conn

	failed    atomic.Bool
	code      atomic.Int32           // the exit status of a failure, if not 1
	first     atomic.Pointer[string] // the first error that was printed
	noderange string                 // what the command is for, as typed

	root func(*Session, []string) *cobra.Command // for commands that run others

	wrong *sync.Map // nodes with an error since watchFailures; nil: not watched
}

// Run runs the command of one request and returns its exit status. It is the
// daemon's api.Runner.
func (d *Deps) Run(ctx context.Context, req *api.Request, conn *api.Conn) int {
	s := &Session{Deps: d, Req: req, Conn: conn, root: rootFor}
	began := time.Now()
	words := maskArgs(req.Args)
	code := s.run(ctx, req, words)
	s.audit(began, code, words)
	return code
}

// Looks says whether a request is for a command that only looks at things. It
// is the daemon's api.Server.Looks.
func Looks(req *api.Request) bool { return reads(req.Args) }

// run runs the command. What it changes is entered in the history under its
// words, those with secrets hidden.
func (s *Session) run(ctx context.Context, req *api.Request, words []string) int {
	ctx = nodedb.WithCause(ctx, nodedb.Cause{
		Run: strings.ToLower(rand.Text()[:8]), User: req.User, From: req.From, Command: commandLine(words),
	})
	return s.finish(execute(ctx, s, req.Args))
}

// finish says what went wrong, and returns the exit status.
func (s *Session) finish(err error) int {
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errDry) {
		s.Error("%s", withoutClass(err))
	}
	if s.failed.Load() {
		return max(1, int(s.code.Load()))
	}
	return 0
}

// FailWith makes the exit status a number of failures, as xdsh and psh have it.
// It has eight bits, and never is 0.
func (s *Session) FailWith(n int) {
	if n == 0 {
		return
	}
	s.failed.Store(true)
	s.code.Store(int32(min(n, 255)))
}

// withoutClass is an error's text without the class that it wraps last, which is
// for code: "noderange can not contain spaces.", and no word more.
func withoutClass(err error) string {
	text := err.Error()
	for _, class := range []error{nodedb.ErrInvalid, nodedb.ErrNotFound} {
		if errors.Is(err, class) {
			text = strings.TrimSuffix(text, ": "+class.Error())
		}
	}
	return text
}

// Fail makes the exit status 1 without printing anything.
func (s *Session) Fail() { s.failed.Store(true) }

// Line prints "text".
func (s *Session) Line(format string, args ...any) {
	s.Conn.Send(api.Frame{Kind: api.FrameOut, Text: fmt.Sprintf(format, args...)})
}

// Text prints a block as it is; it ends its own lines. For large output.
func (s *Session) Text(block string) {
	if block != "" {
		s.Conn.Send(api.Frame{Kind: api.FrameRaw, Text: block})
	}
}

// Node prints "node: text".
func (s *Session) Node(node, format string, args ...any) {
	s.Conn.Send(api.Frame{Kind: api.FrameOut, Node: node, Text: fmt.Sprintf(format, args...)})
}

// NodeText prints "node: text".
func (s *Session) NodeText(node, text string) {
	s.Conn.Send(api.Frame{Kind: api.FrameOut, Node: node, Text: text})
}

// Label prints "node: label: value".
func (s *Session) Label(node, label, format string, args ...any) {
	s.Conn.Send(api.Frame{Kind: api.FrameOut, Node: node, Label: label, Text: fmt.Sprintf(format, args...)})
}

// Error prints "Error: text" to standard error; the exit status becomes 1.
func (s *Session) Error(format string, args ...any) {
	s.failed.Store(true)
	text := fmt.Sprintf(format, args...)
	s.first.CompareAndSwap(nil, &text)
	s.Conn.Send(api.Frame{Kind: api.FrameErr, Level: "Error", Text: text})
}

// NodeError prints "node: Error: text" to standard error; the exit status
// becomes 1. An err that begins with the node's name loses it.
func (s *Session) NodeError(node string, err error) {
	s.failed.Store(true)
	if s.wrong != nil {
		s.wrong.Store(node, true)
	}
	text := strings.TrimPrefix(withoutClass(err), "node "+node+": ")
	text = strings.TrimPrefix(text, node+": ")
	first := node + ": " + text
	s.first.CompareAndSwap(nil, &first)
	s.Conn.Send(api.Frame{Kind: api.FrameErr, Level: "Error", Node: node, Text: text})
}

// watchFailures begins to remember for which nodes something goes wrong.
func (s *Session) watchFailures() { s.wrong = &sync.Map{} }

// nodeFailed says whether something went wrong for a node since watchFailures.
func (s *Session) nodeFailed(node string) bool {
	_, bad := s.wrong.Load(node)
	return bad
}

// Warn prints "Warning: text" to standard error; the exit status stays.
func (s *Session) Warn(format string, args ...any) {
	s.Conn.Send(api.Frame{Kind: api.FrameErr, Level: "Warning", Text: fmt.Sprintf(format, args...)})
}

// NodeWarn prints "node: Warning: text" to standard error.
func (s *Session) NodeWarn(node, format string, args ...any) {
	s.Conn.Send(api.Frame{Kind: api.FrameErr, Level: "Warning", Node: node, Text: fmt.Sprintf(format, args...)})
}

// ErrLine prints a line to standard error without a level and without
// changing the exit status.
func (s *Session) ErrLine(format string, args ...any) {
	s.Conn.Send(api.Frame{Kind: api.FrameErr, Text: fmt.Sprintf(format, args...)})
}

// NodeErrLine prints "node: text" to standard error, without a level and
// without changing the exit status.
func (s *Session) NodeErrLine(node, text string) {
	s.Conn.Send(api.Frame{Kind: api.FrameErr, Node: node, Text: text})
}

// Progress replaces the terminal's current line; nothing without a terminal.
func (s *Session) Progress(format string, args ...any) {
	if s.Req.TTY {
		s.Conn.Send(api.Frame{Kind: api.FrameProgress, Text: fmt.Sprintf(format, args...)})
	}
}

// Flush sends what was printed at once; without it that takes up to a tenth
// of a second.
func (s *Session) Flush() { s.Conn.Flush() }

// Stdin is the client's standard input.
func (s *Session) Stdin() io.Reader { return bufio.NewReader(s.Conn) }

// Path makes a file name that the client typed absolute.
func (s *Session) Path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(s.Req.Dir, name)
}

// Bool is the value of a flag that the command declared.
func (s *Session) Bool(name string) bool {
	v, _ := s.Flags.GetBool(name)
	return v
}

// String is the value of a flag that the command declared.
func (s *Session) String(name string) string {
	v, _ := s.Flags.GetString(name)
	return v
}

// Strings are the values of a repeatable flag that the command declared.
func (s *Session) Strings(name string) []string {
	v, _ := s.Flags.GetStringArray(name)
	return v
}

// Nodes takes the noderange from the front of args. An empty or unknown one
// is an error, in xCAT's words.
func (s *Session) Nodes(snap *nodedb.Snapshot, args []string) ([]*nodedb.Node, []string, error) {
	if len(args) == 0 || args[0] == "" {
		return nil, nil, Usagef("a noderange is required")
	}
	s.noderange = args[0]
	nodes, err := snap.ExpandWith(args[0], s.expandOptions())
	if err != nil {
		return nil, nil, err
	}
	if len(nodes) == 0 {
		return nil, nil, fmt.Errorf("No node in '%s', check the noderange syntax.", args[0])
	}
	return nodes, args[1:], nil
}

func (s *Session) completeRange(word string) []string {
	head, last := "", word
	if i := strings.LastIndexAny(word, ",@"); i >= 0 {
		head, last = word[:i+1], word[i+1:]
	}
	var out []string
	snap := s.DB.Snapshot()
	for _, n := range snap.Nodes() {
		if strings.HasPrefix(n.Name, last) {
			out = append(out, head+n.Name)
		}
	}
	for _, g := range snap.Groups() {
		if strings.HasPrefix(g, last) {
			out = append(out, head+g)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

type rawWriter struct{ s *Session }

func (w rawWriter) Write(p []byte) (int, error) {
	return len(p), w.s.Conn.Send(api.Frame{Kind: api.FrameRaw, Text: string(p)})
}

type errWriter struct{ s *Session }

func (w errWriter) Write(p []byte) (int, error) {
	return len(p), w.s.Conn.Send(api.Frame{Kind: api.FrameErr, Text: strings.TrimSuffix(string(p), "\n")})
}
