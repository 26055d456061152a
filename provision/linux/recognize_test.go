package linux

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"margay/provision"
	"margay/provision/media"
	"margay/provision/provisiontest"
	"margay/templates"
)

func family() *Family { return New(templates.New("")) }

// treeOf is a medium's files in memory.
func treeOf(t testing.TB, spec provisiontest.Linux) fstest.MapFS {
	t.Helper()
	files, err := spec.Tree()
	if err != nil {
		t.Fatal(err)
	}
	tree := fstest.MapFS{}
	for _, f := range files {
		var b strings.Builder
		if err := f.Write(&b); err != nil {
			t.Fatal(err)
		}
		tree[f.Path] = &fstest.MapFile{Data: []byte(b.String())}
	}
	return tree
}

func TestRecognize(t *testing.T) {
	for _, want := range provisiontest.LinuxReleases() {
		t.Run(want.OS, func(t *testing.T) {
			im, err := media.Open(provisiontest.MakeLinux(t, provisiontest.Linux{OS: want.OS}))
			if err != nil {
				t.Fatal(err)
			}
			defer im.Close()
			rel, err := family().Recognize(im)
			if err != nil || rel == nil {
				t.Fatalf("got %v, %v", rel, err)
			}
			if rel.OS != want.OS || rel.Arch != want.Arch || rel.Title != want.Title || rel.Family != "linux" {
				t.Errorf("got %s %s %q, want %s %s %q", rel.OS, rel.Arch, rel.Title, want.OS, want.Arch, want.Title)
			}
			if !family().Owns(rel.OS) {
				t.Errorf("%s is not the family's", rel.OS)
			}
			if len(rel.Modules) != 2 || rel.Modules[0].Name != want.Kernel || rel.Modules[1].Name != want.Initrd {
				t.Errorf("boot files: got %v, want %s and %s", rel.Modules, want.Kernel, want.Initrd)
			}
			var images []string
			for _, i := range rel.Images {
				images = append(images, string(i.Mode)+"-"+i.Profile+"-"+i.OSName)
			}
			if got := strings.Join(images, " "); got != "install-compute-Linux install-service-Linux netboot-compute-Linux" {
				t.Errorf("images: %s", got)
			}
		})
	}
}

func TestRecognizeOthers(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	tests := []struct {
		name string
		tree fstest.MapFS
		want string // in the error; empty: not ours
	}{
		{"ESXi", fstest.MapFS{"upgrade/metadata.xml": file("<esxVersion>8.0.2</esxVersion>")}, ""},
		{"nothing", fstest.MapFS{}, ""},
		{"another product", fstest.MapFS{".discinfo": file("1\nSomething 4\nx86_64\n")}, ""},
		{"no version", fstest.MapFS{".treeinfo": file("[release]\nname = Fedora\nversion = Rawhide\n")}, ""},
		{"no kernel", treeOf(t, provisiontest.Linux{OS: "rhels9.4", Without: []string{"images/pxeboot/initrd.img"}}), "no installer's kernel"},
		{"an empty kernel", treeOf(t, provisiontest.Linux{OS: "rhels9.4", Files: map[string][]byte{"images/pxeboot/vmlinuz": nil}}), "is empty"},
		{"too old", treeOf(t, provisiontest.Linux{OS: "rhels9.4", Files: map[string][]byte{".treeinfo": []byte("[general]\narch=x86_64\nfamily=CentOS\nversion=5.11\n")}}), "too old"},
		{"desktop", fstest.MapFS{".disk/info": file(`Ubuntu 24.04 LTS "Noble Numbat" - Release amd64 (20240424)`)}, "live server"},
		{"another machine", fstest.MapFS{".treeinfo": file("[general]\narch=vax\nfamily=CentOS\nversion=7.9\n")}, `"vax" is not known`},
	}
	for _, tt := range tests {
		rel, err := family().Recognize(tt.tree)
		if tt.want == "" && (rel != nil || err != nil) {
			t.Errorf("%s: got %v, %v; want it left to others", tt.name, rel, err)
		}
		if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestOwns(t *testing.T) {
	for os, want := range map[string]bool{
		"rhels6.3": true, "fedora13": true, "ubuntu24.04.1": true, "sles15.5": true, "debian12": true, "SL6.5": true, "centos9": true,
		"esxi8.0.2": false, "windows2022": false, "rhels": false, "": false, "ubuntu-24.04": false, "debian12/../x": false,
	} {
		if got := family().Owns(os); got != want {
			t.Errorf("Owns(%q): got %v", os, got)
		}
	}
}

// FuzzRecognize reads marks that were crafted.
func FuzzRecognize(f *testing.F) {
	names := []string{".treeinfo", ".discinfo", "media.repo", "content", "media.1/products", "media.1/media", ".disk/info", "version.info"}
	for _, r := range provisiontest.LinuxReleases() {
		for i, name := range names {
			if m := treeOf(f, provisiontest.Linux{OS: r.OS})[name]; m != nil {
				f.Add(byte(i), string(m.Data))
			}
		}
	}
	f.Fuzz(func(t *testing.T, which byte, text string) {
		tree := fstest.MapFS{
			names[int(which)%len(names)]:       {Data: []byte(text)},
			"images/pxeboot/vmlinuz":           {Data: []byte("k")},
			"images/pxeboot/initrd.img":        {Data: []byte("i")},
			"boot/x86_64/loader/linux":         {Data: []byte("k")},
			"boot/x86_64/loader/initrd":        {Data: []byte("i")},
			"casper/vmlinuz":                   {Data: []byte("k")},
			"casper/initrd":                    {Data: []byte("i")},
			"debian-installer/amd64/linux":     {Data: []byte("k")},
			"debian-installer/amd64/initrd.gz": {Data: []byte("i")},
		}
		rel, err := family().Recognize(tree)
		if err != nil || rel == nil {
			return
		}
		checkRelease(t, rel, tree)
	})
}

// checkRelease: what copycds makes a directory and osimages of.
func checkRelease(t *testing.T, rel *provision.Release, tree fs.FS) {
	if !family().Owns(rel.OS) || strings.ContainsAny(rel.OS, "/\\- \n") || rel.Arch == "" {
		t.Errorf("release %q, arch %q", rel.OS, rel.Arch)
	}
	for _, m := range rel.Modules {
		if _, err := fs.Stat(tree, m.Name); err != nil {
			t.Error(err)
		}
	}
}
