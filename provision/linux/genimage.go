package linux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
	"time"

	"margay/nodedb"
	"margay/provision"
)

// Genimage implements provision.Imager: a root by debootstrap, or one that the
// operator made, packed as a squashfs beside its kernel and an initial RAM
// disk that fetches it.
func (f *Family) Genimage(ctx context.Context, b *provision.ImageBuild) error {
	d, ok := parseOS(b.Image.OS)
	if !ok {
		return fmt.Errorf("osimage %s: osvers %q is not a Linux distribution that is known: %w", b.Image.Name, b.Image.OS, nodedb.ErrInvalid)
	}
	m := &maker{ImageBuild: b, family: f, node: &node{
		Boot:   &provision.Boot{Image: b.Image, OS: b.Image.OS, Arch: b.Image.Arch, Profile: b.Image.Profile},
		distro: d,
	}}
	if m.Say == nil {
		m.Say = func(string, ...any) {}
	}
	return m.make(ctx)
}

// A maker makes one image.
type maker struct {
	*provision.ImageBuild
	family   *Family
	node     *node
	root     string
	kernel   string // its version
	initrd   initrdPlan
	programs []string // what is in the initial RAM disk to run
}

func (m *maker) make(ctx context.Context) error {
	if err := m.tools(); err != nil {
		return err
	}
	m.root = m.Root
	if m.root == "" {
		m.root = filepath.Join(m.Dir, "rootimg")
		if err := m.debootstrap(ctx); err != nil {
			return err
		}
		defer os.RemoveAll(m.root)
	}
	m.initrd = initrdPlan{name: imageInitrd, init: "linux/diskless-init.sh", drivers: driverDirs}
	for _, step := range []func(context.Context) error{m.postinstall, m.exclude, m.findKernel, m.writeInitrd, m.squash} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// tools says what is missing on the server, all at once.
func (m *maker) tools() error {
	want := []string{"mksquashfs", "chroot"}
	if m.Root == "" {
		want = append(want, "debootstrap")
	}
	packages := map[string]string{"mksquashfs": "squashfs-tools", "debootstrap": "debootstrap", "chroot": "coreutils"}
	var missing []string
	for _, tool := range want {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, packages[tool])
		}
	}
	switch {
	case len(missing) > 0:
		return fmt.Errorf("genimage needs %s on the server; apt-get install %s", strings.Join(missing, " and "), strings.Join(missing, " "))
	case m.Root == "" && m.node.distro.name != "debian" && m.node.distro.name != "ubuntu":
		return fmt.Errorf("osimage %s: genimage makes roots of Debian and Ubuntu; for %s give it a root with --root DIR: %w", m.Image.Name, m.Image.OS, nodedb.ErrInvalid)
	case m.Root == "" && os.Geteuid() != 0:
		return fmt.Errorf("genimage unpacks packages into a root, which only root may; run margay serve as root, or give it a root with --root DIR")
	}
	return nil
}

// debootstrap makes the root.
func (m *maker) debootstrap(ctx context.Context) error {
	suite := m.node.suite()
	if suite == "" {
		return fmt.Errorf("osimage %s: no name of the release %s is known: %w", m.Image.Name, m.Image.OS, nodedb.ErrInvalid)
	}
	mirror, signed, err := m.mirror(suite)
	if err != nil {
		return err
	}
	d := &AnswerData{}
	if err := m.packages(d); err != nil {
		return err
	}
	args := []string{"--variant=minbase", "--merged-usr", "--arch=" + debArch(m.Image.Arch), "--include=" + strings.Join(d.Packages, ",")}
	if !signed {
		args = append(args, "--no-check-gpg")
	}
	defer m.unmount()
	m.Say("%s: %s from %s, with %s", m.Image.Name, suite, mirror, strings.Join(d.Packages, " "))
	return m.run(ctx, "debootstrap", append(args, suite, m.root, mirror)...)
}

// unmount takes what debootstrap mounts in the root out of it, should it have
// been stopped: what is mounted there is the server's own.
func (m *maker) unmount() {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return
	}
	var points []string
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], m.root+"/") {
			points = append(points, f[1])
		}
	}
	slices.Reverse(points) // the last mounted first
	for _, p := range points {
		if err := syscall.Unmount(p, syscall.MNT_DETACH); err != nil {
			m.Say("%s: cannot be unmounted: %v", p, err)
		}
	}
}

// mirror is where packages come from: as told, as pkgdir says, or the install
// tree, whose lists of packages are not signed as mirrors' are.
func (m *maker) mirror(suite string) (address string, signed bool, err error) {
	for _, dir := range append([]string{m.Mirror}, strings.Split(m.Image.PkgDir, ",")...) {
		if dir = strings.TrimSpace(dir); strings.HasPrefix(dir, "http://") || strings.HasPrefix(dir, "https://") {
			return dir, true, nil
		}
	}
	tree := filepath.Join(m.Install, m.Image.OS, m.Image.Arch)
	for _, dir := range append(strings.Split(m.Image.PkgDir, ","), tree) {
		if _, err := os.Stat(filepath.Join(dir, "dists", suite, "Release")); dir != "" && err == nil {
			return "file://" + dir, false, nil
		}
	}
	return "", false, fmt.Errorf("osimage %s: no packages of %s in %s; give it a mirror with --mirror, or with chdef -t osimage %s pkgdir=http://...: %w",
		m.Image.Name, suite, tree, m.Image.Name, nodedb.ErrNotFound)
}

// packages are the image's pkglist, or that of its profile, and what an image
// cannot be without.
func (m *maker) packages(d *AnswerData) error {
	value := m.Image.Attr("linuximage.pkglist")
	var texts []listText
	if value != "" {
		var err error
		if texts, err = m.family.listed(m.node, value); err != nil {
			return err
		}
	} else {
		names, err := m.node.candidates("netboot.pkglist")
		if err != nil {
			return err
		}
		t, err := m.family.templates.Find(append(names, "linux/diskless."+m.node.distro.name+".pkglist", "linux/diskless.pkglist")...)
		if err != nil {
			return err
		}
		texts = []listText{{t.Source, t.Text}}
	}
	for _, t := range texts {
		for line := range strings.Lines(t.text) {
			if err := d.pkgLine(m.family, t.source, line, 0); err != nil {
				return err
			}
		}
	}
	if len(d.Groups)+len(d.Without) > 0 {
		return fmt.Errorf("osimage %s: its pkglist has groups or packages to leave out, which debootstrap does not know: %w", m.Image.Name, nodedb.ErrInvalid)
	}
	d.Packages = append(d.Packages, "busybox-static", "kmod", "systemd-sysv", "udev")
	if !hasKernel(d.Packages) {
		d.Packages = append(d.Packages, m.kernelPackage())
	}
	return nil
}

func hasKernel(packages []string) bool {
	for _, p := range packages {
		if strings.HasPrefix(p, "linux-image-") {
			return true
		}
	}
	return false
}

func (m *maker) kernelPackage() string {
	if m.node.distro.name == "ubuntu" {
		return "linux-image-generic"
	}
	return "linux-image-" + debArch(m.Image.Arch)
}

// postinstall runs the image's own scripts, each with the root, os name, arch
// and profile, as xCAT calls them.
func (m *maker) postinstall(ctx context.Context) error {
	for _, script := range strings.Split(m.Image.Attr("linuximage.postinstall"), ",") {
		words := strings.Fields(script)
		if len(words) == 0 {
			continue
		}
		m.Say("%s: %s", m.Image.Name, script)
		args := append(words[1:], m.root, m.Image.OS, m.Image.Arch, m.Image.Profile)
		if err := m.run(ctx, words[0], args...); err != nil {
			return err
		}
	}
	return nil
}

// exclude removes what a diskless root does without: what packages came as,
// and what the image's exlist names, one pattern a line.
func (m *maker) exclude(context.Context) error {
	if m.Root != "" {
		return nil // it is the operator's
	}
	patterns := []string{"var/cache/apt/archives/*.deb", "var/cache/apt/*.bin", "var/lib/apt/lists/*", "boot/initrd.img-*", "etc/machine-id", "etc/ssh/ssh_host_*_key*"}
	if value := m.Image.Attr("linuximage.exlist"); value != "" {
		texts, err := m.family.listed(m.node, value)
		if err != nil {
			return err
		}
		for _, t := range texts {
			for line := range strings.Lines(t.text) {
				line = strings.TrimPrefix(strings.TrimSpace(line), "./")
				if line != "" && line[0] != '#' {
					patterns = append(patterns, line)
				}
			}
		}
	}
	for _, p := range patterns {
		if err := removeMatches(m.root, p); err != nil {
			return err
		}
	}
	// Empty: systemd makes a new one at each boot (machine-id(5)).
	return os.WriteFile(filepath.Join(m.root, "etc/machine-id"), nil, 0o444)
}

// removeMatches removes what a pattern matches, below the root and no link's
// way out of it.
func removeMatches(root, pattern string) error {
	r, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer r.Close()
	found, err := fs.Glob(r.FS(), strings.TrimPrefix(filepath.Clean("/"+pattern), "/"))
	if err != nil {
		return fmt.Errorf("exlist: %q: %v: %w", pattern, err, nodedb.ErrInvalid)
	}
	for _, name := range found {
		if err := r.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}

// findKernel takes the root's newest kernel, or the one that the image names,
// and copies it.
func (m *maker) findKernel(context.Context) error {
	kernels, err := filepath.Glob(filepath.Join(m.root, "boot", "vmlinuz-*"))
	if err != nil {
		return err
	}
	sort.Slice(kernels, func(i, j int) bool {
		return len(kernels[i]) < len(kernels[j]) || len(kernels[i]) == len(kernels[j]) && kernels[i] < kernels[j]
	})
	want := m.Image.Attr("linuximage.kernelver")
	for _, file := range kernels {
		version := strings.TrimPrefix(filepath.Base(file), "vmlinuz-")
		if want == "" || want == version {
			m.kernel = version
		}
	}
	if m.kernel == "" {
		return fmt.Errorf("osimage %s: no kernel %s in the root's /boot; put a linux-image package into its pkglist: %w", m.Image.Name, want, nodedb.ErrNotFound)
	}
	return copyFile(filepath.Join(m.Dir, imageKernel), filepath.Join(m.root, "boot", "vmlinuz-"+m.kernel))
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// squash packs the root. Kernels and what is mounted in it stay out.
func (m *maker) squash(ctx context.Context) error {
	file := filepath.Join(m.Dir, imageRoot)
	m.Say("%s: packing the root", m.Image.Name)
	err := m.run(ctx, "mksquashfs", m.root, file, "-noappend", "-no-progress", "-comp", "gzip", "-wildcards",
		"-e", "proc/*", "sys/*", "dev/*", "run/*", "tmp/*", "boot/vmlinuz-*", "boot/initrd*")
	if err != nil {
		return err
	}
	fi, err := os.Stat(file)
	if err != nil {
		return err
	}
	m.Say("%s: kernel %s, root %.0f MB", m.Image.Name, m.kernel, float64(fi.Size())/1e6)
	return os.Chmod(file, 0o644)
}

// run runs a program; its error has the end of what it said. If ctx ends, so
// does all that it started.
func (m *maker) run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		return fmt.Errorf("%s: %v: %s", name, err, strings.Join(lines[max(0, len(lines)-5):], "; "))
	}
	return nil
}
