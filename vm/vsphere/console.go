package vsphere

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// Ticket asks for a WebMKS ticket. Hosts before 6.0 have none.
func (c *Conn) Ticket(ctx context.Context, v vm.VM) (vm.Ticket, error) {
	res, err := methods.AcquireTicket(ctx, c.vc, &types.AcquireTicket{This: vmRef(v), TicketType: string(types.VirtualMachineTicketTypeWebmks)})
	if err != nil {
		return vm.Ticket{}, wrap(err)
	}
	t := res.Returnval
	out := vm.Ticket{URL: t.Url, Thumbprint: t.SslThumbprint}
	if out.URL == "" {
		host, port := t.Host, t.Port
		if host == "" {
			host = c.e.Host
		}
		if port == 0 {
			port = 443
		}
		out.URL = "wss://" + net.JoinHostPort(host, fmt.Sprint(port)) + "/ticket/" + url.PathEscape(t.Ticket)
	}
	return out, nil
}

// maxScreen bounds a screenshot.
const maxScreen = 64 << 20

// Screenshot gets a guest's screen from the host's web server. Where that has
// no such page the host is told to write a file, which is fetched and deleted.
func (c *Conn) Screenshot(ctx context.Context, v vm.VM) ([]byte, error) {
	u := *c.soap.URL()
	u.Path, u.RawQuery = "/screen", url.Values{"id": {v.ID}}.Encode()
	b, err := c.fetch(ctx, &u)
	if !errors.Is(err, vm.ErrNotFound) {
		return b, err
	}
	return c.screenFile(ctx, v)
}

func (c *Conn) screenFile(ctx context.Context, v vm.VM) ([]byte, error) {
	name, err := c.do(ctx, &job{start: func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.CreateScreenshot_Task(ctx, c.vc, &types.CreateScreenshot_Task{This: vmRef(v)})
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}})
	if err != nil {
		return nil, err
	}
	s, _ := name.(string)
	p, err := vm.ParsePath(s)
	if err != nil {
		return nil, err
	}
	u, err := c.screenURL(ctx, v, p)
	if err != nil {
		return nil, err
	}
	b, err := c.fetch(ctx, u)
	return b, errors.Join(err, c.Delete(context.WithoutCancel(ctx), v.Host, p))
}

func (c *Conn) screenURL(ctx context.Context, v vm.VM, p vm.Path) (*url.URL, error) {
	t, err := c.tree(ctx)
	if err != nil {
		return nil, err
	}
	q := url.Values{"dsName": {p.Datastore}}
	host := t.find("HostSystem", v.Host)
	if c.about.Kind == vm.ESX {
		host = t.find("HostSystem", "")
	}
	if dc := t.above(host, "Datacenter"); dc != nil {
		q.Set("dcPath", dc.name)
	}
	u := *c.soap.URL()
	u.Path, u.RawQuery = "/folder/"+p.File, q.Encode()
	return &u, nil
}

// fetch reads a page of the endpoint's web server, as the one who is logged in.
func (c *Conn) fetch(ctx context.Context, u *url.URL) ([]byte, error) {
	for again := true; ; again = false {
		seen := c.loginCount()
		res, err := c.soap.DownloadRequest(ctx, u, &soap.Download{Method: http.MethodGet})
		if err != nil {
			return nil, wrap(err)
		}
		b, err := io.ReadAll(io.LimitReader(res.Body, maxScreen))
		_ = res.Body.Close()
		switch {
		case res.StatusCode == http.StatusOK:
			return b, err
		case res.StatusCode == http.StatusUnauthorized && again:
			if err := c.login(ctx, seen); err != nil {
				return nil, err
			}
			continue
		case res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusNotImplemented:
			return nil, vm.Errorf(vm.ErrNotFound, "%s has no page %s", c.e, u.Path)
		}
		return nil, vm.Errorf(vm.ErrInvalid, "%s answers %s with %s", c.e, u.Path, strings.TrimSpace(res.Status))
	}
}
