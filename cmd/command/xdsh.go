package command

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision/ssh"
)

var xdshCmd = &Command{
	Name:  "xdsh",
	Usage: "noderange [-f fanout] [-l user] [-t seconds] [-o options] [-e] [-E file] [-s] [-Q] [-v] [-z] [-m] [--sudo] command | noderange -K",
	Short: "run a command on many nodes at a time, over SSH, each node's output together",
	Long: `Run a command on many nodes at a time, over SSH. What a node says is printed when
its command has ended, each line behind the node's name (xdshbak collates them);
with -s as it comes. The exit status is the number of nodes where it failed.

The client is built in and logs in with margay's own key, which nodes get when
they are installed, or with the password that the table has: key=system, for
hosts key=vmware. A node's host key is kept when it is first seen;
makeknownhosts takes a new one.

  -e          the command is a script on this host, with its arguments
  -E file     with the lines of this file, such as export A=b, before it
  -o "..."    -p PORT, Port=, ConnectTimeout=; else $DSH_NODE_OPTS
  -z          print each node's exit status
  -v          look whether a node answers, and leave it out if not
  -K          put margay's key, and site.sshkeys, into nodes' authorized_keys; the
              password for that comes from the table or $DSH_REMOTE_PASSWORD
  -m          say what becomes of each node: dsh>  Remote_command_successful

The command begins at the first word that is no option; words behind it that
look like ours may follow a --: xdsh n1 -- lsblk --json.`,
	Group:    GroupPower,
	Verbatim: true,
	Flags: func(f *pflag.FlagSet) {
		fleetFlags(f)
		f.BoolP("execute", "e", false, "run a script of this host")
		f.StringP("environment", "E", "", "file with lines that set variables")
		f.StringP("node-options", "o", "", "options for ssh")
		f.BoolP("stream", "s", false, "print lines as they come")
		f.BoolP("silent", "Q", false, "print nothing of what nodes say")
		f.BoolP("verify", "v", false, "leave out nodes that do not answer")
		f.BoolP("exit-status", "z", false, "print exit statuses")
		f.BoolP("monitor", "m", false, "say what becomes of each node")
		f.Bool("sudo", false, "run it with sudo")
		f.BoolP("ssh-setup", "K", false, "put our keys on the nodes")
		f.BoolP("no-locale", "L", false, "")
		f.BoolP("trace", "T", false, "")
		f.MarkHidden("no-locale")
		f.MarkHidden("trace")
	},
	Run: xdsh,
}

// xdshOptions are what xdsh was told.
type xdshOptions struct {
	*fleet
	line                    string
	stdin                   []byte
	verify, status, monitor bool
}

func xdsh(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, words, err := s.Nodes(snap, args)
	if err != nil {
		return err
	}
	if err := s.Flags.Parse(words); err != nil { // xCAT has them behind the noderange
		return Usagef("%v", err)
	}
	words = s.Flags.Args()
	l, err := s.fleet(snap, "DSH_FANOUT")
	if err != nil {
		return err
	}
	l.quiet, l.whole = s.Bool("silent"), !s.Bool("stream")
	x := &xdshOptions{fleet: l, verify: s.Bool("verify"), status: s.Bool("exit-status"), monitor: s.Bool("monitor")}
	if s.Bool("ssh-setup") {
		if len(words) > 0 {
			return Usagef("-K takes no command")
		}
		return x.setup(ctx, nodes)
	}
	if len(words) == 0 {
		return Usagef("a command is wanted after the noderange")
	}
	if err := x.command(words); err != nil {
		return err
	}
	s.FailWith(x.all(ctx, nodes))
	return nil
}

// command makes the line that nodes are to run.
func (x *xdshOptions) command(words []string) error {
	sudo := ""
	if x.s.Bool("sudo") {
		sudo = "sudo "
	}
	x.line = sudo + strings.Join(words, " ")
	if x.s.Bool("execute") {
		text, err := os.ReadFile(x.s.Path(words[0]))
		if err != nil {
			return err
		}
		x.stdin = text
		for i := range words[1:] {
			words[i+1] = ssh.Quote(words[i+1])
		}
		// The script comes as input, for what runs it to read none of ours. -C
		// writes to no file, and through no link, that is there.
		x.line = fmt.Sprintf("f=/tmp/xdsh.%s.$$; (umask 077; set -C; cat >$f) && chmod 700 $f && %s$f %s; r=$?; rm -f $f; exit $r",
			strings.ToLower(rand.Text()), sudo, strings.Join(words[1:], " "))
	}
	if file := x.s.String("environment"); file != "" {
		text, err := os.ReadFile(x.s.Path(file))
		if err != nil {
			return err
		}
		x.line = strings.TrimSpace(string(text)) + "\n" + x.line
	}
	return nil
}

// all runs the command on all nodes and returns on how many it failed.
func (x *xdshOptions) all(ctx context.Context, nodes []*nodedb.Node) int {
	failed := 0
	x.each(ctx, nodes, func(ctx context.Context, n *nodedb.Node) (int, error) {
		if x.verify {
			if err := x.answers(ctx, n); err != nil {
				return 0, err
			}
		}
		return x.run(ctx, n, x.line, x.stdin)
	}, func(n *nodedb.Node, code int, err error) {
		if err != nil || code != 0 {
			failed++
		}
		x.tell(n.Name, code, err)
	})
	return failed
}

var errSilent = errors.New("silent")

// answers says whether a node takes connections.
func (x *xdshOptions) answers(ctx context.Context, n *nodedb.Node) error {
	t, err := x.target(ctx, n)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", t.Addr)
	if err != nil {
		return errSilent
	}
	return conn.Close()
}

// tell says what became of one node, in xCAT's words.
func (x *xdshOptions) tell(node string, code int, err error) {
	s := x.s
	became := "successful"
	switch {
	case errors.Is(err, context.Canceled):
		s.Fail()
		return
	case errors.Is(err, errSilent):
		s.Error("%s is not responding. No command will be issued to this host", node)
		became = "failed"
	case err != nil:
		s.NodeErrLine(node, "ssh: "+err.Error())
		s.Error("%s remote shell had error code: 255", node)
		became = "failed"
	case code != 0 && x.status:
		s.Error("%s remote Command had return code: %d", node, code)
		became = "failed"
	case code != 0:
		s.Error("%s remote shell had error code: %d", node, code)
		became = "failed"
	}
	if x.status && err == nil {
		s.Node(node, "Remote_command_rc = %d", code)
	}
	if x.monitor {
		s.Line("dsh>  Remote_command_%s %s", became, node)
	}
}

// setup puts our public keys on nodes.
func (x *xdshOptions) setup(ctx context.Context, nodes []*nodedb.Node) error {
	x.pass, x.trust = x.s.Req.Env["DSH_REMOTE_PASSWORD"], true
	keys := []string{x.s.Shell.Public}
	for _, k := range strings.FieldsFunc(x.snap.Site("sshkeys"), func(r rune) bool { return r == '|' || r == '\n' || r == '\r' }) {
		if k = strings.TrimSpace(k); k != "" && k != x.s.Shell.Public {
			keys = append(keys, k)
		}
	}
	x.line = authorize(keys)
	failed := 0
	x.each(ctx, nodes, func(ctx context.Context, n *nodedb.Node) (int, error) {
		return x.run(ctx, n, x.line, nil)
	}, func(n *nodedb.Node, code int, err error) {
		if errors.Is(err, ssh.ErrDenied) && x.pass == "" {
			err = fmt.Errorf("%w; set the password in passwd key=system, or in DSH_REMOTE_PASSWORD", err)
		}
		if err == nil && code != 0 {
			err = fmt.Errorf("its shell ended with exit status %d", code)
		}
		if err != nil {
			failed++
			x.s.NodeError(n.Name, err)
			return
		}
		x.s.Node(n.Name, "the keys are there")
	})
	if failed == 0 {
		x.s.Line("/usr/bin/ssh setup is complete.")
		x.s.Line("return code = 0")
	}
	x.s.FailWith(failed)
	return nil
}

// authorize is a shell's line that adds keys to the user's authorized_keys,
// which ESXi has elsewhere.
func authorize(keys []string) string {
	var b strings.Builder
	b.WriteString(`umask 077; d="$HOME/.ssh"; [ "$(id -u)" = 0 ] && [ -d /etc/ssh/keys-root ] && d=/etc/ssh/keys-root; ` +
		`mkdir -p "$d" && f="$d/authorized_keys" && touch "$f"`)
	for _, k := range keys {
		q := ssh.Quote(k)
		fmt.Fprintf(&b, ` && { grep -qxF %s "$f" || echo %s >>"$f"; }`, q, q)
	}
	return b.String() + ` && chmod 600 "$f"`
}
