package esxsh

import (
	"context"
	"crypto/rand"
	"regexp"
	"strconv"
	"strings"

	"margay/vm"
)

// Hosts is the host itself.
func (c *Conn) Hosts(ctx context.Context) ([]string, error) {
	out, err := c.run(ctx, "hostname")
	return []string{strings.TrimSpace(out)}, err
}

// Host reads the host.
func (c *Conn) Host(ctx context.Context, _ string) (*vm.Host, error) {
	parts, err := c.batch(ctx, []string{
		"vim-cmd hostsvc/hostsummary",
		"esxcli network vswitch standard portgroup list",
		"esxcli network vswitch standard list",
		"esxcli network nic list",
		"esxcli storage filesystem list",
		"esxcli storage nfs list",
		"hostname",
	})
	if err != nil {
		return nil, err
	}
	h := &vm.Host{ID: "ha-host", Name: strings.TrimSpace(parts[6]), Version: c.about.Version, Build: c.about.Build, Connected: true}
	if d, err := parseDump(parts[0]); err == nil {
		h.Vendor, h.Model = d.str("hardware", "vendor"), d.str("hardware", "model")
		h.CPUs, h.MHz, h.MemoryMB = int(d.int("hardware", "numCpuCores")), int(d.int("hardware", "cpuMhz")), d.int("hardware", "memorySize")>>20
		h.Maintenance = d.str("runtime", "inMaintenanceMode") == "true"
		h.VCenter = d.str("managementServerIp")
	}
	for _, r := range parseTable(parts[1]) {
		vlan, _ := strconv.Atoi(r["VLAN ID"])
		h.PortGroups = append(h.PortGroups, vm.PortGroup{Name: r["Name"], Switch: r["Virtual Switch"], VLAN: vlan})
		h.Networks = append(h.Networks, r["Name"])
	}
	h.Switches = parseSwitches(parts[2])
	for _, r := range parseTable(parts[3]) {
		h.Uplinks = append(h.Uplinks, r["Name"])
	}
	h.Datastores = parseDatastores(parts[4], parts[5])
	return h, nil
}

var (
	switchName   = regexp.MustCompile(`(?m)^   Name: (.*)$`)
	switchUplink = regexp.MustCompile(`(?m)^   Uplinks: (.*)$`)
)

// parseSwitches reads "esxcli network vswitch standard list": a block each.
func parseSwitches(out string) []vm.Switch {
	var list []vm.Switch
	for _, block := range strings.Split(strings.ReplaceAll(out, "\r", ""), "\n\n") {
		m := switchName.FindStringSubmatch(block)
		if m == nil {
			continue
		}
		s := vm.Switch{Name: strings.TrimSpace(m[1])}
		if u := switchUplink.FindStringSubmatch(block); u != nil {
			for _, card := range strings.Split(u[1], ",") {
				if card = strings.TrimSpace(card); card != "" {
					s.Uplinks = append(s.Uplinks, card)
				}
			}
		}
		list = append(list, s)
	}
	return list
}

// parseDatastores puts the list of file systems and that of NFS mounts
// together; what holds the host's own boot files is no datastore.
func parseDatastores(filesystems, nfs string) []vm.Datastore {
	remote := map[string]map[string]string{}
	for _, r := range parseTable(nfs) {
		remote[r["Volume Name"]] = r
	}
	var list []vm.Datastore
	for _, r := range parseTable(filesystems) {
		kind := strings.ToUpper(r["Type"])
		if !strings.HasPrefix(kind, "VMFS") && !strings.HasPrefix(kind, "NFS") || kind == "VMFS-L" {
			continue
		}
		size, _ := strconv.ParseInt(r["Size"], 10, 64)
		free, _ := strconv.ParseInt(r["Free"], 10, 64)
		d := vm.Datastore{Name: r["Volume Name"], Type: kind, CapacityKB: size / 1024, FreeKB: free / 1024, Accessible: r["Mounted"] == "true"}
		if m := remote[d.Name]; m != nil {
			d.RemoteHost, d.RemotePath = m["Host"], m["Share"]
			d.Accessible, d.ReadOnly = m["Accessible"] == "true", m["Read-Only"] == "true"
		}
		list = append(list, d)
	}
	return list
}

// AddSwitch makes a virtual switch of its uplinks.
func (c *Conn) AddSwitch(ctx context.Context, _ string, s vm.Switch) error {
	if err := safe(s.Name); err != nil {
		return err
	}
	_, err := c.run(ctx, line("esxcli", "network", "vswitch", "standard", "add", "-v", s.Name))
	if err = c.settle(ctx, err, func(ctx context.Context) bool { return c.hasUplink(ctx, s.Name, "") }); err != nil {
		return err
	}
	for _, card := range s.Uplinks {
		_, err := c.run(ctx, line("esxcli", "network", "vswitch", "standard", "uplink", "add", "-v", s.Name, "-u", card))
		if err = c.settle(ctx, err, func(ctx context.Context) bool { return c.hasUplink(ctx, s.Name, card) }); err != nil {
			return err
		}
	}
	return nil
}

// LetOut turns on a ruleset of the host's firewall.
func (c *Conn) LetOut(ctx context.Context, _ string, ruleset string) error {
	_, err := c.run(ctx, line("esxcli", "network", "firewall", "ruleset", "set", "-r", ruleset, "-e", "true"))
	return err
}

// AddPortGroup makes a port group; one whose VLAN cannot be set is taken back.
func (c *Conn) AddPortGroup(ctx context.Context, host string, pg vm.PortGroup) error {
	if err := safe(pg.Name, pg.Switch); err != nil {
		return err
	}
	is := func(vlan int) func(context.Context) bool {
		return func(ctx context.Context) bool {
			now, ok := c.portGroup(ctx, pg.Name)
			return ok && now.Switch == pg.Switch && now.VLAN == vlan
		}
	}
	_, err := c.run(ctx, line("esxcli", "network", "vswitch", "standard", "portgroup", "add", "-p", pg.Name, "-v", pg.Switch))
	if err = c.settle(ctx, err, is(0)); err != nil || pg.VLAN == 0 {
		return err
	}
	_, err = c.run(ctx, line("esxcli", "network", "vswitch", "standard", "portgroup", "set", "-p", pg.Name, "--vlan-id", strconv.Itoa(pg.VLAN)))
	if err = c.settle(ctx, err, is(pg.VLAN)); err != nil {
		c.RemovePortGroup(context.WithoutCancel(ctx), host, pg.Name)
	}
	return err
}

// RemovePortGroup removes a port group, from the switch that it is on.
func (c *Conn) RemovePortGroup(ctx context.Context, _ string, name string) error {
	out, err := c.run(ctx, "esxcli network vswitch standard portgroup list")
	if err != nil {
		return err
	}
	for _, r := range parseTable(out) {
		if r["Name"] == name {
			_, err := c.run(ctx, line("esxcli", "network", "vswitch", "standard", "portgroup", "remove", "-p", name, "-v", r["Virtual Switch"]))
			return err
		}
	}
	return vm.Errorf(vm.ErrNotFound, "there is no port group %q", name)
}

// Mount mounts an NFS export.
func (c *Conn) Mount(ctx context.Context, _ string, l vm.Location, label string) (string, error) {
	if err := safe(l.Server, l.Export, label); err != nil {
		return "", err
	}
	_, err := c.run(ctx, line("esxcli", "storage", "nfs", "add", "--host", l.Server, "--share", l.Export, "--volume-name", label))
	err = c.follow(ctx, err, c.runs("storage nfs add", label), func(ctx context.Context) bool {
		h, err := c.Host(ctx, "")
		if err != nil {
			return false
		}
		d := h.Datastore(label)
		return d != nil && d.RemoteHost == l.Server && d.RemotePath == l.Export
	})
	return label, err
}

// Unmount takes an NFS datastore off the host.
func (c *Conn) Unmount(ctx context.Context, _, name string) error {
	if err := safe(name); err != nil {
		return err
	}
	_, err := c.run(ctx, line("esxcli", "storage", "nfs", "remove", "--volume-name", name))
	return c.follow(ctx, err, c.runs("storage nfs remove", name), func(ctx context.Context) bool {
		h, err := c.Host(ctx, "")
		return err == nil && h.Datastore(name) == nil
	})
}

// KernelNICs reads the cards of the host's kernel, and of each what it is for.
func (c *Conn) KernelNICs(ctx context.Context, _ string) ([]vm.KernelNIC, error) {
	out, err := c.run(ctx, "esxcli network ip interface list")
	if err != nil {
		return nil, err
	}
	list := parseKernelNICs(out)
	cmds := make([]string, len(list))
	for i, k := range list {
		cmds[i] = line("esxcli", "network", "ip", "interface", "tag", "get", "-i", k.Device)
	}
	parts, err := c.batch(ctx, cmds)
	if err != nil {
		return nil, err
	}
	for i, p := range parts {
		list[i].VMotion = kernelTag.MatchString(p)
	}
	return list, nil
}

var (
	kernelName  = regexp.MustCompile(`(?m)^   Name: (vmk\d+)\s*$`)
	kernelGroup = regexp.MustCompile(`(?m)^   Portgroup: (.*)$`)
	kernelTag   = regexp.MustCompile(`(?m)^\s*Tags: .*\bVMotion\b`)
)

// parseKernelNICs reads "esxcli network ip interface list": a block each.
func parseKernelNICs(out string) []vm.KernelNIC {
	var list []vm.KernelNIC
	for _, block := range strings.Split(strings.ReplaceAll(out, "\r", ""), "\n\n") {
		m := kernelName.FindStringSubmatch(block)
		if m == nil {
			continue
		}
		k := vm.KernelNIC{Device: m[1]}
		if g := kernelGroup.FindStringSubmatch(block); g != nil {
			k.Network = strings.TrimSpace(g[1])
		}
		list = append(list, k)
	}
	return list
}

// SelectVMotion says whether guests move over a card.
func (c *Conn) SelectVMotion(ctx context.Context, _, device string, on bool) error {
	if err := safe(device); err != nil {
		return err
	}
	word := "remove"
	if on {
		word = "add"
	}
	_, err := c.run(ctx, line("esxcli", "network", "ip", "interface", "tag", word, "-i", device, "-t", "VMotion"))
	return err
}

// MakeDir makes a folder, with those above it; the folder itself must not be
// there.
func (c *Conn) MakeDir(ctx context.Context, _ string, p vm.Path) error {
	if err := safe(p.String()); err != nil {
		return err
	}
	if up := p.Dir(); up.File != "" {
		if _, err := c.run(ctx, line("mkdir", "-p", up.Volume())); err != nil {
			return err
		}
	}
	_, err := c.run(ctx, line("mkdir", p.Volume()))
	return err
}

var percentDone = regexp.MustCompile(`(\d+)% done`)

// CopyDisk copies a virtual disk on the host itself.
func (c *Conn) CopyDisk(ctx context.Context, _ string, from, to vm.Path, f vm.Format, progress vm.Progress) error {
	if err := safe(from.String(), to.String()); err != nil {
		return err
	}
	each := func(text string) {
		for _, m := range percentDone.FindAllStringSubmatch(text, -1) {
			if n, err := strconv.Atoi(m[1]); err == nil && progress != nil {
				progress(n)
			}
		}
	}
	// A copy that was cut off looks like a whole one: its files have their full
	// size from the start. A mark that comes after it tells them apart.
	mark := "/tmp/margay-" + strings.ToLower(rand.Text())
	cmd := line("vmkfstools", "-i", from.Volume(), "-d", string(f), to.Volume()) + " && " + line("mkdir", mark)
	out, err := c.exec(ctx, cmd, nil, each)
	if strings.HasPrefix(lastLine(out), "mkdir:") {
		return nil // the copy is whole, and no longer needs a mark
	}
	err = c.follow(ctx, err, c.runs("vmkfstools", to.Volume()), func(ctx context.Context) bool {
		_, err := c.run(ctx, line("stat", "-c", statForm, mark))
		return err == nil
	})
	if err == nil {
		_, _ = c.run(context.WithoutCancel(ctx), line("rmdir", mark))
	}
	return err
}

// Delete deletes a file, a folder, or a virtual disk with all of its parts.
func (c *Conn) Delete(ctx context.Context, _ string, p vm.Path) error {
	if err := safe(p.String()); err != nil {
		return err
	}
	if p.File == "" || strings.Contains(p.File, "..") {
		return vm.Errorf(vm.ErrInvalid, "%s is not for deleting", p)
	}
	if vm.IsDisk(p) {
		_, err := c.run(ctx, line("vmkfstools", "-U", p.Volume()))
		return err
	}
	_, err := c.run(ctx, line("rm", "-rf", p.Volume()))
	return err
}

// Maintenance enters or leaves maintenance mode.
func (c *Conn) Maintenance(ctx context.Context, _ string, enter bool) error {
	_, err := c.run(ctx, line("esxcli", "system", "maintenanceMode", "set", "--enable="+strconv.FormatBool(enter)))
	return c.follow(ctx, err, c.runs("maintenanceMode set"), func(ctx context.Context) bool {
		h, err := c.Host(ctx, "")
		return err == nil && h.Maintenance == enter
	})
}

// Shutdown turns the host off.
func (c *Conn) Shutdown(ctx context.Context, _ string) error {
	_, err := c.run(ctx, line("esxcli", "system", "shutdown", "poweroff", "--reason=rshutdown"))
	return err
}

// Rescan looks for new disks, then for file systems on them.
func (c *Conn) Rescan(ctx context.Context, _ string) error {
	if _, err := c.run(ctx, "esxcli storage core adapter rescan --all"); err != nil {
		return err
	}
	_, err := c.run(ctx, "esxcli storage filesystem rescan")
	return err
}

// FormatDisk is not done over SSH: partitions would have to be made by hand,
// where a wrong number destroys what is on the disk.
func (c *Conn) FormatDisk(context.Context, string, string, string) error {
	return errNoFormat
}

// FreeDisk says so before.
func (c *Conn) FreeDisk(context.Context, string, string) (int64, error) { return 0, errNoFormat }

var errNoFormat = vm.Errorf(vm.ErrUnsupported, "disks are not formatted over SSH; use the host's own client")
