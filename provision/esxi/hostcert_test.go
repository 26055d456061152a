package esxi

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"margay/nodedb"
	"margay/provision"
)

// selfSigned makes a certificate for names, and its key.
func selfSigned(n provision.HostNames) (crt, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: n.Hosts, NotBefore: time.Unix(0, 0), NotAfter: time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)}
	for _, a := range n.Addrs {
		c.IPAddresses = append(c.IPAddresses, a.AsSlice())
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		return nil, nil, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), err
}

// TestHostCertificate: a host's certificate, made by the server's authority or
// given by the operator, goes to that host with its kickstart or overlay, and
// its key is shown to nobody.
func TestHostCertificate(t *testing.T) {
	st := newStage(t)
	st.Config.Issue = selfSigned
	st.Service = provision.NewService(st.Config)
	want := func(value string) {
		t.Helper()
		if err := st.DB.Update(t.Context(), func(tx *nodedb.Tx) error {
			tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: "esx1"}, "esxi.certificate", value)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	want("made")
	st.set("esxi8.0.2-x86_64-install-base")
	m := machineAt("10.1.0.11")
	ks := st.kickstartOf(m, "esx1")
	text := st.must(m, ks)
	block, _ := pem.Decode([]byte(text[strings.Index(text, "-----BEGIN CERT"):]))
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil || c.VerifyHostname("esx1") != nil || c.VerifyHostname("10.1.0.11") != nil {
		t.Errorf("certificate: %v %v", err, c.DNSNames)
	}
	if !strings.Contains(text, "cat > /etc/vmware/ssl/rui.crt <<'CERT'\n-----BEGIN CERTIFICATE-----\n") || !strings.Contains(text, "-----END PRIVATE KEY-----\nKEY\n/etc/init.d/hostd restart\n") {
		t.Errorf("kickstart:\n%s", text)
	}
	if again := st.must(m, ks); again != text {
		t.Error("it is another certificate each time")
	}
	snap := st.DB.Snapshot()
	n, _ := snap.Node("esx1")
	if shown, err := st.Render(snap, n, "ks.cfg", "uefi", false); err != nil || strings.Contains(string(shown), "-----END PRIVATE KEY") {
		t.Errorf("render shows the key, or fails: %v", err)
	}
	made := filepath.Join(st.State, "hostcerts", "esx1.made.key")
	if fi, err := os.Stat(made); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", fi, err)
	}

	st.set("esxi8.0.2-x86_64-netboot-hypervisor")
	st.must(m, "boot/esx1/script")
	cfg, err := ParseConfig(st.must(m, "boot/esx1/boot.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	mods := cfg.Modules()
	files := untar(t, []byte(st.must(m, mods[len(mods)-1].Path)))
	if !strings.HasPrefix(files["etc/vmware/ssl/rui.crt"], "644 -----BEGIN CERT") || !strings.HasPrefix(files["etc/vmware/ssl/rui.key"], "400 -----BEGIN PRIVATE KEY") {
		t.Errorf("overlay: %q", files["etc/vmware/ssl/rui.crt"])
	}
	if strings.Contains(files["etc/init.d/99.margay"], "PRIVATE KEY") {
		t.Error("the key stands in a script that everybody may read")
	}

	want("given")
	res, err := st.Nodeset(t.Context(), []string{"esx1"}, provision.Action{Image: "esxi8.0.2-x86_64-install-base"})
	if err != nil || res[0].Err == nil || !strings.Contains(res[0].Err.Error(), "hostcerts/esx1.crt and its key into") {
		t.Fatalf("no certificate was given: %v %v", err, res)
	}
	crt, key, err := selfSigned(provision.HostNames{Hosts: []string{"given.example"}})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(st.State, "hostcerts")
	os.WriteFile(filepath.Join(dir, "esx1.crt"), crt, 0o644)
	os.WriteFile(filepath.Join(dir, "esx1.key"), []byte("not a key"), 0o600)
	if res, _ := st.Nodeset(t.Context(), []string{"esx1"}, provision.Action{Image: "esxi8.0.2-x86_64-install-base"}); res[0].Err == nil {
		t.Error("a key that does not fit was taken")
	}
	os.WriteFile(filepath.Join(dir, "esx1.key"), key, 0o600)
	st.set("esxi8.0.2-x86_64-install-base")
	if text := st.must(m, st.kickstartOf(m, "esx1")); !strings.Contains(text, string(crt)) || !strings.Contains(text, string(key)) {
		t.Errorf("the certificate that was given is not in\n%s", text)
	}
}
