package esxsh

import (
	"context"
	"net"
	"net/url"
	"regexp"
	"strings"

	"margay/vm"
)

var (
	wssURL  = regexp.MustCompile(`wss://[^\s"',]+`)
	vmrcURL = regexp.MustCompile(`(?m)^vmrc://\S+`)
)

// Ticket asks for a WebMKS ticket, and of hosts that give none for one that
// VMware's Remote Console takes.
func (c *Conn) Ticket(ctx context.Context, v vm.VM) (vm.Ticket, error) {
	id, err := c.id(ctx, v)
	if err != nil {
		return vm.Ticket{}, err
	}
	var first error
	for _, kind := range []string{"webmks", "mks"} {
		// Run once: what a ticket's command prints is for nobody's log.
		out, err := c.once(ctx, "vim-cmd vmsvc/acquireticket "+id+" "+kind, nil, nil)
		t := parseTicket(out, c.e.Host)
		if err = classify(out, err); err == nil && t.URL != "" {
			return t, nil
		}
		if err == nil {
			err = vm.Errorf(vm.ErrUnsupported, "vim-cmd vmsvc/acquireticket %s prints no ticket", kind)
		}
		if first == nil {
			first = err
		}
	}
	return vm.Ticket{}, first
}

// parseTicket finds the address in what acquireticket printed. A host calls
// itself localhost there.
func parseTicket(out, host string) vm.Ticket {
	var t vm.Ticket
	ticket := ""
	if d, err := parseDump(out); err == nil {
		ticket, t.Thumbprint = d.str("ticket"), d.str("sslThumbprint")
	}
	switch {
	case wssURL.MatchString(out):
		t.URL = wssURL.FindString(out)
	case vmrcURL.MatchString(out):
		t.URL = vmrcURL.FindString(out)
	case ticket != "" && strings.Contains(out, "webmks"), ticket != "" && !strings.Contains(out, "902"):
		t.URL = "wss://" + net.JoinHostPort(host, "443") + "/ticket/" + url.PathEscape(ticket)
	}
	name := host
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	t.URL = strings.NewReplacer("//localhost", "//"+name, "@localhost", "@"+name).Replace(t.URL)
	return t
}

// Screenshot is not to be had over SSH.
func (c *Conn) Screenshot(context.Context, vm.VM) ([]byte, error) {
	return nil, vm.Errorf(vm.ErrUnsupported, "over SSH no picture of a guest's screen can be had")
}
