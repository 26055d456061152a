package linux

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/provision/provisiontest"
	"margay/templates"
)

// image is a diskless image's files.
func image(os string) fstest.MapFS {
	dir := "netboot/" + os + "/x86_64/compute/"
	m := fstest.MapFS{}
	for _, name := range []string{imageKernel, imageInitrd, imageRoot} {
		m[dir+name] = &fstest.MapFile{Data: []byte(name)}
	}
	return m
}

func TestGoldenDiskless(t *testing.T) {
	b := setup{os: "debian12", mode: nodedb.ModeNetboot, attrs: []string{"nodehm.serialport=0"}, install: image("debian12")}.boot(t)
	if got := family().Files(b); !slices.Equal(got, []string{"script", "mypostscript"}) {
		t.Errorf("files: %q", got)
	}
	for _, file := range family().Files(b) {
		text, err := family().Make(b, file)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		golden(t, "debian12.diskless."+file, text)
	}
	mods, err := family().Modules(b)
	if err != nil || len(mods) != 3 || mods[2].Name != "x86_64/compute/rootimg.sfs" || mods[2].Size != int64(len(imageRoot)) {
		t.Errorf("modules: %v, %v", mods, err)
	}
}

// TestRefused names what nodeset says at the prompt.
func TestRefused(t *testing.T) {
	tests := []struct {
		name string
		setup
		want string
	}{
		{"no diskless image", setup{os: "debian12", mode: nodedb.ModeNetboot, install: fstest.MapFS{}}, "run genimage debian12-x86_64-netboot-compute"},
		{"CD only", setup{os: "debian12.5"}, "installs from a CD only"},
		{"tree without kernel", setup{os: "rhels9.4", tree: fstest.MapFS{}}, "run copycds again"},
		{"a missing postscript", setup{os: "rhels9.4", attrs: []string{"postscripts.postscripts=gone"}, install: fstest.MapFS{}}, "gone: not in postscripts"},
		{"a postscript elsewhere", setup{os: "rhels9.4", attrs: []string{"postscripts.postscripts=../x"}, install: fstest.MapFS{}}, "not a script's name"},
		{"static without a network", setup{os: "rhels9.4", attrs: []string{"nics.nicips=eth1!10.9.0.1"}}, "in none of the networks"},
		{"a strange NIC", setup{os: "rhels9.4", attrs: []string{"nics.nicips=eth1;reboot!10.2.0.1"}}, "not an interface's name"},
		{"a secret on the command line", setup{os: "rhels9.4", attrs: []string{"bootparams.addkcmdline=x=#NODEATTRIB:ipmi:password#"}}, "secret"},
		{"iPXE's words on the command line", setup{os: "rhels9.4", attrs: []string{"bootparams.addkcmdline=a || reboot"}}, "cannot stand in an iPXE script"},
		{"a serial port", setup{os: "rhels9.4", attrs: []string{"nodehm.serialport=COM1"}}, "not a port's number"},
		{"no template", setup{os: "rhels9.4", image: []string{"linuximage.template=nowhere.tmpl"}}, "nowhere.tmpl"},
		{"no pkglist", setup{os: "rhels9.4", image: []string{"linuximage.pkglist=nowhere.pkglist"}}, "nowhere.pkglist"},
		{"a script for disks of another installer", setup{os: "sles15.5", image: []string{"linuximage.partitionfile=s:/x"}}, "scripts are for Red Hat's"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.boot(t)
			var err error
			for _, name := range family().Files(b) {
				if _, e := family().Make(b, name); e != nil && err == nil {
					err = e
				}
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if tt.name != "no template" && errors.Is(err, nodedb.ErrNotFound) {
				t.Errorf("%v: wraps ErrNotFound, which nodeset takes for a firmware without a loader", err)
			}
		})
	}
}

func TestNoPassword(t *testing.T) {
	b := setup{os: "rhels9.4", records: []nodedb.Record{nodedbtest.Password("system", "root", "")}}.boot(t)
	if _, err := family().Make(b, "ks.cfg"); err == nil || !strings.Contains(err.Error(), "chtab key=system") {
		t.Errorf("got %v", err)
	}
	b = setup{os: "rhels9.4", records: []nodedb.Record{nodedbtest.Password("system", "root", "cluster")}}.boot(t)
	text, err := family().Make(b, "ks.cfg")
	if err != nil || bytes.Contains(text, []byte("cluster\n")) || !bytes.Contains(text, []byte("rootpw --iscrypted $6$")) {
		t.Errorf("a clear password is not hashed: %v", err)
	}
	again, _ := family().Make(b, "ks.cfg")
	if !bytes.Equal(text, again) {
		t.Error("asked for twice, the file differs")
	}
}

// TestTemplates finds the operator's own, from the special to the general.
func TestTemplates(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f := New(templates.New(dir))
	b := setup{os: "rhels9.4"}.boot(t)
	for _, name := range []string{"compute.tmpl", "compute.x86_64.tmpl", "compute.rhels.tmpl", "compute.rhels9.tmpl", "compute.rhels9.x86_64.tmpl", "compute.rhels9.4.tmpl", "compute.rhels9.4.x86_64.tmpl"} {
		put("linux/rh/"+name, "# "+name+"\n{{.Installed}}\n")
		text, err := f.Make(b, "ks.cfg")
		if err != nil || !strings.HasPrefix(string(text), "# "+name+"\n") {
			t.Errorf("%s: got %.40q, %v", name, text, err)
		}
	}
	put("linux/rh/compute.rhels9.4.x86_64.tmpl", "# says nothing\n")
	if _, err := f.Make(b, "ks.cfg"); err == nil || !strings.Contains(err.Error(), "installed again and again") {
		t.Errorf("a template without a callback: got %v", err)
	}
	put("parts", "clearpart --all\npart / --size=1 --grow\n")
	put("linux/lists/more", "gcc\n#INCLUDE:base#\n-postfix  # not that\n@development\n")
	put("linux/lists/base", "vim\n")
	b = setup{os: "rocky9.4", image: []string{"linuximage.partitionfile=parts", "linuximage.pkglist=lists/more", "linuximage.pkgdir=http://mirror/rocky"}}.boot(t)
	text, err := f.Make(b, "ks.cfg")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\npart / --size=1 --grow\n", "\n@development\ngcc\nvim\n-postfix\n", "url --url=http://mirror/rocky\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "/tmp/partitionfile") {
		t.Error("looks for a disk beside a partition file")
	}
}

// old is a template as xCAT's are, shortened.
const old = `install
#INSTALL_SOURCES#
rootpw --iscrypted #CRYPT:passwd:key=system,username=root:password#
#KICKSTARTNET#
%packages
#INCLUDE_DEFAULT_PKGLIST#
%end
%pre
#INCLUDE:#ENV:XCATROOT#/share/xcat/install/scripts/pre.rhels7#
%end
%post
# of #TABLE:nodelist:$NODE:groups# at #XCATVAR:XCATMASTER#
#INCLUDE:#ENV:XCATROOT#/share/xcat/install/scripts/post.rhels7#
%end
`

func TestOldTemplate(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "compute.rhels7.tmpl")
	if err := os.WriteFile(file, []byte(old), 0o644); err != nil {
		t.Fatal(err)
	}
	b := setup{os: "rhels7.9", image: []string{"linuximage.template=" + file}}.boot(t)
	text, err := New(templates.New("")).Make(b, "ks.cfg")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "old.ks.cfg", text)
	for bad, want := range map[string]string{
		"#COMMAND:id#": "would run a command", "#ENV:HOME#": "environment",
		"#TABLE:ipmi:$NODE:password#": "secret", "#TABLE:vpd:$NODE:serial#": "Unable to find requested field",
	} {
		if err := os.WriteFile(file, []byte(old+bad), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := New(templates.New("")).Make(b, "ks.cfg"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", bad, err, want)
		}
	}
}

func TestPostscripts(t *testing.T) {
	install := fstest.MapFS{
		"postscripts/a":         {Data: []byte("#!/bin/sh\n")},
		"postscripts/sub/b":     {Data: []byte("b")},
		"postscripts/_xcat/lib": {Data: []byte("l")},
	}
	b := setup{os: "rhels9.4", install: install, attrs: []string{"postscripts.postscripts=a,sub/b x,a"},
		image: []string{"osimage.postscripts=sub/b x"}, records: []nodedb.Record{nodedbtest.Node("xcatdefaults", "", "postscripts.postscripts=a z")}}.boot(t)
	text, err := family().Make(b, postName)
	if err != nil {
		t.Fatal(err)
	}
	if want := "  run 'a' 'z'\n  run 'sub/b' 'x'\n  run 'a'\n  told postscripts\n}"; !strings.Contains(string(text), want) {
		t.Errorf("no %q in\n%s", want, text)
	}
	pack, err := family().Make(b, packName)
	if err != nil {
		t.Fatal(err)
	}
	gz, err := gzip.NewReader(bytes.NewReader(pack))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(gz); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.FileInfo().Mode().Perm()&0o111 == 0 {
			t.Errorf("%s cannot be run", h.Name)
		}
		names = append(names, h.Name)
	}
	if got := strings.Join(names, " "); got != "_xcat/lib a sub/b" {
		t.Errorf("the pack holds %s", got)
	}
}

// TestShell has every script read by a shell.
func TestShell(t *testing.T) {
	files, err := filepath.Glob("testdata/*.mypostscript")
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		if out, err := exec.Command("sh", "-n", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
	ks, err := os.ReadFile("testdata/rhels9.4.full.ks.cfg")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(ks), "\n%")[1:] {
		if head, body, _ := strings.Cut(part, "\n"); strings.HasPrefix(head, "p") && !strings.HasPrefix(head, "packages") {
			cmd := exec.Command("sh", "-n")
			cmd.Stdin = strings.NewReader(body)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%%%s: %v\n%s", head, err, out)
			}
		}
	}
}

// TestCPIO has cpio's own reader list what was written.
func TestCPIO(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"init": "#!/bin/sh\n", "lib/a": "", "lib/b": "123"} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := writeCPIO(&b, dir); err != nil {
		t.Fatal(err)
	}
	cpio, err := exec.LookPath("cpio")
	if err != nil {
		if os.Getenv("MARGAY_TEST_REAL") != "" {
			t.Fatal(err)
		}
		t.Skip("cpio is not installed")
	}
	cmd := exec.Command(cpio, "-t", "--quiet")
	cmd.Stdin = bytes.NewReader(b.Bytes())
	out, err := cmd.CombinedOutput()
	if got := strings.Fields(string(out)); err != nil || !slices.Equal(got, []string{"init", "lib", "lib/a", "lib/b", "dev/console"}) {
		t.Errorf("cpio: %v, %q", err, out)
	}
}

// FuzzPkglist: whatever a line holds, what comes of it can stand in an answer file.
func FuzzPkglist(f *testing.F) {
	for _, line := range []string{"vim", "@core", "-postfix  # no", "#INCLUDE:x#", "a b", "kernel-5.14*", "$(reboot)"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		d := &AnswerData{}
		if err := d.pkgLine(family(), "built-in linux/x", line, 0); err != nil {
			return
		}
		for _, p := range slices.Concat(d.Packages, d.Groups, d.Without) {
			if strings.ContainsAny(p, " '\"`$;&|<>\\\n%") {
				t.Errorf("package %q", p)
			}
		}
	})
}

// TestMediaInTrees: what recognises media finds the same in their trees.
func TestMediaInTrees(t *testing.T) {
	for _, r := range provisiontest.LinuxReleases() {
		d, _ := parseOS(r.OS)
		tree := treeOf(t, provisiontest.Linux{OS: r.OS})
		if _, err := installerFiles(tree, d.in(tree, r.Arch), r.Arch); err != nil {
			t.Errorf("%s: %v", r.OS, err)
		}
		if _, err := fs.Stat(tree, r.Kernel); err != nil {
			t.Error(err)
		}
	}
}

// TestRunStops: what a program started ends with it.
func TestRunStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	m := &maker{}
	started := filepath.Join(t.TempDir(), "started")
	done := make(chan error, 1)
	go func() {
		done <- m.run(ctx, "sh", "-c", "sleep 600 & echo $! >"+started+".tmp; mv "+started+".tmp "+started+"; wait")
	}()
	var pid []byte
	for len(pid) == 0 {
		pid, _ = os.ReadFile(started)
		runtime.Gosched()
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("no error")
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(pid)))
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			syscall.Kill(child, syscall.SIGKILL)
			t.Fatalf("the child runs on: %s", stat)
		}
		runtime.Gosched()
	}
}
