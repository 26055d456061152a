package provisiontest

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// LoaderFile is a boot program of a medium: not VMware's, but of the kind that
// firmware and iPXE accept by its first bytes. It ends at once.
func LoaderFile(name, version string) MediaFile {
	mark := "loader " + name + " of " + version + "\n"
	switch {
	case strings.HasSuffix(name, "aa64.efi"):
		return TextFile(name, efiProgram(0xaa64, []byte{0xc0, 0x03, 0x5f, 0xd6}, mark)) // ret
	case strings.HasSuffix(name, ".efi"):
		return TextFile(name, efiProgram(0x8664, []byte{0x31, 0xc0, 0xc3}, mark)) // xor eax,eax; ret
	case strings.HasSuffix(name, ".c32"):
		return TextFile(name, "\xb8\xff\x4c\xcd\x21\xc3"+mark) // COM32's mark: mov eax,21cd4cffh; then ret
	}
	return TextFile(name, mark)
}

// efiProgram is a PE32+ file with one section (PE format, 3 and 4), subsystem
// EFI application.
func efiProgram(machine uint16, code []byte, mark string) string {
	var b bytes.Buffer
	put := func(vs ...any) {
		for _, v := range vs {
			binary.Write(&b, binary.LittleEndian, v)
		}
	}
	put([]byte("MZ"), make([]byte, 58), uint32(0x40), []byte("PE\x00\x00"), machine, uint16(1), make([]byte, 12), uint16(0xf0), uint16(0x22))
	put(uint16(0x20b), uint16(0), uint32(0x200), make([]byte, 8), uint32(0x1000), uint32(0x1000), uint64(0), uint32(0x1000), uint32(0x200))
	put(make([]byte, 16), uint32(0x2000), uint32(0x200), uint32(0), uint16(10), uint16(0), make([]byte, 32), uint32(0), uint32(16), make([]byte, 128))
	put([]byte(".text\x00\x00\x00"), uint32(0x200), uint32(0x1000), uint32(0x200), uint32(0x200), make([]byte, 12), uint32(0x60000020))
	b.Write(make([]byte, 0x200-b.Len()))
	b.Write(code)
	b.WriteString(mark)
	b.Write(make([]byte, 0x400-b.Len()))
	return b.String()
}
