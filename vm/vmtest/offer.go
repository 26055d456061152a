package vmtest

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// defaultVersion is the hardware that a host gives a guest that names none.
const defaultVersion = "vmx-13"

// cardsFor and controllersFor are what hosts have for a system on a hardware
// version: old systems have the cards of their time, new ones have not.
func cardsFor(guestID string, version int) []string {
	if strings.HasPrefix(guestID, "windows11") || strings.HasPrefix(guestID, "windows2022") {
		return []string{"VirtualE1000e", "VirtualVmxnet3"}
	}
	out := []string{"VirtualE1000"}
	if version >= 8 {
		out = append(out, "VirtualE1000e")
	}
	if version >= 7 {
		out = append(out, "VirtualVmxnet3")
	}
	if strings.HasPrefix(guestID, "other") || !strings.Contains(guestID, "64") {
		out = append(out, "VirtualPCNet32")
	}
	if slices.ContainsFunc([]string{"rhel4", "rhel5", "sles10", "winXP", "winNet", "other"}, func(old string) bool { return strings.HasPrefix(guestID, old) }) {
		out = append(out, "VirtualVmxnet", "VirtualVmxnet2")
	}
	return out
}

func controllersFor(guestID string, version int) []string {
	out := []string{"VirtualIDEController", "VirtualLsiLogicController"}
	if version >= 7 {
		out = append(out, "VirtualLsiLogicSASController", "ParaVirtualSCSIController")
	}
	if version >= 10 {
		out = append(out, "VirtualAHCIController")
	}
	if version >= 13 {
		out = append(out, "VirtualNVMEController")
	}
	if strings.HasPrefix(guestID, "other") || !strings.Contains(guestID, "64") {
		out = append(out, "VirtualBusLogicController")
	}
	return out
}

func versionNumber(v string) int {
	if v == "" {
		v = defaultVersion
	}
	n, _ := strconv.Atoi(strings.TrimPrefix(v, "vmx-"))
	return n
}

// QueryConfigOptionEx says what a host has for the systems that are asked for.
func (b *browser) QueryConfigOptionEx(req *types.QueryConfigOptionEx) soap.HasFault {
	res := b.EnvironmentBrowser.QueryConfigOptionEx(req).(*methods.QueryConfigOptionExBody)
	if res.Res == nil || req.Spec == nil {
		return res
	}
	opt := *res.Res.Returnval
	if opt.Version = req.Spec.Key; opt.Version == "" {
		opt.Version = defaultVersion
	}
	n := versionNumber(opt.Version)
	if n < 3 || n > 21 {
		return &methods.QueryConfigOptionExBody{Fault_: simulator.Fault("", invalid("spec.key"))}
	}
	opt.GuestOSDescriptor = slices.Clone(opt.GuestOSDescriptor)
	for i := range opt.GuestOSDescriptor {
		d := &opt.GuestOSDescriptor[i]
		d.FullName = d.Id
		d.SupportedEthernetCard, d.SupportedDiskControllerList = cardsFor(d.Id, n), controllersFor(d.Id, n)
		d.RecommendedEthernetCard = "VirtualE1000"
		if !slices.Contains(d.SupportedEthernetCard, "VirtualE1000") {
			d.RecommendedEthernetCard = "VirtualE1000e"
		}
	}
	return &methods.QueryConfigOptionExBody{Res: &types.QueryConfigOptionExResponse{Returnval: &opt}}
}

// offered says whether a host has a card or controller for a system; of other
// devices it has all.
func offered(d types.BaseVirtualDevice, guestID string, version int) bool {
	if d == nil {
		return true
	}
	kind := reflect.TypeOf(d).Elem().Name()
	switch d.(type) {
	case types.BaseVirtualEthernetCard:
		return slices.Contains(cardsFor(guestID, version), kind)
	case types.BaseVirtualSCSIController, types.BaseVirtualSATAController, *types.VirtualNVMEController:
		return slices.Contains(controllersFor(guestID, version), kind)
	}
	return true
}
