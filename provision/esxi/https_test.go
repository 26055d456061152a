package esxi

import (
	"context"
	"strings"
	"testing"

	"margay/nodedb"
)

// A node that wants HTTPS has its kickstart by nothing else, and firmware that
// loads by HTTP all the rest.
func TestHTTPS(t *testing.T) {
	st := newStage(t)
	st.TLSPort = 443
	err := st.DB.Update(context.Background(), func(tx *nodedb.Tx) error {
		tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: "esx1"}, "esxi.httpmethod", "https")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	st.set("esxi8.0.2-x86_64-install-base")

	m := machineAt("10.1.0.11")
	ks := st.kickstartOf(m, "esx1")
	name, ok := strings.CutPrefix(ks, "https://10.1.0.1/")
	if !ok {
		t.Fatalf("ks=%s, want it by HTTPS", ks)
	}
	if cfg := st.must(m, "boot/esx1/boot.cfg"); !strings.Contains(cfg, "prefix=http://10.1.0.1/") {
		t.Errorf("iPXE is sent another prefix:\n%s", cfg)
	}
	if _, err := st.get(m, name); err == nil || !strings.Contains(err.Error(), "ks.cfg of node esx1 is sent by HTTPS only, as httpmethod says; ask at https://10.1.0.1") {
		t.Errorf("the kickstart by HTTP: %v, want a refusal", err)
	}
	m.TLS = true
	if text := st.must(m, name); !strings.Contains(text, "vmaccepteula") || !strings.Contains(text, "http://10.1.0.1/callback/") {
		t.Errorf("the kickstart by HTTPS:\n%s", text)
	}

	m.HTTPBoot, m.MAC = true, []byte{0x00, 0x50, 0x56, 0xaa, 0xbb, 0xcc}
	p, err := st.Plan(t.Context(), m)
	if err != nil || p.File != "https://10.1.0.1/boot/esx1/bootx64.efi" {
		t.Errorf("HTTP boot is sent %+v, %v", p, err)
	}
	if cfg := st.must(m, "boot/esx1/boot.cfg"); !strings.Contains(cfg, "prefix=https://10.1.0.1/install/") {
		t.Errorf("firmware is sent another prefix:\n%s", cfg)
	}
	// The other node wants none.
	other := machineAt("10.1.0.12")
	if ks := st.kickstartOf(other, "esx2"); !strings.HasPrefix(ks, "http://") {
		t.Errorf("esx2 has ks=%s", ks)
	}
}
