package ovf

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"

	"margay/vm"
)

// A Data is the file that a guest's disk goes into.
type Data struct {
	Href      string
	Size      int64 // of the file
	Populated int64 // bytes of the disk that are no zeros; 0: not known
}

// Format writes a guest's descriptor; data are the files of its disks, in
// their order. Addresses and identity stay behind: whoever installs the guest
// gets others.
func Format(s *vm.Spec, data []Data) ([]byte, error) {
	if len(data) != len(s.Disks) {
		return nil, fmt.Errorf("%d files for %d disks", len(data), len(s.Disks))
	}
	w := &writer{s: s, ids: map[int32]int{}}
	w.line(`<?xml version="1.0" encoding="UTF-8"?>`)
	w.line(`<Envelope vmw:buildId="margay" xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:cim="http://schemas.dmtf.org/wbem/wscim/1/common" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">`)
	w.files(data)
	w.networks()
	w.system()
	w.line(`</Envelope>`)
	return []byte(w.b.String()), nil
}

type writer struct {
	s    *vm.Spec
	b    strings.Builder
	next int           // instance
	ids  map[int32]int // of controllers, by key
}

func (w *writer) line(format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = escape(s)
		}
	}
	fmt.Fprintf(&w.b, format+"\n", args...)
}

func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s))
	return b.String()
}

func (w *writer) files(data []Data) {
	w.line(`  <References>`)
	for i, d := range data {
		w.line(`    <File ovf:href="%s" ovf:id="file%d" ovf:size="%d"/>`, d.Href, i+1, d.Size)
	}
	w.line(`  </References>`)
	w.line("  <DiskSection>\n    <Info>Virtual disk information</Info>")
	for i, d := range data {
		populated := ""
		if d.Populated > 0 {
			populated = fmt.Sprintf(` ovf:populatedSize="%d"`, d.Populated)
		}
		fmt.Fprintf(&w.b, "    <Disk ovf:capacity=\"%d\" ovf:capacityAllocationUnits=\"byte * 2^10\" ovf:diskId=\"vmdisk%d\" ovf:fileRef=\"file%d\" ovf:format=\"http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized\"%s/>\n", w.s.Disks[i].KB, i+1, i+1, populated)
	}
	w.line(`  </DiskSection>`)
}

func (w *writer) networks() {
	w.line("  <NetworkSection>\n    <Info>The list of logical networks</Info>")
	var seen []string
	for _, n := range w.s.NICs {
		if slices.Contains(seen, n.Network) {
			continue
		}
		seen = append(seen, n.Network)
		w.line("    <Network ovf:name=\"%s\">\n      <Description>%s</Description>\n    </Network>", n.Network, n.Network)
	}
	w.line(`  </NetworkSection>`)
}

func (w *writer) system() {
	s := w.s
	w.line(`  <VirtualSystem ovf:id="%s">`, s.Name)
	w.line("    <Info>A virtual machine</Info>\n    <Name>%s</Name>", s.Name)
	number, word := osNumber(s.GuestID), s.GuestID
	w.line(`    <OperatingSystemSection ovf:id="%s" vmw:osType="%s">`, number, word)
	w.line("      <Info>The kind of installed guest operating system</Info>\n    </OperatingSystemSection>")
	w.line("    <VirtualHardwareSection>\n      <Info>Virtual hardware requirements</Info>")
	version := s.Version
	if version == "" {
		version = "vmx-13"
	}
	w.line("      <System>\n        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>\n        <vssd:InstanceID>0</vssd:InstanceID>\n        <vssd:VirtualSystemIdentifier>%s</vssd:VirtualSystemIdentifier>\n        <vssd:VirtualSystemType>%s</vssd:VirtualSystemType>\n      </System>", s.Name, version)
	w.items()
	w.settings()
	w.line("    </VirtualHardwareSection>")
	if s.Annotation != "" {
		w.line("    <AnnotationSection>\n      <Info>A human-readable annotation</Info>\n      <Annotation>%s</Annotation>\n    </AnnotationSection>", s.Annotation)
	}
	w.line(`  </VirtualSystem>`)
}

func osNumber(id string) string {
	best := ""
	for n, i := range osNumbers {
		if i == id && (best == "" || n < best) {
			best = n
		}
	}
	if best == "" {
		return "1" // other
	}
	return best
}

// pair is one element of an item.
type pair struct{ name, value string }

// item writes a piece of hardware; the elements stand in the order of the
// alphabet, as the schema wants them.
func (w *writer) item(required bool, pairs ...pair) int {
	w.next++
	pairs = append(pairs, pair{"InstanceID", fmt.Sprint(w.next)})
	slices.SortStableFunc(pairs, func(a, b pair) int { return strings.Compare(a.name, b.name) })
	open := "      <Item>"
	if !required {
		open = `      <Item ovf:required="false">`
	}
	w.b.WriteString(open + "\n")
	for _, p := range pairs {
		ns := "rasd"
		if p.name == "CoresPerSocket" {
			ns = "vmw"
		}
		if p.value != "" {
			fmt.Fprintf(&w.b, "        <%s:%s>%s</%s:%s>\n", ns, p.name, escape(p.value), ns, p.name)
		}
	}
	w.b.WriteString("      </Item>\n")
	return w.next
}

func (w *writer) items() {
	s := w.s
	cpu := []pair{{"AllocationUnits", "hertz * 10^6"}, {"Description", "Number of Virtual CPUs"}, {"ElementName", fmt.Sprintf("%d virtual CPU(s)", s.CPUs)}, {"ResourceType", kindCPU}, {"VirtualQuantity", fmt.Sprint(s.CPUs)}}
	w.item(true, cpu...)
	w.item(true, pair{"AllocationUnits", "byte * 2^20"}, pair{"Description", "Memory Size"}, pair{"ElementName", fmt.Sprintf("%dMB of memory", s.MemoryMB)}, pair{"ResourceType", kindMemory}, pair{"VirtualQuantity", fmt.Sprint(s.MemoryMB)})
	for _, k := range s.Controllers {
		kind, sub, name := controllerWords(k)
		w.ids[k.Key] = w.item(true, pair{"Address", fmt.Sprint(k.Number)}, pair{"ElementName", name}, pair{"ResourceSubType", sub}, pair{"ResourceType", kind})
	}
	for i, d := range s.Disks {
		w.item(true, pair{"AddressOnParent", fmt.Sprint(d.Unit)}, pair{"ElementName", fmt.Sprintf("Hard Disk %d", i+1)}, pair{"HostResource", fmt.Sprintf("ovf:/disk/vmdisk%d", i+1)},
			pair{"Parent", fmt.Sprint(w.ids[d.Controller])}, pair{"ResourceType", kindDisk})
	}
	for i, cd := range s.CDROMs {
		w.item(false, pair{"AddressOnParent", fmt.Sprint(cd.Unit)}, pair{"AutomaticAllocation", "false"}, pair{"ElementName", fmt.Sprintf("CD/DVD Drive %d", i+1)},
			pair{"Parent", fmt.Sprint(w.ids[cd.Controller])}, pair{"ResourceSubType", "vmware.cdrom.remotepassthrough"}, pair{"ResourceType", kindCD})
	}
	for i, n := range s.NICs {
		w.item(true, pair{"AddressOnParent", fmt.Sprint(i + 7)}, pair{"AutomaticAllocation", fmt.Sprint(n.Connected)}, pair{"Connection", n.Network},
			pair{"ElementName", fmt.Sprintf("Network adapter %d", i+1)}, pair{"ResourceSubType", nicWord(n.Model)}, pair{"ResourceType", kindEthernet})
	}
}

func controllerWords(k vm.Controller) (kind, sub, name string) {
	switch k.Bus {
	case vm.IDE:
		return kindIDE, "", fmt.Sprintf("IDE %d", k.Number)
	case vm.SATA:
		return kindStorage, "vmware.sata.ahci", fmt.Sprintf("SATA Controller %d", k.Number)
	case vm.NVMe:
		return kindStorage, "vmware.nvme.controller", fmt.Sprintf("NVMe Controller %d", k.Number)
	case vm.PVSCSI:
		sub = "VirtualSCSI"
	case vm.LSISAS:
		sub = "lsilogicsas"
	case vm.BusLogic:
		sub = "buslogic"
	default:
		sub = "lsilogic"
	}
	return kindSCSI, sub, fmt.Sprintf("SCSI Controller %d", k.Number)
}

func nicWord(m vm.NICModel) string {
	switch m {
	case vm.VMXNet3:
		return "VmxNet3"
	case vm.VMXNet2:
		return "VmxNet2"
	case vm.VMXNet:
		return "VmxNet"
	case vm.PCNet32, vm.Flexible:
		return "PCNet32"
	case vm.E1000e:
		return "E1000e"
	}
	return "E1000"
}

// settings are VMware's own elements, behind the items.
func (w *writer) settings() {
	config := func(key, value string) {
		w.line(`      <vmw:Config ovf:required="false" vmw:key="%s" vmw:value="%s"/>`, key, value)
	}
	if w.s.CPUHotAdd {
		config("cpuHotAddEnabled", "true")
	}
	if w.s.Firmware != "" {
		config("firmware", w.s.Firmware)
	}
	if w.s.MemoryHotAdd {
		config("memoryHotAddEnabled", "true")
	}
	for _, e := range w.s.Extra {
		if e.Value != "" {
			w.line(`      <vmw:ExtraConfig ovf:required="false" vmw:key="%s" vmw:value="%s"/>`, e.Key, e.Value)
		}
	}
}
