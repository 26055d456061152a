//go:build bench

package netboottest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"margay/netboot"
	"margay/netboot/httpd"
	"margay/nodedb"
	"margay/nodedb/bolt"
	"margay/nodedb/nodedbtest"
	"margay/provision"
	"margay/provision/esxi"
	"margay/provision/media"
	"margay/provision/provisiontest"
	"margay/templates"
)

// Each client is a node and asks for the boot.cfg that is made for it: who it is
// and at what step of which boot is looked at for every answer, and the table and
// the timelines are real. The others have the same files on disk. (The product
// has no package that knows both this one and provision; a benchmark may.)

const renderedNodes = 64

// bootService opens what stands in state, as the daemon does.
func bootService(state string) (*provision.Service, *nodedb.DB, error) {
	if err := os.MkdirAll(state, 0o755); err != nil {
		return nil, nil, err
	}
	store, err := bolt.Open(filepath.Join(state, "table.db"))
	if err != nil {
		return nil, nil, err
	}
	db, err := nodedb.New(context.Background(), store)
	return provision.NewService(provision.Config{
		DB: db, State: state, Families: []provision.Family{esxi.New(templates.New(filepath.Join(state, "templates")))}, HTTPPort: 80,
		Medium: func(path string) (provision.MediumFile, error) { return media.Open(path) },
		Local:  func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(benchAddr + "/16")} },
	}), db, err
}

func renderedAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 1, 1, byte(i)}) }

func renderedFile(i int) string { return fmt.Sprintf("boot/esx%d/boot.cfg", i) }

// openRendered is the file as its node gets it.
func openRendered(s *provision.Service, i int, name string) ([]byte, error) {
	m := netboot.Machine{Addr: renderedAddr(i), Local: netip.MustParseAddr(benchAddr)}
	f, err := s.Open(context.Background(), m, name)
	if err != nil {
		return nil, err
	}
	defer f.Body.Close()
	return io.ReadAll(f.Body)
}

// benchServeBoots is margay's side: the nodes have begun their boots. Each has a
// state of its own, in which it is the first.
func benchServeBoots(dir string) {
	benchServeService(dir, func(s *provision.Service) (err error) {
		for i := 0; err == nil && i < renderedNodes; i++ {
			_, err = openRendered(s, i, fmt.Sprintf("boot/esx%d/script", i))
		}
		return err
	})
}

// benchServeTree serves an install tree, as it serves boots.
func benchServeTree(dir string) {
	benchServeService(dir, func(*provision.Service) error { return nil })
}

// benchServeService serves what stands in a directory's state as the daemon does.
func benchServeService(dir string, begin func(*provision.Service) error) {
	state := filepath.Join(dir, fmt.Sprintf("state-%d", os.Getpid()))
	err := os.CopyFS(state, os.DirFS(filepath.Join(dir, "state")))
	s, _, fault := bootService(state)
	err = errors.Join(err, fault)
	if err == nil {
		err = begin(s)
	}
	if err == nil {
		go s.Run(context.Background())
		var l net.Listener
		if l, err = net.Listen("tcp4", ":80"); err == nil {
			err = (&httpd.Server{Opener: s, Receiver: s, Observer: s, PerAddr: 100000}).Serve(context.Background(), l)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// setBoots takes a medium in, has all nodes install from it, and writes what
// they are sent for the others to serve.
func setBoots(t *testing.T, dir string) (size int) {
	t.Helper()
	s, db, err := bootService(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	records := []nodedb.Record{nodedbtest.Network("lan", "10.1.0.0", "255.255.0.0"), nodedbtest.Password("vmware", "root", "Secret-1")}
	var names []string
	for i := range renderedNodes {
		names = append(names, fmt.Sprintf("esx%d", i))
		records = append(records, nodedbtest.Node(names[i], "all", "nodetype.arch=x86_64", fmt.Sprintf("mac.mac=52:54:00:00:00:%02x", i), "hosts.ip="+renderedAddr(i).String()))
	}
	nodedbtest.Put(t, db, records...)
	iso := provisiontest.MakeESXi(t, provisiontest.ESXi{Version: "8.0.2", Total: 1 << 20})
	if _, err := s.Copycds(t.Context(), provision.Copy{Path: iso}); err != nil {
		t.Fatal(err)
	}
	results, err := s.Nodeset(t.Context(), names, provision.Action{Image: "esxi8.0.2-x86_64-install-base"})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		text, err := openRendered(s, i, renderedFile(i))
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, renderedFile(i))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
		size = len(text)
	}
	return size
}

func TestBenchHTTPRendered(t *testing.T) {
	b := newLab(t, nil)
	benchFiles(t, b)
	size := setBoots(t, b.dir)
	var addrs []string
	for i := range renderedNodes {
		addrs = append(addrs, renderedAddr(i).String()+"/16")
	}
	var err error
	b.client.Do(func() { err = address("eth0", addrs) })
	if err != nil {
		t.Fatal(err)
	}
	peers := slices.DeleteFunc(httpPeers(), func(p peer) bool { return p.mode == "place-server" })
	peers[0].mode = "boot-server"
	var titles []string
	var loads []load
	for _, clients := range []int{1, 16, 64} {
		titles = append(titles, fmt.Sprintf("boot.cfg x %d", clients))
		loads = append(loads, load{Clients: clients, Seconds: benchNumber("BENCH_SECONDS", 1), File: "boot/esx#/boot.cfg", Sources: true})
	}
	titles, loads = benchPick(titles, loads)
	t.Logf("a boot.cfg has %d bytes", size)
	compare(t, b, "http-load", peers, titles, loads, waitHTTP)
}
