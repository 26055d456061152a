package etcd_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/logutil"
	clientv3 "go.etcd.io/etcd/client/v3"

	"margay/nodedb/etcd"
)

// A cluster is real etcd servers (Debian's etcd-server) of a test's own.
type cluster struct {
	t       testing.TB
	members []*member
}

type member struct {
	client, peer string // host:port
	args         []string
	cmd          *exec.Cmd
	log          *bytes.Buffer
}

// start starts a cluster of n members. It ends with the test.
func start(t testing.TB, n int, args ...string) *cluster {
	t.Helper()
	path, err := exec.LookPath("etcd")
	if err != nil && os.Getenv("MARGAY_TEST_REAL") != "" {
		t.Fatal("no etcd here, and MARGAY_TEST_REAL is set; make test installs it")
	}
	if err != nil {
		t.Skip("no etcd here; it is in Debian's package etcd-server")
	}
	c := &cluster{t: t}
	var initial []string
	for i := range n {
		m := &member{client: freePort(t), peer: freePort(t)}
		c.members = append(c.members, m)
		initial = append(initial, fmt.Sprintf("m%d=http://%s", i, m.peer))
	}
	scheme := "http://"
	if slices.Contains(args, "--cert-file") {
		scheme = "https://"
	}
	for i, m := range c.members {
		m.args = append([]string{path, "--name", fmt.Sprint("m", i), "--data-dir", filepath.Join(t.TempDir(), "data"),
			"--listen-client-urls", scheme + m.client, "--advertise-client-urls", scheme + m.client,
			"--listen-peer-urls", "http://" + m.peer, "--initial-advertise-peer-urls", "http://" + m.peer,
			"--initial-cluster", strings.Join(initial, ","), "--logger", "zap", "--log-level", "error"}, args...)
		m.run(t)
	}
	t.Cleanup(func() {
		for _, m := range c.members {
			m.kill()
		}
	})
	if scheme == "http://" {
		c.ready()
		return c
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if conn, err := net.Dial("tcp", c.members[0].client); err == nil {
			conn.Close()
			return c
		}
	}
	t.Fatalf("etcd does not come up:\n%s", c.members[0].log)
	return nil
}

// freePort is a port of loopback that is free, and none of those that the kernel
// gives to whoever does not care: it stays free until it is taken.
func freePort(t testing.TB) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(6000)))
		if err == nil {
			l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

func (m *member) run(t testing.TB) {
	t.Helper()
	m.cmd = exec.Command(m.args[0], m.args[1:]...)
	m.log = new(bytes.Buffer)
	m.cmd.Stderr = m.log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (m *member) kill() {
	m.cmd.Process.Kill()
	m.cmd.Wait()
}

func (c *cluster) endpoints() []string {
	var list []string
	for _, m := range c.members {
		list = append(list, m.client)
	}
	return list
}

// client is a plain client, for what tests do behind the store's back.
func (c *cluster) client() *clientv3.Client {
	c.t.Helper()
	quiet, err := logutil.CreateDefaultZapLogger(5)
	if err != nil {
		c.t.Fatal(err)
	}
	cl, err := clientv3.New(clientv3.Config{Endpoints: c.endpoints(), DialTimeout: 10 * time.Second, Logger: quiet})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { cl.Close() })
	return cl
}

// ready waits until the cluster takes writes.
func (c *cluster) ready() {
	c.t.Helper()
	cl := c.client()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		call, done := context.WithTimeout(ctx, time.Second)
		_, err := cl.Put(call, "ready", "")
		done()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			c.t.Fatalf("etcd does not come up: %v\n%s", err, c.members[0].log)
		}
	}
}

// leader is the member that leads.
func (c *cluster) leader() *member {
	c.t.Helper()
	cl := c.client()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		for _, m := range c.members {
			if s, err := cl.Status(ctx, m.client); err == nil && s.Leader == s.Header.MemberId {
				return m
			}
		}
	}
	c.t.Fatal("nobody leads")
	return nil
}

var prefixes atomic.Int64

// config is a table of its own in the cluster.
func (c *cluster) config() etcd.Config {
	return etcd.Config{Endpoints: c.endpoints(), Prefix: fmt.Sprintf("test%d/", prefixes.Add(1))}
}

func (c *cluster) open(cfg etcd.Config) *etcd.Store {
	c.t.Helper()
	s, err := etcd.Open(context.Background(), cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { s.Close() })
	return s
}
