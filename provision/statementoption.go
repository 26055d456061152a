package provision

import (
	"fmt"
	"strconv"
	"strings"

	"margay/nodedb"
)

// An optionForm is how an option's value is written.
type optionForm uint8

const (
	formRaw optionForm = iota // octets, an address or a string
	formText
	formAddr
	formAddrs
	formByte
	formShort
	formLong
	formFlag
	formNames // domain names, RFC 1035
)

type optionWord struct {
	code uint8
	form optionForm
}

// optionWords are dhcpd's names of options (dhcp-options(5)), and xCAT's.
var optionWords = map[string]optionWord{
	"subnet-mask": {1, formAddr}, "time-offset": {2, formLong}, "routers": {3, formAddrs}, "time-servers": {4, formAddrs},
	"ien116-name-servers": {5, formAddrs}, "domain-name-servers": {6, formAddrs}, "log-servers": {7, formAddrs}, "cookie-servers": {8, formAddrs},
	"lpr-servers": {9, formAddrs}, "impress-servers": {10, formAddrs}, "resource-location-servers": {11, formAddrs}, "host-name": {12, formText},
	"boot-size": {13, formShort}, "merit-dump": {14, formText}, "domain-name": {15, formText}, "swap-server": {16, formAddr}, "root-path": {17, formText},
	"extensions-path": {18, formText}, "ip-forwarding": {19, formFlag}, "non-local-source-routing": {20, formFlag}, "policy-filter": {21, formAddrs},
	"max-dgram-reassembly": {22, formShort}, "default-ip-ttl": {23, formByte}, "path-mtu-aging-timeout": {24, formLong},
	"interface-mtu": {26, formShort}, "all-subnets-local": {27, formFlag}, "broadcast-address": {28, formAddr}, "perform-mask-discovery": {29, formFlag},
	"mask-supplier": {30, formFlag}, "router-discovery": {31, formFlag}, "router-solicitation-address": {32, formAddr}, "static-routes": {33, formAddrs},
	"trailer-encapsulation": {34, formFlag}, "arp-cache-timeout": {35, formLong}, "ieee802-3-encapsulation": {36, formFlag}, "default-tcp-ttl": {37, formByte},
	"tcp-keepalive-interval": {38, formLong}, "tcp-keepalive-garbage": {39, formFlag}, "nis-domain": {40, formText}, "nis-servers": {41, formAddrs},
	"ntp-servers": {42, formAddrs}, "vendor-encapsulated-options": {43, formRaw}, "netbios-name-servers": {44, formAddrs}, "netbios-dd-server": {45, formAddrs},
	"netbios-node-type": {46, formByte}, "netbios-scope": {47, formText}, "font-servers": {48, formAddrs}, "x-display-manager": {49, formAddrs},
	"dhcp-renewal-time": {58, formLong}, "dhcp-rebinding-time": {59, formLong}, "vendor-class-identifier": {60, formText},
	"nisplus-domain": {64, formText}, "nisplus-servers": {65, formAddrs}, "tftp-server-name": {66, formText}, "bootfile-name": {67, formText},
	"mobile-ip-home-agent": {68, formAddrs}, "smtp-server": {69, formAddrs}, "pop-server": {70, formAddrs}, "nntp-server": {71, formAddrs},
	"www-server": {72, formAddrs}, "finger-server": {73, formAddrs}, "irc-server": {74, formAddrs},
	"user-class": {77, formText}, "user-class-identifier": {77, formText}, "slp-directory-agent": {78, formRaw}, "slp-service-scope": {79, formRaw},
	"nds-servers": {85, formAddrs}, "nds-tree-name": {86, formText}, "nds-context": {87, formText}, "bcms-controller-names": {88, formNames},
	"bcms-controller-address": {89, formAddrs}, "client-architecture": {93, formRaw}, "pxe-system-type": {93, formRaw}, "arch": {93, formRaw},
	"pxe-interface-id": {94, formRaw}, "pxe-client-id": {97, formRaw}, "client-uuid": {97, formRaw}, "uap-servers": {98, formText},
	"pcode": {100, formText}, "tcode": {101, formText}, "v6-only-preferred": {108, formLong}, "netinfo-server-address": {112, formAddrs},
	"netinfo-server-tag": {113, formText}, "default-url": {114, formText}, "auto-config": {116, formByte}, "name-service-search": {117, formRaw},
	"domain-search": {119, formNames}, "classless-static-routes": {121, formRaw}, "vivco": {124, formRaw}, "vivso": {125, formRaw},
	"tftp-server-address": {150, formAddrs}, "loader-configfile": {209, formText}, "conf-file": {209, formText},
	"pxelinux-magic": {208, formRaw}, "loader-pathprefix": {210, formText}, "path-prefix": {210, formText}, "loader-reboottime": {211, formLong}, "reboot-time": {211, formLong},
	"iscsi-initiator-iqn": {203, formText}, "dhcp-client-identifier": {61, formRaw}, "agent-information": {82, formRaw},
	"dhcp-lease-time": {51, formLong}, "dhcp-server-identifier": {54, formAddr}, "dhcp-message-type": {53, formByte},
}

// ownOptions are not an operator's to set, and why.
var ownOptions = map[uint8]string{
	50: "only machines send it", 51: "say default-lease-time", 52: "it is the message's own", 53: "it is the message's own",
	54: "it is the server's address; say it with tftpserver or xcatmaster", 55: "only machines send it", 57: "only machines send it",
	61: "only machines send it", 82: "only relays send it", 224: "margay probe has it",
}

// optionNamed finds an option by dhcpd's name, or by its number: 150,
// option-150, unknown-150.
func optionNamed(name string) (uint8, optionForm, error) {
	if o, ok := optionWords[strings.ToLower(name)]; ok {
		return o.code, o.form, nil
	}
	digits := strings.TrimPrefix(strings.TrimPrefix(strings.ToLower(name), "option-"), "unknown-")
	if n, err := strconv.ParseUint(digits, 10, 8); err == nil && n > 0 && n < 255 {
		return uint8(n), formRaw, nil
	}
	return 0, 0, fmt.Errorf("option %q: neither a name of dhcp-options(5) nor a number from 1 to 254: %w", name, nodedb.ErrInvalid)
}
