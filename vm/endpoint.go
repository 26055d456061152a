package vm

import (
	"net"
	"net/url"
	"strconv"
	"strings"
)

// A Kind is what answers at an endpoint.
type Kind string

// The kinds, by the scheme of their addresses.
const (
	ESX Kind = "esx" // one host
	VPX Kind = "vpx" // a vCenter
)

// An Endpoint is one ESXi host or one vCenter to connect to, in the form of
// libvirt's addresses: type://[user@]host[:port]/[datacenter[/...]/server][?params].
type Endpoint struct {
	Kind       Kind
	Name       string // what the operator calls it
	Host       string // name or address to connect to, without port
	Port       int    // 0: the default
	SSHPort    int    // 0: 22
	Plain      bool   // transport=http
	NoVerify   bool   // no_verify=1
	AutoAnswer bool   // auto_answer=1
	Workers    int    // workers=: tasks at a time; 0: the default of its kind
	Tries      int    // retries= and 1: how often what does no harm is asked; 0: the default
	Proxy      *url.URL
	VCenter    string   // vcenter=; "*": ask the host
	Path       []string // of a vpx address: datacenter, folders, cluster, server
	User       string
	Password   string
	Passing    bool   // a certificate that is seen for the first time is not remembered
	Pin        string // SHA-256 of the certificate that is trusted; "": none yet
	SSHPin     string // the same of the SSH host key
}

// Key tells endpoints apart for which one connection cannot serve.
func (e Endpoint) Key() string {
	s := string(e.Kind) + "://" + e.User + "@" + e.Addr()
	if e.Proxy != nil {
		s += "?" + e.Proxy.Redacted()
	}
	return s
}

// Addr is "host:port" of the API.
func (e Endpoint) Addr() string {
	port := e.Port
	if port == 0 {
		port = 443
		if e.Plain {
			port = 80
		}
	}
	return net.JoinHostPort(e.Host, strconv.Itoa(port))
}

// SSHAddr is "host:port" of the shell.
func (e Endpoint) SSHAddr() string {
	port := e.SSHPort
	if port == 0 {
		port = 22
	}
	return net.JoinHostPort(e.Host, strconv.Itoa(port))
}

// String is the endpoint for messages; it holds no password.
func (e Endpoint) String() string {
	if e.Name != "" {
		return e.Name
	}
	return e.Addr()
}

// IsURI says whether s is an address rather than a plain name.
func IsURI(s string) bool { return strings.Contains(s, "://") }

// ParseURI reads an esx:// or vpx:// address. Parameters that it does not know
// are errors: a misspelt no_verify must not pass for a wish to verify.
func ParseURI(s string) (Endpoint, error) {
	scheme, _, _ := strings.Cut(s, "://")
	if err := checkScheme(scheme); err != nil {
		return Endpoint{}, err
	}
	u, err := url.Parse(s)
	if err != nil {
		return Endpoint{}, Errorf(ErrInvalid, "address %q: not a URI", scheme+"://...")
	}
	e := Endpoint{Kind: Kind(scheme), Host: u.Hostname()}
	if e.Host == "" {
		return e, Errorf(ErrInvalid, "address %s: no host", u.Redacted())
	}
	if u.User != nil {
		e.User = u.User.Username()
		if _, has := u.User.Password(); has {
			return e, Errorf(ErrInvalid, "address of %s: passwords belong in the passwd table (key=vmware or key=vcenter), not in the address", e.Host)
		}
	}
	if p := u.Port(); p != "" {
		if e.Port, err = strconv.Atoi(p); err != nil || e.Port < 1 || e.Port > 65535 {
			return e, Errorf(ErrInvalid, "address of %s: port %q", e.Host, p)
		}
	}
	if e.Path, err = splitPath(u.EscapedPath()); err != nil {
		return e, err
	}
	return e, e.params(u.Query())
}

func checkScheme(scheme string) error {
	switch scheme {
	case string(ESX), string(VPX):
		return nil
	case "gsx":
		return Errorf(ErrUnsupported, "gsx:// is VMware Server 2.0, which ended in 2011; use esx:// or vpx://")
	case "esx+ssh", "esx+tcp", "esx+tls", "vpx+ssh", "vpx+tcp", "vpx+tls":
		return Errorf(ErrUnsupported, "%s://: hosts are reached directly, never through another daemon; write %s://", scheme, scheme[:3])
	}
	return Errorf(ErrInvalid, "address scheme %q is unknown; use esx:// for a host or vpx:// for a vCenter", scheme)
}

// splitPath reads an inventory path; a "/" inside a name is written %2f.
func splitPath(escaped string) ([]string, error) {
	var out []string
	for _, f := range strings.Split(strings.Trim(escaped, "/"), "/") {
		name, err := url.PathUnescape(f)
		if err != nil {
			return nil, Errorf(ErrInvalid, "inventory path: %q is not escaped as %%2f", f)
		}
		if name != "" {
			out = append(out, name)
		}
	}
	return out, nil
}

func (e *Endpoint) params(q url.Values) error {
	for name, values := range q {
		v := values[len(values)-1]
		var err error
		switch name {
		case "transport":
			if v != "http" && v != "https" {
				return Errorf(ErrInvalid, "transport=%s: http or https", v)
			}
			e.Plain = v == "http"
		case "no_verify":
			e.NoVerify, err = flag01(name, v)
		case "auto_answer":
			e.AutoAnswer, err = flag01(name, v)
		case "vcenter":
			e.VCenter = v
		case "proxy":
			e.Proxy, err = parseProxy(v)
		case "ssh_port":
			if e.SSHPort, err = strconv.Atoi(v); err != nil {
				err = Errorf(ErrInvalid, "ssh_port=%s: not a number", v)
			}
		case "workers":
			e.Workers, err = parseWorkers(name, v)
		case "retries":
			e.Tries, err = parseRetries(name, v)
			e.Tries++
		default:
			err = Errorf(ErrInvalid, "parameter %s is unknown; transport, vcenter, no_verify, auto_answer, proxy, ssh_port, workers and retries are known", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func flag01(name, v string) (bool, error) {
	switch v {
	case "0":
		return false, nil
	case "1":
		return true, nil
	}
	return false, Errorf(ErrInvalid, "%s=%s: 0 or 1", name, v)
}

// parseProxy reads [type://]host[:port]; the type is http, socks, socks4,
// socks4a or socks5, the port 1080 unless it is named.
func parseProxy(v string) (*url.URL, error) {
	if !strings.Contains(v, "://") {
		v = "http://" + v
	}
	u, err := url.Parse(v)
	if err != nil || u.Hostname() == "" {
		return nil, Errorf(ErrInvalid, "proxy=%s: write [http|socks|socks4|socks4a|socks5://]host[:port]", v)
	}
	switch u.Scheme {
	case "socks":
		u.Scheme = "socks5"
	case "http", "socks4", "socks4a", "socks5":
	default:
		return nil, Errorf(ErrInvalid, "proxy type %q is unknown; http, socks, socks4, socks4a or socks5", u.Scheme)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), "1080")
	}
	return u, nil
}
