package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/vm"
)

var datastoreCmd = &Command{
	Name:  "datastore",
	Usage: "ls host [path] | put host file path | get host path [file] | rm host path... | mkdir host path",
	Short: "list, send, fetch and delete files on a host's datastores",
	Long: `List, send, fetch and delete files on a host's datastores. A path is
"datastore:dir/file", "[datastore] dir/file" or "/vmfs/volumes/datastore/dir/file";
ls without one lists the datastores.

A file that is sent has the name PATH.part until all of it is there and its
size is right, and over SSH its sum; one that is fetched has FILE.part. A
transfer that the network breaks is begun again where it broke, or with
--resume at the next call; over the API, a file that is sent begins anew. rm
deletes a virtual disk with all of its files, and nothing that a guest of the
host uses.`,
	Group: GroupGuest,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("force", "f", false, "put, get: in the place of a file that is there")
		f.BoolP("recursive", "r", false, "rm: a folder with all that is in it")
		f.BoolP("parents", "p", false, "put: make the folder that the file goes to")
		f.Bool("resume", false, "put, get: go on with what is there from before")
		f.String("sha256", "", "put, get: the sum that the file must have")
	},
	Complete: func(s *Session, args []string, word string) []string {
		switch len(args) {
		case 0:
			return withPrefix([]string{"ls", "put", "get", "rm", "mkdir"}, word)
		case 1:
			return s.completeRange(word)
		}
		return nil
	},
	Run: datastore,
}

func datastore(ctx context.Context, s *Session, args []string) error {
	if len(args) < 2 {
		return Usagef("ls, put, get, rm or mkdir, and a host, are wanted")
	}
	snap := s.DB.Snapshot()
	hosts, rest, err := s.hypervisors(snap, args[1:])
	if err != nil {
		return err
	}
	if args[0] == "get" && len(hosts) > 1 {
		return Usagef("get wants one host")
	}
	for _, h := range hosts {
		if err := datastoreOn(ctx, s, snap, h, args[0], rest); err != nil {
			if errors.Is(err, ErrUsage) {
				return err
			}
			s.NodeError(h.Name, err)
		}
	}
	return nil
}

func datastoreOn(ctx context.Context, s *Session, snap *nodedb.Snapshot, host *nodedb.Node, word string, args []string) error {
	wants, ok := map[string][2]int{"ls": {0, 1}, "put": {2, 2}, "get": {1, 2}, "rm": {1, 1 << 20}, "mkdir": {1, 1}}[word]
	if !ok {
		return Usagef("%q: one of ls, put, get, rm, mkdir is wanted", word)
	}
	if len(args) < wants[0] || len(args) > wants[1] {
		return Usagef("%s: too few or too many operands", word)
	}
	files, err := s.Guests.Files(ctx, snap, host.Name)
	if err != nil {
		return err
	}
	switch word {
	case "ls":
		return datastoreList(ctx, s, files, host.Name, args)
	case "put":
		return datastorePut(ctx, s, files, host.Name, args[0], args[1])
	case "get":
		return datastoreGet(ctx, s, files, host.Name, args)
	}
	for _, a := range args {
		p, err := vm.ParseFile(a)
		if err != nil {
			return err
		}
		if word == "mkdir" {
			return files.MakeDir(ctx, p)
		}
		if err := files.Remove(ctx, p, s.Bool("recursive")); err != nil {
			s.NodeError(host.Name, err)
		}
	}
	return nil
}

func datastoreList(ctx context.Context, s *Session, files *vm.Files, host string, args []string) error {
	if len(args) == 0 {
		for _, d := range files.Datastores() {
			state := ""
			if !d.Accessible {
				state = " (not accessible)"
			}
			s.Node(host, "%s: %s, %s free of %s, %s%s", d.Name, d.Type, gigabytes(d.FreeKB), gigabytes(d.CapacityKB), d.URL(), state)
		}
		return nil
	}
	p, err := vm.ParseFile(strings.TrimSuffix(args[0], ":") + colonIfBare(args[0]))
	if err != nil {
		return err
	}
	list, err := files.List(ctx, p)
	if err != nil {
		return err
	}
	for _, f := range list {
		if f.Dir {
			s.Node(host, "%14s  %s  %s/", "-", stamp(f), f.Path.Base())
			continue
		}
		s.Node(host, "%14d  %s  %s", f.Size, stamp(f), f.Path.Base())
	}
	return nil
}

// colonIfBare lets ls take a datastore's name alone.
func colonIfBare(arg string) string {
	if strings.HasPrefix(arg, "[") || strings.HasPrefix(arg, "/") || strings.Contains(strings.TrimSuffix(arg, ":"), ":") {
		return ""
	}
	return ":"
}

func stamp(f vm.File) string {
	if f.MTime.IsZero() {
		return "                "
	}
	return f.MTime.Local().Format("2006-01-02 15:04")
}

func gigabytes(kb int64) string { return fmt.Sprintf("%.1f GB", float64(kb)/(1<<20)) }

func datastorePut(ctx context.Context, s *Session, files *vm.Files, host, local, to string) error {
	p, err := vm.ParseFile(to + colonIfBare(to))
	if err != nil {
		return err
	}
	name := s.Path(local)
	st, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s is no file", name)
	}
	if p.File == "" || strings.HasSuffix(to, "/") {
		p = p.Join(filepath.Base(name))
	}
	sum, err := files.Put(ctx, vm.Sending{
		To: p, Open: func() (io.ReadSeekCloser, error) { return os.Open(name) }, Size: st.Size(),
		Sum: s.String("sha256"), Replace: s.Bool("force"), Resume: s.Bool("resume"), MakeDirs: s.Bool("parents"), Progress: progressBar(s),
	})
	if err != nil {
		return err
	}
	s.Node(host, "%s: %d bytes, sha256 %s", p, st.Size(), sum)
	return nil
}

func datastoreGet(ctx context.Context, s *Session, files *vm.Files, host string, args []string) error {
	p, err := vm.ParseFile(args[0])
	if err != nil {
		return err
	}
	if p.File == "" {
		return vm.Errorf(vm.ErrInvalid, "%s: name a file", p)
	}
	name := s.Path(p.Base())
	if len(args) == 2 {
		name = s.Path(args[1])
		if st, err := os.Stat(name); err == nil && st.IsDir() {
			name = filepath.Join(name, p.Base())
		}
	}
	if _, err := os.Stat(name); err == nil && !s.Bool("force") {
		return fmt.Errorf("%s is there already; -f puts the new file in its place", name)
	}
	part, err := openPart(name+".part", s.Bool("resume"))
	if err != nil {
		return err
	}
	defer part.Close()
	size, sum, err := files.Get(ctx, vm.Receiving{From: p, To: part, Sum: s.String("sha256"), Progress: progressBar(s)})
	if err != nil {
		return err
	}
	if err := part.finish(name); err != nil {
		return err
	}
	s.Node(host, "%s: %d bytes, sha256 %s", name, size, sum)
	return nil
}

// A part is a file that is being received.
type part struct {
	*os.File
	size int64
}

func openPart(name string, resume bool) (*part, error) {
	flag := os.O_RDWR | os.O_CREATE
	if !resume {
		flag |= os.O_TRUNC
	}
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &part{f, st.Size()}, nil
}

// Size is how much was there from before.
func (p *part) Size() int64 { return p.size }

// finish gives the file its name, once it is on the disk.
func (p *part) finish(name string) error {
	if err := p.Sync(); err != nil {
		return err
	}
	return os.Rename(p.Name(), name)
}
