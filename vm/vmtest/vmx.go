package vmtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// writeVMX writes what a guest is into its .vmx, in one step.
func (w *World) writeVMX(vm *simulator.VirtualMachine) {
	to := w.File(vm.Config.Files.VmPathName)
	f, err := os.CreateTemp(w.dir, "vmx")
	if err != nil {
		return
	}
	f.WriteString(renderVMX(vm))
	f.Chmod(0o644)
	f.Close()
	if os.Rename(f.Name(), to) != nil {
		os.Remove(f.Name())
	}
}

// syncVMX writes the .vmx of the guest whose it is, or of those in a folder:
// a change that is on its way to another guest's must not be lost.
func (w *World) syncVMX(file string) {
	m := w.model.Map()
	for _, o := range m.All("VirtualMachine") {
		v := o.(*simulator.VirtualMachine)
		m.WithLock(&simulator.Context{Context: context.Background(), Map: m}, v, func() {
			if p := w.File(v.Config.Files.VmPathName); p == file || filepath.Dir(p) == filepath.Clean(file) {
				w.writeVMX(v)
			}
		})
	}
}

// parseVMX reads key = "value" lines; keys come back in lower case.
func parseVMX(text string) map[string]string {
	out := map[string]string{}
	for _, line := range strings.Split(text, "\n") {
		k, v, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(strings.TrimSpace(k), "#") {
			continue
		}
		v = strings.Trim(strings.TrimSpace(v), `"`)
		for _, esc := range []struct{ from, to string }{{"|22", `"`}, {"|0A", "\n"}, {"|7C", "|"}} {
			v = strings.ReplaceAll(v, esc.from, esc.to)
		}
		out[strings.ToLower(strings.TrimSpace(k))] = v
	}
	return out
}

func renderVMX(vm *simulator.VirtualMachine) string {
	cfg := vm.Config
	kv := map[string]string{
		"config.version": "8", "virtualHW.version": strings.TrimPrefix(strings.TrimPrefix(cfg.Version, "vmx-"), "0"),
		"displayName": cfg.Name, "memSize": fmt.Sprint(cfg.Hardware.MemoryMB), "numvcpus": fmt.Sprint(cfg.Hardware.NumCPU), "guestOS": guestOS(cfg.GuestId),
		"uuid.bios": spaced(cfg.Uuid),
	}
	if cfg.Firmware != "" && cfg.Firmware != "bios" {
		kv["firmware"] = cfg.Firmware
	}
	if n := cfg.Hardware.NumCoresPerSocket; n != nil && *n > 1 {
		kv["cpuid.coresPerSocket"] = fmt.Sprint(*n)
	}
	if cfg.Annotation != "" {
		kv["annotation"] = cfg.Annotation
	}
	renderClaims(kv, cfg)
	list := object.VirtualDeviceList(cfg.Hardware.Device)
	eth := 0
	for _, d := range list {
		renderDevice(kv, list, d, &eth)
	}
	for _, o := range cfg.ExtraConfig {
		v := o.GetOptionValue()
		kv[v.Key] = fmt.Sprint(v.Value)
	}
	keys := make([]string, 0, len(kv))
	for k := range kv {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	out := ".encoding = \"UTF-8\"\n"
	for _, k := range keys {
		out += fmt.Sprintf("%s = \"%s\"\n", k, strings.NewReplacer("|", "|7C", `"`, "|22", "\n", "|0A").Replace(kv[k]))
	}
	return out
}

// renderClaims are the claims on the host, where they are not the defaults.
func renderClaims(kv map[string]string, cfg *types.VirtualMachineConfigInfo) {
	for _, c := range []struct {
		a                *types.ResourceAllocationInfo
		min, max, shares string
	}{{cfg.CpuAllocation, "sched.cpu.min", "sched.cpu.max", "sched.cpu.shares"}, {cfg.MemoryAllocation, "sched.mem.min", "sched.mem.max", "sched.mem.shares"}} {
		if c.a == nil {
			continue
		}
		if r := c.a.Reservation; r != nil && *r > 0 {
			kv[c.min] = fmt.Sprint(*r)
		}
		if l := c.a.Limit; l != nil && *l >= 0 {
			kv[c.max] = fmt.Sprint(*l)
		}
		if sh := c.a.Shares; sh != nil && sh.Level == types.SharesLevelCustom {
			kv[c.shares] = fmt.Sprint(sh.Shares)
		} else if sh != nil && sh.Level != types.SharesLevelNormal {
			kv[c.shares] = string(sh.Level)
		}
	}
	for key, on := range map[string]*bool{"vcpu.hotadd": cfg.CpuHotAddEnabled, "mem.hotadd": cfg.MemoryHotAddEnabled} {
		if on != nil && *on {
			kv[key] = "TRUE"
		}
	}
	if l := cfg.LatencySensitivity; l != nil && l.Level != types.LatencySensitivitySensitivityLevelNormal {
		kv["sched.cpu.latencySensitivity"] = string(l.Level)
	}
}

// claims reads them; what is not there has its default.
func claims(cfg map[string]string, s *types.VirtualMachineConfigSpec) {
	of := func(kind string) *types.ResourceAllocationInfo {
		number := func(keys ...string) *int64 {
			for _, k := range keys {
				if n, err := strconv.ParseInt(cfg["sched."+kind+"."+k], 10, 64); err == nil {
					return &n
				}
			}
			return nil
		}
		a := &types.ResourceAllocationInfo{Reservation: number("min", "minsize"), Limit: number("max"), Shares: &types.SharesInfo{Level: types.SharesLevelNormal}}
		if a.Reservation == nil {
			a.Reservation = new(int64)
		}
		if a.Limit == nil {
			none := int64(-1)
			a.Limit = &none
		}
		switch v := strings.ToLower(cfg["sched."+kind+".shares"]); v {
		case "", "normal":
		case "low", "high":
			a.Shares.Level = types.SharesLevel(v)
		default:
			n, _ := strconv.ParseInt(v, 10, 32)
			a.Shares = &types.SharesInfo{Level: types.SharesLevelCustom, Shares: int32(n)}
		}
		return a
	}
	s.CpuAllocation, s.MemoryAllocation = of("cpu"), of("mem")
	cpu, mem := yes(cfg["vcpu.hotadd"]), yes(cfg["mem.hotadd"])
	s.CpuHotAddEnabled, s.MemoryHotAddEnabled = &cpu, &mem
	s.LatencySensitivity = &types.LatencySensitivity{Level: types.LatencySensitivitySensitivityLevelNormal}
	if l := cfg["sched.cpu.latencysensitivity"]; l != "" {
		s.LatencySensitivity.Level = types.LatencySensitivitySensitivityLevel(l)
	}
}

func spaced(uuid string) string {
	u := strings.ReplaceAll(uuid, "-", "")
	if len(u) != 32 {
		return ""
	}
	var b []string
	for i := 0; i < 32; i += 2 {
		b = append(b, u[i:i+2])
	}
	return strings.Join(b[:8], " ") + "-" + strings.Join(b[8:], " ")
}

// place is a device's place as .vmx names it: "scsi0:1".
func place(list object.VirtualDeviceList, v *types.VirtualDevice) string {
	if v.UnitNumber == nil {
		return ""
	}
	bus := ""
	switch c := list.FindByKey(v.ControllerKey).(type) {
	case types.BaseVirtualSCSIController:
		bus = fmt.Sprintf("scsi%d", c.GetVirtualSCSIController().BusNumber)
	case *types.VirtualIDEController:
		bus = fmt.Sprintf("ide%d", c.BusNumber)
	case types.BaseVirtualSATAController:
		bus = fmt.Sprintf("sata%d", c.GetVirtualSATAController().BusNumber)
	case *types.VirtualNVMEController:
		bus = fmt.Sprintf("nvme%d", c.BusNumber)
	default:
		return ""
	}
	return fmt.Sprintf("%s:%d", bus, *v.UnitNumber)
}

func renderDevice(kv map[string]string, list object.VirtualDeviceList, d types.BaseVirtualDevice, eth *int) {
	v := d.GetVirtualDevice()
	switch x := d.(type) {
	case types.BaseVirtualSCSIController:
		p := fmt.Sprintf("scsi%d", x.GetVirtualSCSIController().BusNumber)
		kv[p+".present"], kv[p+".virtualDev"] = "TRUE", scsiName(d)
	case types.BaseVirtualSATAController:
		kv[fmt.Sprintf("sata%d.present", x.GetVirtualSATAController().BusNumber)] = "TRUE"
	case *types.VirtualNVMEController:
		kv[fmt.Sprintf("nvme%d.present", x.BusNumber)] = "TRUE"
	case *types.VirtualDisk:
		p := place(list, v)
		kv[p+".present"], kv[p+".deviceType"] = "TRUE", "scsi-hardDisk"
		if strings.HasPrefix(p, "ide") {
			kv[p+".deviceType"] = "ata-hardDisk"
		}
		if b, ok := x.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
			ds, file := splitPath(b.GetVirtualDeviceFileBackingInfo().FileName)
			kv[p+".fileName"] = "/vmfs/volumes/" + ds + "/" + file
		}
	case *types.VirtualCdrom:
		p := place(list, v)
		kv[p+".present"], kv[p+".deviceType"], kv[p+".startConnected"] = "TRUE", "atapi-cdrom", "FALSE"
		if b, ok := x.Backing.(*types.VirtualCdromIsoBackingInfo); ok {
			ds, file := splitPath(b.FileName)
			kv[p+".deviceType"], kv[p+".fileName"] = "cdrom-image", "/vmfs/volumes/"+ds+"/"+file
			kv[p+".startConnected"] = "TRUE"
		}
	case *types.VirtualSerialPort:
		renderSerial(kv, x)
	case types.BaseVirtualEthernetCard:
		renderCard(kv, x, *eth)
		*eth++
	}
}

func renderCard(kv map[string]string, x types.BaseVirtualEthernetCard, n int) {
	p, c := fmt.Sprintf("ethernet%d", n), x.GetVirtualEthernetCard()
	kv[p+".present"], kv[p+".addressType"], kv[p+".address"] = "TRUE", "static", c.MacAddress
	if b, ok := c.Backing.(*types.VirtualEthernetCardNetworkBackingInfo); ok {
		kv[p+".networkName"] = b.DeviceName
	}
	switch x.(type) {
	case *types.VirtualE1000:
		kv[p+".virtualDev"] = "e1000"
	case *types.VirtualE1000e:
		kv[p+".virtualDev"] = "e1000e"
	case *types.VirtualVmxnet3:
		kv[p+".virtualDev"] = "vmxnet3"
	case *types.VirtualVmxnet2, *types.VirtualVmxnet:
		kv[p+".virtualDev"] = "vmxnet"
	}
}

func scsiName(d types.BaseVirtualDevice) string {
	switch d.(type) {
	case *types.ParaVirtualSCSIController:
		return "pvscsi"
	case *types.VirtualLsiLogicSASController:
		return "lsisas1068"
	case *types.VirtualBusLogicController:
		return "buslogic"
	}
	return "lsilogic"
}

func guestOS(id string) string {
	s := strings.TrimSuffix(id, "Guest")
	if n, ok := strings.CutSuffix(s, "_64"); ok {
		return n + "-64"
	}
	if n, ok := strings.CutSuffix(s, "64"); ok {
		return n + "-64"
	}
	return s
}

// guestID finds the id whose .vmx name this is.
func guestID(os string) string {
	for _, id := range types.VirtualMachineGuestOsIdentifier("").Strings() {
		if strings.EqualFold(guestOS(id), os) {
			return id
		}
	}
	return "otherGuest"
}

// specOf is the request that makes a bare guest what a .vmx says, and takes
// off what it has that the .vmx does not.
func (w *World) specOf(cfg map[string]string, dir string, have *types.VirtualMachineConfigInfo) *types.VirtualMachineConfigSpec {
	num := func(key string, def int64) int64 {
		if n, err := strconv.ParseInt(cfg[key], 10, 64); err == nil {
			return n
		}
		return def
	}
	s := &types.VirtualMachineConfigSpec{MemoryMB: num("memsize", 32), NumCPUs: int32(num("numvcpus", 1)), GuestId: guestID(cfg["guestos"]),
		Firmware: cfg["firmware"], Annotation: cfg["annotation"]}
	if n := int32(num("cpuid.corespersocket", 0)); n > 0 {
		s.NumCoresPerSocket = &n
	}
	if u := strings.NewReplacer(" ", "", "-", "").Replace(cfg["uuid.bios"]); len(u) == 32 {
		s.Uuid = u[:8] + "-" + u[8:12] + "-" + u[12:16] + "-" + u[16:20] + "-" + u[20:]
	}
	claims(cfg, s)
	for _, d := range have.Hardware.Device {
		switch d.(type) {
		case *types.VirtualDisk, *types.VirtualCdrom, *types.VirtualSerialPort, types.BaseVirtualEthernetCard:
			s.DeviceChange = append(s.DeviceChange, &types.VirtualDeviceConfigSpec{Operation: "remove", Device: d})
		}
	}
	add := func(d types.BaseVirtualDevice) {
		s.DeviceChange = append(s.DeviceChange, &types.VirtualDeviceConfigSpec{Operation: "add", Device: d})
	}
	list := object.VirtualDeviceList(have.Hardware.Device)
	for n := range int32(4) {
		for _, c := range controllersOf(cfg, n) {
			if list.FindByKey(-c.GetVirtualDevice().Key) == nil {
				add(c)
			}
		}
	}
	for _, p := range placesOf(cfg) {
		if d := w.driveOf(cfg, p, dir); d != nil {
			if v := d.GetVirtualDevice(); list.FindByKey(-v.ControllerKey) != nil {
				v.ControllerKey = -v.ControllerKey // the guest has it already
			}
			add(d)
		}
	}
	for n := range 10 {
		if d := cardOf(cfg, n); d != nil {
			add(d)
		}
	}
	for n := range 4 {
		if d := serialPortOf(cfg, n); d != nil {
			add(d)
		}
	}
	known := []string{"config.version", "virtualhw.version", "displayname", "memsize", "numvcpus", "guestos", "uuid.bios", "firmware", "annotation", "cpuid.corespersocket", ".encoding",
		"sched.cpu.min", "sched.cpu.max", "sched.cpu.shares", "sched.mem.min", "sched.mem.minsize", "sched.mem.max", "sched.mem.shares", "sched.cpu.latencysensitivity", "vcpu.hotadd", "mem.hotadd"}
	for k, v := range cfg {
		if !slices.Contains(known, k) && !strings.Contains(k, ":") && !deviceKey(k) {
			s.ExtraConfig = append(s.ExtraConfig, &types.OptionValue{Key: k, Value: v})
		}
	}
	return s
}

func deviceKey(k string) bool {
	head, tail, _ := strings.Cut(k, ".")
	switch strings.TrimRight(head, "0123456789") {
	case "scsi", "sata", "nvme", "ide", "floppy", "serial":
		return true
	case "ethernet":
		return slices.Contains([]string{"present", "address", "addresstype", "networkname", "virtualdev", "generatedaddress", "startconnected", "connectiontype"}, tail)
	}
	return false
}

func yes(s string) bool { return strings.EqualFold(s, "true") || s == "1" }

func controllersOf(cfg map[string]string, n int32) []types.BaseVirtualDevice {
	var out []types.BaseVirtualDevice
	base := func(key int32) types.VirtualController {
		return types.VirtualController{VirtualDevice: types.VirtualDevice{Key: -(key + n)}, BusNumber: n}
	}
	if yes(cfg[fmt.Sprintf("scsi%d.present", n)]) {
		k := types.VirtualSCSIController{VirtualController: base(1000), SharedBus: types.VirtualSCSISharingNoSharing}
		switch cfg[fmt.Sprintf("scsi%d.virtualdev", n)] {
		case "pvscsi":
			out = append(out, &types.ParaVirtualSCSIController{VirtualSCSIController: k})
		case "lsisas1068":
			out = append(out, &types.VirtualLsiLogicSASController{VirtualSCSIController: k})
		case "buslogic":
			out = append(out, &types.VirtualBusLogicController{VirtualSCSIController: k})
		default:
			out = append(out, &types.VirtualLsiLogicController{VirtualSCSIController: k})
		}
	}
	if yes(cfg[fmt.Sprintf("sata%d.present", n)]) {
		out = append(out, &types.VirtualAHCIController{VirtualSATAController: types.VirtualSATAController{VirtualController: base(15000)}})
	}
	if yes(cfg[fmt.Sprintf("nvme%d.present", n)]) {
		out = append(out, &types.VirtualNVMEController{VirtualController: base(31000)})
	}
	return out
}

// placesOf are the places that a .vmx has something in, in order.
func placesOf(cfg map[string]string) []string {
	var out []string
	for k, v := range cfg {
		if p, ok := strings.CutSuffix(k, ".present"); ok && strings.Contains(p, ":") && yes(v) {
			out = append(out, p)
		}
	}
	sort.Strings(out)
	return out
}

func (w *World) driveOf(cfg map[string]string, p, dir string) types.BaseVirtualDevice {
	head, unitText, _ := strings.Cut(p, ":")
	bus := strings.TrimRight(head, "0123456789")
	n, _ := strconv.Atoi(strings.TrimPrefix(head, bus))
	unit, _ := strconv.Atoi(unitText)
	base, ok := map[string]int32{"ide": 200, "scsi": -1000, "sata": -15000, "nvme": -31000}[bus]
	if !ok {
		return nil
	}
	key := base + int32(n)
	if base < 0 {
		key = base - int32(n)
	}
	u := int32(unit)
	v := types.VirtualDevice{Key: -1, ControllerKey: key, UnitNumber: &u}
	file := cfg[p+".filename"]
	if strings.Contains(cfg[p+".devicetype"], "cdrom") {
		v.Backing = &types.VirtualCdromRemoteAtapiBackingInfo{}
		if cfg[p+".devicetype"] == "cdrom-image" {
			v.Backing = &types.VirtualCdromIsoBackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: dsPath(file, dir)}}
		}
		v.Connectable = &types.VirtualDeviceConnectInfo{StartConnected: yes(cfg[p+".startconnected"]), AllowGuestControl: true}
		return &types.VirtualCdrom{VirtualDevice: v}
	}
	path := dsPath(file, dir)
	kb, thin := diskSize(w.File(path))
	v.Backing = &types.VirtualDiskFlatVer2BackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: path}, DiskMode: "persistent", ThinProvisioned: &thin}
	return &types.VirtualDisk{VirtualDevice: v, CapacityInKB: kb, CapacityInBytes: kb * 1024}
}

// dsPath turns a file name of a .vmx into "[ds] dir/file".
func dsPath(file, dir string) string {
	if strings.HasPrefix(file, "/vmfs/volumes/") {
		ds, rest := splitPath(file)
		return "[" + ds + "] " + rest
	}
	return dir + "/" + file
}

// diskSize reads a descriptor: how large the disk is, and whether it is thin.
func diskSize(file string) (kb int64, thin bool) {
	b, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return 0, false
	}
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) >= 4 && f[0] == "RW" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			kb += n / 2
		}
		if strings.Contains(line, "thinProvisioned") {
			thin = true
		}
	}
	return kb, thin
}

func cardOf(cfg map[string]string, n int) types.BaseVirtualDevice {
	p := fmt.Sprintf("ethernet%d.", n)
	if !yes(cfg[p+"present"]) {
		return nil
	}
	card := types.VirtualEthernetCard{
		VirtualDevice: types.VirtualDevice{Key: -1, Backing: &types.VirtualEthernetCardNetworkBackingInfo{VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: cfg[p+"networkname"]}}},
		AddressType:   "manual", MacAddress: cfg[p+"address"],
	}
	if card.MacAddress == "" {
		card.AddressType, card.MacAddress = "generated", cfg[p+"generatedaddress"]
	}
	switch cfg[p+"virtualdev"] {
	case "e1000":
		return &types.VirtualE1000{VirtualEthernetCard: card}
	case "e1000e":
		return &types.VirtualE1000e{VirtualEthernetCard: card}
	case "vmxnet3":
		return &types.VirtualVmxnet3{VirtualVmxnet: types.VirtualVmxnet{VirtualEthernetCard: card}}
	case "vmxnet":
		return &types.VirtualVmxnet{VirtualEthernetCard: card}
	}
	return &types.VirtualPCNet32{VirtualEthernetCard: card}
}
