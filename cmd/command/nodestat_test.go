package command

import (
	"net"
	"os"
	"testing"
)

func TestNodestat(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to listen on ports below 1024")
	}
	for _, addr := range []string{"127.0.77.2:22", "127.0.77.2:443", "127.0.77.3:902"} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	p := newPrompt(t)
	for _, line := range []string{"mkdef n2 groups=all ip=127.0.77.2", "mkdef n3 groups=all ip=127.0.77.3", "mkdef n4 groups=all ip=127.0.77.4",
		"mkdef n5 groups=all ip=127.0.77.5 'currstate=install esxi8.0-x86_64-base'", "mkdef n6 groups=all ip=127.255.255.255", "mkdef no-such-host-anywhere groups=all"} {
		p.run(t, line, "")
	}
	want := `n2: sshd,https
n3: esxi
n4: ping
n5: install esxi8.0-x86_64-base
n6: noping
2> no-such-host-anywhere: Error: Please make sure no-such-host-anywhere exists in /etc/hosts, or has an address: chdef no-such-host-anywhere ip=ADDRESS
[1]
`
	if got := p.run(t, "nodestat all -u", ""); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	want = "n2: appstatus=sshd,https\nn2: status=alive\nn6: appstatus=\nn6: status=unreachable\n"
	if got := p.run(t, "lsdef n2,n6 -c -i status,appstatus", ""); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := p.run(t, "nodestat n6 -p", ""); got != "n6: noping\n2> n6: Error: Unable to identify plugin for this command, check relevant tables: nodehm.power,mgt\n[1]\n" {
		t.Errorf("with -p: %s", got)
	}
}
