package linux

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"margay/netboot"
	"margay/nodedb"
	"margay/provision"
	"margay/templates"
)

// Work is what a machine loads that is to work, or to test its memory, before
// or beside its operating system: a family whose systems are genesis, the small
// system that mknb makes, and memtest, which the operator brings.
type Work struct{ templates *templates.Set }

// NewWork returns the family.
func NewWork(set *templates.Set) *Work { return &Work{templates: set} }

// The names of the two systems, and of their files below <name>/<arch>.
const (
	osWork    = "genesis"
	osMemtest = "memtest"

	workKernel   = "kernel"
	workInitrd   = "initrd.gz"
	workPrograms = "programs" // what there is to run in it, one a line

	memtestBIOS = "memtest86+x64.bin" // as Debian's memtest86+ names them
	memtestUEFI = "memtest86+x64.efi"

	destinyName = "destiny" // what the machine is to do now
	workName    = "work.sh" // how
)

// Name implements provision.Family.
func (w *Work) Name() string { return "work" }

// Owns implements provision.Family.
func (w *Work) Owns(os string) bool { return os == osWork || os == osMemtest }

// Recognize implements provision.Family: there are no media of it.
func (w *Work) Recognize(fs.FS) (*provision.Release, error) { return nil, nil }

// Loader implements provision.Family.
func (w *Work) Loader(b *provision.Boot) (string, error) {
	return "", fmt.Errorf("%s: iPXE starts its kernel: %w", b.OS, nodedb.ErrNotFound)
}

// Kernel is the path of the kernel that iPXE starts.
func (w *Work) Kernel(b *provision.Boot) (string, error) {
	mods, err := w.Modules(b)
	if err != nil {
		return "", err
	}
	return mods[0].Name, nil
}

// Files implements provision.Family.
func (w *Work) Files(b *provision.Boot) []string {
	if b.OS == osMemtest {
		return []string{scriptName}
	}
	names := []string{scriptName, destinyName}
	if b.Mode == nodedb.ModeCommand || b.Mode == nodedb.ModeArchive {
		names = append(names, workName)
		if hasPostscripts(b) {
			names = append(names, packName)
		}
	}
	return names
}

// Modules implements provision.Family.
func (w *Work) Modules(b *provision.Boot) ([]provision.Module, error) {
	if b.OS == osMemtest {
		name := memtestBIOS
		if b.Firmware != netboot.BIOS && b.Firmware != netboot.FirmwareUnknown {
			name = memtestUEFI
		}
		return treeModules(b, name)
	}
	return treeModules(b, workKernel, workInitrd)
}

func treeModules(b *provision.Boot, names ...string) ([]provision.Module, error) {
	var out []provision.Module
	for _, name := range names {
		fi, err := fs.Stat(b.Tree, name)
		if err != nil || fi.Size() == 0 {
			return nil, fmt.Errorf("no %s in %s of the install directory: %w", name, path.Join(b.OS, b.Arch), nodedb.ErrNotFound)
		}
		out = append(out, provision.Module{Name: name, Size: fi.Size()})
	}
	return out, nil
}

// Make implements provision.Family.
func (w *Work) Make(b *provision.Boot, name string) ([]byte, error) {
	if !slices.Contains(w.Files(b), name) {
		return nil, fmt.Errorf("%s: no such file in this boot: %w", name, nodedb.ErrNotFound)
	}
	switch name {
	case scriptName:
		return w.script(b)
	case destinyName:
		return w.destiny(b), nil
	case packName:
		return packPostscripts(b.Install)
	}
	return w.job(b)
}

func (w *Work) script(b *provision.Boot) ([]byte, error) {
	r := &reader{provision.Columns{Boot: b}}
	_, speed, serial := r.serial()
	mods, err := w.Modules(b)
	if err != nil {
		return nil, err
	}
	d := ScriptData{
		Node: b.Node.Name, State: b.Node.CurrState, Server: b.Server.String(),
		Kernel: b.TreeURL() + "/" + mods[0].Name, Failed: b.CallbackURL("failed"),
	}
	if d.State = string(b.Mode); b.Arg != "" {
		d.State += "=" + b.Arg
	}
	switch {
	case b.OS == osMemtest && serial != "":
		// Its own serial console is not Linux's: no speed but in this form.
		d.Arguments = " console=" + strings.SplitN(serial, ",", 2)[0] + "," + speed
	case b.OS == osWork:
		d.Initrd = b.TreeURL() + "/" + mods[1].Name
		args := []string{"initrd=" + workInitrd, "margay.work=" + strings.TrimSuffix(b.URL(""), "/"), bootif, "panic=60", "quiet"}
		if serial != "" {
			args = append(args, "console=tty0", "console="+serial)
		}
		d.Arguments = " " + strings.Join(args, " ")
	}
	if strings.ContainsAny(d.State, "${}\r\n") {
		return nil, fmt.Errorf("%s: %q cannot stand in an iPXE script: %w", b.Mode, d.State, nodedb.ErrInvalid)
	}
	t, err := w.templates.Noting(b.Looked).Find("ipxe/linux.ipxe")
	if err != nil {
		return nil, err
	}
	return t.Render(d)
}

// destiny is read by the small system, line by line and never run: which step
// it is at, and where to say so. What is to be run is behind the token.
func (w *Work) destiny(b *provision.Boot) []byte {
	var out bytes.Buffer
	say := b.CallbackURL("")
	fmt.Fprintf(&out, "id=%s\nstep=%s\nsay=%s\nrun=%s\n", firstOf(b.Step, "STEP"), b.Mode, say[:len(say)-1], b.SecretURL(workName))
	r := &reader{provision.Columns{Boot: b}}
	for _, key := range r.Keys("site sshkeys", b.Snap.Site("sshkeys")) {
		fmt.Fprintf(&out, "key=%s\n", key)
	}
	return out.Bytes()
}

// WorkData is what templates/linux/work.sh is filled in with.
type WorkData struct {
	Node  string
	State string   // runcmd=setup 1
	Env   []string // NAME='value'
	Pack  string   // address of the postscripts; empty: none
	Image string   // runimage: the address of an archive with runme.sh in it
	Fetch string   // runcmd: the address of the program; empty: it is a postscript, or in the system
	Words string   // the command, as words for a shell
}

func (w *Work) job(b *provision.Boot) ([]byte, error) {
	d := WorkData{Node: b.Node.Name, State: string(b.Mode) + "=" + b.Arg}
	set, err := readSettings(b)
	if err != nil {
		return nil, err
	}
	own := *b
	own.OS, own.Arch, own.Profile = b.Node.OS, b.Arch, b.Node.Profile
	d.Env = (&node{Boot: &own, set: set}).environment()
	if hasPostscripts(b) {
		d.Pack = b.SecretURL(packName)
	}
	words := strings.Fields(b.Arg)
	switch {
	case b.Mode == nodedb.ModeArchive:
		if len(words) != 1 {
			return nil, fmt.Errorf("runimage=%s: one address is wanted: %w", b.Arg, nodedb.ErrInvalid)
		}
		d.Image, err = workAddress(words[0])
	case strings.Contains(words[0], "://"):
		d.Fetch, err = workAddress(words[0])
		words[0] = "./fetched"
	default:
		err = w.checkProgram(b, words[0])
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.State, err)
	}
	for i, word := range words {
		words[i] = shellQuote(word)
	}
	d.Words = strings.Join(words, " ")
	t, err := w.templates.Find("linux/work.sh")
	if err != nil {
		return nil, err
	}
	return t.Render(d)
}

// workAddress checks an address that the small system fetches from.
func workAddress(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.Host == "" || strings.ContainsAny(text, "'\"`\\$") {
		return "", fmt.Errorf("%q is not an address as http://server/file; the small system knows no certificates to check https with: %w", text, nodedb.ErrInvalid)
	}
	return text, nil
}

// checkProgram finds a command among the postscripts and in the small system.
func (w *Work) checkProgram(b *provision.Boot, name string) error {
	if !scriptWord.MatchString(name) {
		return fmt.Errorf("%q is not a command's name: %w", name, nodedb.ErrInvalid)
	}
	if b.Install != nil {
		if fi, err := fs.Stat(b.Install, path.Join(postDir, name)); err == nil && fi.Mode().IsRegular() {
			return nil
		}
	}
	list, err := fs.ReadFile(b.Tree, workPrograms)
	if err != nil || slices.Contains(strings.Fields(string(list)), name) {
		return nil
	}
	return fmt.Errorf("%s is neither in %s of the install directory nor in the small system; put it there, or mknb --with %s: %w", name, postDir, name, nodedb.ErrInvalid)
}

// Workimage implements provision.Worker: kernel, drivers and busybox of a
// root, which may be the server's own.
func (w *Work) Workimage(ctx context.Context, b *provision.ImageBuild) error {
	m := &maker{ImageBuild: b, family: &Family{templates: w.templates}}
	if m.Say == nil {
		m.Say = func(string, ...any) {}
	}
	m.root = m.Root
	if kernels, _ := filepath.Glob(filepath.Join(m.root, "boot", "vmlinuz-*")); len(kernels) == 0 {
		return fmt.Errorf("no kernel in %s; install one (Debian: linux-image-amd64), or name another root with --root: %w", filepath.Join(m.root, "boot"), nodedb.ErrNotFound)
	}
	m.Say("Creating genesis for %s", b.Image.Arch)
	if err := m.findKernel(ctx); err != nil {
		return err
	}
	m.Say("kernel %s, with %s", m.kernel, strings.Join(append([]string{"busybox"}, m.With...), ", "))
	m.initrd = initrdPlan{name: workInitrd, init: "linux/work-init.sh", drivers: slices.Concat(driverDirs, workDrivers), with: m.With}
	if err := m.writeInitrd(ctx); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(m.Dir, workPrograms), []byte(strings.Join(m.programs, "\n")+"\n"), 0o644)
}

// workDrivers are those of disks, and of what a board tells of itself.
var workDrivers = []string{
	"kernel/drivers/ata", "kernel/drivers/scsi", "kernel/drivers/nvme", "kernel/drivers/block", "kernel/drivers/message", "kernel/drivers/md",
	"kernel/drivers/char/ipmi", "kernel/drivers/acpi", "kernel/drivers/usb", "kernel/drivers/hid", "kernel/drivers/cdrom",
	"kernel/fs/ext4", "kernel/fs/jbd2", "kernel/fs/mbcache.ko", "kernel/fs/xfs", "kernel/fs/fat", "kernel/fs/isofs", "kernel/fs/nls", "kernel/arch",
}
