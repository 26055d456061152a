/* The boot program of a UEFI disk: says DISK-BOOTED and halts. */
#include <efi.h>
#include "serial.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table)
{
	(void)image;
	(void)table;
	serial_puts("\r\nDISK-BOOTED: esp\r\n");
	for (;;)
		__asm__ volatile("hlt");
}
