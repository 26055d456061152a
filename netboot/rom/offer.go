package rom

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// consider takes an offer: one that has all that is wanted, or one with an
// address together with one that only has a boot file, from a server beside the
// other (PXE 2.1, 2.2.3).
func (x *exchange) consider(r *dhcpv4.DHCPv4) error {
	if r.MessageType() != dhcpv4.MessageTypeOffer {
		return fmt.Errorf("%s instead of an OFFER", r.MessageType())
	}
	if x.ask.file && isProxy(r) {
		if err := x.checkFile(r); err != nil {
			return err
		}
		x.proxy = r
		if x.offer == nil {
			return errors.New("an offer of a boot file, and none of an address")
		}
		return nil
	}
	if err := x.checkAddress(r); err != nil {
		return err
	}
	err := x.checkFile(r)
	if err == nil {
		x.offer, x.proxy = r, nil
		return nil
	}
	if bootFile(r) != "" {
		return err
	}
	if x.offer = r; x.proxy != nil {
		return nil
	}
	return err
}

// isProxy knows the offer of a server that gives no addresses.
func isProxy(r *dhcpv4.DHCPv4) bool {
	class := r.ClassIdentifier()
	return r.YourIPAddr.IsUnspecified() && (strings.HasPrefix(class, "PXEClient") || strings.HasPrefix(class, "HTTPClient"))
}

// errDiscard is of an answer that a client passes over.
var errDiscard = errors.New("discarded")

func (x *exchange) checkAck(offer, r *dhcpv4.DHCPv4) error {
	switch {
	case r.MessageType() == dhcpv4.MessageTypeOffer:
		return errDiscard // RFC 2131, figure 5: it is late, perhaps of a DISCOVER that was sent again
	case r.MessageType() == dhcpv4.MessageTypeNak:
		return fmt.Errorf("the server offered %s and then refused it: NAK %s", offer.YourIPAddr, r.Message())
	case r.MessageType() != dhcpv4.MessageTypeAck:
		return fmt.Errorf("%s instead of an ACK", r.MessageType())
	case !r.YourIPAddr.Equal(offer.YourIPAddr):
		return fmt.Errorf("offered %s, but acknowledged %s", offer.YourIPAddr, r.YourIPAddr)
	case bootFile(offer) != bootFile(r):
		return fmt.Errorf("offered boot file %q, but acknowledged %q", Redact(bootFile(offer)), Redact(bootFile(r)))
	}
	if err := x.checkAddress(r); err != nil || x.proxy != nil {
		return err
	}
	return x.checkFile(r)
}

// sane checks what every answer owes whoever asked.
func sane(asked, r *dhcpv4.DHCPv4, size int) error {
	switch {
	case !bytes.Equal(r.ClientHWAddr, asked.ClientHWAddr):
		return fmt.Errorf("an answer for %s", r.ClientHWAddr)
	case size > largestReply-28:
		return fmt.Errorf("an answer of %d bytes, more than option 57 allows", size)
	case !r.GatewayIPAddr.Equal(asked.GatewayIPAddr):
		return fmt.Errorf("giaddr %s came back as %s (RFC 2131 table 3)", asked.GatewayIPAddr, r.GatewayIPAddr)
	case !bytes.Equal(r.Options.Get(dhcpv4.OptionRelayAgentInformation), asked.Options.Get(dhcpv4.OptionRelayAgentInformation)):
		return errors.New("option 82 was not echoed as it was sent (RFC 3046 2.2)")
	}
	return nil
}

// checkAddress refuses what no client would take.
func (x *exchange) checkAddress(r *dhcpv4.DHCPv4) error {
	switch {
	case r.YourIPAddr.IsUnspecified() || r.YourIPAddr.IsMulticast():
		return errors.New("an answer without an address")
	case r.ServerIdentifier() == nil:
		return errors.New("an answer without option 54, server identifier (RFC 2131 table 3)")
	case r.IPAddressLeaseTime(0) <= 0:
		return errors.New("an answer without option 51, lease time (RFC 2131 table 3)")
	case r.SubnetMask() == nil:
		return errors.New("an answer without option 1, subnet mask")
	}
	return nil
}

// checkFile refuses what the firmware would take and then not boot by.
func (x *exchange) checkFile(r *dhcpv4.DHCPv4) error {
	switch {
	case !x.ask.file:
		return nil
	case x.Firmware == UEFIHTTP && x.ask.user == "":
		return checkHTTP(r)
	case bootFile(r) == "":
		return errors.New("an offer without a boot file")
	case x.ask.user != "":
		return nil
	}
	return x.checkPXE(r)
}

// checkHTTP: UEFI 2.10, 24.7.3.1.
func checkHTTP(r *dhcpv4.DHCPv4) error {
	if !strings.HasPrefix(r.ClassIdentifier(), "HTTPClient") {
		return errors.New("an offer without option 60 HTTPClient: the firmware would never take it")
	}
	if file := bootFile(r); !strings.HasPrefix(file, "http://") && !strings.HasPrefix(file, "https://") {
		return fmt.Errorf("an offer with boot file %q: the firmware wants a URL", file)
	}
	return nil
}

func (x *exchange) checkPXE(r *dhcpv4.DHCPv4) error {
	file := bootFile(r)
	switch {
	case isURL(file):
		return fmt.Errorf("an offer with boot file %s: a PXE ROM takes no URL", Redact(file))
	case r.BootFileName == "":
		return errors.New("an offer with the boot file in option 67 alone: ROMs, and mboot up to 8.0, read the file field")
	case x.Firmware == UEFI && strings.HasPrefix(r.ClassIdentifier(), "PXEClient") && !r.Options.Has(dhcpv4.OptionVendorSpecificInformation):
		return errors.New("an offer with option 60 PXEClient but without option 43: the firmware would look for a boot server")
	}
	return nil
}

// bootFile is the file that a client boots: option 67 goes before the field.
func bootFile(r *dhcpv4.DHCPv4) string {
	if f := r.BootFileNameOption(); f != "" {
		return strings.TrimRight(f, "\x00")
	}
	return r.BootFileName
}
