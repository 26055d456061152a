package esxi

import (
	"fmt"
	"strings"

	"margay/nodedb"
	"margay/provision"
)

// Outline implements provision.Outliner.
func (f *Family) Outline(b *provision.Boot) ([]string, error) {
	h, err := newHost(b)
	if err != nil {
		return nil, err
	}
	s := h.set
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if b.Mode == nodedb.ModeInstall {
		say("%s ESXi %s", s.method, h.version)
		say("disk: %s", s.diskText(h))
	} else {
		say("ESXi %s in memory, no disk is touched", h.version)
	}
	say("management: %s", s.network)
	say("name %s%s", s.hostname, listed(", name servers ", s.dns))
	var later []string
	for _, x := range []struct {
		is   bool
		text string
	}{
		{s.ssh, "SSH for root"}, {s.shell, "the ESXi shell"}, {len(s.keys) > 0, fmt.Sprintf("%d SSH keys", len(s.keys))},
		{len(s.ntp) > 0, listed("time from ", s.ntp)}, {len(s.syslog) > 0, listed("logs to ", s.syslog)},
		{len(s.switches) > 0, fmt.Sprintf("%d switches", len(s.switches))}, {len(s.nfs) > 0, fmt.Sprintf("%d NFS datastores", len(s.nfs))},
		{s.datastore != "", "datastore " + s.datastore}, {s.cert != "own", "a certificate"}, {len(s.services) > 0, "services"}, {len(s.firewall) > 0, "firewall"},
	} {
		if x.is {
			later = append(later, x.text)
		}
	}
	switch {
	case len(later) == 0:
	case b.Mode == nodedb.ModeInstall && !s.first:
		say("NOT set, as nothing of ours runs at the first boot under Secure Boot: %s", strings.Join(later, ", "))
	default:
		say("at its first boot: %s", strings.Join(later, ", "))
	}
	return out, nil
}

func listed(head string, list []string) string {
	if len(list) == 0 {
		return ""
	}
	return head + strings.Join(list, ", ")
}

// diskText says which disk is taken, and what becomes of datastores on it.
func (s settings) diskText(h *host) string {
	text := s.disk.String()
	switch {
	case s.disk.found && s.disk.pick == "":
		text += ", found by %pre; none or several stop the install"
	case s.disk.found:
		text += ", found by %pre; none stops the install"
	case s.disk.disk == "":
		text += ", as the installer sorts them"
	}
	switch {
	case s.method == "upgrade":
		return text + "; what is on it is kept"
	case s.vmfs == "overwrite":
		return text + "; DATASTORES ON IT ARE OVERWRITTEN"
	case s.vmfs == "none":
		return text + "; no datastore is made"
	case !h.version.AtLeast(5) || s.method == "installorupgrade":
		return text + "; a datastore on it stops the install"
	}
	return text + "; datastores on it are kept"
}

func (n network) String() string {
	text := "by DHCP"
	if n.static {
		text = n.addr.String()
		if n.gateway.IsValid() {
			text += " by " + n.gateway.String()
		}
	}
	text += " on " + n.device
	if n.vlan > 0 {
		text += fmt.Sprintf(", VLAN %d", n.vlan)
	}
	return text
}
