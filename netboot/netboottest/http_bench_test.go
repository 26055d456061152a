//go:build bench

package netboottest

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"margay/netboot"
	"margay/netboot/httpd"
	"margay/nodedb/nodedbtest"
)

func httpPeers() []peer {
	return []peer{
		{name: "margay", mode: "tree-server"},
		{name: "in place", mode: "place-server"},
		{name: "nginx", argv: func(dir string) []string {
			return []string{"nginx", "-p", dir, "-c", nginxConf(dir, ""), "-e", "stderr"}
		}},
		{name: "nginx cache", argv: func(dir string) []string {
			return []string{"nginx", "-p", dir, "-c", nginxConf(dir, "open_file_cache max=1000; open_file_cache_valid 600;"), "-e", "stderr"}
		}},
	}
}

func nginxConf(dir, more string) string {
	conf := `daemon off; master_process off; worker_processes 1; user root; pid ` + dir + `/nginx.pid; error_log stderr crit;
events { worker_connections 4096; }
http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; ` + more + `
client_body_temp_path ` + dir + `/t1; proxy_temp_path ` + dir + `/t2; fastcgi_temp_path ` + dir + `/t3; uwsgi_temp_path ` + dir + `/t4; scgi_temp_path ` + dir + `/t5;
server { listen 80; root ` + dir + `; } }
`
	name := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(name, []byte(conf), 0o644); err != nil {
		panic(err)
	}
	return name
}

func benchServeHTTP(files netboot.Opener) {
	l, err := net.Listen("tcp4", ":80")
	if err == nil {
		err = (&httpd.Server{Opener: files, PerAddr: 100000}).Serve(context.Background(), l)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// placeFiles has its modules in one file, as a medium that is served in place
// has them.
type placeFiles struct {
	dirFiles
	medium *os.File
}

func openPlace(dir string) netboot.Opener {
	f, err := os.Open(filepath.Join(dir, benchMedium))
	if err != nil {
		panic(err)
	}
	return placeFiles{dirFiles(dir), f}
}

func (p placeFiles) Open(ctx context.Context, m netboot.Machine, name string) (*netboot.File, error) {
	var n int64
	if _, err := fmt.Sscanf(name, benchModuleName, &n); err != nil {
		return p.dirFiles.Open(ctx, m, name)
	}
	at := n * benchModule
	body := placed{io.NewSectionReader(p.medium, at, benchModule), p.medium, at}
	return &netboot.File{Name: name, Body: body, Size: benchModule, ModTime: time.Now()}, nil
}

type placed struct {
	*io.SectionReader
	f  *os.File
	at int64
}

func (p placed) Close() error                               { return nil }
func (p placed) Extent(off int64) (f *os.File, at, n int64) { return p.f, p.at + off, p.Size() - off }

func benchLoadHTTP() {
	l := loadArgs()
	var clients []fetcher
	for i := range l.Clients {
		own := l
		own.File = strings.ReplaceAll(l.File, "#", strconv.Itoa(i))
		clients = append(clients, &httpFetcher{load: own, client: i})
	}
	runLoad(l, clients)
}

const (
	benchModules = 150
	benchModule  = 3 << 20

	benchModuleName = "install/bench/x86_64/m%d.v00"

	benchSmallName = "install/bench/x86_64/boot.cfg"

	benchMedium = "medium.iso"
	benchNodes  = 1000
)

// setTree makes the directory of an install tree, and a state in which margay
// serves it and knows who asks.
func setTree(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "install/bench/x86_64"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, db, err := bootService(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	nodedbtest.Put(t, db, nodedbtest.Site("installdir", filepath.Join(dir, "install")), nodedbtest.Network("lan", "10.1.0.0", "255.255.0.0"),
		nodedbtest.Node("esx1", "all", "hosts.ip=10.1.0.2"))
}

func waitHTTP(t *testing.T, b *lab) {
	t.Helper()
	for range 100 {
		var err error
		b.client.Do(func() {
			var c net.Conn
			if c, err = net.DialTimeout("tcp", benchAddr+":80", time.Second); err == nil {
				c.Close()
			}
		})
		if err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the server does not answer")
}

func TestBenchHTTP(t *testing.T) {
	b := newLab(t, nil)
	benchFiles(t, b)
	medium, err := os.Create(filepath.Join(b.dir, benchMedium))
	if err != nil {
		t.Fatal(err)
	}
	defer medium.Close()
	setTree(t, b.dir)
	for n := range benchModules {
		text := noise(benchModule)
		if err := os.WriteFile(filepath.Join(b.dir, fmt.Sprintf(benchModuleName, n)), text, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := medium.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(b.dir, benchSmallName), noise(2500), 0o644); err != nil {
		t.Fatal(err)
	}
	seconds := benchNumber("BENCH_SECONDS", 1)
	var titles []string
	var loads []load
	for _, clients := range []int{1, 16, 64, 128} {
		titles = append(titles, fmt.Sprintf("modules x %d", clients))
		loads = append(loads, load{Clients: clients, Seconds: seconds})
	}
	titles = append(titles, "boot.cfg x 64")
	loads = append(loads, load{Clients: 64, Seconds: seconds, File: benchSmallName})
	titles, loads = benchPick(titles, loads)
	compare(t, b, "http-load", httpPeers(), titles, loads, waitHTTP)
}
