package rom

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// An mboot is a running ESXi boot loader.
type mboot struct {
	*boot
	src    source
	native bool     // loaded by the firmware's own HTTP
	ipxe   bool     // loaded by iPXE, whose addresses it can use
	args   []string // its command line
}

// mbootOptions are what was on the command line.
type mbootOptions struct {
	cfg   string
	stay  bool     // no -e: it hangs when it fails
	extra []string // for the kernel
}

// nativeMboot is an mboot that the firmware loaded, by TFTP or by HTTP. By HTTP
// its options may be in the loader's query.
func (b *boot) nativeMboot(name string, src source) error {
	l := &mboot{boot: b, src: src, native: b.Firmware == UEFIHTTP}
	if l.native {
		args, err := queryOptions(name)
		if err != nil {
			return fail("boot.cfg", err)
		}
		l.args = args
		began := time.Now()
		lease, err := b.dhcp(plainAsk())
		if err != nil {
			return fail("dhcp of mboot", fmt.Errorf("it asks once more, and does not say what it is: %w", err))
		}
		if lease.Addr != b.lease.Addr {
			return fail("dhcp of mboot", fmt.Errorf("another address: the firmware had %s, mboot gets %s", b.lease.Addr, lease.Addr))
		}
		b.tell("dhcp", began, 0, "%s to mboot", lease.Addr)
	}
	return l.run()
}

// mboot is an mboot that iPXE started. It never comes back: what fails is the
// boot's failure, even where a script has a word for it.
func (i *ipxe) mboot(img *image) error {
	l := &mboot{boot: i.boot, src: ipxeSource{i.boot, img.url}, ipxe: true, args: img.args}
	if err := l.run(); err != nil {
		return stop{err}
	}
	return errDone
}

// queryOptions reads "?-c&http%3A%2F%2F...&-S&1", as mboot 8.0 does. A slash
// that is not escaped ends what it takes for the loader's path.
func queryOptions(loader string) ([]string, error) {
	_, query, ok := strings.Cut(loader, "?")
	if !ok || !strings.HasPrefix(query, "-") {
		return nil, nil
	}
	if strings.Contains(query, "/") {
		return nil, errors.New("the loader's query has a / that is not escaped")
	}
	var args []string
	for _, word := range strings.Split(query, "&") {
		s, err := url.QueryUnescape(word)
		if err != nil {
			return nil, fmt.Errorf("the loader's query: %v", err)
		}
		args = append(args, s)
	}
	return args, nil
}

// parseOptions reads mboot's command line. Only those options are known that
// every mboot since 6.5 knows: for any other one of them hangs.
func parseOptions(args []string) (*mbootOptions, error) {
	o := &mbootOptions{stay: true}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		flag := args[0]
		args = args[1:]
		switch flag {
		case "-e":
			o.stay = false
			continue
		case "-V", "-D", "-H", "-Q", "-U", "-a":
			continue
		case "-c", "-S", "-s", "-t", "-R", "-p":
		default:
			return nil, fmt.Errorf("option %s: not every mboot knows it; one that does not stops with \"Fatal error: 32 (Syntax)\"", flag)
		}
		if len(args) == 0 {
			return nil, fmt.Errorf("option %s: without its value", flag)
		}
		if flag == "-c" {
			o.cfg = args[0]
		}
		args = args[1:]
	}
	o.extra = args
	return o, nil
}

func (l *mboot) run() error {
	if slices.Contains(l.args, "---") {
		return l.classic()
	}
	o, err := parseOptions(l.args)
	if err != nil {
		return fail("mboot", err)
	}
	cfg, dir, err := l.configure(o)
	if err != nil {
		return fail("boot.cfg", err)
	}
	l.result.Outcome, l.result.BootCfg = ESXi, cfg
	if err := l.commandLine(cfg, dir, o.extra); err != nil {
		return fail("boot.cfg", err)
	}
	if err := l.loadAll(cfg, dir); err != nil {
		return err
	}
	return l.installer()
}

// classic is the mboot.c32 of ESXi 4 and of SYSLINUX: kernel, options and
// modules are its arguments. It asks for no size and checks no option.
func (l *mboot) classic() error {
	line := strings.Join(l.args, " ")
	parts := strings.Split(line, "---")
	words := strings.Fields(parts[0])
	if len(words) == 0 {
		return fail("mboot", errors.New("no kernel before the first ---"))
	}
	cfg := &BootCfg{Kernel: words[0], KernelOpt: strings.Join(words[1:], " ")}
	if err := cfg.setModules(strings.Join(parts[1:], "---")); err != nil {
		return fail("mboot", err)
	}
	l.result.Outcome, l.result.BootCfg = ESXi, cfg
	l.result.CommandLine = cfg.KernelOpt
	if err := l.loadAll(cfg, ""); err != nil {
		return err
	}
	if ks := option(l.result.CommandLine, "ks"); ks != "" {
		return l.answer(ks, func(string) error { return nil })
	}
	return nil
}

// configure finds and reads boot.cfg; dir is the directory it was found in.
func (l *mboot) configure(o *mbootOptions) (cfg *BootCfg, dir string, err error) {
	var missing error
	for _, name := range l.candidates(o) {
		began := time.Now()
		data, err := l.src.load(name, text)
		if err != nil {
			if missing == nil || !notFound(err) {
				missing = err
			}
			if notFound(err) {
				continue
			}
			return nil, "", err
		}
		cfg, err := ParseBootCfg(data)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", Redact(l.where(name)), err)
		}
		l.tell("boot.cfg", began, int64(len(data)), "%s: %d modules", Redact(l.where(name)), len(cfg.Modules))
		return cfg, directory(name), nil
	}
	return nil, "", missing
}

// candidates are the names under which mboot looks for boot.cfg.
func (l *mboot) candidates(o *mbootOptions) []string {
	dir := l.src.dir()
	join := func(name string) string {
		if dir == "" {
			return name
		}
		return dir + "/" + name
	}
	switch {
	case o.cfg == "":
		return []string{join("01-" + joinHex(l.MAC, "-") + "/boot.cfg"), join("boot.cfg")}
	case absolute(o.cfg):
		return []string{mergeSlashes(o.cfg)}
	}
	return []string{mergeSlashes(join(o.cfg)), mergeSlashes("/" + o.cfg)}
}

// where is how a name is shown in messages.
func (l *mboot) where(name string) string {
	switch s := l.src.(type) {
	case ipxeSource:
		return resolve(s.base, name)
	case httpSource:
		return resolve(s.base, name)
	}
	return name
}

func directory(name string) string {
	name, _, _ = strings.Cut(name, "?")
	i := strings.LastIndex(name, "/")
	return name[:max(i, 0)]
}

// notFound knows an answer that says so, by either protocol.
func notFound(err error) bool {
	var status *statusError
	if errors.As(err, &status) {
		return status.status == 404
	}
	return strings.Contains(err.Error(), "error 1: ") || strings.Contains(err.Error(), "code: 1, ")
}

// path is where a file of boot.cfg is loaded from, if this mboot can.
func (l *mboot) path(cfg *BootCfg, dir, name string) (string, error) {
	p := makePath(cfg.Prefix, dir, name)
	switch {
	case l.native && !isURL(p):
		return "", fmt.Errorf("%s: the firmware's HTTP loads full addresses only; prefix= must be one", p)
	case !l.native && !l.ipxe && isURL(p):
		return "", fmt.Errorf("%s: loaded by TFTP, mboot has no other protocol", Redact(p))
	case strings.ContainsAny(p, " \t"):
		return "", fmt.Errorf("%q: a path with a blank", p)
	}
	return p, nil
}

// commandLine puts the kernel's command line together, within mboot's limits.
func (l *mboot) commandLine(cfg *BootCfg, dir string, extra []string) error {
	words := strings.Fields(cfg.KernelOpt)
	words = append(words, extra...)
	bootif := "BOOTIF=01-" + joinHex(l.MAC, "-")
	given := ""
	for _, w := range words {
		if strings.HasPrefix(w, "BOOTIF=") {
			given = w
		}
	}
	switch {
	case given != "" && given != bootif:
		return fmt.Errorf("%s: the machine boots from %s", given, bootif)
	case given == "" && !cfg.NoBootIF && l.Firmware.efi():
		words = append(words, bootif)
	case given == "" && !l.Firmware.efi():
		return fmt.Errorf("no BOOTIF: under BIOS it must be passed, as BOOTIF=01-${netX/mac:hexhyp}; without it the installer asks on the wrong network")
	}
	l.result.CommandLine = strings.Join(words, " ")
	kernel, err := l.path(cfg, dir, cfg.Kernel)
	if err != nil {
		return err
	}
	if n := len(kernel) + 1 + len(l.result.CommandLine); n >= maxKernelLine {
		return fmt.Errorf("kernel with options has %d bytes, mboot's limit is %d", n, maxKernelLine)
	}
	for _, w := range words {
		if w == "cdromBoot" {
			return errors.New("kernelopt has cdromBoot: the installer would look for a disc")
		}
	}
	return l.checkModules(cfg, dir)
}

func (l *mboot) checkModules(cfg *BootCfg, dir string) error {
	for _, item := range cfg.Modules {
		p, err := l.path(cfg, dir, item)
		if err != nil {
			return err
		}
		_, options, _ := strings.Cut(item, " ")
		if n := len(p) + 1 + len(options); n > maxModuleLine {
			return fmt.Errorf("module %s has %d bytes with its options, mboot's limit is %d", Redact(p), n, maxModuleLine)
		}
	}
	return nil
}
