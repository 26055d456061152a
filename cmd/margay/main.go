// Margay brings up VMware ESXi from bare metal and runs guests on it. It is
// the client of every command and the daemon that runs them; called by a
// command's name, it is that command.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/term"

	"margay/cmd/command"
	"margay/provision/api"
)

// version is set by the linker.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := &cli{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	os.Exit(c.main(ctx, os.Args))
}

// defaultSocket is where daemon and client meet unless told otherwise.
const defaultSocket = "/run/margay.sock"

// A cli is one call of the program.
type cli struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	socket         string
	json           bool
}

func (c *cli) main(ctx context.Context, argv []string) int {
	args := byName(argv)
	args = c.global(args)
	if len(args) == 1 && isVersion(args[0]) {
		fmt.Fprintf(c.stdout, "margay %s\n", version)
		return 0
	}
	if len(args) == 2 && isVersion(args[1]) && slices.Contains(command.Names(), args[0]) {
		fmt.Fprintf(c.stdout, "Version %s\n", version) // as each of xCAT's commands says it
		return 0
	}
	if len(args) > 0 && strings.HasPrefix(args[0], "__complete") {
		return c.ship(ctx, args)
	}
	root := command.Root(nil, c.localCommands()...)
	root.SetArgs(args)
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case errors.Is(err, command.ErrRemote):
		f, err := sent(err)
		if err != nil {
			return c.fail(err)
		}
		if f != nil {
			defer f.Close()
			c.stdin = f
		}
		return c.ship(ctx, args)
	case err != nil:
		return c.fail(err)
	}
	return 0
}

// sent opens the file that a command sends to the daemon; nil if it sends none.
func sent(err error) (*os.File, error) {
	var remote *command.RemoteError
	if !errors.As(err, &remote) || remote.Input == "" {
		return nil, nil
	}
	return os.Open(remote.Input)
}

func isVersion(arg string) bool { return arg == "-v" || arg == "--version" }

func (c *cli) fail(err error) int {
	fmt.Fprintf(c.stderr, "Error: %v\n", err)
	return 1
}

// byName makes `mkvm vm1` of a call through a link mkvm, and leaves `margay
// mkvm vm1` as it is.
func byName(argv []string) []string {
	name, args := filepath.Base(argv[0]), argv[1:]
	if !slices.Contains(command.Names(), name) {
		return args
	}
	if len(args) > 0 && strings.HasPrefix(args[0], "__complete") {
		return append([]string{args[0], name}, args[1:]...)
	}
	return append([]string{name}, args...)
}

// global takes --socket and --json out of the words; what follows "--" is the
// command's own.
func (c *cli) global(args []string) []string {
	c.socket = c.getenv("MARGAY_SOCKET")
	if c.socket == "" {
		c.socket = defaultSocket
	}
	var rest []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			return append(rest, args[i:]...)
		case a == "--json":
			c.json = true
		case a == "--socket" && i+1 < len(args):
			i++
			c.socket = args[i]
		case strings.HasPrefix(a, "--socket="):
			c.socket = strings.TrimPrefix(a, "--socket=")
		default:
			rest = append(rest, a)
		}
	}
	return rest
}

// ship runs a command in the daemon.
func (c *cli) ship(ctx context.Context, args []string) int {
	req := c.request(args)
	if f, ok := c.stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		req.TTY = true
		req.Width, _, _ = term.GetSize(int(f.Fd()))
	}
	raw, restore := c.rawMode()
	defer restore()
	client := &api.Client{Socket: c.socket, JSON: c.json, Raw: raw}
	code, err := client.Run(ctx, req, c.stdin, c.stdout, c.stderr)
	if err != nil {
		return c.fail(err)
	}
	return code
}

// remote runs a command in the daemon for one that runs here.
func (c *cli) remote(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) (int, error) {
	client := &api.Client{Socket: c.socket}
	return client.Run(ctx, c.request(args), stdin, stdout, c.stderr)
}

// request is a command as the daemon wants it, without a terminal.
func (c *cli) request(args []string) *api.Request {
	req := &api.Request{Args: args, Env: map[string]string{}}
	req.Dir, _ = os.Getwd()
	for _, name := range api.EnvNames {
		if v := c.getenv(name); v != "" {
			req.Env[name] = v
		}
	}
	return req
}

// rawMode switches the terminal for commands that want each key, such as
// rcons.
func (c *cli) rawMode() (set func(on bool), restore func()) {
	f, ok := c.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, func() {}
	}
	var old *term.State
	restore = func() {
		if old != nil {
			term.Restore(int(f.Fd()), old)
			old = nil
		}
	}
	set = func(on bool) {
		if !on {
			restore()
			return
		}
		if old == nil {
			old, _ = term.MakeRaw(int(f.Fd()))
		}
	}
	return set, restore
}
