package esxsh

import (
	"context"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"margay/provision/ssh"
	"margay/vm"
)

// statLine is what stat prints for one file: kind, size, time, name.
const statForm = "%F|%s|%Y|%n"

// List lists a folder.
func (c *Conn) List(ctx context.Context, _ string, dir vm.Path) ([]vm.File, error) {
	if err := safe(dir.String()); err != nil {
		return nil, err
	}
	at := strings.TrimRight(dir.Volume(), "/")
	// A volume's name is a link to its UUID, which find follows for the "/".
	out, err := c.run(ctx, line("find", at+"/", "-maxdepth", "1", "-exec", "stat", "-c", statForm, "{}", ";"))
	if err != nil {
		return nil, err
	}
	var files []vm.File
	for _, f := range parseStat(out) {
		if name := strings.TrimPrefix(strings.TrimPrefix(f.Path.File, at), "/"); name != "" && !strings.Contains(name, "/") {
			f.Path = dir.Join(name)
			files = append(files, f)
		}
	}
	return files, nil
}

// parseStat reads lines of statForm; the names come back as they are.
func parseStat(out string) []vm.File {
	var files []vm.File
	for _, l := range strings.Split(out, "\n") {
		part := strings.SplitN(l, "|", 4)
		if len(part) != 4 || part[3] == "" {
			continue
		}
		size, err := strconv.ParseInt(part[1], 10, 64)
		at, err2 := strconv.ParseInt(part[2], 10, 64)
		if err != nil || err2 != nil || size < 0 {
			continue
		}
		f := vm.File{Path: vm.Path{File: part[3]}, Size: size, MTime: time.Unix(at, 0), Dir: part[0] == "directory"}
		if f.Dir {
			f.Size = 0
		}
		files = append(files, f)
	}
	return files
}

// Stat finds one file or folder.
func (c *Conn) Stat(ctx context.Context, _ string, p vm.Path) (vm.File, error) {
	if err := safe(p.String()); err != nil {
		return vm.File{}, err
	}
	name := p.Volume()
	out, err := c.run(ctx, line("stat", "-c", statForm, name))
	if err != nil {
		if errors.Is(err, vm.ErrNotFound) {
			err = vm.Errorf(vm.ErrNotFound, "File %s was not found", p)
		}
		return vm.File{}, err
	}
	files := parseStat(out)
	if len(files) != 1 {
		return vm.File{}, vm.Errorf(vm.ErrInvalid, "stat prints %q", clip(out))
	}
	files[0].Path = p
	return files[0], nil
}

// Put writes a file.
func (c *Conn) Put(ctx context.Context, _ string, p vm.Path, r io.Reader, _ int64) error {
	if err := safe(p.String()); err != nil {
		return err
	}
	return c.stream(ctx, "cat > "+quote(p.Volume()), r, nil)
}

// Append goes on with a file.
func (c *Conn) Append(ctx context.Context, _ string, p vm.Path, r io.Reader) error {
	if err := safe(p.String()); err != nil {
		return err
	}
	return c.stream(ctx, "cat >> "+quote(p.Volume()), r, nil)
}

// Get reads a file.
func (c *Conn) Get(ctx context.Context, host string, p vm.Path, from int64) (io.ReadCloser, int64, error) {
	f, err := c.Stat(ctx, host, p)
	if err != nil {
		return nil, 0, err
	}
	if f.Dir {
		return nil, 0, vm.Errorf(vm.ErrInvalid, "%s is a folder", p)
	}
	left := f.Size - from
	if left <= 0 {
		return io.NopCloser(strings.NewReader("")), 0, nil
	}
	cmd := line("cat", p.Volume())
	if from > 0 {
		cmd = line("tail", "-c", "+"+strconv.FormatInt(from+1, 10), p.Volume())
	}
	r, w := io.Pipe()
	ctx, stop := context.WithCancel(ctx)
	go func() { w.CloseWithError(c.stream(ctx, cmd, nil, w)) }()
	return &stopReader{r, stop}, left, nil
}

// A stopReader ends the command that it reads from when it is closed.
type stopReader struct {
	*io.PipeReader
	stop context.CancelFunc
}

func (s *stopReader) Close() error {
	s.stop()
	return s.PipeReader.Close()
}

// Move renames a file.
func (c *Conn) Move(ctx context.Context, _ string, from, to vm.Path) error {
	if err := safe(from.String(), to.String()); err != nil {
		return err
	}
	_, err := c.run(ctx, line("mv", "-f", from.Volume(), to.Volume()))
	return err
}

// LoadSparse loads the module that reads split sparse disks, which hosts since
// 5.1 leave out when they boot.
func (c *Conn) LoadSparse(ctx context.Context) error {
	out, err := c.run(ctx, "esxcli system module load -m multiextent")
	if err != nil && strings.Contains(strings.ToLower(out+err.Error()), "already loaded") {
		return nil
	}
	return err
}

var sumForm = regexp.MustCompile(`^([0-9a-f]{64})\s`)

// SHA256 has the host compute a file's sum.
func (c *Conn) SHA256(ctx context.Context, _ string, p vm.Path) (string, error) {
	if err := safe(p.String()); err != nil {
		return "", err
	}
	out, err := c.run(ctx, line("sha256sum", p.Volume()))
	if err != nil {
		return "", err
	}
	m := sumForm.FindStringSubmatch(out)
	if m == nil {
		return "", vm.Errorf(vm.ErrInvalid, "sha256sum prints %q", clip(out))
	}
	return m[1], nil
}

// stream runs one command that reads or writes much. It is not tried again:
// what went through it is gone.
func (c *Conn) stream(ctx context.Context, cmd string, stdin io.Reader, stdout io.Writer) error {
	free, err := c.slot(ctx)
	if err != nil {
		return err
	}
	defer free()
	cl, err := c.ssh(ctx)
	if err != nil {
		return err
	}
	said := &output{}
	run := ssh.Command{Line: cmd, Stdout: stdout, Stderr: said}
	if stdout == nil {
		run.Stdout = said
	}
	var in *faulty
	if stdin != nil {
		in = &faulty{r: stdin}
		run.Stdin = in
	}
	code, err := cl.Run(ctx, run)
	c.check(cl, err)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ssh.ErrBusy):
		return err // what is still being read is not sent again
	case in != nil && in.err != nil:
		return in.err // cat cannot know that its input broke off
	case err != nil:
		return vm.Errorf(vm.ErrUnreachable, "ssh to %s: %v", c.e, err)
	case code != 0:
		return classify(said.String(), &failure{said.String(), code})
	}
	return classify(said.String(), nil)
}

// A faulty reader remembers how its source failed.
type faulty struct {
	r   io.Reader
	err error
}

func (f *faulty) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}
