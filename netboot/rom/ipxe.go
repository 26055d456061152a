package rom

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxChain bounds scripts that start scripts.
const maxChain = 16

// An ipxe is a running iPXE or xNBA.
type ipxe struct {
	*boot
	class   string // user class
	comboot bool   // can start COM32 programs
	set     settings
	images  []*image
	chosen  *image // what imgexec without a name starts
	base    string // where the running script came from
	fault   error  // a file that was not had, or not started, and what the script did about it
	depth   int
}

// An image is a file that has been fetched.
type image struct {
	name string
	url  string
	args []string
	data []byte
	took time.Duration // to fetch it
}

// began is when it would have been asked for, had it been used at once.
func (i *image) began() time.Time { return time.Now().Add(-i.took) }

// ipxe runs an iPXE: DHCP again, then what it is told.
func (b *boot) ipxe(i *ipxe) error {
	i.boot = b
	began := time.Now()
	before := b.lease
	lease, err := b.dhcp(b.loaderAsk(i))
	if err != nil {
		return fail("dhcp of iPXE", err)
	}
	if before.Addr.IsValid() && lease.Addr.Addr() != before.Addr.Addr() {
		return fail("dhcp of iPXE", fmt.Errorf("another address: the firmware had %s, iPXE gets %s", before.Addr, lease.Addr))
	}
	b.lease = *lease
	b.result.Lease = *lease
	b.tell("dhcp", began, 0, "%s to %s, file %s", lease.Addr, i.class, Redact(lease.File))
	if lease.File == "" {
		return fail("dhcp of iPXE", errors.New("no boot file: iPXE has nothing to do"))
	}
	i.set = b.settings(i)
	return i.autoboot(before)
}

// autoboot starts what DHCP names.
func (i *ipxe) autoboot(before Lease) error {
	file := i.lease.File
	if file == before.File || !isURL(file) && whatLoader(file, nil) == loaderIPXE {
		return i.chainload(file, before)
	}
	img, err := i.fetch(file, nil)
	if err != nil {
		return fail("script", err)
	}
	err = i.execute(img)
	var exit exitScript
	var inner *Error
	switch {
	case errors.Is(err, errDone):
		return nil
	case errors.As(err, &inner):
		return inner
	case err == nil || errors.As(err, &exit):
		if i.fault != nil { // caught by the script, and yet not what was meant
			return fail("script", i.withScreen(i.fault))
		}
		return i.localDisk("the script ended")
	}
	if i.fault != nil {
		err = fmt.Errorf("%w; before that: %w", err, i.fault)
	}
	return fail("script", i.withScreen(err))
}

// chainload is an iPXE that is sent an iPXE: right for one that lacks COMBOOT,
// a circle for any other.
func (i *ipxe) chainload(file string, before Lease) error {
	if before.File != "" || i.comboot {
		return fail("dhcp of iPXE", fmt.Errorf("%s is sent its own loader, %s, once more: it would go round in a circle", i.class, file))
	}
	began := time.Now()
	data, err := ipxeSource{i.boot, ""}.load(file, program)
	if err != nil {
		return fail("loader", err)
	}
	if _, err := i.identify(file, data); err != nil {
		return fail("loader", err)
	}
	i.result.Loader = file
	i.tell("loader", began, int64(len(data)), "%s by %s", file, i.class)
	return i.boot.ipxe(&ipxe{class: i.userClass("xNBA"), comboot: true})
}

func (i *ipxe) localDisk(why string) error {
	i.result.Outcome = LocalDisk
	i.tell("local disk", time.Now(), 0, "%s", why)
	return nil
}

// withScreen adds what the script said last: it is there to explain.
func (i *ipxe) withScreen(err error) error {
	said := i.result.Screen
	if len(said) == 0 {
		return err
	}
	return fmt.Errorf("%w; on the screen: %s", err, RedactText(strings.Join(said[max(0, len(said)-3):], " / ")))
}

// fetch loads an image. Programs and scripts are kept.
func (i *ipxe) fetch(ref string, args []string) (*image, error) {
	at := resolve(i.base, ref)
	name := path.Base(strings.SplitN(at, "?", 2)[0])
	began := time.Now()
	data, err := ipxeSource{i.boot, i.base}.load(ref, program)
	if err != nil {
		return nil, err
	}
	img := &image{name: name, url: at, args: args, data: data, took: time.Since(began)}
	i.images = append(i.images, img)
	return img, nil
}

// find finds an image by its name, the newest first.
func (i *ipxe) find(name string) *image {
	for _, img := range slices.Backward(i.images) {
		if img.name == name {
			return img
		}
	}
	return nil
}

// execute starts an image, by what is in it as iPXE does.
func (i *ipxe) execute(img *image) error {
	switch {
	case isScript(img.data):
		return i.runScript(img)
	case isCOM32(img.data) || strings.HasSuffix(strings.ToLower(img.name), ".c32"):
		return i.com32(img)
	case isKernel(img.data):
		return i.linux(img)
	}
	if err := i.program(img); err != nil {
		return err
	}
	switch whatLoader(img.name, img.data) {
	case loaderMboot:
		i.result.Loader = or(i.result.Loader, img.url)
		i.tell("loader", img.began(), int64(len(img.data)), "%s", Redact(img.url))
		return i.mboot(img)
	case loaderIPXE:
		return stop{errors.New(img.name + ": an iPXE that starts an iPXE; that is not played")}
	}
	return stop{fmt.Errorf("%s: neither a script, nor mboot, nor a kernel; what it would do is not known", Redact(img.url))}
}

// program checks that iPXE could start img.
func (i *ipxe) program(img *image) error {
	if len(img.data) == 0 {
		return fmt.Errorf("%s: empty", Redact(img.url))
	}
	if i.AnyLoader {
		return nil
	}
	if err := i.startable(img.data); err != nil {
		return fmt.Errorf("%s: %w (exec format error)", Redact(img.url), err)
	}
	return nil
}

// com32 starts a COM32 program, which of all builds only those with COMBOOT
// can, and no UEFI one.
func (i *ipxe) com32(img *image) error {
	if i.Firmware.efi() {
		return fmt.Errorf("%s: a COM32 program, which UEFI cannot start", Redact(img.url))
	}
	if !i.comboot {
		return fmt.Errorf("%s: this iPXE has no COMBOOT (feature 0x23), it cannot start COM32 programs", Redact(img.url))
	}
	if len(img.data) == 0 {
		return fmt.Errorf("%s: empty", Redact(img.url))
	}
	i.tell("loader", img.began(), int64(len(img.data)), "%s", Redact(img.url))
	return i.mboot(img)
}

func (i *ipxe) runScript(img *image) error {
	if i.depth++; i.depth > maxChain {
		return stop{errors.New("scripts that start scripts without end")}
	}
	defer func(base string) { i.base, i.depth = base, i.depth-1 }(i.base)
	s, err := parseScript(img.data)
	if err != nil {
		return err
	}
	if i.result.Script == "" {
		i.result.Script = img.url
	}
	i.tell("script", img.began(), int64(len(img.data)), "%s", Redact(img.url))
	i.base = img.url
	i.forget(img)
	return s.run(i.set, i)
}

// forget drops an image; a script is no initrd of what it starts.
func (i *ipxe) forget(img *image) {
	i.images = slices.DeleteFunc(i.images, func(x *image) bool { return x == img })
}

// linux starts a kernel; all other images are its initrds.
func (i *ipxe) linux(img *image) error {
	r := i.result
	r.Outcome, r.Kernel, r.CommandLine = Linux, img.url, strings.Join(img.args, " ")
	for _, x := range i.images {
		if x != img {
			r.Modules = append(r.Modules, Module{Redact(x.url), int64(len(x.data))})
		}
	}
	i.tell("kernel", img.began(), int64(len(img.data)), "%s with %d initrds", Redact(img.url), len(r.Modules))
	if err := i.linuxInstaller(); err != nil {
		return stop{err}
	}
	return errDone
}

func or(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}

// command runs one command of a script.
func (i *ipxe) command(args []string) error {
	if err := i.ctx.Err(); err != nil {
		return stop{err}
	}
	name, args := args[0], args[1:]
	switch name {
	case "echo":
		i.result.Screen = append(i.result.Screen, strings.Join(skipFlags(args), " "))
		return nil
	case "set":
		return i.setting(args)
	case "clear":
		return i.setting(args[:min(1, len(args))])
	case "isset":
		if len(args) == 0 {
			return errors.New("isset: not set")
		}
		return nil
	case "iseq":
		if len(args) != 2 {
			return errors.New("iseq: wants two words; an empty one is none")
		}
		if args[0] != args[1] {
			return fmt.Errorf("iseq: %q is not %q", args[0], args[1])
		}
		return nil
	case "goto":
		if len(args) != 1 {
			return errors.New("goto: wants a label")
		}
		return gotoLabel(args[0])
	case "exit":
		return exitCommand(args)
	case "sleep", "dhcp", "ifopen", "ifclose", "ifconf", "ifstat", "colour", "cpair", "console", "imgstat", "imgtrust", "imgverify", "sync", "route", "nstat":
		return nil // of no consequence here
	case "prompt":
		if slices.Contains(args, "--timeout") || slices.Contains(args, "-t") {
			return errors.New("prompt: nobody pressed a key")
		}
		return stop{errors.New("prompt: waits for a key for ever")}
	case "shell", "config", "login":
		return stop{errors.New(name + ": waits for a person")}
	case "reboot", "poweroff":
		return stop{errors.New("the script says " + name)}
	case "sanboot", "sanhook":
		return i.sanboot(name, args)
	}
	return i.imageCommand(name, args)
}

func exitCommand(args []string) error {
	if len(args) == 0 {
		return exitScript(0)
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return fmt.Errorf("exit %q: no number", args[0])
	}
	return exitScript(n)
}

// setting sets a value; without one it is cleared. A type after the name says
// how the value is written, which only strings need not.
func (i *ipxe) setting(args []string) error {
	if len(args) == 0 {
		return errors.New("set: wants a name")
	}
	name, _, _ := strings.Cut(args[0], ":")
	if len(args) == 1 {
		delete(i.set, name)
		return nil
	}
	i.set[name] = stringSetting(strings.Join(args[1:], " "))
	return nil
}

// sanboot of a local drive is how BIOS goes on to what is installed.
func (i *ipxe) sanboot(name string, args []string) error {
	rest := skipFlags(args, "--drive", "-d", "--filename", "-f")
	if len(rest) > 0 {
		return stop{fmt.Errorf("%s %s: booting from a SAN is not played", name, Redact(rest[0]))}
	}
	if name == "sanhook" {
		return nil
	}
	if i.Firmware.efi() && !slices.Contains(args, "--drive") && !slices.Contains(args, "-d") {
		return errors.New("sanboot: no drive")
	}
	if err := i.localDisk(strings.Join(append([]string{name}, args...), " ")); err != nil {
		return err
	}
	return errDone
}

// imageCommand runs those commands that fetch and start images.
func (i *ipxe) imageCommand(name string, args []string) error {
	err := i.imageCommands(name, args)
	if err != nil && !final(err) {
		err = fmt.Errorf("%s: %w", name, err)
		i.fault = err
	}
	return err
}

func (i *ipxe) imageCommands(name string, args []string) error {
	f, rest := imageFlags(args)
	switch name {
	case "imgfetch", "module", "initrd":
		_, err := i.need(f, rest, true)
		return err
	case "kernel", "imgselect", "imgload":
		img, err := i.need(f, rest, name == "kernel")
		if err == nil {
			i.chosen = img
		}
		return err
	case "imgargs":
		img := i.find(first(rest))
		if img == nil {
			return fmt.Errorf("no image %q", first(rest))
		}
		img.args = rest[1:]
		return nil
	case "imgfree":
		i.free(first(rest))
		return nil
	case "chain", "imgexec", "boot":
		return i.run(f, rest)
	}
	return errors.New("command not found")
}

func first(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return words[0]
}

func (i *ipxe) free(name string) {
	if name == "" {
		i.images, i.chosen = nil, nil
		return
	}
	if img := i.find(name); img != nil {
		i.forget(img)
	}
}

// run is chain, imgexec or boot: it starts an image, fetched before or now.
func (i *ipxe) run(f flags, rest []string) error {
	img := i.chosen
	if img == nil && len(i.images) == 1 {
		img = i.images[0]
	}
	if len(rest) > 0 {
		var err error
		if img, err = i.need(f, rest, false); err != nil {
			return err
		}
	}
	if img == nil {
		return errors.New("no image is selected")
	}
	return i.returned(i.execute(img))
}

// returned is what a command makes of a program that came back: a script that
// ended well, or one that left with a number.
func (i *ipxe) returned(err error) error {
	var exit exitScript
	if errors.As(err, &exit) {
		return fmt.Errorf("it came back: %s", exit.Error())
	}
	return err
}

// need finds an image by name, or fetches it. Words behind its name are its
// arguments.
func (i *ipxe) need(f flags, rest []string, anew bool) (*image, error) {
	if len(rest) == 0 {
		return nil, errors.New("no image is named")
	}
	if img := i.find(rest[0]); img != nil && !anew {
		if len(rest) > 1 {
			img.args = rest[1:]
		}
		return img, nil
	}
	img, err := i.fetch(rest[0], rest[1:])
	if err != nil {
		return nil, err
	}
	if f.name != "" {
		img.name = f.name
	}
	return img, nil
}

// flags are those options of the image commands that matter here.
type flags struct{ name string }

// imageFlags cuts the options off: iPXE wants them before the image.
func imageFlags(args []string) (f flags, rest []string) {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		flag, value, joined := strings.Cut(args[0], "=")
		args = args[1:]
		if !joined && slices.Contains([]string{"-n", "--name", "-t", "--timeout"}, flag) && len(args) > 0 {
			value, args = args[0], args[1:]
		}
		if flag == "-n" || flag == "--name" {
			f.name = value
		}
	}
	return f, args
}

// skipFlags drops options; those named have a value.
func skipFlags(args []string, valued ...string) []string {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		if slices.Contains(valued, args[0]) && len(args) > 1 {
			args = args[1:]
		}
		args = args[1:]
	}
	return args
}
