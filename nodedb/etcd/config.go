package etcd

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"margay/nodedb"
)

// A Config says where the table is.
type Config struct {
	Endpoints []string // host:port
	Prefix    string   // before all keys, so that several tables may share an etcd
	Username  string
	Password  string
	TLS       *tls.Config // nil: in the clear
}

// ParseURL reads etcd://h1:2379,h2:2379/prefix. etcds:// is with TLS, and then
// ?ca=FILE, ?cert=FILE and ?key=FILE name PEM files. A user may stand before
// the hosts (user@h1), with ?passwordfile=FILE for the password: on a command
// line it would be seen by all.
func ParseURL(text string) (Config, error) {
	c, err := parseURL(text)
	if err != nil {
		return Config{}, fmt.Errorf("store %s: %w", redact(text), err)
	}
	return c, nil
}

// redact hides a password in a URL that may not parse.
func redact(text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	user, hosts, found := strings.Cut(rest, "@")
	if !ok || !found {
		return text
	}
	name, _, _ := strings.Cut(user, ":")
	return scheme + "://" + name + "@" + hosts
}

func parseURL(text string) (Config, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || scheme != "etcd" && scheme != "etcds" {
		return Config{}, fmt.Errorf("not etcd://host:port/prefix: %w", nodedb.ErrInvalid)
	}
	rest, query, _ := strings.Cut(rest, "?")
	hosts, prefix, _ := strings.Cut(rest, "/")
	values, err := url.ParseQuery(query)
	if err != nil {
		return Config{}, fmt.Errorf("what stands after ? makes no sense: %w", nodedb.ErrInvalid)
	}
	c := Config{Prefix: strings.TrimSuffix(prefix, "/") + "/"}
	if c.Prefix == "/" {
		c.Prefix = "margay/"
	}
	if user, h, ok := strings.Cut(hosts, "@"); ok {
		c.Username, c.Password, _ = strings.Cut(user, ":")
		hosts = h
	}
	for h := range strings.SplitSeq(hosts, ",") {
		e, err := endpoint(h)
		if err != nil {
			return Config{}, err
		}
		c.Endpoints = append(c.Endpoints, e)
	}
	return c, c.files(scheme == "etcds", values)
}

// endpoint puts etcd's port behind a host that has none.
func endpoint(h string) (string, error) {
	if _, _, err := net.SplitHostPort(h); err != nil {
		h = net.JoinHostPort(strings.Trim(h, "[]"), "2379")
	}
	if host, _, err := net.SplitHostPort(h); err != nil || host == "" {
		return "", fmt.Errorf("%q is not host:port: %w", h, nodedb.ErrInvalid)
	}
	return h, nil
}

// files reads the files that the URL names.
func (c *Config) files(secure bool, values url.Values) error {
	for k := range values {
		switch {
		case k == "passwordfile":
		case secure && (k == "ca" || k == "cert" || k == "key"):
		default:
			return fmt.Errorf("there is no option %s: %w", k, nodedb.ErrInvalid)
		}
	}
	if path := values.Get("passwordfile"); path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		c.Password = strings.TrimRight(string(b), "\r\n")
	}
	if !secure {
		return nil
	}
	c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if path := values.Get("ca"); path != "" {
		pem, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		c.TLS.RootCAs = x509.NewCertPool()
		if !c.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s holds no certificate: %w", path, nodedb.ErrInvalid)
		}
	}
	if values.Get("cert") == "" && values.Get("key") == "" {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(values.Get("cert"), values.Get("key"))
	if err != nil {
		return err
	}
	c.TLS.Certificates = []tls.Certificate{cert}
	return nil
}
