package command

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"margay/nodedb/nodedbtest"
	"margay/provision/api"
)

// From afar secrets are hidden, whatever shows them, and the server's files
// are neither read nor written.
func TestRemote(t *testing.T) {
	db := nodedbtest.New(t,
		nodedbtest.Password("vmware", "root", "tiger"), nodedbtest.Site("snmpc", "tiger"), nodedbtest.Site("domain", "cluster.test"),
		nodedbtest.Node("n1", "all", "nodehm.mgt=ipmi", "ipmi.password=tiger", "vm.cpus=2"))
	deps := &Deps{DB: db, Log: slog.New(slog.DiscardHandler)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		who := func(*http.Request) (string, error) { return "alice", nil }
		(&api.Server{Run: deps.Run, Authorize: who, Log: deps.Log}).Serve(ctx, l)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	client := &api.Client{Dial: func(ctx context.Context) (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }}
	tests := []struct {
		line string
		code int
		want string
	}{
		{"tabdump passwd", 0, `"vmware","root","******",`},
		{"gettab key=vmware passwd.password", 0, "******"},
		{"tabdump site", 0, `"snmpc","******",`},
		{"tabdump site", 0, `"domain","cluster.test",`},
		{"gettab key=snmpc site.value", 0, "******"},
		{"lsdef -t site -l", 0, "snmpc=******"},
		{"lsdef -t site -i snmpc", 0, "snmpc=******"},
		{"lsdef -t site -z", 0, "snmpc=******"},
		{"lsdef n1", 0, "bmcpassword=******"},
		{"lsdef -z n1", 0, "bmcpassword=******"},
		{"nodels n1 ipmi.password", 0, "n1: ******"},
		{"nodels n1 ipmi", 0, "ipmi.password: ******"},
		{"nodels n1 ipmi.password --reveal", 1, "on the server only"},
		{"lsdef n1 --reveal", 1, "on the server only"},
		{"tabdump passwd --reveal", 1, "on the server only"},
		{"gettab key=vmware passwd.password --reveal", 1, "on the server only"},
		{"history n1 --reveal", 1, "on the server only"},
		{"lsdef n1 -i vmcpus", 0, "vmcpus=2"},
		{"tabdump -f /tmp/x passwd", 1, "redirect"},
		{"tabrestore /etc/passwd.csv", 1, "tabrestore -t passwd < passwd.csv"},
	}
	for _, tt := range tests {
		var out bytes.Buffer
		code, err := client.Run(t.Context(), &api.Request{Args: words(tt.line), Dir: "/"}, strings.NewReader(""), &out, &out)
		if err != nil || code != tt.code || !strings.Contains(out.String(), tt.want) || strings.Contains(out.String(), "tiger") {
			t.Errorf("%s: %d, %v: %s, want %d and %q", tt.line, code, err, out.String(), tt.code, tt.want)
		}
	}
}
