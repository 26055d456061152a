package linux

import (
	"fmt"
	"strings"

	"margay/nodedb"
	"margay/provision"
)

// Outline implements provision.Outliner.
func (f *Family) Outline(b *provision.Boot) ([]string, error) {
	n, err := newNode(b)
	if err != nil {
		return nil, err
	}
	d, err := n.data()
	if err != nil {
		return nil, err
	}
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if b.Mode == nodedb.ModeNetboot {
		say("%s in memory, no disk is touched", b.OS)
	} else {
		if err := f.outlineInstall(n, d, say); err != nil {
			return nil, err
		}
	}
	say("name %s, %s", d.Hostname, addressText(d))
	for _, kind := range []string{"postscripts", "postbootscripts"} {
		lines, err := n.scripts(kind)
		if err != nil {
			return nil, err
		}
		if len(lines) > 0 {
			say("%s: %s", kind, strings.Join(lines, ", "))
		}
	}
	return out, nil
}

func (f *Family) outlineInstall(n *node, d *AnswerData, say func(string, ...any)) error {
	if err := n.packages(f, d); err != nil {
		return err
	}
	if err := n.partition(f, d); err != nil {
		return err
	}
	t, err := f.answerTemplate(n)
	if err != nil {
		return err
	}
	say("installs %s from %s, as %s has it", n.OS, d.Mirror, t.Source)
	switch {
	case d.DiskTool:
		say("disk: as the script of its partition file finds")
	case d.Partition != "":
		say("disk: as its partition file says")
	default:
		say("disk: the first that is fixed, and all of it")
	}
	say("packages: %s", strings.Join(append(prefixed("@", d.Groups), append(d.Packages, prefixed("-", d.Without)...)...), " "))
	return nil
}

func prefixed(mark string, list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = mark + s
	}
	return out
}

func addressText(d *AnswerData) string {
	text := "address by DHCP"
	if d.Static {
		text = fmt.Sprintf("address %s/%d", d.IP, d.Bits)
	}
	for _, n := range d.NICs {
		for _, a := range n.Addrs {
			text += fmt.Sprintf(", %s %s/%d", n.Name, a.IP, a.Bits)
		}
	}
	return text
}
