package vmtest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// command runs one command.
func (s *Shell) command(w []string, stdin io.Reader) (string, int) {
	switch w[0] {
	case "echo":
		return strings.Join(w[1:], " ") + "\n", 0
	case "vmware":
		return s.w.About() + "\n", 0
	case "ps":
		return s.processes(), 0
	case "hostname":
		return "localhost.localdomain\n", 0
	case "cat":
		return s.cat(w[1:], stdin)
	case "mkdir":
		return s.mkdir(w[1:])
	case "rm", "rmdir":
		return s.rm(w)
	case "find":
		return s.find(w[1:])
	case "stat":
		return s.stat(w[1:])
	case "tail":
		return s.tail(w[1:])
	case "sha256sum":
		return s.sum(w[1:])
	case "mv":
		if err := os.Rename(s.file(w[len(w)-2]), s.file(w[len(w)-1])); err != nil {
			return "mv: can't rename '" + w[len(w)-2] + "': No such file or directory\n", 1
		}
		return "", 0
	case "test", "[":
		if len(w) >= 3 && (w[1] == "-e" || w[1] == "-f" || w[1] == "-d") {
			if _, err := os.Stat(s.file(w[2])); err == nil {
				return "", 0
			}
		}
		return "", 1
	case "vim-cmd":
		return s.vim(w[1:])
	case "vmkfstools":
		return s.vmkfs(w[1:])
	case "esxcli":
		return s.esxcli(w[1:])
	}
	return "-sh: " + w[0] + ": not found\n", 127
}

// About is what vmware -v prints.
func (w *World) About() string {
	a := w.inUse.ServiceContent.About
	return fmt.Sprintf("VMware ESXi %s build-%s", a.Version, a.Build)
}

// file is the file that plays a path of the host.
func (s *Shell) file(p string) string {
	if !strings.HasPrefix(p, "/vmfs/volumes/") && !strings.HasPrefix(p, "[") {
		return filepath.Join(s.w.dir, "root", filepath.FromSlash(p))
	}
	return s.w.File(p)
}

func (s *Shell) cat(w []string, stdin io.Reader) (string, int) {
	if len(w) == 2 && (w[0] == ">" || w[0] == ">>") {
		return s.redirect(w[0], w[1], stdin)
	}
	out := ""
	for _, p := range w {
		s.w.syncVMX(s.file(p))
		b, err := os.ReadFile(s.file(p))
		if err != nil {
			return out + "cat: can't open '" + p + "': No such file or directory\n", 1
		}
		out += string(b)
	}
	return out, 0
}

func (s *Shell) mkdir(w []string) (string, int) {
	p := w[len(w)-1]
	make := os.Mkdir
	if w[0] == "-p" {
		make = os.MkdirAll
	}
	if strings.HasPrefix(p, "/tmp/") {
		make = func(p string, mode os.FileMode) error {
			_ = os.MkdirAll(filepath.Dir(p), mode)
			return os.Mkdir(p, mode)
		}
	} else if ds, _ := splitPath(p); s.w.Dir(ds) == filepath.Join(s.w.dir, "none") {
		return "mkdir: can't create directory '" + p + "': Operation not permitted\n", 1
	}
	if ds, _ := splitPath(p); s.w.readOnly(ds) {
		return "mkdir: can't create directory '" + p + "': Read-only file system\n", 1
	}
	switch err := make(s.file(p), 0o755); {
	case os.IsExist(err):
		return "mkdir: can't create directory '" + p + "': File exists\n", 1
	case err != nil:
		return "mkdir: can't create directory '" + p + "': No such file or directory\n", 1
	}
	return "", 0
}

func (s *Shell) rm(w []string) (string, int) {
	p := w[len(w)-1]
	remove := os.Remove
	for _, o := range w[1:] {
		if strings.HasPrefix(o, "-") && strings.Contains(o, "r") {
			remove = os.RemoveAll
		}
	}
	if err := remove(s.file(p)); err != nil {
		return "rm: can't remove '" + p + "': No such file or directory\n", 1
	}
	return "", 0
}
