// Package esxsh is the backend that works over SSH, with vim-cmd, vmkfstools
// and esxcli: for hosts whose licence forbids changes through the API, as the
// free one does.
package esxsh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"

	"margay/provision/ssh"
	"margay/vm"
)

// A Codec turns guests into .vmx text and back.
type Codec interface {
	Encode(s *vm.Spec) ([]byte, error)
	Decode(b []byte) (*vm.Spec, error)
	Change(old []byte, c *vm.Change) ([]byte, error)
}

// A Dialer connects to hosts.
type Dialer struct {
	Codec Codec
	// Trust is told of a host key that is seen for the first time, before any
	// password is sent. Nil: such keys are refused.
	Trust func(ctx context.Context, e vm.Endpoint, sha256 string) error
	Keys  []ssh.Key // to log in with before the password is tried
	Log   *slog.Logger
	// Connect opens the TCP connection to an endpoint that names a proxy.
	Connect func(ctx context.Context, e vm.Endpoint, addr string) (net.Conn, error)
}

// A Conn is a connection to one host's shell. It is for many goroutines.
type Conn struct {
	d     Dialer
	e     vm.Endpoint
	log   *slog.Logger
	about vm.About

	tries atomic.Int32 // see Tune

	slotMu sync.Mutex
	slots  chan struct{} // bounds how many commands run at a time; guarded by slotMu

	mu     sync.Mutex
	client *ssh.Client // guarded by mu; nil: to be dialled
	pin    string      // guarded by mu
}

// sessions is how many commands one host runs for us at a time, unless its
// limits say: its agent is slow. maxSessions is how many its sshd lets in.
const (
	sessions    = 4
	maxSessions = 10
)

// Tune sets how many commands run at a time and how often one is tried. Those
// that run are not counted again.
func (c *Conn) Tune(e vm.Endpoint) {
	c.tries.Store(int32(e.Asks()))
	c.slotMu.Lock()
	defer c.slotMu.Unlock()
	if n := min(e.WorkersOr(sessions), maxSessions); c.slots == nil || cap(c.slots) != n {
		c.slots = make(chan struct{}, n)
	}
}

// workers is how many commands run at a time.
func (c *Conn) workers() int {
	c.slotMu.Lock()
	defer c.slotMu.Unlock()
	return cap(c.slots)
}

// slot waits until one more command may run; the caller calls free after it.
func (c *Conn) slot(ctx context.Context) (free func(), err error) {
	c.slotMu.Lock()
	slots := c.slots
	c.slotMu.Unlock()
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Dial connects and logs in.
func (d Dialer) Dial(ctx context.Context, e vm.Endpoint) (vm.Hypervisor, error) {
	c := &Conn{d: d, e: e, log: d.Log, pin: e.SSHPin}
	c.Tune(e)
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if _, err := c.ssh(ctx); err != nil {
		return nil, err
	}
	if err := c.look(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// ssh is the connection, made anew where it broke.
func (c *Conn) ssh(ctx context.Context) (*ssh.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client != nil {
		return c.client, nil
	}
	to := ssh.Target{Addr: c.e.SSHAddr(), User: c.e.User, Password: c.e.Password, Keys: c.d.Keys, Check: c.checkKey}
	if c.e.Proxy != nil {
		if c.d.Connect == nil {
			return nil, vm.Errorf(vm.ErrUnreachable, "ssh to %s: it is to be reached by a proxy, which cannot be done here", c.e)
		}
		to.Connect = func(ctx context.Context, addr string) (net.Conn, error) { return c.d.Connect(ctx, c.e, addr) }
	}
	cl, err := ssh.Dial(ctx, to)
	for try := 1; try < int(c.tries.Load()) && isRefused(err) && vm.Pause(ctx, try) == nil; try++ {
		cl, err = ssh.Dial(ctx, to)
	}
	switch {
	case errors.Is(err, ssh.ErrUnreachable):
		return nil, vm.Errorf(vm.ErrUnreachable, "ssh to %s: %v; is the service TSM-SSH on?", c.e, err)
	case errors.Is(err, ssh.ErrDenied):
		return nil, fmt.Errorf("ssh to %s as %s: the password or key is not accepted", c.e, c.e.User)
	case err != nil:
		return nil, err
	}
	c.client = cl
	go func() {
		cl.Wait()
		c.drop(cl)
	}()
	return cl, nil
}

// isRefused says whether the host's sshd did not let a connection come about,
// as it does not while it starts.
func isRefused(err error) bool {
	return err != nil && errors.Is(err, ssh.ErrUnreachable) && (strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "connection reset") || strings.Contains(err.Error(), "EOF"))
}

// check forgets a connection that broke under a command, so that the next one
// is not given to it.
func (c *Conn) check(cl *ssh.Client, err error) {
	if errors.Is(err, ssh.ErrUnreachable) && !cl.Alive() {
		c.drop(cl)
	}
}

func (c *Conn) drop(cl *ssh.Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == cl {
		c.client = nil
	}
}

// checkKey pins the first host key and refuses any other from then on. It is
// called with c.mu held.
func (c *Conn) checkKey(ctx context.Context, fp string) error {
	switch {
	case c.e.NoVerify || c.pin == fp:
		return nil
	case c.pin != "":
		return vm.Errorf(vm.ErrUntrusted, "%s: ssh host key has changed: %s was trusted, %s is shown. If the host was installed anew: mkhypervisor %s --trust %s", c.e, c.pin, fp, c.e.Name, fp)
	case c.d.Trust == nil:
		return vm.Errorf(vm.ErrUntrusted, "%s: ssh host key %s is not trusted", c.e, fp)
	}
	if err := c.d.Trust(ctx, c.e, fp); err != nil {
		return err
	}
	c.pin = fp
	return nil
}

// Close ends the connection.
func (c *Conn) Close() error {
	c.mu.Lock()
	cl := c.client
	c.client = nil
	c.mu.Unlock()
	if cl == nil {
		return nil
	}
	return cl.Close()
}

// About says what the host is.
func (c *Conn) About() vm.About { return c.about }

var versionLine = regexp.MustCompile(`VMware ESXi? ([0-9.]+) build-(\d+)`)

func (c *Conn) look(ctx context.Context) error {
	out, err := c.run(ctx, "vmware -v")
	if err != nil {
		return err
	}
	m := versionLine.FindStringSubmatch(out)
	if m == nil {
		return vm.Errorf(vm.ErrInvalid, "%s is no ESXi host: vmware -v prints %q", c.e, clip(out))
	}
	c.about = vm.About{Kind: vm.ESX, Version: m[1], Build: m[2], Name: strings.TrimSpace(out), Via: "ssh"}
	out, err = c.run(ctx, "vim-cmd vimsvc/license --show")
	if err != nil {
		return nil // what the licence is called is only for show
	}
	c.about.Licence = parseLicence(out).Name
	return nil
}

// A failure is a command that did not end well.
type failure struct {
	out    string
	status int
}

func (f *failure) Error() string {
	s := strings.TrimSpace(f.out)
	if s == "" {
		return fmt.Sprintf("exit status %d", f.status)
	}
	return s
}

// A lost is a connection that broke under a command: what became of that is
// not known.
type lost struct{ error }

func (l lost) Unwrap() error { return l.error }

// run runs one line and returns what it printed. Errors are the host's own
// words, in vm's classes.
func (c *Conn) run(ctx context.Context, line string) (string, error) {
	return c.exec(ctx, line, nil, nil)
}

// exec runs one line with input; each, if set, sees the output as it comes.
// The host's agent fails now and then for reasons that pass; such a failure is
// tried again where it did not let us in, and for what only reads always.
func (c *Conn) exec(ctx context.Context, line string, stdin []byte, each func(string)) (string, error) {
	free, err := c.slot(ctx)
	if err != nil {
		return "", err
	}
	defer free()
	out, err := c.often(ctx, line, stdin, each, func(out string, err error) bool { return repeatable(line, out, err) })
	return out, classify(out, err)
}

// often runs one line until it works, or may not be run again.
func (c *Conn) often(ctx context.Context, line string, stdin []byte, each func(string), may func(out string, err error) bool) (string, error) {
	for try := 1; ; try++ {
		out, err := c.once(ctx, line, stdin, each)
		if err == nil || try >= int(c.tries.Load()) || ctx.Err() != nil || !may(out, err) {
			return out, err
		}
		c.log.Warn("trying again over ssh", "endpoint", c.e.String(), "err", err)
		_ = vm.Pause(ctx, try+1)
	}
}

func (c *Conn) once(ctx context.Context, line string, stdin []byte, each func(string)) (string, error) {
	cl, err := c.ssh(ctx)
	if err != nil {
		return "", err
	}
	buf := &output{each: each}
	cmd := ssh.Command{Line: line, Stdout: buf, Stderr: buf}
	if stdin != nil {
		cmd.Stdin = strings.NewReader(string(stdin))
	}
	code, err := cl.Run(ctx, cmd)
	c.check(cl, err)
	var sig *ssh.Signalled
	switch {
	case err == nil && code != 0:
		return buf.String(), &failure{buf.String(), code}
	case errors.As(err, &sig):
		return buf.String(), &failure{buf.String(), -1}
	case errors.Is(err, ssh.ErrUnreachable):
		return buf.String(), lost{vm.Errorf(vm.ErrUnreachable, "ssh to %s: %v", c.e, err)}
	}
	return buf.String(), err
}

// maxOutput bounds what a command may print.
const maxOutput = 16 << 20

// An output gathers what both streams print.
type output struct {
	mu   sync.Mutex
	b    strings.Builder
	each func(string)
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.b.Len()+len(p) > maxOutput {
		return 0, io.ErrShortBuffer
	}
	o.b.Write(p)
	if o.each != nil {
		o.each(string(p))
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func clip(s string) string {
	if s = strings.TrimSpace(s); len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

// quote makes one word of a shell's line of any text.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// line puts words together, each quoted.
func line(words ...string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w
		if strings.Trim(w, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-=:,") != "" || w == "" {
			out[i] = quote(w)
		}
	}
	return strings.Join(out, " ")
}

// safe refuses names that would end the line.
func safe(words ...string) error {
	for _, w := range words {
		if strings.ContainsAny(w, "\n\r\x00") {
			return vm.Errorf(vm.ErrInvalid, "%q has a line break in it", clip(w))
		}
	}
	return nil
}
