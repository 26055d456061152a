package redfish

import (
	"context"
	"fmt"
	"net"
	"strings"

	"margay/provision/bmc"
)

type manager struct {
	Name               string
	Model              string
	Manufacturer       string
	FirmwareVersion    string
	EthernetInterfaces link
	VirtualMedia       link
	LogServices        link
}

type chassis struct {
	ID           string `json:"Id"`
	Name         string
	Manufacturer string
	Model        string
	SerialNumber string
	PartNumber   string
	SKU          string
	AssetTag     string
	IndicatorLED string
	Locator      *bool `json:"LocationIndicatorActive"`
	Power        link
	Thermal      link
	Sensors      link
	PCIeDevices  link
	LogServices  link
	NetAdapters  link `json:"NetworkAdapters"`
}

// Inventory reads what the given kinds need.
func (c *Controller) Inventory(ctx context.Context, kinds ...string) (*bmc.Inventory, error) {
	s, err := c.read(ctx)
	if err != nil {
		return nil, err
	}
	v := &bmc.Inventory{UUID: strings.ToUpper(s.UUID), BIOS: s.BiosVersion, System: systemModule(s)}
	for _, part := range []struct {
		kinds []string
		read  func(context.Context, system, *bmc.Inventory) error
	}{
		{[]string{"firm", "mprom"}, c.firmware},
		{[]string{"vpd", "serial", "model"}, c.enclosure},
		{[]string{"mac"}, c.macInventory},
		{[]string{"cpu", "config"}, c.processors},
		{[]string{"dimm", "config"}, c.memory},
		{[]string{"pci", "config"}, c.pci},
		{[]string{"disk", "config"}, c.disks},
	} {
		if !bmc.Wants(kinds, part.kinds...) {
			continue
		}
		if err := part.read(ctx, s, v); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// systemModule puts the model where xCAT has the description, and the order
// number, if there is one, where it has machine type and model.
func systemModule(s system) bmc.Module {
	model := s.SKU
	if model == "" {
		model = s.PartNumber
	}
	return bmc.Module{Manufacturer: s.Manufacturer, Product: s.Model, Model: model, Serial: s.SerialNumber, Asset: s.AssetTag}
}

func (c *Controller) firmware(ctx context.Context, _ system, v *bmc.Inventory) error {
	m, _, err := c.manager(ctx)
	v.BMCFirmware = m.FirmwareVersion
	if m.Model != "" && m.FirmwareVersion != "" {
		v.BMCFirmware += " (" + m.Model + ")"
	}
	return err
}

// manager is the BMC itself: the one that manages the system, or the first.
func (c *Controller) manager(ctx context.Context) (m manager, path string, err error) {
	s, err := c.read(ctx)
	if err != nil {
		return m, "", err
	}
	paths := paths(s.Links.ManagedBy)
	if len(paths) == 0 {
		if paths, err = c.members(ctx, c.root.Managers); err != nil {
			return m, "", err
		}
	}
	if len(paths) == 0 {
		return m, "", unsupported(fmt.Errorf("the service tells nothing of the BMC itself"))
	}
	return m, paths[0], c.s.get(ctx, paths[0], &m)
}

func paths(links []link) []string {
	var out []string
	for _, l := range links {
		if l.ID != "" && len(out) < maxMembers {
			out = append(out, l.ID)
		}
	}
	return out
}

// enclosures are the chassis of the system.
func (c *Controller) enclosures(ctx context.Context, s system) ([]string, error) {
	if p := paths(s.Links.Chassis); len(p) > 0 {
		return p, nil
	}
	return c.members(ctx, c.root.Chassis)
}

func (c *Controller) enclosure(ctx context.Context, s system, v *bmc.Inventory) error {
	list, err := c.enclosures(ctx, s)
	if err != nil || len(list) == 0 {
		return err
	}
	var e chassis
	if err := c.s.get(ctx, list[0], &e); err != nil && !gone(err) {
		return err
	}
	v.Chassis = bmc.Module{Model: e.PartNumber, Serial: e.SerialNumber}
	if v.Chassis.Serial == v.System.Serial {
		v.Chassis.Serial = ""
	}
	return nil
}

func (c *Controller) macInventory(ctx context.Context, _ system, v *bmc.Inventory) error {
	macs, err := c.MACs(ctx)
	v.MACs = macs
	return err
}

// MACs are the host's interfaces. A machine that is off may know none.
func (c *Controller) MACs(ctx context.Context) ([]bmc.MAC, error) {
	s, err := c.read(ctx)
	if err != nil {
		return nil, err
	}
	var out []bmc.MAC
	err = each(ctx, c, s.EthernetInterfaces, func(_ string, i struct {
		ID                  string `json:"Id"`
		Name                string
		MACAddress          string
		PermanentMACAddress string
	},
	) error {
		for _, text := range []string{i.PermanentMACAddress, i.MACAddress} {
			if mac, err := net.ParseMAC(text); err == nil && len(mac) == 6 {
				out = append(out, bmc.MAC{Name: bmc.Clean(i.ID), Addr: mac})
				break
			}
		}
		return nil
	})
	return out, err
}

func (c *Controller) processors(ctx context.Context, s system, v *bmc.Inventory) error {
	return each(ctx, c, s.Processors, func(_ string, p struct {
		ID         string `json:"Id"`
		Socket     string
		Model      string
		TotalCores *int
	},
	) error {
		text := p.Model
		if p.TotalCores != nil {
			text = fmt.Sprintf("%s, %d cores", text, *p.TotalCores)
		}
		v.CPU = append(v.CPU, bmc.Line{Label: named("CPU", p.Socket, p.ID), Value: bmc.Clean(text)})
		return nil
	})
}

func (c *Controller) memory(ctx context.Context, s system, v *bmc.Inventory) error {
	return each(ctx, c, s.Memory, func(_ string, m struct {
		ID                string `json:"Id"`
		DeviceLocator     string
		CapacityMiB       *int
		MemoryDeviceType  string
		OperatingSpeedMhz *int
		Manufacturer      string
		PartNumber        string
		Status            struct{ State string }
	},
	) error {
		text := "Not Present"
		if m.CapacityMiB != nil && *m.CapacityMiB > 0 && m.Status.State != "Absent" {
			text = fmt.Sprintf("%d MB %s %s %s", *m.CapacityMiB, m.MemoryDeviceType, m.Manufacturer, m.PartNumber)
		}
		v.DIMM = append(v.DIMM, bmc.Line{Label: named("DIMM", m.DeviceLocator, m.ID), Value: words(text)})
		return nil
	})
}

type pcieDevice struct {
	ID           string `json:"Id"`
	Name         string
	Manufacturer string
	Model        string
	SerialNumber string
}

func (c *Controller) pci(ctx context.Context, s system, v *bmc.Inventory) error {
	list := paths(s.PCIeDevices)
	if len(list) == 0 {
		chassis, err := c.enclosures(ctx, s)
		if err != nil {
			return err
		}
		for _, p := range chassis {
			var e struct{ PCIeDevices link }
			if err := c.s.get(ctx, p, &e); err != nil && !gone(err) {
				return err
			}
			more, err := c.members(ctx, e.PCIeDevices)
			if err != nil {
				return err
			}
			list = append(list, more...)
		}
	}
	for _, p := range list[:min(len(list), maxMembers)] {
		var d pcieDevice
		if err := c.s.get(ctx, p, &d); err != nil {
			if gone(err) {
				continue
			}
			return err
		}
		v.PCI = append(v.PCI, bmc.Line{Label: "PCI " + bmc.Clean(d.ID), Value: words(d.Manufacturer + " " + d.Name + " " + d.Model)})
	}
	return nil
}

func (c *Controller) disks(ctx context.Context, s system, v *bmc.Inventory) error {
	return each(ctx, c, s.Storage, func(_ string, st struct{ Drives []link }) error {
		for _, p := range paths(st.Drives) {
			var d struct {
				ID            string `json:"Id"`
				Name          string
				Manufacturer  string
				Model         string
				SerialNumber  string
				MediaType     string
				CapacityBytes *int64
			}
			if err := c.s.get(ctx, p, &d); err != nil {
				if gone(err) {
					continue
				}
				return err
			}
			text := d.MediaType + " " + d.Manufacturer + " " + d.Model + " " + d.SerialNumber
			if d.CapacityBytes != nil {
				text = fmt.Sprintf("%d GB %s", *d.CapacityBytes/1e9, text)
			}
			v.Disk = append(v.Disk, bmc.Line{Label: named("Disk", d.Name, d.ID), Value: words(text)})
		}
		return nil
	})
}

// named is a part's label: what it is called, with what it is in front.
func named(kind, name, id string) string {
	name = bmc.Clean(name)
	if name == "" {
		name = bmc.Clean(id)
	}
	if strings.HasPrefix(strings.ToLower(name), strings.ToLower(kind)) {
		return name
	}
	return kind + " " + name
}

// words has one blank between words.
func words(s string) string { return strings.Join(strings.Fields(bmc.Clean(s)), " ") }
