/* The firmware's HTTP client (UEFI 2.10, 29.6) and its address configuration
 * (28.5), which gnu-efi does not declare. */
#ifndef HTTP_H
#define HTTP_H

#define HTTP_BINDING_GUID \
	{ 0xbdc8e6af, 0xd9bc, 0x4379, { 0xa7, 0x2a, 0xe0, 0xc4, 0xe7, 0x5d, 0xae, 0x1c } }
#define HTTP_PROTOCOL_GUID \
	{ 0x7a59b29b, 0x910b, 0x4171, { 0x82, 0x42, 0xa8, 0x5a, 0x0d, 0xf2, 0x5b, 0x5b } }
#define IP4_CONFIG2_GUID \
	{ 0x5b446ed1, 0xe30b, 0x4faa, { 0x87, 0x1a, 0x36, 0x54, 0xec, 0xa3, 0x60, 0x80 } }

enum { HTTP_11 = 1, HTTP_GET = 0, HTTP_HEAD = 5, HTTP_OK = 3, HTTP_NO_CONTENT = 7 };
enum { IP4_INTERFACE_INFO = 0, IP4_POLICY = 1, IP4_POLICY_DHCP = 1 };

typedef struct http_binding http_binding;
typedef struct http_protocol http_protocol;
typedef struct ip4_config2 ip4_config2;

struct http_binding {
	EFI_STATUS(EFIAPI *create_child)(http_binding *, EFI_HANDLE *child);
	EFI_STATUS(EFIAPI *destroy_child)(http_binding *, EFI_HANDLE child);
};

typedef struct {
	BOOLEAN use_default;
	UINT8 address[4], subnet[4];
	UINT16 port;
} http_v4_node;

typedef struct {
	UINT32 version, timeout;
	BOOLEAN is_v6;
	http_v4_node *v4;
} http_config;

typedef struct {
	UINT32 method;
	CHAR16 *url;
} http_request;

typedef struct {
	UINT32 status;
} http_response;

typedef struct {
	char *name, *value;
} http_header;

typedef struct {
	union {
		http_request *request;
		http_response *response;
	};
	UINTN header_count;
	http_header *headers;
	UINTN body_length;
	void *body;
} http_message;

typedef struct {
	EFI_EVENT event;
	EFI_STATUS status;
	http_message *message;
} http_token;

struct http_protocol {
	EFI_STATUS(EFIAPI *get_mode_data)(http_protocol *, http_config *);
	EFI_STATUS(EFIAPI *configure)(http_protocol *, http_config *);
	EFI_STATUS(EFIAPI *request)(http_protocol *, http_token *);
	EFI_STATUS(EFIAPI *cancel)(http_protocol *, http_token *);
	EFI_STATUS(EFIAPI *response)(http_protocol *, http_token *);
	EFI_STATUS(EFIAPI *poll)(http_protocol *);
};

typedef struct {
	CHAR16 name[32];
	UINT8 type;
	UINT32 mac_size;
	UINT8 mac[32];
	UINT8 station[4], subnet[4];
	UINT32 routes;
	void *route;
} ip4_info;

struct ip4_config2 {
	EFI_STATUS(EFIAPI *set_data)(ip4_config2 *, UINT32 type, UINTN n, void *data);
	EFI_STATUS(EFIAPI *get_data)(ip4_config2 *, UINT32 type, UINTN *n, void *data);
	EFI_STATUS(EFIAPI *register_notify)(ip4_config2 *, UINT32 type, EFI_EVENT);
	EFI_STATUS(EFIAPI *unregister_notify)(ip4_config2 *, UINT32 type, EFI_EVENT);
};

#endif
