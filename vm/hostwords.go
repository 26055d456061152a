package vm

import (
	"strconv"
	"strings"

	"margay/nodedb"
)

// hostWord is what hypervisor.interface says under a name of ours, "" if it
// says nothing: elements are "name:value:...", separated by "|", and xCAT's own
// are networks with their cards.
func hostWord(n *nodedb.Node, name string) string {
	if n == nil {
		return ""
	}
	for _, part := range strings.Split(n.Attr("hypervisor.interface"), "|") {
		if f := strings.Split(strings.TrimSpace(part), ":"); len(f) > 1 && strings.EqualFold(f[0], name) {
			return strings.TrimSpace(f[1])
		}
	}
	return ""
}

// vmotionOf is the card that a host is to move guests over.
func vmotionOf(n *nodedb.Node) string { return hostWord(n, "vmotion") }

// fixedNetworks is what forbids to make networks on a host, "" if nothing does:
// "networks:fixed" or "networks:made" of its hostinterface, else the site.
func fixedNetworks(snap *nodedb.Snapshot, host *nodedb.Node) (string, error) {
	switch word := strings.ToLower(hostWord(host, "networks")); word {
	case "":
	case "fixed":
		return "its hostinterface (networks:fixed)", nil
	case "made":
		return "", nil
	default:
		return "", Errorf(ErrInvalid, "hostinterface of %s: networks:%s: fixed, if guests' networks must be there, or made, if they are made", host.Name, word)
	}
	if truth(snap.Site("vmwarefixednetworks")) {
		return "site.vmwarefixednetworks", nil
	}
	return "", nil
}

// A capacity is what a host has for its guests in the operator's view; 0 is
// whatever the host itself lets be used.
type capacity struct {
	cpus int
	mb   int64
}

// capacityOf reads "cpus:32|memory:256G" of a host's hostinterface.
func capacityOf(host *nodedb.Node) (c capacity, err error) {
	if s := hostWord(host, "cpus"); s != "" {
		if c.cpus, err = strconv.Atoi(s); err != nil || c.cpus < 1 {
			return c, Errorf(ErrInvalid, "hostinterface of %s: cpus:%s: not a number above 0", host.Name, s)
		}
	}
	if s := hostWord(host, "memory"); s != "" {
		if c.mb, err = ParseMemory(s); err != nil {
			return c, Errorf(ErrInvalid, "hostinterface of %s: memory:%s: %v", host.Name, s, err)
		}
	}
	return c, nil
}

func (c capacity) set() bool { return c != capacity{} }

// lines are lshypervisor's of it, beside what the host has.
func (c capacity) lines() (out []string) {
	if c.cpus > 0 {
		out = append(out, "cpus for guests: "+strconv.Itoa(c.cpus))
	}
	if c.mb > 0 {
		out = append(out, "memory for guests: "+strconv.FormatInt(c.mb, 10)+" MB")
	}
	return out
}

// room says whether a guest of a size goes in beside what is given away.
func (c capacity) room(host string, given capacity, size Size) error {
	if c.cpus > 0 && size.CPUs > 0 && given.cpus+size.CPUs > c.cpus {
		return Errorf(ErrNoSpace, "%s has %d cpus for guests, of which %d are given to some, and %d more are wanted; raise cpus: in its hostinterface or choose another host", host, c.cpus, given.cpus, size.CPUs)
	}
	if c.mb > 0 && size.MemoryMB > 0 && given.mb+size.MemoryMB > c.mb {
		return Errorf(ErrNoSpace, "%s has %d MB of memory for guests, of which %d MB are given to some, and %d MB more are wanted; raise memory: in its hostinterface or choose another host", host, c.mb, given.mb, size.MemoryMB)
	}
	return nil
}
