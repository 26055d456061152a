// Package seed makes the disc that cloud-init configures a guest from: the
// NoCloud data source, an ISO image with the volume label "cidata"
// (cloud-init's documentation, "NoCloud").
package seed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/kdomanski/iso9660"
)

// Label is the volume label by which cloud-init knows the disc.
const Label = "cidata"

// A Seed is what is on the disc. MetaData and UserData are always there, even
// if they are empty; the others only if they are not.
type Seed struct {
	MetaData      []byte
	UserData      []byte
	NetworkConfig []byte
	VendorData    []byte
}

// maxFile bounds each file; cloud-init reads them whole.
const maxFile = 16 << 20

// Write writes the disc.
func (s *Seed) Write(w io.Writer) error {
	iw, err := iso9660.NewWriter()
	if err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	defer iw.Cleanup()
	for _, f := range []struct {
		name   string
		data   []byte
		always bool
	}{
		{"meta-data", s.MetaData, true}, {"user-data", s.UserData, true},
		{"network-config", s.NetworkConfig, false}, {"vendor-data", s.VendorData, false},
	} {
		if len(f.data) == 0 && !f.always {
			continue
		}
		if len(f.data) > maxFile {
			return fmt.Errorf("seed: %s of %d bytes is too large", f.name, len(f.data))
		}
		if err := iw.AddFile(bytes.NewReader(f.data), f.name); err != nil {
			return fmt.Errorf("seed: %s: %w", f.name, err)
		}
	}
	if err := iw.WriteTo(w, Label); err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	return nil
}

// A Guest is what a seed is made for.
type Guest struct {
	Name       string // host name
	Domain     string
	InstanceID string   // changes where the guest is to be configured anew
	Keys       []string // ssh keys of its first user, as in authorized_keys
	Password   string   // hash of root's password, as in /etc/shadow; never the password itself
	Commands   []string // run once, at the first boot
	NICs       []NIC
}

// A NIC is one network card. Without Addr it asks DHCP.
type NIC struct {
	MAC    string
	Addr   netip.Prefix
	Router netip.Addr
	DNS    []netip.Addr
	Search []string
}

// New makes a seed for a guest.
func New(g Guest) (*Seed, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	id := g.InstanceID
	if id == "" {
		id = "iid-" + g.Name
	}
	meta, err := yaml(map[string]any{"instance-id": id, "local-hostname": g.Name})
	if err != nil {
		return nil, err
	}
	user, err := yaml(g.userData())
	if err != nil {
		return nil, err
	}
	s := &Seed{MetaData: meta, UserData: append([]byte("#cloud-config\n"), user...)}
	if len(g.NICs) > 0 {
		s.NetworkConfig, err = yaml(g.network())
	}
	return s, err
}

func (g Guest) check() error {
	if g.Name == "" || strings.ContainsAny(g.Name, " /\n") {
		return fmt.Errorf("seed: host name %q", g.Name)
	}
	if g.Password != "" && !strings.HasPrefix(g.Password, "$") {
		return fmt.Errorf("seed of %s: the password is not a hash; a disc is no place for it", g.Name)
	}
	for _, k := range g.Keys {
		if strings.ContainsAny(k, "\r\n") || !strings.Contains(k, " ") {
			return fmt.Errorf("seed of %s: a key is not as in authorized_keys", g.Name)
		}
	}
	for _, n := range g.NICs {
		if n.MAC == "" {
			return fmt.Errorf("seed of %s: a network card has no address to know it by", g.Name)
		}
	}
	return nil
}

func (g Guest) userData() map[string]any {
	u := map[string]any{"hostname": g.Name, "preserve_hostname": false}
	if g.Domain != "" {
		u["fqdn"] = g.Name + "." + g.Domain
	}
	if len(g.Keys) > 0 {
		u["ssh_authorized_keys"] = g.Keys
		u["disable_root"] = false
	}
	if g.Password != "" {
		u["users"] = []any{"default", map[string]any{"name": "root", "lock_passwd": false, "hashed_passwd": g.Password}}
	}
	if len(g.Commands) > 0 {
		u["runcmd"] = g.Commands
	}
	return u
}

// network is the network configuration, version 2, cards known by address.
func (g Guest) network() map[string]any {
	cards := map[string]any{}
	for i, n := range g.NICs {
		c := map[string]any{"match": map[string]any{"macaddress": strings.ToLower(n.MAC)}, "set-name": fmt.Sprintf("eth%d", i)}
		if !n.Addr.IsValid() {
			c["dhcp4"] = true
			cards[fmt.Sprintf("eth%d", i)] = c
			continue
		}
		c["addresses"] = []string{n.Addr.String()}
		if n.Router.IsValid() {
			to := "0.0.0.0/0"
			if n.Router.Is6() {
				to = "::/0"
			}
			c["routes"] = []any{map[string]any{"to": to, "via": n.Router.String()}}
		}
		if len(n.DNS)+len(n.Search) > 0 {
			c["nameservers"] = map[string]any{"addresses": n.DNS, "search": n.Search}
		}
		cards[fmt.Sprintf("eth%d", i)] = c
	}
	return map[string]any{"version": 2, "ethernets": cards}
}

// yaml writes a value as JSON, which is YAML (YAML 1.2, 1.3) and leaves
// nothing to quoting rules.
func yaml(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}
