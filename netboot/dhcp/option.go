package dhcp

import (
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// The options that we read or write, by IANA's numbers. The library's names
// stand behind them; its own types allocate a map for each packet, which the
// exchange cannot afford.
const (
	optPad           = uint8(dhcpv4.OptionPad)
	optSubnetMask    = uint8(dhcpv4.OptionSubnetMask)
	optRouter        = uint8(dhcpv4.OptionRouter)
	optDNS           = uint8(dhcpv4.OptionDomainNameServer)
	optLogServer     = uint8(dhcpv4.OptionLogServer)
	optHostName      = uint8(dhcpv4.OptionHostName)
	optDomainName    = uint8(dhcpv4.OptionDomainName)
	optInterfaceMTU  = uint8(dhcpv4.OptionInterfaceMTU)
	optBroadcast     = uint8(dhcpv4.OptionBroadcastAddress)
	optNTP           = uint8(dhcpv4.OptionNTPServers)
	optVendor        = uint8(dhcpv4.OptionVendorSpecificInformation)
	optRequested     = uint8(dhcpv4.OptionRequestedIPAddress)
	optLease         = uint8(dhcpv4.OptionIPAddressLeaseTime)
	optOverload      = uint8(dhcpv4.OptionOptionOverload)
	optMessageType   = uint8(dhcpv4.OptionDHCPMessageType)
	optServer        = uint8(dhcpv4.OptionServerIdentifier)
	optParameters    = uint8(dhcpv4.OptionParameterRequestList)
	optMessage       = uint8(dhcpv4.OptionMessage)
	optMaxSize       = uint8(dhcpv4.OptionMaximumDHCPMessageSize)
	optRenewal       = uint8(dhcpv4.OptionRenewTimeValue)
	optRebinding     = uint8(dhcpv4.OptionRebindingTimeValue)
	optClass         = uint8(dhcpv4.OptionClassIdentifier)
	optClientID      = uint8(dhcpv4.OptionClientIdentifier)
	optTFTPServer    = uint8(dhcpv4.OptionTFTPServerName)
	optBootFile      = uint8(dhcpv4.OptionBootfileName)
	optUserClass     = uint8(dhcpv4.OptionUserClassInformation)
	optRelay         = uint8(dhcpv4.OptionRelayAgentInformation)
	optArch          = uint8(dhcpv4.OptionClientSystemArchitectureType)
	optUUID          = uint8(dhcpv4.OptionClientMachineIdentifier)
	optSubnet        = uint8(dhcpv4.OptionSubnetSelection)
	optSearch        = uint8(dhcpv4.OptionDNSDomainSearchList)
	optIPXE          = uint8(175) // iPXE's own encapsulated options
	optProbe         = uint8(224) // ours, see netboot.Machine.Probe
	optEnd           = uint8(dhcpv4.OptionEnd)
	ipxeHTTP         = 0x13 // within option 175: can fetch by HTTP
	ipxeCOMBOOT      = 0x23 // can start COM32 programs
	ipxeNoPXEDHCP    = 0xb0 // do not wait for a proxyDHCP offer
	relayLink        = 5    // within option 82: RFC 3527 link selection
	relayServer      = 11   // RFC 5107 server identifier override
	relaySourcePort  = 19   // RFC 8357
	overloadFile     = 1    // option 52: the file field holds options
	overloadName     = 2    // the sname field does
	pxeDiscovery     = 6    // within option 43 of a PXE client, PXE 2.1, 3.3.1
	pxeUseBootServer = 8    // no discovery: fetch the file that is named
)

const (
	msgDiscover = byte(dhcpv4.MessageTypeDiscover)
	msgOffer    = byte(dhcpv4.MessageTypeOffer)
	msgRequest  = byte(dhcpv4.MessageTypeRequest)
	msgDecline  = byte(dhcpv4.MessageTypeDecline)
	msgAck      = byte(dhcpv4.MessageTypeAck)
	msgNak      = byte(dhcpv4.MessageTypeNak)
	msgRelease  = byte(dhcpv4.MessageTypeRelease)
	msgInform   = byte(dhcpv4.MessageTypeInform)
)

// Where the fields of a message stand (RFC 2131, figure 1).
const (
	atOp      = 0
	atHType   = 1
	atHLen    = 2
	atHops    = 3
	atXID     = 4
	atFlags   = 10
	atCIAddr  = 12
	atYIAddr  = 16
	atSIAddr  = 20
	atGIAddr  = 24
	atCHAddr  = 28
	atSName   = 44
	atFile    = 108
	atCookie  = 236
	atOptions = 240
)

const (
	opRequest = 1
	opReply   = 2

	magicCookie   = 0x63825363
	flagBroadcast = 0x8000
	maxHops       = 16 // RFC 1542, 4.1.1
	ethernet      = 1

	// minSize is what a BOOTP client may take for granted and some insist
	// on: 300 octets (RFC 1542, 2.1).
	minSize = 300
	// headers are what a datagram carries before the message: option 57
	// counts them, as a client's 576 octets of RFC 2131, 2 do.
	headers     = 28
	defaultSize = 576 - headers
	largestSize = 1500 - headers
)
