package rom

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A BootCfg is a boot.cfg as mboot reads it.
type BootCfg struct {
	Kernel    string
	KernelOpt string
	Modules   []string // each with its options, as written
	Title     string
	Prefix    string
	NoBootIF  bool
	Crypto    string
	Other     map[string]string // keys that mboot knows and that change nothing here
}

// The limits of mboot's own buffers: a kernel with its options, a module with
// its.
const (
	maxKernelLine = 4096
	maxModuleLine = 256
	maxBootCfg    = 1 << 20
)

// mbootKeys are the keys that some mboot reads, in the order in which it
// compares them. It compares as many characters as the file has, so that "k"
// is kernel: an abbreviation is found by the first key that begins with it.
func mbootKeys() []string {
	return []string{
		"kernel", "kernelopt", "modules", "title", "prefix", "nobootif", "timeout", "noquirks", "norts",
		"crypto", "nativehttp", "runtimewd", "tftpblksize", "acpitables", "runtimewdtimeout", "skip", "errtimeout",
	}
}

// numeric says whether a key's value must be a number, or the file is refused.
func numeric(key string) bool {
	switch key {
	case "nobootif", "timeout", "noquirks", "norts", "nativehttp", "runtimewd", "tftpblksize", "runtimewdtimeout", "skip", "errtimeout":
		return true
	}
	return false
}

// ParseBootCfg reads a boot.cfg as the loader does. What the loader would
// silently misread is an error, too.
func ParseBootCfg(data []byte) (*BootCfg, error) {
	if len(data) > maxBootCfg {
		return nil, errors.New("larger than any boot.cfg")
	}
	c := &BootCfg{Other: map[string]string{}}
	for n, line := range strings.Split(string(data), "\n") {
		if err := c.line(squeeze(line)); err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
	}
	if c.Kernel == "" {
		return nil, errors.New("no kernel: the loader says \"kernel=<FILEPATH> must be set\"")
	}
	return c, nil
}

// squeeze makes one blank of each run of white space, and none at the ends.
func squeeze(line string) string { return strings.Join(strings.Fields(line), " ") }

func (c *BootCfg) line(line string) error {
	if line == "" || line[0] == '#' {
		return nil
	}
	if strings.ContainsRune(line, 0) {
		return errors.New("a zero byte, at which the loader stops reading")
	}
	key, value, ok := strings.Cut(line, "=")
	if !ok {
		return fmt.Errorf("%q: no key=value", line)
	}
	if trimmed := strings.TrimRight(key, " "); trimmed != key {
		return fmt.Errorf("blank before the = of %q: the loader does not know such a key", trimmed)
	}
	name, err := findKey(key)
	if err != nil || name == "" {
		return err
	}
	return c.set(name, strings.TrimLeft(value, " "))
}

// findKey is the key that mboot takes an abbreviation for; empty if it ignores
// the line. An abbreviation that we would write is surely a mistake.
func findKey(key string) (string, error) {
	lower := strings.ToLower(key)
	if slices.Contains(mbootKeys(), lower) {
		return lower, nil
	}
	for _, k := range mbootKeys() {
		if strings.HasPrefix(k, lower) {
			return "", fmt.Errorf("key %q: the loader takes it for %s", key, k)
		}
	}
	return "", nil
}

func (c *BootCfg) set(name, value string) error {
	if numeric(name) && value != "" {
		if _, err := strconv.Atoi(value); err != nil || strings.HasPrefix(value, "+") {
			return fmt.Errorf("%s=%s: not a number, for which the loader refuses the file", name, value)
		}
	}
	switch name {
	case "kernel":
		c.Kernel = value
	case "kernelopt":
		c.KernelOpt = value
	case "modules":
		return c.setModules(value)
	case "title":
		c.Title = value
	case "prefix":
		c.Prefix = value
	case "crypto":
		c.Crypto = value
	case "nobootif":
		c.NoBootIF = value == "1"
	default:
		c.Other[name] = value
	}
	return nil
}

// setModules cuts the list at each "---", wherever that stands.
func (c *BootCfg) setModules(value string) error {
	c.Modules = nil
	if value == "" {
		return nil
	}
	for i, item := range strings.Split(value, "---") {
		item = strings.TrimSpace(item)
		if item == "" {
			return fmt.Errorf("module %d has no name", i+1)
		}
		c.Modules = append(c.Modules, item)
	}
	return nil
}

// makePath is mboot's way from a name in boot.cfg to what it asks for.
func makePath(prefix, dir, name string) string {
	name, _, _ = strings.Cut(name, " ")
	p := name
	if !absolute(name) {
		base := prefix
		if base == "" {
			base = dir
		}
		if base != "" {
			p = base + "/" + name
		}
	}
	return mergeSlashes(strings.ReplaceAll(p, `\`, "/"))
}

func absolute(p string) bool {
	return strings.HasPrefix(p, "/") || strings.HasPrefix(p, `\`) || isURL(p)
}

// mergeSlashes makes one of several, but for the first "://".
func mergeSlashes(p string) string {
	scheme, rest, ok := strings.Cut(p, "://")
	if !ok {
		scheme, rest = "", p
	}
	for strings.Contains(rest, "//") {
		rest = strings.ReplaceAll(rest, "//", "/")
	}
	if ok {
		return scheme + "://" + rest
	}
	return rest
}
