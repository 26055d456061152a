package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision/ssh"
)

var xdcpCmd = &Command{
	Name:  "xdcp",
	Usage: "noderange [-f fanout] [-l user] [-t seconds] [-o options] [-p] [-R] [-v] [-Q] file... target | noderange -P [-R] file directory | noderange -F synclist",
	Short: "copy files to many nodes at a time, or from them, over SSH",
	Long: `Copy files of this host to many nodes at a time; with -P a file of the nodes into
a directory of this host, as file._node. Who logs in, and how, is as with xdsh.

  -p   keep times and modes      -R   directories, with all that is in them
  -P   from the nodes            -v   leave out nodes that do not answer
  -F   copy what a synclist says: lines of "file... -> target", a directory's
       name with a / at the end; "file... -> (noderange) target" for some nodes
  -t   give a node up after this many seconds

Nodes need scp, as ESXi and Linux have it. The exit status is the number of
nodes where it failed.`,
	Group: GroupPower,
	Flags: func(f *pflag.FlagSet) {
		fleetFlags(f)
		f.StringP("node-options", "o", "", "options for ssh")
		f.BoolP("preserve", "p", false, "keep times and modes")
		f.BoolP("pull", "P", false, "copy from the nodes")
		f.BoolP("recursive", "R", false, "directories too")
		f.BoolP("verify", "v", false, "leave out nodes that do not answer")
		f.BoolP("silent", "Q", false, "print no errors of nodes")
		f.StringP("File", "F", "", "synclist of what to copy")
		f.StringP("node-rcp", "r", "", "")
		f.MarkHidden("node-rcp")
		f.BoolP("trace", "T", false, "")
		f.MarkHidden("trace")
	},
	Run: xdcp,
}

func xdcp(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, words, err := s.Nodes(snap, args)
	if err != nil {
		return err
	}
	l, err := s.fleet(snap, "DSH_FANOUT")
	if err != nil {
		return err
	}
	x := &xdshOptions{fleet: l, verify: s.Bool("verify")}
	o := ssh.Copy{Recursive: s.Bool("recursive"), Preserve: s.Bool("preserve")}
	list := s.String("File")
	switch {
	case list != "" && (len(words) > 0 || s.Bool("pull")):
		return Usagef("-F takes no files beside it")
	case list == "" && len(words) < 2:
		return Usagef("files and a target are wanted after the noderange")
	case s.Bool("pull") && len(words) != 2:
		return Usagef("-P takes one file, and a directory of this host")
	}
	var copy func(context.Context, *nodedb.Node, *ssh.Client) error
	if s.Bool("pull") {
		copy, err = s.pulling(o, words[0], words[1])
	} else {
		copy, err = s.pushing(snap, o, words, list)
	}
	if err != nil {
		return err
	}
	s.FailWith(x.copyAll(ctx, nodes, copy))
	return nil
}

// copyAll copies to or from all nodes and returns with how many it failed.
func (x *xdshOptions) copyAll(ctx context.Context, nodes []*nodedb.Node, copy func(context.Context, *nodedb.Node, *ssh.Client) error) int {
	failed, done := 0, 0
	x.each(ctx, nodes, func(ctx context.Context, n *nodedb.Node) (int, error) {
		if x.verify {
			if err := x.answers(ctx, n); err != nil {
				return 0, err
			}
		}
		if x.timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, x.timeout, fmt.Errorf("not done after %v: given up", x.timeout))
			defer cancel()
		}
		t, err := x.target(ctx, n)
		if err != nil {
			return 0, err
		}
		c, err := ssh.Dial(ctx, t)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		return 0, copy(ctx, n, c)
	}, func(n *nodedb.Node, _ int, err error) {
		done++
		x.s.Progress("%d of %d nodes", done, len(nodes))
		switch {
		case err == nil:
			return
		case errors.Is(err, errSilent):
			x.s.Error("%s is not responding. No command will be issued to this host", n.Name)
		case !errors.Is(err, context.Canceled) && !x.s.Bool("silent"):
			x.s.NodeErrLine(n.Name, "scp: "+err.Error())
			x.s.Error("%s remote shell had error code: 1", n.Name)
		}
		failed++
	})
	return failed
}

// pulling copies a node's file to dir/file._node.
func (s *Session) pulling(o ssh.Copy, file, dir string) (func(context.Context, *nodedb.Node, *ssh.Client) error, error) {
	dir = s.Path(dir)
	if fi, err := os.Stat(dir); err != nil || !fi.IsDir() {
		return nil, fmt.Errorf("%s is not a directory of this host", dir)
	}
	base := filepath.Base(file)
	if base == "/" || base == "." || base == ".." {
		return nil, fmt.Errorf("%q has no name that a copy could get", file)
	}
	return func(ctx context.Context, n *nodedb.Node, c *ssh.Client) error {
		return c.Fetch(ctx, o, file, filepath.Join(dir, base+"._"+n.Name))
	}, nil
}

// pushing copies files of this host. All are looked at before the first node
// is.
func (s *Session) pushing(snap *nodedb.Snapshot, o ssh.Copy, words []string, list string) (func(context.Context, *nodedb.Node, *ssh.Client) error, error) {
	jobs := []syncJob{{}}
	if list == "" {
		jobs[0].files, jobs[0].to = words[:len(words)-1], words[len(words)-1]
	} else {
		text, err := os.ReadFile(s.Path(list))
		if err != nil {
			return nil, err
		}
		o.Recursive, o.Preserve = true, true
		if jobs, err = parseSyncList(snap, string(text)); err != nil {
			return nil, fmt.Errorf("%s: %v", list, err)
		}
	}
	for i := range jobs {
		var files []string
		for _, f := range jobs[i].files {
			found, err := s.localFiles(o, f)
			if err != nil {
				return nil, err
			}
			files = append(files, found...)
		}
		jobs[i].files = files
	}
	return func(ctx context.Context, n *nodedb.Node, c *ssh.Client) error {
		for _, j := range jobs {
			if j.nodes != nil && !j.nodes[n.Name] {
				continue
			}
			if err := j.prepare(ctx, c); err != nil {
				return err
			}
			if err := c.Send(ctx, o, j.files, j.to); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// localFiles are the files that a word stands for, which may be a pattern.
func (s *Session) localFiles(o ssh.Copy, word string) ([]string, error) {
	files := []string{s.Path(word)}
	if strings.ContainsAny(word, "*?[") {
		if found, err := filepath.Glob(files[0]); err == nil && len(found) > 0 {
			files = found
		}
	}
	for _, f := range files {
		fi, err := os.Stat(f)
		if err != nil {
			return nil, err
		}
		if fi.IsDir() && !o.Recursive {
			return nil, fmt.Errorf("%s is a directory; copy it with -R", f)
		}
	}
	return files, nil
}

// A syncJob is one line of a synclist.
type syncJob struct {
	files []string
	to    string
	dir   string          // made first
	nodes map[string]bool // nil: all
}

// parseSyncList reads lines of "file... -> target".
func parseSyncList(snap *nodedb.Snapshot, text string) ([]syncJob, error) {
	var jobs []syncJob
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		from, to, ok := strings.Cut(line, "->")
		j := syncJob{files: strings.Fields(from), to: strings.TrimSpace(to)}
		if !ok && strings.HasSuffix(line, ":") {
			return nil, fmt.Errorf("line %d: %s is not supported: only lines of file... -> target", i+1, line)
		}
		if r, rest, some := strings.Cut(j.to, ")"); some && strings.HasPrefix(r, "(") {
			nodes, err := snap.Expand(strings.TrimSpace(r[1:]))
			if err != nil {
				return nil, fmt.Errorf("line %d: %v", i+1, err)
			}
			j.to, j.nodes = strings.TrimSpace(rest), map[string]bool{}
			for _, n := range nodes {
				j.nodes[n.Name] = true
			}
		}
		if len(j.files) == 0 || !strings.HasPrefix(j.to, "/") || len(strings.Fields(j.to)) != 1 {
			return nil, fmt.Errorf("line %d: %q is not: file... -> /target", i+1, line)
		}
		j.dir = filepath.Dir(j.to)
		if strings.HasSuffix(j.to, "/") || len(j.files) > 1 {
			j.dir = filepath.Clean(j.to)
		}
		jobs = append(jobs, j)
	}
	if len(jobs) == 0 {
		return nil, errors.New("it has no line that says what to copy")
	}
	return jobs, nil
}

// prepare makes the directory that a line of a synclist names.
func (j syncJob) prepare(ctx context.Context, c *ssh.Client) error {
	if j.dir == "" {
		return nil
	}
	var said strings.Builder
	code, err := c.Run(ctx, ssh.Command{Line: "mkdir -p " + ssh.Quote(j.dir), Stderr: &said})
	if err == nil && code != 0 {
		err = errors.New(strings.TrimSpace(said.String()))
	}
	return err
}
