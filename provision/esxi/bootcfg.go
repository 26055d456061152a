package esxi

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// A Config is a boot.cfg, which mboot reads (github.com/vmware/esx-boot).
// Lines that are not changed, comments and unknown keys among them, are
// written as they were read, in their order.
//
// The grammar as the released loaders have it: one key=value a line, runs of
// blanks count as one, # starts a comment line, keys in any case, the last of
// equal keys holds. A blank before "=" is meant to be allowed and is not: the
// key with its blank is an unknown one, and is kept as such.
type Config struct{ lines []line }

type line struct {
	raw string
	key string // the known key's full name, else as written, lower case; "" for comments
	val string
}

// known are the keys that loaders know. A line's key stands for the first
// that begins with it, so that an abbreviation works and an empty key is kernel.
var known = []string{
	"kernel", "kernelopt", "modules", "title", "prefix", "nobootif", "timeout", "noquirks", "norts",
	"crypto", "nativehttp", "runtimewd", "runtimewdtimeout", "tftpblksize", "acpitables", "skip", "errtimeout",
}

// numbers are the keys whose values must be whole numbers: another value is
// fatal to the loader.
var numbers = []string{"nobootif", "timeout", "noquirks", "norts", "nativehttp", "runtimewd", "runtimewdtimeout", "tftpblksize", "skip", "errtimeout"}

// ParseConfig reads a boot.cfg. It returns an error for what a loader would
// stop at.
func ParseConfig(text string) (*Config, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("boot.cfg: %w", errTooLong)
	}
	c := &Config{}
	for i, raw := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		l := parseLine(strings.TrimSuffix(raw, "\r"))
		if slices.Contains(numbers, l.key) && l.val != "" && !isNumber(l.val) {
			return nil, fmt.Errorf("boot.cfg line %d: %s=%s: not a number, which stops the boot loader", i+1, l.key, l.val)
		}
		c.lines = append(c.lines, l)
	}
	return c, nil
}

func parseLine(raw string) line {
	l := line{raw: raw}
	text := strings.Join(strings.Fields(strings.ReplaceAll(raw, "\x00", " ")), " ")
	key, val, ok := strings.Cut(text, "=")
	if !ok || strings.HasPrefix(text, "#") {
		return l
	}
	l.key, l.val = strings.ToLower(key), strings.TrimSpace(val)
	for _, k := range known {
		if strings.HasPrefix(k, l.key) {
			l.key = k
			break
		}
	}
	return l
}

func isNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// Get returns a key's value, "" if it has none.
func (c *Config) Get(key string) string {
	for _, l := range slices.Backward(c.lines) {
		if l.key == key && l.key != "" {
			return l.val
		}
	}
	return ""
}

// Set puts a value in place of the key's last line and drops its others; a key
// that was not there comes last.
func (c *Config) Set(key, val string) {
	l := line{raw: key + "=" + val, key: key, val: val}
	at := -1
	for i, old := range c.lines {
		if old.key == key {
			at = i
		}
	}
	if at < 0 {
		c.lines = append(c.lines, l)
		return
	}
	c.lines[at] = l
	i := -1
	c.lines = slices.DeleteFunc(c.lines, func(l line) bool { i++; return l.key == key && i != at })
}

// Delete drops all lines of a key.
func (c *Config) Delete(key string) {
	c.lines = slices.DeleteFunc(c.lines, func(l line) bool { return l.key == key && key != "" })
}

// Text is the file. It ends with a newline.
func (c *Config) Text() string {
	var b strings.Builder
	for _, l := range c.lines {
		b.WriteString(l.raw)
		b.WriteByte('\n')
	}
	return b.String()
}

// A ConfigModule is one item of modules=: a path, and options after a blank.
type ConfigModule struct{ Path, Options string }

func (m ConfigModule) String() string {
	if m.Options == "" {
		return m.Path
	}
	return m.Path + " " + m.Options
}

// Kernel is the kernel with the options of its own line; those of kernelopt=
// are Options.
func (c *Config) Kernel() ConfigModule { return parseModule(c.Get("kernel")) }

// Modules are the items of modules=, in order.
func (c *Config) Modules() []ConfigModule { return parseModules(c.Get("modules")) }

// parseModules splits at "---", wherever it stands.
func parseModules(text string) []ConfigModule {
	var out []ConfigModule
	for item := range strings.SplitSeq(text, "---") {
		if m := parseModule(item); m.Path != "" {
			out = append(out, m)
		}
	}
	return out
}

func parseModule(item string) ConfigModule {
	p, options, _ := strings.Cut(strings.TrimSpace(item), " ")
	return ConfigModule{p, strings.TrimSpace(options)}
}

// SetModules writes modules=.
func (c *Config) SetModules(list []ConfigModule) { c.Set("modules", joinModules(list)) }

func joinModules(list []ConfigModule) string {
	items := make([]string, len(list))
	for i, m := range list {
		items[i] = m.String()
	}
	return strings.Join(items, " --- ")
}

// Options are the words of kernelopt=.
func (c *Config) Options() []string { return strings.Fields(c.Get("kernelopt")) }

// isAbsolute says whether a path of a boot.cfg ignores its prefix.
func isAbsolute(p string) bool {
	return strings.HasPrefix(p, "/") || strings.HasPrefix(p, `\`) || strings.Contains(p, "://")
}

// inTree is the path in the install tree that a path of the medium's boot.cfg
// means, with the prefix of that boot.cfg.
func inTree(p, prefix string) string {
	p = strings.ReplaceAll(p, `\`, "/")
	if prefix != "" && !strings.Contains(prefix, "://") && !isAbsolute(p) {
		p = path.Join(strings.ReplaceAll(prefix, `\`, "/"), p)
	}
	return strings.TrimLeft(path.Clean("/"+p), "/")
}

// The loader's limits: what it copies a module's path with its options, and
// the kernel's with all of its options, into. (esx-boot 6.7 and later; older
// ones are not published.)
const (
	maxModule = 256
	maxKernel = 4096
)

// Check says what of a finished boot.cfg a loader would stop at.
func (c *Config) Check() error {
	kernel, modules := c.Kernel(), c.Modules()
	if kernel.Path == "" {
		return errors.New("boot.cfg has no kernel= line; note that no blank may stand before the =")
	}
	prefix := c.Get("prefix")
	if n := len(full(prefix, kernel.Path)) + 1 + len(kernel.Options) + 1 + len(c.Get("kernelopt")); n >= maxKernel {
		return fmt.Errorf("the kernel's line has %d bytes and the boot loader takes %d; shorten addkcmdline", n, maxKernel-1)
	}
	for _, m := range modules {
		url := full(prefix, m.Path)
		if n := len(url) + 1 + len(m.Options); n >= maxModule {
			return fmt.Errorf("module %s has %d bytes with its address and the boot loader takes %d; use a shorter os name", path.Base(m.Path), n, maxModule-1)
		}
		if strings.ContainsAny(url, " \t") {
			return fmt.Errorf("module %s: the boot loader takes no blank in a path", url)
		}
	}
	if strings.Contains(prefix, "---") {
		return fmt.Errorf("prefix %s holds ---, at which the boot loader splits; use another os name", prefix)
	}
	return nil
}

// full is a path as the loader will ask for it.
func full(prefix, p string) string {
	if prefix == "" || isAbsolute(p) {
		return p
	}
	return prefix + "/" + p
}
