package bmc

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"margay/nodedb"
)

// A Secret is a password. It prints as stars whatever prints it.
type Secret string

// String hides the secret.
func (Secret) String() string { return "******" }

// GoString hides the secret.
func (Secret) GoString() string { return "******" }

// LogValue hides the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue("******") }

// MarshalText hides the secret.
func (Secret) MarshalText() ([]byte, error) { return []byte("******"), nil }

// A Kind is the protocol a controller speaks.
type Kind string

// The protocols.
const (
	IPMI    Kind = "ipmi"
	Redfish Kind = "redfish"
)

// A Target is one controller and how to get in.
type Target struct {
	Node     string
	Kind     Kind
	Address  string // host name or address, without port
	Port     int    // 0: the protocol's own
	User     string
	Password Secret

	// Timeout and Retries say how long a silent controller is waited for:
	// Patience. Zero values are site's defaults.
	Timeout time.Duration
	Retries int
	// Ciphers are the IPMI cipher suites to try, in order; none: 17, then 3.
	Ciphers []int
	// Settle is how long a power order may take to show; zero: 20 s.
	Settle time.Duration
}

// The defaults of site.ipmitimeout and site.ipmiretries.
const (
	DefaultTimeout = 2 * time.Second
	DefaultRetries = 3
)

// Patience is how long a controller may be silent before it counts as dead.
func (t Target) Patience() time.Duration {
	timeout, retries := t.Timeout, t.Retries
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	if retries <= 0 {
		retries = DefaultRetries
	}
	return timeout * time.Duration(retries+1)
}

// HostPort is where the controller listens, given its protocol's own port.
func (t Target) HostPort(standard int) string {
	port := t.Port
	if port == 0 {
		port = standard
	}
	return net.JoinHostPort(t.Address, strconv.Itoa(port))
}

// String names the target without its secret.
func (t Target) String() string {
	return fmt.Sprintf("%s (%s at %s)", t.Node, t.Kind, t.Address)
}

// ErrNotBMC: the node is not managed through a controller.
var ErrNotBMC = errors.New("not managed through a BMC")

// TargetOf is the controller of a node as the table describes it: columns bmc,
// username and password of table ipmi (openbmc for mgt=openbmc), and what they
// lack from the passwd table's row of that key. The error wraps ErrNotBMC if
// the node's mgt has no controller behind it.
func TargetOf(snap *nodedb.Snapshot, n *nodedb.Node) (Target, error) {
	table, kind, err := tableOf(n)
	if err != nil {
		return Target{}, err
	}
	t := Target{
		Node:     n.Name,
		Kind:     kind,
		User:     n.Attr(table + ".username"),
		Password: Secret(n.Attr(table + ".password")),
	}
	where, err := ParseAddress(n.Attr(table + ".bmc"))
	if err != nil {
		return Target{}, fmt.Errorf("%s.bmc: %w", table, err)
	}
	t.Address, t.Port = where.Address, where.Port
	t.fillLogin(snap, table)
	return t, t.fillSite(snap)
}

// tableOf is the table that describes a node's controller. OpenBMC's own REST
// interface has been gone from its firmware since 2.11; all speak Redfish.
func tableOf(n *nodedb.Node) (table string, kind Kind, err error) {
	mgt := n.Mgt
	if n.Power != "" {
		mgt = n.Power
	}
	switch mgt {
	case "ipmi":
		return "ipmi", IPMI, nil
	case "redfish":
		return "ipmi", Redfish, nil
	case "openbmc":
		return "openbmc", Redfish, nil
	case "":
		return "", "", fmt.Errorf("no mgt; set mgt=ipmi or mgt=redfish with chdef: %w", ErrNotBMC)
	}
	return "", "", fmt.Errorf("mgt=%s: %w", mgt, ErrNotBMC)
}

// ParseAddress reads where a controller is: "host", "host:port",
// "[address]:port" or a bare IPv6 address.
func ParseAddress(s string) (Target, error) {
	s = strings.TrimSpace(s)
	bad := fmt.Errorf("%q is neither a host nor host:port: %w", s, nodedb.ErrInvalid)
	if s == "" {
		return Target{}, fmt.Errorf("not set; give the BMC's address with chdef bmc=: %w", nodedb.ErrInvalid)
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return Target{Address: s}, nil
	}
	if validHost(s) {
		return Target{Address: s}, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return Target{}, bad
	}
	a, err := netip.ParseAddr(host)
	if !validHost(host) && (err != nil || a.Zone() != "") {
		return Target{}, bad
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || p == 0 {
		return Target{}, bad
	}
	return Target{Address: host, Port: int(p)}, nil
}

// validHost says whether s is a host name or an IPv4 address by its letters.
func validHost(s string) bool {
	for _, r := range s {
		if r != '.' && r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return false
		}
	}
	return s != "" && s[0] != '-' && s[0] != '.'
}

// fillLogin takes what the node's own row leaves out from the passwd table. A
// row with a user of its own but no password takes the password of that user.
func (t *Target) fillLogin(snap *nodedb.Snapshot, key string) {
	if t.User != "" && t.Password != "" {
		return
	}
	row, err := snap.Password(key, t.User)
	if err != nil && t.User == "" {
		return
	}
	if err != nil {
		row, err = snap.Password(key, "")
	}
	if err != nil {
		return
	}
	if t.User == "" {
		t.User = row.User
	}
	if t.Password == "" {
		t.Password = Secret(row.Secret)
	}
}

func (t *Target) fillSite(snap *nodedb.Snapshot) error {
	retries, err := siteNumber(snap, "ipmiretries", DefaultRetries)
	if err != nil {
		return err
	}
	seconds, err := siteNumber(snap, "ipmitimeout", int(DefaultTimeout/time.Second))
	if err != nil {
		return err
	}
	t.Retries, t.Timeout = retries, time.Duration(seconds)*time.Second
	for _, word := range strings.FieldsFunc(snap.Site("ipmiciphers"), func(r rune) bool { return r == ',' || r == ' ' }) {
		c, err := strconv.Atoi(word)
		if err != nil {
			return fmt.Errorf("site.ipmiciphers: %q is not a cipher suite: %w", word, nodedb.ErrInvalid)
		}
		t.Ciphers = append(t.Ciphers, c)
	}
	return nil
}

func siteNumber(snap *nodedb.Snapshot, key string, otherwise int) (int, error) {
	s := snap.Site(key)
	if s == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 10000 {
		return 0, fmt.Errorf("site.%s: %q is not a number: %w", key, s, nodedb.ErrInvalid)
	}
	if n == 0 {
		return otherwise, nil
	}
	return n, nil
}
