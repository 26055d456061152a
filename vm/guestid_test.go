package vm

import "testing"

func TestGuestID(t *testing.T) {
	tests := []struct{ os, arch, want string }{
		{"rhels6.3", "x86_64", "rhel6_64Guest"},
		{"rhels6.3", "x86", "rhel6Guest"},
		{"rhel9.4", "x86_64", "rhel9_64Guest"},
		{"rhels10.0", "x86_64", "rhel9_64Guest"},
		{"rocky8.9", "x86_64", "rhel8_64Guest"},
		{"centos7.9", "x86_64", "centos7_64Guest"},
		{"centos6.5", "x86", "rhel6Guest"},
		{"sles15.5", "x86_64", "sles15_64Guest"},
		{"sles11sp4", "x86", "sles11Guest"},
		{"ubuntu22.04.3", "x86_64", "ubuntu64Guest"},
		{"debian12", "x86_64", "debian12_64Guest"},
		{"debian13", "x86_64", "debian12_64Guest"},
		{"fedora13", "x86_64", "fedora64Guest"},
		{"esxi5.5", "x86_64", "vmkernel5Guest"},
		{"esxi6.7", "x86_64", "vmkernel65Guest"},
		{"esxi7.0.3", "x86_64", "vmkernel7Guest"},
		{"esxi8.0.2", "x86_64", "vmkernel8Guest"},
		{"win2k8r2", "x86_64", "windows7Server64Guest"}, // not Longhorn, whatever the order
		{"win2k8", "x86_64", "winLonghorn64Guest"},
		{"win2012r2", "x86_64", "windows8Server64Guest"},
		{"win2022", "x86_64", "windows2019srvNext_64Guest"},
		{"imagex", "x86", "winNetStandardGuest"},
		{"gentoo", "x86_64", "otherLinux64Guest"},
		{"boottarget", "x86", "otherLinuxGuest"},
		{"beos", "x86_64", "otherGuest64"},
		{"beos", "x86", "otherGuest"},
		{"", "", "otherGuest64"},
	}
	for _, tt := range tests {
		if got := GuestID(tt.os, tt.arch); got != tt.want {
			t.Errorf("GuestID(%q, %q) = %s, want %s", tt.os, tt.arch, got, tt.want)
		}
	}
}
