package vmtest

import (
	"context"
	"fmt"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// The one licence that can be had beside the World's own; every other key is
// refused.
const (
	LicenceKey  = "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE"
	LicenceName = "VMware vSphere 8 Enterprise Plus"
)

// UpdateLicense gives a host another licence, with which the API may change
// what it likes. A vCenter has no licence of that kind.
func (l *licences) UpdateLicense(ctx *simulator.Context, req *types.UpdateLicense) soap.HasFault {
	body := &methods.UpdateLicenseBody{}
	switch {
	case ctx.Map.IsVPX():
		body.Fault_ = simulator.Fault("The operation is not supported on the object.", &types.NotSupported{})
	case req.LicenseKey != LicenceKey:
		body.Fault_ = simulator.Fault("A specified parameter was not correct: licenseKey", &types.InvalidArgument{InvalidProperty: "licenseKey"})
	default:
		info := types.LicenseManagerLicenseInfo{LicenseKey: LicenceKey, EditionKey: "esx.enterprisePlus.cpuPackage", Name: LicenceName, Total: 1, Used: 1, CostUnit: "cpuPackage"}
		l.Licenses = []types.LicenseManagerLicenseInfo{info}
		l.w.Restrict(false)
		body.Res = &types.UpdateLicenseResponse{Returnval: info}
	}
	return body
}

// AddLicense takes a key into a vCenter's list. What cannot be read as a key is
// no fault: the answer says so, and the list stays.
func (l *licences) AddLicense(ctx *simulator.Context, req *types.AddLicense) soap.HasFault {
	body := &methods.AddLicenseBody{}
	switch {
	case !ctx.Map.IsVPX():
		body.Fault_ = simulator.Fault("The operation is not supported on the object.", &types.NotSupported{})
	case req.LicenseKey != LicenceKey:
		body.Res = &types.AddLicenseResponse{Returnval: types.LicenseManagerLicenseInfo{LicenseKey: req.LicenseKey, Properties: []types.KeyAnyValue{
			{Key: "diagnostic", Value: "License " + req.LicenseKey + " is not valid"}}}}
	default:
		body = l.LicenseManager.AddLicense(ctx, req).(*methods.AddLicenseBody)
		body.Res.Returnval.Name = LicenceName
		for i := range l.Licenses {
			if l.Licenses[i].LicenseKey == LicenceKey {
				l.Licenses[i].Name = LicenceName
			}
		}
	}
	return body
}

// Licences are the names of those that a vCenter has in its list, or of the one
// that a host has.
func (w *World) Licences() (names []string) {
	m := w.model.Map()
	for _, o := range m.AllReference("LicenseManager") {
		lm := o.(*simulator.LicenseManager)
		m.WithLock(&simulator.Context{Context: context.Background(), Map: m}, lm, func() {
			for _, l := range lm.Licenses {
				names = append(names, l.Name)
			}
		})
	}
	return names
}

// licence is vimsvc/license.
func (s *Shell) licence(w []string) (string, int) {
	switch {
	case len(w) == 2 && w[0] == "--set":
		_, err := methods.UpdateLicense(context.Background(), s.w.inUse, &types.UpdateLicense{This: *s.w.inUse.ServiceContent.LicenseManager, LicenseKey: w[1]})
		if err != nil {
			return faultText("vmodl.fault.InvalidArgument", "A specified parameter was not correct: licenseKey", `invalidProperty = "licenseKey"`), 1
		}
		return "[200] Sending request...[200] Complete.\n", 0
	case len(w) == 1 && w[0] == "--show":
		m := s.w.model.Map()
		lm := m.Get(*s.w.inUse.ServiceContent.LicenseManager).(*simulator.LicenseManager)
		var l types.LicenseManagerLicenseInfo
		m.WithLock(&simulator.Context{Context: context.Background(), Map: m}, lm, func() { l = lm.Licenses[0] })
		return fmt.Sprintf("[200] Sending request for installed licenses...[200] Complete, result is:\n   serial: %s\n   vmodl key: esxBasic\n   name: %s\n   total: 1\n   used:  1\n[200] End of report.\n", l.LicenseKey, l.Name), 0
	}
	return "Usage: license [--show] [--set <key>] [--unset]\n", 255
}
