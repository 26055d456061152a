package command

import (
	"bytes"
	"strings"
	"testing"

	"margay/provision/api"
)

// At a terminal the number of nodes is asked for.
func TestConfirmTerminal(t *testing.T) {
	for answer, code := range map[string]int{"102\n": 0, "yes\n": 0, "y\n": 1, "101\n": 1, "": 1} {
		p := newPrompt(t)
		p.run(t, "mkdef n1-n102 groups=all", "")
		var out, errs bytes.Buffer
		got, err := p.client.Run(t.Context(), &api.Request{Args: []string{"noderm", "all"}, Dir: "/", TTY: true}, strings.NewReader(answer), &out, &errs)
		if err != nil || got != code || !strings.Contains(errs.String(), "remove nodes: 102 at once. Type 102 to go on:") {
			t.Errorf("answer %q: %d, %v, %s", answer, got, err, errs.String())
		}
		if left := len(p.deps.DB.Snapshot().Nodes()); (left == 0) != (code == 0) {
			t.Errorf("answer %q: %d nodes are left", answer, left)
		}
	}
}

func TestMaskArgs(t *testing.T) {
	tests := []struct{ in, want string }{
		{"chtab key=vmware passwd.username=root passwd.password=a,b=c", "chtab key=vmware passwd.username=root passwd.password=******"},
		{"chtab key=a,password=x passwd.comments=y", "chtab key=a,password=****** passwd.comments=y"},
		{"chdef n1 bmcpassword+=x os=y", "chdef n1 bmcpassword+=****** os=y"},
		{"nodech n1 ipmi.password,=x", "nodech n1 ipmi.password,=******"},
		{"rspconfig n1 password=x", "rspconfig n1 password=******"},
		{"join --password tiger host --secret=x", "join --password ****** host --secret=******"},
		{"chdef -t site clustersite snmpc=x domain=y", "chdef -t site clustersite snmpc=****** domain=y"},
		{"chtab key=snmpc site.value=x,y=z site.comments=w", "chtab key=snmpc site.value=****** site.comments=w"},
		{"chtab key=domain site.value=x", "chtab key=domain site.value=x"},
		{"rpower n1 off", "rpower n1 off"},
	}
	for _, tt := range tests {
		if got := strings.Join(maskArgs(strings.Fields(tt.in)), " "); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestReads(t *testing.T) {
	for line, want := range map[string]bool{
		"lsdef n1": true, "chdef n1 os=x": false, "chdef n1 os=x --dry-run": true, "mkvm --help": true, "nosuch": false,
		"nodeset n1 stat": true, "nodeset n1 boot": false, "rpower n1 state": true, "rpower n1 off": false,
		"nodestat n1": true, "nodestat n1 -u": false, "rspconfig n1 ip": true, "rspconfig n1 ip=dhcp": false,
		"__complete lsdef ": true, "dumpxCATdb -p x": false, "reventlog n1 clear": false, "reventlog n1 5": true,
	} {
		if got := reads(strings.Fields(line)); got != want {
			t.Errorf("%s: only looks: %v, want %v", line, got, want)
		}
	}
}
