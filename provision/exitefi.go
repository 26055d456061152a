package provision

import (
	"bytes"
	"encoding/binary"
)

// exitEFI is an EFI program that ends at once with EFI_NOT_FOUND. Firmware
// that boots by PXE or HTTP is sent it when the node is to boot from its disk:
// an error, unlike success, makes it go on to its next boot option (UEFI 2.10,
// 3.1.1). With Secure Boot on it is refused for want of a signature, which
// comes to the same.
func exitEFI() []byte {
	const (
		fileAlign    = 0x200
		sectionAlign = 0x1000
		amd64        = 0x8664
	)
	code := []byte{0x48, 0xb8, 0x0e, 0, 0, 0, 0, 0, 0, 0x80, 0xc3} // mov rax, EFI_NOT_FOUND; ret
	var b bytes.Buffer
	put := func(vs ...any) {
		for _, v := range vs {
			binary.Write(&b, binary.LittleEndian, v)
		}
	}
	put([]byte("MZ"), make([]byte, 58), uint32(0x40))                                      // DOS header, e_lfanew
	put([]byte("PE\x00\x00"), uint16(amd64), uint16(1), uint32(0), uint32(0), uint32(0))   // one section
	put(uint16(0xf0), uint16(0x0022))                                                      // optional header's size; executable, large addresses
	put(uint16(0x20b), uint16(0), uint32(fileAlign), uint32(0), uint32(0))                 // PE32+, code size
	put(uint32(sectionAlign), uint32(sectionAlign), uint64(0))                             // entry point, base of code, image base
	put(uint32(sectionAlign), uint32(fileAlign), make([]byte, 16))                         // alignments, versions
	put(uint32(2*sectionAlign), uint32(fileAlign), uint32(0))                              // image and header sizes, checksum
	put(uint16(10), uint16(0), make([]byte, 32), uint32(0), uint32(16), make([]byte, 128)) // EFI application; no directories
	put([]byte(".text\x00\x00\x00"), uint32(len(code)), uint32(sectionAlign), uint32(fileAlign), uint32(fileAlign))
	put(make([]byte, 12), uint32(0x60000020))
	b.Write(make([]byte, fileAlign-b.Len()))
	b.Write(code)
	b.Write(make([]byte, 2*fileAlign-b.Len()))
	return b.Bytes()
}
