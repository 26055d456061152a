package provision

import (
	"strings"
	"testing"
)

func TestConceal(t *testing.T) {
	key := "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----\n"
	hash := "$6$abcdefgh$" + strings.Repeat("x", 86)
	data := tgz(t, "etc/ssh/ssh_host_rsa_key", key, "etc/shadow", "root:"+hash+":1:2\n", "etc/hosts", "10.1.0.1 a\n")
	text := string(concealed("state.tgz", data))
	if strings.Contains(text, "MIIEow") || strings.Contains(text, strings.Repeat("x", 20)) {
		t.Errorf("a secret is shown:\n%s", text)
	}
	for _, want := range []string{"--- state.tgz/etc/hosts\n10.1.0.1 a\n", "root:$6$******:1:2", "-----BEGIN RSA PRIVATE KEY-----******"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if got := string(concealed("x", []byte("-----BEGIN PRIVATE KEY-----\nMIIEow\n"))); strings.Contains(got, "MIIEow") {
		t.Errorf("half a key is shown: %s", got)
	}
	files, err := stateFiles(data)
	if err != nil || strings.Contains(string(files["etc/shadow"]), "xxxxxxxx") || !strings.Contains(string(files["etc/shadow"]), "# sha256 of the whole file: ") {
		t.Errorf("%v %s", err, files["etc/shadow"])
	}
}
