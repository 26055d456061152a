package redfish

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"margay/provision/bmc"
)

// bootSource is the Boot property of a ComputerSystem.
type bootSource struct {
	Enabled string   `json:"BootSourceOverrideEnabled"`
	Target  string   `json:"BootSourceOverrideTarget"`
	Mode    string   `json:"BootSourceOverrideMode"`
	URI     string   `json:"HttpBootUri"`
	Allowed []string `json:"BootSourceOverrideTarget@Redfish.AllowableValues"`
}

// targets are the words for a device, best first (DSP0268, BootSource).
func (c *Controller) targets(d bmc.Device) []string {
	switch d {
	case bmc.Default:
		return []string{"None"}
	case bmc.Network:
		return []string{"Pxe"}
	case bmc.HardDisk:
		return []string{"Hdd"}
	case bmc.CD:
		return c.vendor.cd
	case bmc.Floppy:
		return []string{"Floppy"}
	case bmc.Setup:
		return []string{"BiosSetup"}
	case bmc.HTTP:
		return []string{"UefiHttp"}
	}
	return nil
}

// Boot reads the override.
func (c *Controller) Boot(ctx context.Context) (bmc.Boot, error) {
	s, err := c.read(ctx)
	if err != nil {
		return bmc.Boot{}, err
	}
	return c.bootOf(s.Boot), nil
}

func (c *Controller) bootOf(s bootSource) bmc.Boot {
	if s.Enabled == "Disabled" || s.Enabled == "" || s.Target == "None" || s.Target == "" {
		return bmc.Boot{}
	}
	b := bmc.Boot{Device: bmc.Other, Detail: bmc.Clean(s.Target), Persistent: s.Enabled == "Continuous", UEFI: s.Mode == "UEFI", URI: s.URI}
	for _, d := range []bmc.Device{bmc.Network, bmc.HardDisk, bmc.CD, bmc.Floppy, bmc.Setup, bmc.HTTP} {
		if slices.Contains(c.targets(d), s.Target) {
			b.Device, b.Detail = d, ""
		}
	}
	b.UEFI = b.UEFI || b.Device == bmc.HTTP // there is no other way
	return b
}

// WriteBoot sets the override. A service that refuses the mode, which many do
// not let be written, is asked again without it.
func (c *Controller) WriteBoot(ctx context.Context, b bmc.Boot) error {
	s, err := c.read(ctx)
	if err != nil {
		return err
	}
	fields, err := c.bootFields(s.Boot, b)
	if err != nil {
		return err
	}
	path := c.system
	if c.vendor.settings && s.Settings.SettingsObject.ID != "" {
		path = s.Settings.SettingsObject.ID
	}
	err = c.s.patch(ctx, path, map[string]any{"Boot": fields})
	if status(err) == http.StatusBadRequest && fields["BootSourceOverrideMode"] != nil && !c.vendor.wholeBoot {
		delete(fields, "BootSourceOverrideMode")
		err = c.s.patch(ctx, path, map[string]any{"Boot": fields})
	}
	if code := status(err); (code == http.StatusMethodNotAllowed || code == http.StatusBadRequest) && path == c.system && s.Settings.SettingsObject.ID != "" {
		err = c.s.patch(ctx, s.Settings.SettingsObject.ID, map[string]any{"Boot": fields})
	}
	return err
}

func (c *Controller) bootFields(now bootSource, b bmc.Boot) (map[string]any, error) {
	target, err := c.chooseTarget(now, b.Device)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": target}
	switch {
	case b.Device == bmc.Default:
		fields["BootSourceOverrideEnabled"] = "Disabled"
	case b.Persistent:
		fields["BootSourceOverrideEnabled"] = "Continuous"
	}
	switch {
	case c.vendor.noMode:
	case (b.UEFI || b.Device == bmc.HTTP) && now.Mode != "UEFI":
		fields["BootSourceOverrideMode"] = "UEFI"
	case c.vendor.wholeBoot && now.Mode != "":
		fields["BootSourceOverrideMode"] = now.Mode
	}
	if b.Device == bmc.HTTP && b.URI != "" {
		fields["HttpBootUri"] = b.URI
	}
	return fields, nil
}

func (c *Controller) chooseTarget(now bootSource, d bmc.Device) (string, error) {
	words := c.targets(d)
	for _, w := range words {
		if slices.Contains(now.Allowed, w) {
			return w, nil
		}
	}
	if len(words) == 0 || len(now.Allowed) > 0 && d != bmc.Default {
		return "", unsupported(fmt.Errorf("the machine cannot be told to boot from %q; it takes %v", d, now.Allowed))
	}
	return words[0], nil
}
