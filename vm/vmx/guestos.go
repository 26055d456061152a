package vmx

import "strings"

// irregular are the names that do not follow the rule between the two
// vocabularies: guestOS of .vmx files and the API's guest id.
func irregular() [][2]string {
	return [][2]string{
		{"other", "otherGuest"}, {"other-64", "otherGuest64"},
		{"otherlinux", "otherLinuxGuest"}, {"otherlinux-64", "otherLinux64Guest"},
		{"other24xlinux", "other24xLinuxGuest"}, {"other24xlinux-64", "other24xLinux64Guest"},
		{"other26xlinux", "other26xLinuxGuest"}, {"other26xlinux-64", "other26xLinux64Guest"},
		{"other3xlinux", "other3xLinuxGuest"}, {"other3xlinux-64", "other3xLinux64Guest"},
		{"other4xlinux", "other4xLinuxGuest"}, {"other4xlinux-64", "other4xLinux64Guest"},
		{"other5xlinux", "other5xLinuxGuest"}, {"other5xlinux-64", "other5xLinux64Guest"},
		{"other6xlinux-64", "other6xLinux64Guest"},
		{"windows7srv-64", "windows7Server64Guest"}, {"windows8srv-64", "windows8Server64Guest"}, {"windows9srv-64", "windows9Server64Guest"},
		{"windows2019srv-64", "windows2019srv_64Guest"}, {"windows2019srvnext-64", "windows2019srvNext_64Guest"}, {"windows2022srvnext-64", "windows2022srvNext_64Guest"},
		{"longhorn", "winLonghornGuest"}, {"longhorn-64", "winLonghorn64Guest"},
		{"winnetstandard", "winNetStandardGuest"}, {"winnetstandard-64", "winNetStandard64Guest"},
		{"winnetenterprise", "winNetEnterpriseGuest"}, {"winnetenterprise-64", "winNetEnterprise64Guest"},
		{"winvista", "winVistaGuest"}, {"winvista-64", "winVista64Guest"},
		{"winxppro", "winXPProGuest"}, {"winxppro-64", "winXPPro64Guest"},
		{"vmware-photon-64", "vmwarePhoton64Guest"},
		{"oraclelinux", "oracleLinuxGuest"}, {"oraclelinux-64", "oracleLinux64Guest"},
		{"rockylinux-64", "rockylinux_64Guest"}, {"almalinux-64", "almalinux_64Guest"},
	}
}

// guestOS is the .vmx name of a guest id.
func guestOS(id string) string {
	for _, p := range irregular() {
		if p[1] == id {
			return p[0]
		}
	}
	base := strings.TrimSuffix(id, "Guest")
	if b, ok := strings.CutSuffix(base, "_64"); ok {
		return strings.ToLower(b) + "-64"
	}
	if b, ok := strings.CutSuffix(base, "64"); ok && b != "" {
		return strings.ToLower(b) + "-64"
	}
	return strings.ToLower(base)
}

// guestID is the guest id of a .vmx name: numbered systems have "_64" in it,
// the others "64".
func guestID(os string) string {
	os = strings.ToLower(os)
	for _, p := range irregular() {
		if p[0] == os {
			return p[1]
		}
	}
	base, wide := strings.CutSuffix(os, "-64")
	base = strings.Replace(base, "oraclelinux", "oracleLinux", 1)
	switch {
	case os == "":
		return ""
	case !wide:
		return base + "Guest"
	case base != "" && base[len(base)-1] >= '0' && base[len(base)-1] <= '9':
		return base + "_64Guest"
	}
	return base + "64Guest"
}
