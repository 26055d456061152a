package rom

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strings"
)

// A loader is a kind of boot program.
type loader int

const (
	loaderOther loader = iota
	loaderIPXE
	loaderMboot
	loaderExit // comes back at once
)

// identify says what a boot program is, and refuses one that the firmware
// could not start.
func (b *boot) identify(name string, data []byte) (loader, error) {
	if len(data) == 0 {
		return 0, fmt.Errorf("%s: empty", Redact(name))
	}
	if !b.AnyLoader {
		if err := b.startable(data); err != nil {
			return 0, fmt.Errorf("%s: %w", Redact(name), err)
		}
	}
	return whatLoader(name, data), nil
}

// whatLoader goes by the name, then by what is in it: iPXE for BIOS is packed.
func whatLoader(name string, data []byte) loader {
	name, _, _ = strings.Cut(name, "?")
	base := strings.ToLower(path.Base(strings.ReplaceAll(name, `\`, "/")))
	for _, s := range []string{"xnba", "ipxe", "gpxe", "undionly", "snponly", "snp.efi", "snp-"} {
		if strings.Contains(base, s) {
			return loaderIPXE
		}
	}
	if base == "exit.efi" {
		return loaderExit
	}
	for _, s := range []string{"mboot", "safeboot", "esxboot", "bootx64", "bootaa64"} {
		if strings.Contains(base, s) {
			return loaderMboot
		}
	}
	for _, s := range []string{"iPXE", "xNBA", "gPXE"} {
		if bytes.Contains(data, []byte(s)) {
			return loaderIPXE
		}
	}
	if bytes.Contains(data, []byte("esx-boot")) {
		return loaderMboot
	}
	return loaderOther
}

// startable checks that data is a program for this firmware: a PE file of the
// right machine for UEFI, anything that is not one for BIOS.
func (b *boot) startable(data []byte) error {
	if !b.Firmware.efi() {
		if isPE(data) {
			return errors.New("a UEFI program, which BIOS cannot start")
		}
		if bytes.HasPrefix(data, []byte("\x7fELF")) || isCOM32(data) {
			return errors.New("a COM32 or ELF program, which a PXE ROM cannot start by itself")
		}
		return nil
	}
	machine, err := peMachine(data)
	if err != nil {
		return err
	}
	want := uint16(0x8664) // IMAGE_FILE_MACHINE_AMD64
	if b.Arch == "aarch64" {
		want = 0xaa64
	}
	if machine != want {
		return fmt.Errorf("a UEFI program for machine type %#x, want %#x", machine, want)
	}
	return nil
}

func isPE(data []byte) bool {
	_, err := peMachine(data)
	return err == nil
}

// peMachine reads a PE file's machine type (PE format, 3.1 to 3.3).
func peMachine(data []byte) (uint16, error) {
	if len(data) < 0x40 || data[0] != 'M' || data[1] != 'Z' {
		return 0, errors.New("no UEFI program")
	}
	at := int64(binary.LittleEndian.Uint32(data[0x3c:]))
	if at+6 > int64(len(data)) || string(data[at:at+4]) != "PE\x00\x00" {
		return 0, errors.New("no UEFI program")
	}
	return binary.LittleEndian.Uint16(data[at+4:]), nil
}

// isCOM32 knows COM32R programs, which begin with mov eax,21cd4cfeh.
func isCOM32(data []byte) bool {
	return bytes.HasPrefix(data, []byte{0xb8, 0xfe, 0x4c, 0xcd, 0x21}) || bytes.HasPrefix(data, []byte{0xb8, 0xff, 0x4c, 0xcd, 0x21})
}

// isScript knows scripts by their first word, as iPXE does.
func isScript(data []byte) bool {
	for _, magic := range []string{"#!ipxe", "#!gpxe"} {
		rest, ok := bytes.CutPrefix(data, []byte(magic))
		if ok && (len(rest) == 0 || rest[0] == '\n' || rest[0] == '\r' || rest[0] == ' ' || rest[0] == '\t') {
			return true
		}
	}
	return false
}

// isKernel knows Linux kernels by the magic of their boot header
// (Documentation/arch/x86/boot.rst), and arm64's by theirs.
func isKernel(data []byte) bool {
	return len(data) > 0x206 && string(data[0x202:0x206]) == "HdrS" ||
		len(data) > 0x3c && string(data[0x38:0x3c]) == "ARMd"
}
