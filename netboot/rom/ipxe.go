package rom

import (
	"errors"
	"fmt"
	"path"
	"slices"
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
