package esxi

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"margay/provision"
)

// A vSwitch is one that the operator wants beside or over the default one.
type vSwitch struct {
	Name    string
	Uplinks []string
	Groups  []portGroup
}

type portGroup struct {
	Name string
	VLAN int
}

// parseSwitches reads
//
//	vSwitch1:vmnic1+vmnic2:prod=10+test=20;vSwitch0::vms=30
//
// switches separated by ;, each with uplinks and port groups with VLANs.
func parseSwitches(text string) ([]vSwitch, error) {
	var out []vSwitch
	for item := range strings.SplitSeq(text, ";") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		part := strings.SplitN(item, ":", 3)
		for len(part) < 3 {
			part = append(part, "")
		}
		s := vSwitch{Name: part[0]}
		if !plainName.MatchString(s.Name) {
			return nil, fmt.Errorf("%q is not a switch's name", s.Name)
		}
		for u := range strings.FieldsFuncSeq(part[1], isPlus) {
			if !vmnic.MatchString(u) {
				return nil, fmt.Errorf("uplink %q of %s is not vmnicN", u, s.Name)
			}
			s.Uplinks = append(s.Uplinks, u)
		}
		for g := range strings.FieldsFuncSeq(part[2], isPlus) {
			group, err := parseGroup(g)
			if err != nil {
				return nil, fmt.Errorf("switch %s: %v", s.Name, err)
			}
			s.Groups = append(s.Groups, group)
		}
		out = append(out, s)
	}
	return out, nil
}

func isPlus(r rune) bool { return r == '+' }

func parseGroup(text string) (portGroup, error) {
	name, vlan, has := strings.Cut(text, "=")
	g := portGroup{Name: strings.TrimSpace(name)}
	if !plainName.MatchString(g.Name) {
		return g, fmt.Errorf("%q is not a port group's name", g.Name)
	}
	if has {
		n, err := strconv.Atoi(vlan)
		if err != nil || n < 0 || n > 4095 {
			return g, fmt.Errorf("VLAN %q of port group %s is not 0 to 4095", vlan, g.Name)
		}
		g.VLAN = n
	}
	return g, nil
}

// An nfsStore is a datastore on an NFS server.
type nfsStore struct{ Name, Host, Path string }

var nfsPath = regexp.MustCompile(`^/[A-Za-z0-9._/+-]{0,200}$`)

// parseNFS reads name=server:/path, several separated by commas.
func parseNFS(text string) ([]nfsStore, error) {
	var out []nfsStore
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		name, rest, _ := strings.Cut(item, "=")
		host, p, _ := strings.Cut(rest, ":")
		if !plainName.MatchString(name) || !provision.HostName.MatchString(host) || !nfsPath.MatchString(p) {
			return nil, fmt.Errorf("%q is not name=server:/path", item)
		}
		out = append(out, nfsStore{name, host, p})
	}
	return out, nil
}
