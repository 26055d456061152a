package vsphere

import (
	"context"
	"errors"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// licence finds out whether the host's licence lets the API change anything.
// The free one does not, and says so of any request before it looks at its
// arguments: a request to delete the file "" tells without doing anything.
func (c *Conn) licence(ctx context.Context) error {
	fm := c.vc.ServiceContent.FileManager
	if fm == nil {
		return nil
	}
	_, err := methods.DeleteDatastoreFile_Task(ctx, c.vc, &types.DeleteDatastoreFile_Task{This: *fm})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := wrap(err); errors.Is(err, vm.ErrRestricted) {
		c.about.Restricted, c.about.Reason = true, vm.ErrRestricted.Error()
	}
	lm := c.vc.ServiceContent.LicenseManager
	if lm == nil {
		return nil
	}
	var m mo.LicenseManager
	if err := property.DefaultCollector(c.vc).RetrieveOne(ctx, *lm, []string{"licenses"}, &m); err != nil {
		return nil // an account that may not read it can still do the rest
	}
	for _, l := range m.Licenses {
		if l.Name != "" {
			c.about.Licence = l.Name
			break
		}
	}
	return nil
}
