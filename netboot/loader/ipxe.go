//go:build !noipxe

package loader

import "github.com/tinkerbell/ipxedust/binary"

// embedded names iPXE's builds as xCAT does its xNBA.
func embedded() map[string][]byte {
	return map[string][]byte{
		"xnba.kpxe":      binary.Files["undionly.kpxe"],
		"xnba.efi":       binary.Files["ipxe.efi"],
		"xnba-arm64.efi": binary.Files["snp.efi"],
		"xnba.iso":       binary.Files["ipxe.iso"], // UEFI on x86-64; under BIOS it stops at a prompt
	}
}
