package provision

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"margay/netboot"
	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

// A countedFamily says in its files what they follow from, and counts them.
type countedFamily struct {
	fakeFamily
	made     *atomic.Int64
	template string
}

func (f countedFamily) Make(b *Boot, name string) ([]byte, error) {
	f.made.Add(1)
	if b.Looked != nil {
		b.Looked(f.template)
	}
	template, _ := os.ReadFile(f.template)
	var image string
	if b.Image != nil {
		image = b.Image.Template
	}
	var password string
	if p, err := b.Snap.Password("vmware", "root"); err == nil {
		password = p.Secret
	}
	state, _ := b.State()
	tree, err := b.Tree.Open("b.b00")
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	kernel, err := io.ReadAll(tree)
	return fmt.Appendf(nil, "%s %s options=%s group=%s gateway=%s domain=%s password=%s image=%s template=%s state=%d kernel=%s server=%s firmware=%v tftp=%v step=%s %s",
		name, b.Node.Name, b.Node.Attr("bootparams.addkcmdline"), b.Node.Attr("esxi.keyboard"), b.Network().Gateway, b.Snap.Site("domain"),
		password, image, template, len(state), kernel, b.Server, b.Firmware, b.TFTP, b.Step, b.SecretURL("ks.cfg")), err
}

// keeping is a service that keeps esx1's boot.cfg, and how often one was made.
func keeping(t *testing.T) (*Service, *clock, *atomic.Int64, countedFamily) {
	t.Helper()
	s, c := newService(t)
	f := countedFamily{made: new(atomic.Int64), template: filepath.Join(t.TempDir(), "own.tmpl")}
	s.Families = []Family{f}
	err := s.DB.Update(t.Context(), func(tx *nodedb.Tx) error {
		tx.Put(nodedb.Key{Kind: nodedb.KindImage, Name: "img"}, map[string]string{
			"osimage.osvers": "esxi8", "osimage.osarch": "x86_64", "osimage.profile": "base", "osimage.provmethod": "install"})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.Nodeset(t.Context(), []string{"esx1"}, Action{Image: "img"})
	if err != nil || res[0].Err != nil {
		t.Fatal(err, res)
	}
	if _, err := s.get(from1, "boot/esx1/script"); err != nil {
		t.Fatal(err)
	}
	s.waitKept(t, f.made)
	return s, c, f.made, f
}

// waitKept waits until boot.cfg is sent without being made: what was changed
// just now is not kept.
func (s *Service) waitKept(t *testing.T, made *atomic.Int64) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		before := made.Load()
		if _, err := s.get(from1, "boot/esx1/boot.cfg"); err != nil {
			t.Fatal(err)
		}
		if made.Load() == before {
			return
		}
	}
	t.Fatal("boot.cfg is made at every request")
}

func (s *Service) set(t *testing.T, r nodedb.Record) {
	t.Helper()
	err := s.DB.Update(t.Context(), func(tx *nodedb.Tx) error {
		for column, v := range r.Attrs {
			tx.Set(r.Key, column, v)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestKeptFilesFollowWhatTheyAreMadeFrom: the very next request sees a change.
func TestKeptFilesFollowWhatTheyAreMadeFrom(t *testing.T) {
	node := nodedb.Key{Kind: nodedb.KindNode, Name: "esx1"}
	attr := func(k nodedb.Key, column, v string) func(*testing.T, *Service, countedFamily) {
		return func(t *testing.T, s *Service, _ countedFamily) {
			s.set(t, nodedb.Record{Key: k, Attrs: map[string]string{column: v}})
		}
	}
	tests := []struct {
		name   string
		change func(*testing.T, *Service, countedFamily)
		want   string
	}{
		{"node", attr(node, "bootparams.addkcmdline", "quiet"), "options=quiet"},
		{"group", attr(nodedb.Key{Kind: nodedb.KindGroup, Name: "all"}, "esxi.keyboard", "German"), "group=German"},
		{"membership", func(t *testing.T, s *Service, f countedFamily) {
			s.set(t, nodedbtest.Group("rack", "esxi.keyboard=French"))
			s.waitKept(t, f.made)
			attr(node, "nodelist.groups", "all,rack")(t, s, f)
		}, "group=French"},
		{"image", attr(nodedb.Key{Kind: nodedb.KindImage, Name: "img"}, "linuximage.template", "mine.tmpl"), "image=mine.tmpl"},
		{"network", attr(nodedbtest.Network("net1", "10.1.0.0", "255.255.255.0").Key, "networks.gateway", "10.1.0.254"), "gateway=10.1.0.254"},
		{"site", attr(nodedb.Key{Kind: nodedb.KindSite, Name: "domain"}, "site.value", "other.test"), "domain=other.test"},
		{"passwd", func(t *testing.T, s *Service, _ countedFamily) {
			s.set(t, nodedbtest.Password("vmware", "root", "$6$new"))
		}, "password=$6$new"},
		{"template that was not there", func(t *testing.T, _ *Service, f countedFamily) { writeFile(t, f.template, "one") }, "template=one"},
		{"template", func(t *testing.T, s *Service, f countedFamily) {
			writeFile(t, f.template, "one")
			s.waitKept(t, f.made)
			writeFile(t, f.template, "two")
		}, "template=two"},
		{"saved state", func(t *testing.T, s *Service, _ countedFamily) {
			os.MkdirAll(s.stateDir("esx1"), 0o700)
			if err := s.putState(s.stateDir("esx1"), []byte("123")); err != nil {
				t.Fatal(err)
			}
		}, "state=3"},
		{"server", attr(node, "noderes.xcatmaster", "10.1.0.9"), "server=10.1.0.9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, _, _, f := keeping(t)
			before, _ := s.get(from1, "boot/esx1/boot.cfg")
			if strings.Contains(before, tt.want) {
				t.Fatalf("%s is there before: %s", tt.want, before)
			}
			tt.change(t, s, f)
			if after, err := s.get(from1, "boot/esx1/boot.cfg"); err != nil || !strings.Contains(after, tt.want) {
				t.Errorf("got %s, %v, want %s", after, err, tt.want)
			}
		})
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestKeptFilesFollowTheBoot: nodeset and each new try have tokens of their own,
// and machines ask in different ways.
func TestKeptFilesFollowTheBoot(t *testing.T) {
	s, c, made, _ := keeping(t)
	read := func(m netboot.Machine) string {
		t.Helper()
		text, err := s.get(m, "boot/esx1/boot.cfg")
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	first := read(from1)
	c.tick(time.Minute)
	s.get(from1, "boot/esx1/script")
	second := read(from1)
	if token(second) == token(first) {
		t.Error("a new boot is sent the token of the one before")
	}
	s.mustSet(t, "esx1", "install")
	third := read(from1)
	if token(third) == token(second) {
		t.Error("after nodeset a node is sent the token of the attempt before")
	}
	s.get(from1, "boot/esx1/script")
	s.waitKept(t, made)
	fourth := read(from1)
	s.mustSet(t, "esx1", "install") // changes nothing but the attempt
	s.get(from1, "boot/esx1/script")
	if token(read(from1)) == token(fourth) {
		t.Error("after another nodeset to the same a node is sent the token of the attempt before")
	}
	s.waitKept(t, made)
	for _, how := range []netboot.Machine{{TFTP: true}, {Firmware: netboot.UEFI64}, {Firmware: netboot.UEFIARM64, HTTPBoot: true}} {
		how.Addr, how.Local = from1.Addr, from1.Local
		if text := read(how); !strings.Contains(text, fmt.Sprintf("firmware=%v tftp=%v", how.Firmware, how.TFTP)) {
			t.Errorf("%+v is sent %s", how, text)
		}
	}
	if at := read(netboot.Machine{Addr: from1.Addr, Local: netip.MustParseAddr("10.1.0.2")}); !strings.Contains(at, "server=10.1.0.2") {
		t.Errorf("one that reached us at 10.1.0.2 is sent %s", at)
	}
	s.mustSet(t, "esx1", "boot")
	var r *netboot.Refusal
	if text, err := s.get(from1, "boot/esx1/boot.cfg"); !errors.As(err, &r) {
		t.Errorf("a node that is set to its disk is sent %s, %v", text, err)
	}
}

// TestFilesAreKept: what goes on all the time makes nothing anew.
func TestFilesAreKept(t *testing.T) {
	s, _, made, _ := keeping(t)
	before := made.Load()
	text, _ := s.get(from1, "boot/esx1/boot.cfg")
	changes := []nodedb.Record{
		nodedbtest.Node("esx1", "all", "nodelist.status=installing", "nodelist.statustime=now", "nodelist.appstatus=sshd=up"),
		nodedbtest.Node("esx2", "all", "bootparams.addkcmdline=other"),
		{Key: nodedb.Key{Kind: kindTimeline, Name: "esx1"}, Attrs: map[string]string{"timeline.json": "{}"}},
		{Key: nodedb.Key{Kind: kindLease, Name: "10.1.0.200"}, Attrs: map[string]string{"lease.mac": "52:54:00:00:00:09"}},
		{Key: reservedKey(from1.Addr), Attrs: map[string]string{"lease.mac": "52:54:00:00:00:01"}},
		{Key: attemptKey("esx2"), Attrs: map[string]string{"attempt.secret": "x"}},
	}
	for _, r := range changes {
		s.set(t, r)
		if again, err := s.get(from1, "boot/esx1/boot.cfg"); err != nil || again != text {
			t.Errorf("after a change of %v: %s, %v", r.Key, again, err)
		}
		if made.Load() != before {
			t.Fatalf("a change of %v, %v had boot.cfg made anew", r.Key, r.Attrs)
		}
	}
	s.get(from1, "boot/esx1/script") // a new try, which has made boot.cfg anew
	s.waitKept(t, made)
	s.journal.tracks["esx1"].current().Load = nil
	s.get(from1, "boot/esx1/boot.cfg")
	if load := s.journal.tracks["esx1"].current().Load; load == nil || load.Total != 2 || load.Size != 11 {
		t.Error("the timeline does not say what the loader will fetch")
	}
}

// TestKeptFilesGoToTheirNodeOnly: keeping a file changes nothing of who may
// have it.
func TestKeptFilesGoToTheirNodeOnly(t *testing.T) {
	s, _, made, _ := keeping(t)
	before, alarms := made.Load(), s.Alarms()
	var r *netboot.Refusal
	if text, err := s.get(from2, "boot/esx1/boot.cfg"); !errors.As(err, &r) || !r.Alarm {
		t.Errorf("another node is sent %q, %v", text, err)
	}
	s.Observe(netboot.Event{Step: netboot.StepRefused, Proto: "http", Machine: from2, Node: "esx1", Name: "boot.cfg", Err: r})
	if s.Alarms() != alarms+1 {
		t.Error("no alarm was counted")
	}
	s.set(t, nodedbtest.Node("esx1", "all", "hosts.ip=10.1.0.77"))
	if text, err := s.get(from1, "boot/esx1/boot.cfg"); !errors.As(err, &r) {
		t.Errorf("the address that was the node's is sent %q, %v", text, err)
	}
	if made.Load() != before {
		t.Error("a refusal made a file")
	}
}

// TestSecretsAreNotKept: a file that wants the token is made each time.
func TestSecretsAreNotKept(t *testing.T) {
	s, _, made, _ := keeping(t)
	text, _ := s.get(from1, "boot/esx1/boot.cfg")
	for range 3 {
		before := made.Load()
		if _, err := s.get(from1, "boot/esx1/ks.cfg?t="+token(text)); err != nil {
			t.Fatal(err)
		}
		if made.Load() != before+1 {
			t.Error("a kickstart was kept")
		}
	}
	for k := range s.renders.files {
		if k.file != "boot.cfg" && k.file != "script" {
			t.Errorf("%v is kept", k)
		}
	}
}

// TestTreesAreLookedAtAgain: within treeCheck, if they are changed by hand.
func TestTreesAreLookedAtAgain(t *testing.T) {
	s, c, made, _ := keeping(t)
	dir := filepath.Join(s.State, "install", "esxi8", "x86_64")
	check := func(want string) {
		t.Helper()
		c.tick(treeCheck)
		if text, err := s.get(from1, "boot/esx1/boot.cfg"); err != nil || !strings.Contains(text, "kernel="+want) {
			t.Errorf("got %s, %v, want kernel=%s", text, err, want)
		}
	}
	writeFile(t, filepath.Join(dir, "b.b00"), "by hand")
	check("by hand")
	s.waitKept(t, made)
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	os.MkdirAll(dir, 0o755)
	writeFile(t, filepath.Join(dir, "b.b00"), "another")
	check("another")
}

// TestRendersAreBounded: by bytes, and the one last asked for stays.
func TestRendersAreBounded(t *testing.T) {
	var c renders
	now := time.Now()
	add := func(i int) {
		c.put(renderedKey{fmt.Sprint("n", i), "boot.cfg"}, &rendered{text: make([]byte, 1<<20), seen: &witness{}}, now)
	}
	add(0)
	for i := 1; i < 100; i++ {
		add(i)
		if c.get(renderedKey{"n0", "boot.cfg"}, origin{}, now) == nil {
			t.Fatalf("the file last asked for went when there were %d", i)
		}
	}
	if c.size > maxRendered || len(c.files) != c.order.Len() || len(c.files) < 20 {
		t.Errorf("%d bytes in %d and %d files, want at most %d", c.size, len(c.files), c.order.Len(), maxRendered)
	}
	for e := c.order.Front(); e != nil; e = c.order.Front() {
		c.drop(e)
	}
	if c.size != 0 || len(c.files) != 0 {
		t.Errorf("%d bytes in %d files after all went", c.size, len(c.files))
	}
}

// TestKeptFilesAndChangesAtOnce: whoever has seen a change is sent no file of
// before it.
func TestKeptFilesAndChangesAtOnce(t *testing.T) {
	s, _, _, _ := keeping(t)
	var now atomic.Int64
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				least := now.Load()
				text, err := s.get(from1, "boot/esx1/boot.cfg")
				var got int64
				_, rest, _ := strings.Cut(text, "options=")
				fmt.Sscanf(rest, "v%d", &got)
				if err != nil || got < least {
					t.Errorf("got %s, %v, want options=v%d or later", text, err, least)
					return
				}
			}
		})
	}
	for i := range int64(50) {
		s.set(t, nodedbtest.Node("esx1", "all", fmt.Sprintf("bootparams.addkcmdline=v%d", i)))
		now.Store(i)
	}
	close(stop)
	readers.Wait()
}
