/* iPXE's download protocol: files by any scheme that iPXE speaks. */
#ifndef IPXE_H
#define IPXE_H

#define IPXE_DOWNLOAD_GUID \
	{ 0x3eaeaebd, 0xdecf, 0x493b, { 0x9b, 0xd1, 0xcd, 0xb2, 0xde, 0xca, 0xe7, 0x19 } }

typedef struct ipxe_download ipxe_download;

typedef EFI_STATUS(EFIAPI *ipxe_data_fn)(void *context, void *data, UINTN n, UINTN at);
typedef void(EFIAPI *ipxe_done_fn)(void *context, EFI_STATUS status);

struct ipxe_download {
	EFI_STATUS(EFIAPI *start)(ipxe_download *, CHAR8 *url, ipxe_data_fn, ipxe_done_fn,
				  void *context, void **file);
	EFI_STATUS(EFIAPI *abort)(ipxe_download *, void *file, EFI_STATUS);
	EFI_STATUS(EFIAPI *poll)(ipxe_download *);
};

#endif
