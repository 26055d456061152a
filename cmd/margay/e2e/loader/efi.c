/* The UEFI host of mboot.c. Files come through iPXE's download protocol where
 * iPXE started the program, else through the firmware's own HTTP driver. */
#include <efi.h>
#include "http.h"
#include "ipxe.h"
#include "mboot.h"
#include "serial.h"

enum { LINE = 4096, URI = 24 };

static EFI_BOOT_SERVICES *bs;
static EFI_LOADED_IMAGE *self;
static ipxe_download *ipxe;
static http_binding *binding;
static http_protocol *http;
static EFI_GUID loaded_image_guid = EFI_LOADED_IMAGE_PROTOCOL_GUID;
static EFI_GUID device_path_guid = EFI_DEVICE_PATH_PROTOCOL_GUID;

/* ---- through iPXE ---- */

struct job {
	struct sink *sink;
	EFI_STATUS status;
	int done, gap;
};

static EFI_STATUS EFIAPI ipxe_data(void *context, void *data, UINTN n, UINTN at)
{
	struct job *j = context;
	if (n && at != j->sink->size)
		j->gap = 1;
	sink_take(j->sink, data, n);
	return EFI_SUCCESS;
}

static void EFIAPI ipxe_done(void *context, EFI_STATUS status)
{
	struct job *j = context;
	j->status = status;
	j->done = 1;
}

static int ipxe_fetch(const char *url, struct sink *s)
{
	struct job j = { .sink = s };
	void *file;
	if (EFI_ERROR(ipxe->start(ipxe, (CHAR8 *)url, ipxe_data, ipxe_done, &j, &file)))
		return -1;
	while (!j.done)
		if (EFI_ERROR(ipxe->poll(ipxe)))
			return -1;
	return EFI_ERROR(j.status) || j.gap ? -1 : 0;
}

/* ---- through the firmware ---- */

static void EFIAPI note(EFI_EVENT event, void *flag)
{
	(void)event;
	*(volatile int *)flag = 1;
}

/* await runs one request or response to its end. */
static EFI_STATUS await(EFI_STATUS(EFIAPI *start)(http_protocol *, http_token *), http_message *msg)
{
	volatile int done = 0;
	http_token token = { .message = msg };
	EFI_STATUS status;

	status = bs->CreateEvent(EVT_NOTIFY_SIGNAL, TPL_CALLBACK, note, (void *)&done, &token.event);
	if (EFI_ERROR(status))
		return status;
	status = start(http, &token);
	while (!EFI_ERROR(status) && !done)
		http->poll(http);
	bs->CloseEvent(token.event);
	return EFI_ERROR(status) ? status : token.status;
}

static void widen(CHAR16 *out, const char *s)
{
	while ((*out++ = (unsigned char)*s++))
		;
}

/* host copies the host (and port) of a URL. */
static int host(char *out, const char *url)
{
	int slashes = 0, n = 0;
	for (; *url && slashes < 3; url++) {
		if (*url == '/')
			slashes++;
		else if (slashes == 2 && n < 255)
			out[n++] = *url;
	}
	out[n] = 0;
	return n ? 0 : -1;
}

static int ask(int method, const char *url)
{
	static CHAR16 wide[LINE];
	static char name[256];
	http_request req = { .method = method, .url = wide };
	http_header headers[] = {
		{ "Host", name },
		{ "User-Agent", "esx-boot/2.0" },
		{ "Accept", "*/*" },
	};
	http_message msg = { .request = &req, .header_count = 3, .headers = headers };

	if (host(name, url))
		return -1;
	widen(wide, url);
	return EFI_ERROR(await(http->request, &msg)) ? -1 : 0;
}

/* content_length finds the header without which mboot gives up: -1. */
static long content_length(const http_message *msg)
{
	static const char want[] = "content-length";
	for (UINTN i = 0; i < msg->header_count; i++) {
		const char *name = msg->headers[i].name;
		const char *v = msg->headers[i].value;
		int k = 0;
		long n = 0;
		while (want[k] && (name[k] | 32) == want[k])
			k++;
		if (want[k] || name[k])
			continue;
		for (; *v >= '0' && *v <= '9'; v++)
			n = n * 10 + (*v - '0');
		return n;
	}
	return -1;
}

/* transfer sends one request and takes the answer; s is null for HEAD. */
static int transfer(int method, const char *url, struct sink *s)
{
	static char body[65536];
	http_response res = { 0 };
	http_message msg = { .response = &res, .body = body, .body_length = s ? sizeof body : 0 };
	long want;

	if (ask(method, url) || EFI_ERROR(await(http->response, &msg)))
		return -1;
	want = content_length(&msg);
	if (msg.headers)
		bs->FreePool(msg.headers);
	if (res.status != HTTP_OK && res.status != HTTP_NO_CONTENT)
		return -1;
	if (want < 0 && res.status == HTTP_OK) {
		serial_puts("MBOOT-CHUNKED: ");
		serial_puts(url);
		serial_puts("\r\n");
		return -1;
	}
	if (!s)
		return 0;
	sink_take(s, body, msg.body_length);
	while ((long)s->size < want) {
		http_message more = { .body = body, .body_length = sizeof body };
		if (EFI_ERROR(await(http->response, &more)) || !more.body_length)
			return -1;
		sink_take(s, body, more.body_length);
	}
	return (long)s->size > want && want >= 0 ? -1 : 0;
}

/* session opens a HTTP instance for one file, as a server that closes the
 * connection after each would make necessary anyhow. */
static int session(int method, const char *url, struct sink *s)
{
	http_v4_node node = { .use_default = 1 };
	http_config config = { .version = HTTP_11, .timeout = 10000, .v4 = &node };
	EFI_HANDLE child = 0;
	EFI_GUID guid = HTTP_PROTOCOL_GUID;
	int result = -1;

	if (EFI_ERROR(binding->create_child(binding, &child)))
		return -1;
	if (!EFI_ERROR(bs->HandleProtocol(child, &guid, (void **)&http)) &&
	    !EFI_ERROR(http->configure(http, &config)))
		result = transfer(method, url, s);
	binding->destroy_child(binding, child);
	return result;
}

static int http_fetch(const char *url, struct sink *s) { return session(HTTP_GET, url, s); }
static int http_probe(const char *url) { return session(HTTP_HEAD, url, 0); }

/* address has the firmware ask for an address of its own, as an ordinary
 * client: the one it booted with is not for other drivers. */
static int address(EFI_HANDLE nic)
{
	EFI_GUID guid = IP4_CONFIG2_GUID;
	ip4_config2 *ip;
	UINT32 policy = IP4_POLICY_DHCP;

	if (EFI_ERROR(bs->HandleProtocol(nic, &guid, (void **)&ip)))
		return -1;
	ip->set_data(ip, IP4_POLICY, sizeof policy, &policy);
	for (int tries = 0; tries < 600; tries++) {
		static union {
			ip4_info info;
			char room[1024];
		} u;
		UINTN n = sizeof u;
		if (!EFI_ERROR(ip->get_data(ip, IP4_INTERFACE_INFO, &n, &u)) &&
		    (u.info.station[0] || u.info.station[1] || u.info.station[2] || u.info.station[3]))
			return 0;
		bs->Stall(100000);
	}
	return -1;
}

/* ---- where we came from ---- */

static UINTN node_size(const EFI_DEVICE_PATH *p) { return p->Length[0] | p->Length[1] << 8; }

/* origin reads the device path that we were loaded by: the interface's MAC
 * address, and the directory of the URL where there is one. */
static void origin(EFI_DEVICE_PATH *p, char *bootif, char *dir)
{
	static const char digit[] = "0123456789abcdef";
	while (p && p->Type != END_DEVICE_PATH_TYPE) {
		unsigned char *data = (unsigned char *)(p + 1);
		if (p->Type == MESSAGING_DEVICE_PATH && p->SubType == MSG_MAC_ADDR_DP) {
			char *w = bootif;
			*w++ = '0';
			*w++ = '1';
			for (int i = 0; i < 6; i++) {
				*w++ = '-';
				*w++ = digit[data[i] >> 4];
				*w++ = digit[data[i] & 15];
			}
			*w = 0;
		}
		if (p->Type == MESSAGING_DEVICE_PATH && p->SubType == URI) {
			UINTN n = node_size(p) - sizeof *p, cut = 0;
			for (UINTN i = 0; i < n && i < LINE - 1 && data[i] != '?'; i++)
				if ((dir[i] = data[i]) == '/')
					cut = i + 1;
			dir[cut] = 0;
		}
		p = (EFI_DEVICE_PATH *)((char *)p + node_size(p));
	}
}

/* args narrows the load options, which are UCS-2. */
static char *args(void)
{
	static char out[LINE];
	CHAR16 *w = self->LoadOptions;
	UINT32 n = self->LoadOptionsSize / sizeof *w;
	for (UINT32 i = 0; i < n && i < LINE - 1 && w[i]; i++)
		out[i] = w[i] < 128 ? w[i] : '?';
	return out;
}

/* first finds the first handle that has a protocol. */
static void *first(EFI_GUID *guid, EFI_HANDLE *handle)
{
	EFI_HANDLE *handles;
	UINTN n;
	void *found = 0;
	if (EFI_ERROR(bs->LocateHandleBuffer(ByProtocol, guid, 0, &n, &handles)))
		return 0;
	if (n && !EFI_ERROR(bs->HandleProtocol(handles[0], guid, &found)))
		*handle = handles[0];
	bs->FreePool(handles);
	return found;
}

/* native sets the machine up for the firmware's own HTTP. */
static int native(struct machine *m)
{
	EFI_GUID guid = HTTP_BINDING_GUID;
	EFI_HANDLE nic;
	binding = first(&guid, &nic);
	if (!binding || address(nic))
		return -1;
	m->via = "http";
	m->fetch = http_fetch;
	m->probe = http_probe;
	return 0;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table)
{
	static char bootif[32], dir[LINE];
	struct machine m = { .via = "ipxe", .fetch = ipxe_fetch, .uefi = 1 };
	EFI_GUID guid = IPXE_DOWNLOAD_GUID;
	EFI_DEVICE_PATH *from = 0;
	EFI_HANDLE handle;

	bs = table->BootServices;
	bs->SetWatchdogTimer(0, 0, 0, 0);
	bs->HandleProtocol(image, &loaded_image_guid, (void **)&self);
	bs->HandleProtocol(self->DeviceHandle, &device_path_guid, (void **)&from);
	origin(from, bootif, dir);
	ipxe = first(&guid, &handle);
	if (ipxe)
		dir[0] = 0; /* iPXE resolves names against the loader's own URL */
	else if (native(&m)) {
		serial_puts("MBOOT-FATAL: no network\r\n");
		return EFI_NO_MEDIA;
	}
	m.args = args();
	m.bootif = bootif;
	m.dir = dir;
	if (mboot_run(&m))
		return EFI_LOAD_ERROR;
	machine_reset();
	return EFI_SUCCESS;
}

/* The compiler may call these for copies and clears. */
void *memset(void *p, int c, UINTN n)
{
	for (char *b = p; n; n--)
		*b++ = c;
	return p;
}

void *memcpy(void *d, const void *s, UINTN n)
{
	char *w = d;
	for (const char *r = s; n; n--)
		*w++ = *r++;
	return d;
}
