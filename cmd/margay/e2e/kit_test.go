package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"margay/netboot/netboottest"
)

// A kit is the boot programs of the test's own, built from loader/.
type kit struct {
	bootx64 []byte // plays the medium's UEFI loader
	mboot   []byte // plays its BIOS loader, a COM32R program
	esp     []byte // what a UEFI disk boots
	mbr     []byte // what a BIOS disk boots
}

const commonFlags = "-std=gnu11 -Os -Wall -Wextra -Werror -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables"

// buildKit compiles the programs with Debian's gcc and gnu-efi.
func buildKit(t *testing.T) kit {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("the boot programs are for x86 and need an x86 compiler")
	}
	for _, tool := range []string{"gcc", "ld", "objcopy"} {
		netboottest.Binary(t, tool)
	}
	b := builder{t, t.TempDir()}
	return kit{
		bootx64: b.efi("bootx64", "efi.c", "mboot.c"),
		esp:     b.efi("disk", "disk.c"),
		mboot:   b.flat("mboot.c32", []string{"-T", "loader/com32.lds"}, "com32.c", "mboot.c"),
		mbr:     b.flat("mbr", []string{"-Ttext", "0x7c00", "-e", "_start"}, "disk.S"),
	}
}

type builder struct {
	t   *testing.T
	dir string
}

// efi builds a UEFI application.
func (b builder) efi(name string, sources ...string) []byte {
	b.t.Helper()
	flags := commonFlags + " -fshort-wchar -fpic -mno-red-zone -maccumulate-outgoing-args" +
		" -DGNU_EFI_USE_MS_ABI -DHAVE_USE_MS_ABI -I/usr/include/efi -I/usr/include/efi/x86_64"
	link := []string{"-nostdlib", "-znocombreloc", "-shared", "-Bsymbolic",
		"-T", b.gnuEFI("elf_x86_64_efi.lds"), b.gnuEFI("crt0-efi-x86_64.o")}
	link = append(link, b.compile(name, flags, sources)...)
	b.run("ld", append(link, b.gnuEFI("libgnuefi.a"), "-o", b.path(name+".so"))...)
	args := []string{"--target", "efi-app-x86_64"}
	for _, section := range strings.Fields(".text .sdata .data .rodata .dynamic .dynsym .rel* .reloc") {
		args = append(args, "-j", section)
	}
	b.run("objcopy", append(args, b.path(name+".so"), b.path(name))...)
	return b.read(name)
}

// flat builds a 32-bit image without any header.
func (b builder) flat(name string, script []string, sources ...string) []byte {
	b.t.Helper()
	args := append([]string{"-m", "elf_i386", "-nostdlib", "--no-warn-rwx-segments"}, script...)
	args = append(args, b.compile(name, commonFlags+" -m32 -march=i386 -fno-pic", sources)...)
	b.run("ld", append(args, "-o", b.path(name+".elf"))...)
	b.run("objcopy", "-O", "binary", b.path(name+".elf"), b.path(name))
	return b.read(name)
}

func (b builder) compile(name, flags string, sources []string) []string {
	b.t.Helper()
	var objects []string
	for _, src := range sources {
		object := b.path(name + "." + src + ".o")
		b.run("gcc", append(strings.Fields(flags), "-c", filepath.Join("loader", src), "-o", object)...)
		objects = append(objects, object)
	}
	return objects
}

// gnuEFI finds a file of gnu-efi, which later releases keep elsewhere.
func (b builder) gnuEFI(name string) string {
	b.t.Helper()
	for _, dir := range []string{"/usr/lib", "/usr/lib/x86_64-linux-gnu/gnuefi", "/usr/lib/x86_64-linux-gnu"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return filepath.Join(dir, name)
		}
	}
	missing(b.t, name+" of gnu-efi")
	return ""
}

func (b builder) path(name string) string { return filepath.Join(b.dir, name) }

func (b builder) run(name string, args ...string) {
	b.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		b.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func (b builder) read(name string) []byte {
	b.t.Helper()
	data, err := os.ReadFile(b.path(name))
	if err != nil {
		b.t.Fatal(err)
	}
	return data
}

// missing skips the test for want of something, unless all has to be there.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("MARGAY_TEST_REAL") != "" {
		t.Fatalf("%s: not installed, and MARGAY_TEST_REAL is set; make test installs it", what)
	}
	t.Skipf("%s: not installed; make test installs it", what)
}
