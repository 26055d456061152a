package vmtest

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm/vmdk"
)

// table prints columns as esxcli does: a rule under the heads, numbers to the
// right.
func table(head []string, right []bool, rows [][]string) string {
	width := make([]int, len(head))
	for _, r := range append([][]string{head}, rows...) {
		for i := range r {
			width[i] = max(width[i], len(r[i]))
		}
	}
	out := ""
	line := func(r []string, numbers bool) {
		var cells []string
		for i := range r {
			switch {
			case numbers && right[i]:
				cells = append(cells, fmt.Sprintf("%*s", width[i], r[i]))
			case i == len(r)-1:
				cells = append(cells, r[i])
			default:
				cells = append(cells, fmt.Sprintf("%-*s", width[i], r[i]))
			}
		}
		out += strings.Join(cells, "  ") + "\n"
	}
	line(head, false)
	var rule []string
	for i := range head {
		rule = append(rule, strings.Repeat("-", width[i]))
	}
	line(rule, false)
	for _, r := range rows {
		line(r, true)
	}
	return out
}

func arg(w []string, names ...string) string {
	for i, x := range w {
		for _, n := range names {
			if v, ok := strings.CutPrefix(x, n+"="); ok {
				return v
			}
			if x == n && i+1 < len(w) {
				return w[i+1]
			}
		}
	}
	return ""
}

func (s *Shell) host() *simulator.HostSystem { return hostsInOrder(s.w.model.Map())[0] }

func (s *Shell) net() *simulator.HostNetworkSystem {
	return s.w.model.Map().Get(*s.host().ConfigManager.NetworkSystem).(*simulator.HostNetworkSystem)
}

// esxcli runs esxcli.
func (s *Shell) esxcli(w []string) (string, int) {
	c := strings.Join(w, " ")
	is := func(p string) bool { return strings.HasPrefix(c, p) }
	switch {
	case is("network vswitch standard portgroup list"):
		var rows [][]string
		for _, p := range s.net().NetworkInfo.Portgroup {
			rows = append(rows, []string{p.Spec.Name, p.Spec.VswitchName, "0", strconv.Itoa(int(p.Spec.VlanId))})
		}
		return table([]string{"Name", "Virtual Switch", "Active Clients", "VLAN ID"}, []bool{false, false, true, true}, rows), 0
	case is("network vswitch standard portgroup add"):
		return s.addPortGroup(arg(w, "-p", "--portgroup-name"), arg(w, "-v", "--vswitch-name"))
	case is("network vswitch standard portgroup set"):
		return s.setVLAN(arg(w, "-p", "--portgroup-name"), arg(w, "-v", "--vlan-id"))
	case is("network vswitch standard portgroup remove"):
		return s.removePortGroup(arg(w, "-p", "--portgroup-name"))
	case is("network vswitch standard uplink add"):
		return s.addUplink(arg(w, "-v", "--vswitch-name"), arg(w, "-u", "--uplink-name"))
	case is("network vswitch standard add"):
		return s.addSwitch(arg(w, "-v", "--vswitch-name"))
	case is("network vswitch standard list"):
		return s.listSwitches(), 0
	case is("network nic list"):
		var rows [][]string
		for _, p := range s.net().NetworkInfo.Pnic {
			rows = append(rows, []string{p.Device, "0000:0b:00.0", "nvmxnet3", "Up", "Up", "10000", "Full", "00:50:56:00:00:01", "1500", "VMware Inc. vmxnet3 Virtual Ethernet Controller"})
		}
		return table([]string{"Name", "PCI Device", "Driver", "Admin Status", "Link Status", "Speed", "Duplex", "MAC Address", "MTU", "Description"}, []bool{false, false, false, false, false, true, false, false, true, false}, rows), 0
	case is("network firewall ruleset set"):
		if id := arg(w, "-r", "--ruleset-id"); !s.w.setRule(id, arg(w, "-e", "--enabled") == "true") {
			return "Ruleset with name " + id + " not found.\n", 1
		}
		return "", 0
	case is("storage nfs add"):
		return s.mount(arg(w, "--host", "-H"), arg(w, "--share", "-s"), arg(w, "--volume-name", "-v"))
	case is("storage nfs remove"):
		return s.unmount(arg(w, "--volume-name", "-v"))
	case is("network ip interface tag"):
		return s.kernelTag(w[4:])
	case is("network ip interface list"):
		return s.listKernelNICs(), 0
	case is("storage nfs list"):
		return s.listNFS(), 0
	case is("storage filesystem list"):
		return s.listFilesystems(), 0
	case is("system module load"):
		if arg(w, "-m", "--module") != "multiextent" {
			return "Unable to find module\n", 1
		}
		s.w.multiextent.Store(true)
		return "", 0
	case is("system maintenanceMode set"):
		return s.maintenance(arg(w, "-e", "--enable") == "true")
	case is("system shutdown poweroff"):
		if !s.host().Runtime.InMaintenanceMode {
			return "System is not in maintenance mode\n", 1
		}
		return "", 0
	case is("storage core adapter rescan"), is("storage filesystem rescan"):
		return "", 0
	}
	return "Error: Unknown command or namespace " + c + "\n", 1
}

// soapText is how esxcli says what the API says.
func soapText(err error, text string) (string, int) {
	if err == nil {
		return "", 0
	}
	if soap.IsSoapFault(err) && soap.ToSoapFault(err).String != "" {
		text = soap.ToSoapFault(err).String
	}
	return text + "\n", 1
}

func (s *Shell) addPortGroup(name, sw string) (string, int) {
	_, err := methods.AddPortGroup(context.Background(), s.w.inUse, &types.AddPortGroup{This: s.net().Self, Portgrp: types.HostPortGroupSpec{Name: name, VswitchName: sw}})
	return soapText(err, "A portgroup with the name "+name+" already exists")
}

func (s *Shell) setVLAN(name, vlan string) (string, int) {
	n, err := strconv.Atoi(vlan)
	if err != nil || n < 0 || n > 4095 {
		return "Invalid vlan id: " + vlan + "\n", 1
	}
	for i, p := range s.net().NetworkInfo.Portgroup {
		if p.Spec.Name == name {
			s.net().NetworkInfo.Portgroup[i].Spec.VlanId = int32(n)
			return "", 0
		}
	}
	return "Unable to find portgroup " + name + "\n", 1
}

func (s *Shell) removePortGroup(name string) (string, int) {
	_, err := methods.RemovePortGroup(context.Background(), s.w.inUse, &types.RemovePortGroup{This: s.net().Self, PgName: name})
	return soapText(err, "Unable to find portgroup "+name)
}

func (s *Shell) addSwitch(name string) (string, int) {
	_, err := methods.AddVirtualSwitch(context.Background(), s.w.inUse, &types.AddVirtualSwitch{This: s.net().Self, VswitchName: name})
	return soapText(err, "Unable to add vswitch "+name)
}

func (s *Shell) addUplink(sw, card string) (string, int) {
	info := s.net().NetworkInfo
	for i := range info.Vswitch {
		if info.Vswitch[i].Name == sw {
			info.Vswitch[i].Pnic = append(info.Vswitch[i].Pnic, "key-vim.host.PhysicalNic-"+card)
			return "", 0
		}
	}
	return "No such vswitch " + sw + "\n", 1
}

func (s *Shell) listSwitches() string {
	out := ""
	for _, v := range s.net().NetworkInfo.Vswitch {
		var cards []string
		for _, k := range v.Pnic {
			cards = append(cards, strings.TrimPrefix(k, "key-vim.host.PhysicalNic-"))
		}
		out += fmt.Sprintf("%s\n   Name: %s\n   Class: cswitch\n   Num Ports: 1792\n   MTU: 1500\n   Uplinks: %s\n   Portgroups: %s\n\n", v.Name, v.Name, strings.Join(cards, ", "), strings.Join(v.Portgroup, ", "))
	}
	return out
}

func (s *Shell) mount(host, share, label string) (string, int) {
	dss := s.host().ConfigManager.DatastoreSystem
	_, err := methods.CreateNasDatastore(context.Background(), s.w.inUse, &types.CreateNasDatastore{This: *dss, Spec: types.HostNasVolumeSpec{RemoteHost: host, RemotePath: share, LocalPath: label, AccessMode: "readWrite", Type: "NFS"}})
	return soapText(err, "Unable to complete Sysinfo operation.  Please see the VMkernel log file for more details.: Sysinfo error: Unable to connect to NFS server")
}

func (s *Shell) datastores() []*simulator.Datastore {
	var out []*simulator.Datastore
	for _, ref := range s.host().Datastore {
		if ds, ok := s.w.model.Map().Get(ref).(*simulator.Datastore); ok {
			out = append(out, ds)
		}
	}
	return out
}

func (s *Shell) listNFS() string {
	var rows [][]string
	for _, ds := range s.datastores() {
		if nas, ok := ds.Info.(*types.NasDatastoreInfo); ok {
			rows = append(rows, []string{ds.Name, nas.Nas.RemoteHost, nas.Nas.RemotePath, "true", "true", "false", "false", "Not Supported"})
		}
	}
	return table([]string{"Volume Name", "Host", "Share", "Accessible", "Mounted", "Read-Only", "isPE", "Hardware Acceleration"}, []bool{false, false, false, true, true, true, true, false}, rows)
}

func (s *Shell) listFilesystems() string {
	rows := [][]string{{"/vmfs/volumes/5f0c-boot", "BOOTBANK1", "5f0c-boot", "true", "vfat", "4293591040", "4100000000"}}
	for _, ds := range s.datastores() {
		kind := "VMFS-6"
		if _, ok := ds.Info.(*types.NasDatastoreInfo); ok {
			kind = "NFS"
		}
		rows = append(rows, []string{"/vmfs/volumes/" + ds.Name, ds.Name, ds.Name, "true", kind, strconv.FormatInt(ds.Summary.Capacity, 10), strconv.FormatInt(ds.Summary.FreeSpace, 10)})
	}
	return table([]string{"Mount Point", "Volume Name", "UUID", "Mounted", "Type", "Size", "Free"}, []bool{false, false, false, true, false, true, true}, rows)
}

func (s *Shell) maintenance(on bool) (string, int) {
	h := object.NewHostSystem(s.w.inUse, s.host().Self)
	if on {
		if err := s.wait(h.EnterMaintenanceMode(context.Background(), 0, false, nil)); err != nil {
			return "Unable to enter maintenance mode: guests are running\n", 1
		}
		return "", 0
	}
	if err := s.wait(h.ExitMaintenanceMode(context.Background(), 0)); err != nil {
		return "Unable to exit maintenance mode\n", 1
	}
	return "", 0
}

// vmkfs runs vmkfstools. Its disks are real: a descriptor, and a sparse file
// of the disk's size.
func (s *Shell) vmkfs(w []string) (string, int) {
	opt := map[string]string{}
	var files []string
	for i := 0; i < len(w); i++ {
		switch w[i] {
		case "-c", "-d", "-a", "-X":
			if i+1 < len(w) {
				opt[w[i]] = w[i+1]
			}
			i++
		case "-i", "-U", "-E":
			opt[w[i]] = "yes"
		default:
			files = append(files, w[i])
		}
	}
	if len(files) == 0 {
		return "No valid command specified\n", 1
	}
	switch {
	case opt["-c"] != "":
		return s.createDisk(files[0], sizeOf(opt["-c"]), opt["-d"])
	case opt["-i"] != "" && len(files) == 2:
		return s.cloneDisk(files[0], files[1], opt["-d"])
	case opt["-U"] != "":
		os.Remove(s.flat(files[0]))
		if os.Remove(s.file(files[0])) != nil {
			return "Failed to delete virtual disk: The system cannot find the file specified (25).\n", 255
		}
		return "", 0
	case opt["-X"] != "":
		kb, thin := diskSize(s.file(files[0]))
		size := sizeOf(opt["-X"])
		if size < kb*1024 {
			return "Failed to extend disk: One of the parameters supplied is invalid (1).\n", 255
		}
		os.Truncate(s.flat(files[0]), size)
		s.describe(files[0], size, thin)
		return "Grow: 100% done.\n", 0
	}
	return "No valid command specified\n", 1
}

func (s *Shell) flat(p string) string { return s.file(strings.TrimSuffix(p, ".vmdk") + "-flat.vmdk") }

func sizeOf(t string) int64 {
	n, _ := strconv.ParseInt(strings.TrimRight(t, "kKmMgGtT"), 10, 64)
	shift := map[byte]int{'k': 10, 'm': 20, 'g': 30, 't': 40}[t[len(t)-1]|0x20]
	return n << shift
}

func formatName(f string) string {
	switch f {
	case "thin":
		return "VMFS thin-provisioned"
	case "eagerzeroedthick":
		return "VMFS eagerzeroedthick"
	case "2gbsparse":
		return "2gbsparse"
	}
	return "VMFS zeroedthick"
}

func (s *Shell) describe(p string, size int64, thin bool) {
	extra := ""
	if thin {
		extra = "ddb.thinProvisioned = \"1\"\n"
	}
	text := fmt.Sprintf("# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"vmfs\"\n\n# Extent description\nRW %d VMFS \"%s\"\n\n# The Disk Data Base \n#DDB\n\nddb.adapterType = \"lsilogic\"\n%sddb.virtualHWVersion = \"13\"\n",
		size/512, filepath.Base(s.flat(p)), extra)
	os.WriteFile(s.file(p), []byte(text), 0o644)
}

func (s *Shell) createDisk(p string, size int64, format string) (string, int) {
	if _, err := os.Stat(s.file(p)); err == nil {
		return "Failed to create virtual disk: The destination file already exists (5).\n", 255
	}
	if format != "thin" {
		for _, ds := range s.datastores() {
			if name, _ := splitPath(p); ds.Name == name && ds.Summary.FreeSpace < size {
				return "Failed to create virtual disk: No space left on device (1835017).\n", 255
			}
		}
	}
	f, err := os.Create(s.flat(p))
	if err != nil {
		return "Failed to create virtual disk: The system cannot find the file specified (25).\n", 255
	}
	f.Truncate(size)
	f.Close()
	s.describe(p, size, format == "thin")
	return "Create: 100% done.\n", 0
}

func (s *Shell) cloneDisk(from, to, format string) (string, int) {
	text, err := os.ReadFile(s.file(from))
	if err != nil {
		return "Failed to open '" + from + "': The system cannot find the file specified (25).\n", 255
	}
	split := strings.Contains(string(text), "twoGbMaxExtentSparse")
	if (split || format == "2gbsparse") && !s.w.multiextent.Load() {
		return "Failed to open '" + from + "': The file specified is not a virtual disk (15).\n", 255
	}
	head := "Destination disk format: " + formatName(format) + "\n"
	if _, err := os.Stat(s.file(to)); err == nil {
		return head + "Failed to clone disk: The file already exists (39).\n", 255
	}
	kb, _ := diskSize(s.file(from))
	if split || format == "2gbsparse" {
		err = s.convert(from, to, format)
	} else {
		err = sparseCopy(s.flat(from), s.flat(to))
		os.Truncate(s.flat(to), kb*1024)
		s.describe(to, kb*1024, format == "thin")
	}
	if err != nil {
		return head + "Failed to clone disk: The system cannot find the file specified (25).\n", 255
	}
	return head + "Cloning disk '" + from + "'...\nClone: 10% done.\rClone: 55% done.\rClone: 100% done.\n", 0
}

// convert copies from or to split sparse files.
func (s *Shell) convert(from, to, format string) error {
	if _, err := os.Stat(s.flat(from)); err == nil {
		os.Truncate(s.flat(from), sizeOfDisk(s.file(from))) // vcsim's disks are empty files
		s.w.mend(from)
	}
	d, _, err := vmdk.OpenAny(os.DirFS(filepath.Dir(s.file(from))), filepath.Base(s.file(from)))
	if err != nil {
		return err
	}
	defer d.Close()
	kind := "vmfs"
	if format == "2gbsparse" {
		kind = format
	}
	_, err = vmdk.Convert(d, filepath.Dir(s.file(to)), filepath.Base(s.file(to)), kind, nil)
	if err == nil && kind == "vmfs" {
		s.describe(to, d.Size(), format == "thin")
	}
	return err
}

func sizeOfDisk(file string) int64 {
	kb, _ := diskSize(file)
	return kb * 1024
}

// sparseCopy copies what a file holds and leaves its holes.
func sparseCopy(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	const seekData, seekHole = 3, 4
	for at := int64(0); ; {
		start, err := in.Seek(at, seekData)
		if err != nil {
			return nil // no more data
		}
		end, err := in.Seek(start, seekHole)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, start), io.NewSectionReader(in, start, end-start)); err != nil {
			return err
		}
		at = end
	}
}
