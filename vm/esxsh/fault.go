package esxsh

import (
	"errors"
	"regexp"
	"strings"

	"margay/vm"
)

var (
	faultHead = regexp.MustCompile(`(?m)^\((vim\.fault\.\w+|vmodl\.fault\.\w+|vmodl\.\w+)\) \{`)
	faultMsg  = regexp.MustCompile(`(?m)^\s+msg = "(.*)"\s*$`)
)

// classify finds a fault in what a command printed. Old hosts end with status
// 0 all the same, so the text counts first.
func classify(out string, err error) error {
	if m := faultHead.FindStringSubmatch(out); m != nil {
		text := m[1]
		if msg := faultMsg.FindStringSubmatch(out); msg != nil && msg[1] != "" {
			text = msg[1]
		}
		return vm.Errorf(classOf(m[1]), "%s", text)
	}
	if err == nil {
		return nil
	}
	if _, ok := err.(*failure); !ok {
		return err
	}
	text := lastLine(out)
	for _, k := range []struct {
		part  string
		class error
	}{
		{"already exists", vm.ErrExists}, {"File exists", vm.ErrExists},
		{"No space left", vm.ErrNoSpace},
		{"No such file", vm.ErrNotFound}, {"cannot find the file", vm.ErrNotFound}, {"nonexistent directory", vm.ErrNotFound}, {"Unable to find", vm.ErrNotFound},
	} {
		if strings.Contains(out, k.part) {
			return vm.Errorf(k.class, "%s", text)
		}
	}
	if text == "" {
		return err
	}
	return vm.Errorf(vm.ErrInvalid, "%s", text)
}

func lastLine(out string) string {
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(out, "\r", "\n")), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

func classOf(kind string) error {
	switch kind[strings.LastIndexByte(kind, '.')+1:] {
	case "NotFound", "ManagedObjectNotFound", "FileNotFound":
		return vm.ErrNotFound
	case "AlreadyExists", "DuplicateName", "FileAlreadyExists":
		return vm.ErrExists
	case "InvalidPowerState", "InvalidState":
		return vm.ErrPowerState
	case "ToolsUnavailable":
		return vm.ErrTools
	case "NotSupported":
		return vm.ErrUnsupported
	case "NoDiskSpace":
		return vm.ErrNoSpace
	}
	return vm.ErrInvalid
}

// repeatable says whether a command that failed may be run again: its failure
// may pass, and nothing is done twice by it.
func repeatable(line, out string, err error) bool {
	return outside(out) || isRead(line) && passing(out, err)
}

// outside says whether the host's agent did not let a command in, so that it
// did nothing.
func outside(out string) bool {
	return strings.Contains(out, "Failed to login") || strings.Contains(out, "Connection refused") || strings.Contains(out, "SSL Exception")
}

// isRead says whether a command only reads.
func isRead(line string) bool {
	for _, start := range []string{"vmware -v", "hostname", "cat /", "cat '", "tail ", "stat ", "find ", "sha256sum ", "vim-cmd vmsvc/get", "vim-cmd vmsvc/power.getstate ",
		"vim-cmd vimsvc/license --show", "vim-cmd hostsvc/hostsummary", "vim-cmd vmsvc/snapshot.get ", "ps -c"} {
		if strings.HasPrefix(line, start) {
			return true
		}
	}
	return strings.HasPrefix(line, "esxcli ") && (strings.HasSuffix(line, " list") || strings.Contains(line, " get "))
}

// passing says whether a failure may pass: the connection broke, the host's
// agent restarts, or has run out of something for a moment.
func passing(out string, err error) bool {
	if errors.As(err, new(lost)) {
		return true
	}
	for _, part := range []string{"Connection reset", "already been deleted"} {
		if strings.Contains(out, part) {
			return true
		}
	}
	for _, l := range strings.Split(out, "\n") {
		for _, start := range []string{"Killed", "terminate called", "Aborted", "what()"} {
			if strings.HasPrefix(strings.TrimSpace(l), start) {
				return true
			}
		}
	}
	return strings.Contains(err.Error(), "EOF") && out == ""
}
