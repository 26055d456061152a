package esxi

import (
	"strings"
	"testing"

	"margay/nodedb"
	"margay/provision"
	"margay/provision/provisiontest"
)

// TestChain: for each firmware the programs that a node is sent, why, and
// whether Secure Boot can stay on.
func TestChain(t *testing.T) {
	st := newStage(t)
	iso := provisiontest.MakeESXi(t, provisiontest.ESXi{Version: "8.0.3", Arch: "aarch64", Total: 1 << 20})
	if _, err := st.Copycds(t.Context(), provision.Copy{Path: iso, InPlace: true}); err != nil {
		t.Fatal(err)
	}
	set := func(attrs map[string]string) {
		t.Helper()
		if err := st.DB.Update(t.Context(), func(tx *nodedb.Tx) error {
			for col, v := range attrs {
				tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: "esx1"}, col, v)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	chain := func() map[string]string {
		n, err := st.DB.Snapshot().Node("esx1")
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, l := range st.Chain(st.DB.Snapshot(), n) {
			out[l.Firmware] = l.Text
		}
		return out
	}
	check := func(what string, want map[string][]string) {
		t.Helper()
		got := chain()
		if len(got) != len(want) {
			t.Errorf("%s: %v", what, got)
		}
		for fw, words := range want {
			for _, w := range words {
				if !strings.Contains(got[fw], w) {
					t.Errorf("%s, %s: no %q in %q", what, fw, w, got[fw])
				}
			}
		}
	}
	const script = "http://10.1.0.1/boot/esx1/script"
	st.set("esxi8.0.2-x86_64-install-base")
	for _, netboot := range []string{"xnba", "pxe", ""} {
		set(map[string]string{"noderes.netboot": netboot})
		check("install, netboot="+netboot, map[string][]string{
			"bios":      {"xcat/xnba.kpxe (BIOS by PXE) -> " + script + " -> mboot.c32 of esxi8.0.2", "no COMBOOT"},
			"uefi":      {"xcat/xnba.efi (UEFI by PXE) -> " + script, "efi/boot/bootx64.efi of esxi8.0.2; Secure Boot must be off: iPXE is not signed"},
			"uefi-http": {"http://10.1.0.1/boot/esx1/bootx64.efi (UEFI HTTP boot, the medium's own loader)", "Secure Boot can stay on: nothing of ours runs before the system"},
		})
	}
	set(map[string]string{"noderes.netboot": "mboot"})
	check("own loader by TFTP", map[string][]string{
		"bios": {"xcat/xnba.kpxe"}, "uefi": {"boot/esx1/mboot.efi (UEFI by TFTP, the medium's own loader)", "Secure Boot can stay on"}, "uefi-http": {"Secure Boot can stay on"},
	})
	set(map[string]string{"noderes.netboot": "xnba", "nodetype.arch": "aarch64", "nodetype.os": "esxi8.0.3", "chain.currstate": "install esxi8.0.3-aarch64-base"})
	check("arm64", map[string][]string{
		"uefi-arm64":      {"xcat/xnba-arm64.efi (UEFI on arm64 by PXE)", "bootaa64.efi of esxi8.0.3; Secure Boot must be off"},
		"uefi-arm64-http": {"Secure Boot can stay on"},
	})
	set(map[string]string{"nodetype.arch": "x86_64", "chain.currstate": "boot"})
	check("boot", map[string][]string{"bios": {"the disk"}, "uefi": {"goes on to its next boot option"}, "uefi-http": {"exit.efi"}})
}
