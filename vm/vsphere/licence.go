package vsphere

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// Licence is the one that a host has: its own word for it, or that of its
// vCenter, which hands them out.
func (c *Conn) Licence(ctx context.Context, host string) (vm.Licence, error) {
	m, err := c.licences(ctx)
	if err != nil {
		return vm.Licence{}, err
	}
	if c.about.Kind == vm.ESX {
		for _, l := range m.Licenses {
			if l.LicenseKey != "" {
				return vm.Licence{Key: l.LicenseKey, Name: l.Name}, nil
			}
		}
		return vm.Licence{}, nil
	}
	ref, err := c.hostRef(ctx, host)
	if err != nil {
		return vm.Licence{}, err
	}
	if m.LicenseAssignmentManager == nil {
		return vm.Licence{}, vm.ErrUnsupported
	}
	res, err := methods.QueryAssignedLicenses(ctx, c.vc, &types.QueryAssignedLicenses{This: *m.LicenseAssignmentManager, EntityId: ref.Value})
	if err != nil {
		return vm.Licence{}, wrap(err)
	}
	for _, a := range res.Returnval {
		if a.EntityId == ref.Value {
			return vm.Licence{Key: a.AssignedLicense.LicenseKey, Name: a.AssignedLicense.Name}, nil
		}
	}
	return vm.Licence{}, nil
}

func (c *Conn) licences(ctx context.Context) (m mo.LicenseManager, err error) {
	lm := c.vc.ServiceContent.LicenseManager
	if lm == nil {
		return m, vm.ErrUnsupported
	}
	err = property.DefaultCollector(c.vc).RetrieveOne(ctx, *lm, []string{"licenses", "licenseAssignmentManager"}, &m)
	return m, wrap(err)
}

// SetLicence gives a host the licence of a key. A vCenter takes the key into
// its own list first, and out again where it then does not give it.
func (c *Conn) SetLicence(ctx context.Context, host, key string) error {
	m, err := c.licences(ctx)
	if err != nil {
		return err
	}
	if c.about.Kind == vm.ESX {
		res, err := methods.UpdateLicense(ctx, c.vc, &types.UpdateLicense{This: *c.vc.ServiceContent.LicenseManager, LicenseKey: key})
		if err != nil {
			return wrap(err)
		}
		return diagnosis(res.Returnval)
	}
	ref, err := c.hostRef(ctx, host)
	if err != nil {
		return err
	}
	if m.LicenseAssignmentManager == nil {
		return vm.ErrUnsupported
	}
	known := slices.ContainsFunc(m.Licenses, func(l types.LicenseManagerLicenseInfo) bool { return strings.EqualFold(l.LicenseKey, key) })
	if !known {
		res, err := methods.AddLicense(ctx, c.vc, &types.AddLicense{This: *c.vc.ServiceContent.LicenseManager, LicenseKey: key})
		if err == nil {
			err = diagnosis(res.Returnval)
		}
		if err != nil {
			return wrap(err)
		}
	}
	_, err = methods.UpdateAssignedLicense(ctx, c.vc, &types.UpdateAssignedLicense{This: *m.LicenseAssignmentManager, Entity: ref.Value, LicenseKey: key})
	if err != nil && !known {
		_, _ = methods.RemoveLicense(context.WithoutCancel(ctx), c.vc, &types.RemoveLicense{This: *c.vc.ServiceContent.LicenseManager, LicenseKey: key})
	}
	return wrap(err)
}

// diagnosis is what is wrong with a licence that was taken: a key that cannot
// be read is no fault, but has a property that says so.
func diagnosis(l types.LicenseManagerLicenseInfo) error {
	for _, p := range l.Properties {
		if !strings.EqualFold(p.Key, "diagnostic") {
			continue
		}
		switch v := p.Value.(type) {
		case types.LocalizableMessage:
			return vm.Errorf(vm.ErrInvalid, "%s", v.Message)
		case string:
			return vm.Errorf(vm.ErrInvalid, "%s", v)
		default:
			return vm.Errorf(vm.ErrInvalid, "%s", fmt.Sprint(v))
		}
	}
	return nil
}
