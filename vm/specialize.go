package vm

import (
	"strconv"
	"strings"

	"margay/nodedb"
)

// A Customization makes a clone a machine of its own: vCenter does it at the
// clone's first start, through VMware Tools.
type Customization struct {
	Windows        bool
	Name           string // of the machine
	Domain         string
	Password       string // of Windows' Administrator; it stands in the request alone
	AutoLogons     int
	NICs           int
	ProductKey     string
	Organization   string
	FullName       string
	TimezoneNumber int // Microsoft's
}

// gmt is Microsoft's number of the time zone of Greenwich.
const gmt = 85

// customization is what clonevm --specialize asks for: of Windows what xCAT
// asked for (passwd key=system, vmmaster.specializeparameters), of others the
// names.
func customization(snap *nodedb.Snapshot, g *Guest, master VM, row nodedb.Record) (*Customization, error) {
	c := &Customization{Name: g.Name, Domain: snap.Site("domain"), NICs: len(master.Spec.NICs), TimezoneNumber: gmt, FullName: "Administrator", Organization: snap.Site("domain")}
	if c.Organization == "" {
		c.Organization = "Organization"
	}
	id := strings.ToLower(master.GuestID)
	if id == "" {
		id = strings.ToLower(master.Spec.GuestID)
	}
	c.Windows = strings.HasPrefix(id, "win")
	params := map[string]string{}
	settings, err := ParseSettings(strings.ReplaceAll(row.Attrs["vmmaster.specializeparameters"], ",", ";"))
	if err != nil {
		return nil, err
	}
	for _, s := range settings {
		params[strings.ToLower(s.Key)] = s.Value
	}
	for key, value := range params {
		switch key {
		case "autologoncount":
			c.AutoLogons, err = strconv.Atoi(value)
		case "timezone":
			c.TimezoneNumber, err = strconv.Atoi(value)
		case "productkey":
			c.ProductKey = value
		case "organization":
			c.Organization = value
		case "fullname":
			c.FullName = value
		default:
			return nil, Errorf(ErrInvalid, "vmmaster.specializeparameters has %s; autoLogonCount, timezone, productkey, organization and fullname are known", key)
		}
		if err != nil {
			return nil, Errorf(ErrInvalid, "vmmaster.specializeparameters: %s=%s is no number", key, value)
		}
	}
	if !c.Windows {
		return c, nil
	}
	if len(c.Name) > 15 {
		return nil, Errorf(ErrInvalid, "Windows takes 15 characters for a machine's name; %q has %d", c.Name, len(c.Name))
	}
	p, err := snap.Password("system", "Administrator")
	if err != nil || p.Secret == "" {
		return nil, Errorf(ErrNotFound, "specializing Windows needs the password of its Administrator: chtab key=system,username=Administrator passwd.password=...")
	}
	c.Password = p.Secret
	return c, nil
}
