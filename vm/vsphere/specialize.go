package vsphere

import (
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// customizationSpec is what a vCenter is asked to do to a clone.
func customizationSpec(c *vm.Customization) *types.CustomizationSpec {
	if c == nil {
		return nil
	}
	s := &types.CustomizationSpec{GlobalIPSettings: types.CustomizationGlobalIPSettings{}}
	if c.Domain != "" {
		s.GlobalIPSettings.DnsSuffixList = []string{c.Domain}
	}
	for range c.NICs { // addresses are DHCP's, which is ours
		s.NicSettingMap = append(s.NicSettingMap, types.CustomizationAdapterMapping{Adapter: types.CustomizationIPSettings{Ip: &types.CustomizationDhcpIpGenerator{}}})
	}
	name := &types.CustomizationFixedName{Name: c.Name}
	if !c.Windows {
		domain := c.Domain
		if domain == "" {
			domain = "localdomain" // it may not be empty
		}
		s.Identity = &types.CustomizationLinuxPrep{HostName: name, Domain: domain}
		s.Options = &types.CustomizationLinuxOptions{}
		return s
	}
	s.Options = &types.CustomizationWinOptions{ChangeSID: true, Reboot: types.CustomizationSysprepRebootOptionReboot}
	s.Identity = &types.CustomizationSysprep{
		GuiUnattended: types.CustomizationGuiUnattended{
			Password: &types.CustomizationPassword{Value: c.Password, PlainText: true}, TimeZone: int32(c.TimezoneNumber),
			AutoLogon: c.AutoLogons > 0, AutoLogonCount: int32(max(1, c.AutoLogons)),
		},
		UserData:       types.CustomizationUserData{FullName: c.FullName, OrgName: c.Organization, ComputerName: name, ProductId: c.ProductKey},
		Identification: types.CustomizationIdentification{JoinWorkgroup: "WORKGROUP"},
	}
	return s
}
