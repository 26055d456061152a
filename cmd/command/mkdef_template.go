package command

import (
	"fmt"
	"slices"
	"strings"

	"margay/nodedb"
)

// A defTemplate is a definition that ships with the program. A value that
// begins with MANDATORY: must be given by the operator; one that begins with
// OPTIONAL: says what may be given.
type defTemplate struct {
	name, typ string
	assigns   []nodedb.Assign
}

const (
	mandatory = "MANDATORY:"
	optional  = "OPTIONAL:"
)

// defTemplates are sorted by name.
func defTemplates() []defTemplate {
	set := func(pairs ...string) []nodedb.Assign {
		var list []nodedb.Assign
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, nodedb.Assign{Attr: pairs[i], Value: pairs[i+1]})
		}
		return list
	}
	return []defTemplate{
		{"esxi-guest-template", "node", set(
			"arch", "x86_64",
			"groups", "vm,all",
			"mgt", "esx",
			"netboot", "xnba",
			"vmhost", mandatory+"the node that is the hypervisor",
			"vmstorage", mandatory+"where disks go: vmfs://datastore1 or nfs://server/path",
			"vmnics", mandatory+"network of the interface, such as vlan1 or a port group",
			"vmcpus", "1",
			"vmmemory", "4096",
			"vmnicnicmodel", "vmxnet3",
			"vmstoragemodel", "pvscsi",
			"ip", optional+"the address of the guest",
			"mac", optional+"the MAC address of the guest",
			"usercomment", "the ESXi guest definition template",
		)},
		{"esxi-template", "node", set(
			"arch", "x86_64",
			"groups", "esxi,all",
			"mgt", "ipmi",
			"netboot", "xnba",
			"hosttype", "esx",
			"mac", mandatory+"the MAC address that the host boots from",
			"ip", mandatory+"the address of the host",
			"bmc", mandatory+"the address of the host's BMC",
			"bmcusername", optional+"the user of the BMC",
			"bmcpassword", optional+"the password of the BMC",
			"os", optional+"the version of ESXi, such as esxi8.0",
			"profile", "hypervisor",
			"hostmanager", optional+"the vCenter that manages the host",
			"usercomment", "the ESXi host definition template",
		)},
		{"network-template", "network", set(
			"net", mandatory+"the address of the network",
			"mask", mandatory+"the mask of the network",
			"gateway", "<xcatmaster>",
			"dynamicrange", optional+"addresses for machines without one",
		)},
		{"redfish-template", "node", set(
			"arch", "x86_64",
			"groups", "all",
			"mgt", "redfish",
			"netboot", "xnba",
			"bmc", mandatory+"the address of the BMC",
			"mac", optional+"the MAC address that the node boots from",
			"ip", optional+"the address of the node",
			"usercomment", "the Redfish node definition template",
		)},
		{"switch-template", "node", set(
			"groups", "switch",
			"ip", optional+"the ip address of the switch",
			"mac", optional+"the MAC address of the switch",
			"nodetype", "switch",
			"switchtype", optional+"the make of the switch",
			"usercomment", "the switch definition template",
		)},
		{"x86_64-template", "node", set(
			"arch", "x86_64",
			"groups", "all",
			"mgt", "ipmi",
			"netboot", "xnba",
			"bmc", mandatory+"the address of the BMC",
			"bmcusername", optional+"the user of the BMC",
			"bmcpassword", optional+"the password of the BMC",
			"mac", mandatory+"the MAC address that the node boots from",
			"ip", optional+"the address of the node",
			"usercomment", "the x86_64 node definition template",
		)},
	}
}

// useTemplate puts a template's attributes before those of the items. A
// template that ships comes before an object of the same name.
func useTemplate(snap *nodedb.Snapshot, items []defItem, name string) error {
	view := nodedb.NewView(snap)
	for i := range items {
		t := items[i].t
		base, ok := templateAssigns(view, t, name)
		if !ok {
			return fmt.Errorf("Could not find the template object named '%s' of type '%s'", name, t.Name)
		}
		for _, a := range base {
			given := slices.ContainsFunc(items[i].assigns, func(b nodedb.Assign) bool { return b.Attr == a.Attr })
			switch {
			case given, strings.HasPrefix(a.Value, optional):
			case strings.HasPrefix(a.Value, mandatory):
				return fmt.Errorf("The attribute \"%s\" must be specified!", a.Attr)
			default:
				items[i].assigns = append(slices.Clone(items[i].assigns), a)
			}
		}
	}
	return nil
}

func templateAssigns(view *nodedb.View, t *nodedb.Type, name string) ([]nodedb.Assign, bool) {
	for _, tmpl := range defTemplates() {
		if tmpl.name == name && tmpl.typ == t.Name {
			return tmpl.assigns, true
		}
	}
	o, ok := view.Object(t, name)
	if !ok {
		return nil, false
	}
	var list []nodedb.Assign
	for _, v := range o.Values {
		if !ofItsOwn(v.Name) {
			list = append(list, nodedb.Assign{Attr: v.Name, Value: v.Text})
		}
	}
	return list, true
}

// ofItsOwn reports whether an attribute is one that no two nodes share or that
// the system keeps.
func ofItsOwn(attr string) bool {
	switch attr {
	case "mac", "ip", "bmc", "serial", "currstate", "currchain", "status", "statustime", "appstatus", "appstatustime", "updatestatus", "updatestatustime":
		return true
	}
	return false
}
