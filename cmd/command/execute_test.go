package command

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	"margay/provision/api"
)

// TestExecute: a command that is run without the tree says the same as one that
// is run by it, be it well-formed or not.
func TestExecute(t *testing.T) {
	p := newPrompt(t)
	p.run(t, "mkdef n1,n2 groups=all mgt=ipmi", "")
	socket := filepath.Join(p.dir, "tree")
	l, err := api.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	run := func(ctx context.Context, req *api.Request, conn *api.Conn) int {
		s := &Session{Deps: p.deps, Req: req, Conn: conn, root: rootFor}
		return s.finish(executeTree(ctx, s, req.Args))
	}
	go func() {
		defer close(done)
		(&api.Server{Run: run, Log: slog.New(slog.DiscardHandler)}).Serve(ctx, l)
	}()
	defer func() {
		cancel()
		<-done
	}()
	tree := &prompt{deps: p.deps, client: &api.Client{Socket: socket}, dir: p.dir}
	for _, line := range []string{
		"nodels all nodehm.mgt", "nodels -b all nodehm.mgt", "nodels all -b nodehm.mgt", "lsdef -i mgt -c n1", "lsdef n1 -- -x", "lsdef n1 n2 n3",
		"lsdef --nothing", "lsdef -i", "lsdef -i=mgt -o n1", "lsdef --help", "lsdef -h", "lsdef -h -t node -i mgt", "tabdump -n x auditlog", "rpower --help",
		"rpower", "rpower -h n1", "chdef", "tabch -h", "tabch key=a site.value=b", "nodels --version", "xdsh", "xdsh --help", "xdsh n1 --help", "nosuch", "no-such --help",
		"media", "media list", "media remove", "media --help", "--help", "help", "-h",
	} {
		if got, want := p.run(t, line, ""), tree.run(t, line, ""); got != want {
			t.Errorf("%s:\n%s\nand by the tree:\n%s", line, got, want)
		}
	}
}
