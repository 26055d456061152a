package esxi

import (
	"slices"
	"strings"
	"testing"
)

// TestConfigAsTheLoadersReadIt: what the released loaders do with a line.
func TestConfigAsTheLoadersReadIt(t *testing.T) {
	for _, tt := range []struct{ name, text, key, want string }{
		{"plain", "kernel=/b.b00\n", "kernel", "/b.b00"},
		{"no newline at the end", "kernel=/b.b00", "kernel", "/b.b00"},
		{"CRLF", "kernel=/b.b00\r\ntitle=x\r\n", "kernel", "/b.b00"},
		{"blanks are squeezed", "  title=a \t  b  \n", "title", "a b"},
		{"blank after =", "kernel= b.b00\n", "kernel", "b.b00"},
		{"blank before = makes another key", "kernel = b.b00\n", "kernel", ""},
		{"comment", "#kernel=x\n  # kernel=y\n", "kernel", ""},
		{"no inline comments", "title=a # b\n", "title", "a # b"},
		{"keys in any case", "KERNEL=b\n", "kernel", "b"},
		{"a prefix of a key is the key", "mod=a --- b\n", "modules", "a --- b"},
		{"k is kernel, not kernelopt", "k=b\n", "kernel", "b"},
		{"kernelo is kernelopt", "kernelo=x\n", "kernelopt", "x"},
		{"the last holds", "title=a\ntitle=b\n", "title", "b"},
		{"value with =", "kernelopt=ks=http://x\n", "kernelopt", "ks=http://x"},
		{"empty value", "prefix=\n", "prefix", ""},
		{"unknown keys", "bootstate=0\n", "bootstate", "0"},
	} {
		c, err := ParseConfig(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := c.Get(tt.key); got != tt.want {
			t.Errorf("%s: %s is %q, want %q", tt.name, tt.key, got, tt.want)
		}
	}
}

func TestConfigRefusesWhatStopsTheLoader(t *testing.T) {
	for _, text := range []string{"timeout=soon\n", "nobootif=yes\n", "norts=-\n"} {
		if _, err := ParseConfig(text); err == nil {
			t.Errorf("%q: taken, want an error", text)
		}
	}
	for _, text := range []string{"timeout=-1\n", "timeout=5\n", "timeout=\n"} {
		if _, err := ParseConfig(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestConfigKeepsWhatItDoesNotChange(t *testing.T) {
	const text = "# a comment\nbootstate=0\n\nkernel=/b.b00\nkernel=/c.b00\nkernelopt=runweasel\nmodules=/a --- /b\n  odd line\nupdated=0\n"
	c, err := ParseConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	if c.Text() != text {
		t.Errorf("unchanged, got\n%s", c.Text())
	}
	c.Set("kernel", "x")
	c.Set("prefix", "http://h/")
	c.Delete("modules")
	const want = "# a comment\nbootstate=0\n\nkernel=x\nkernelopt=runweasel\n  odd line\nupdated=0\nprefix=http://h/\n"
	if c.Text() != want {
		t.Errorf("got\n%s\nwant\n%s", c.Text(), want)
	}
}

func TestConfigModules(t *testing.T) {
	c, err := ParseConfig("modules=/a.b00 --- b.v00 opt=1 opt2---c.tgz --- \n")
	if err != nil {
		t.Fatal(err)
	}
	want := []ConfigModule{{"/a.b00", ""}, {"b.v00", "opt=1 opt2"}, {"c.tgz", ""}}
	if got := c.Modules(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	c.SetModules(want)
	if got := c.Get("modules"); got != "/a.b00 --- b.v00 opt=1 opt2 --- c.tgz" {
		t.Errorf("got %q", got)
	}
}

func TestInTree(t *testing.T) {
	for _, tt := range []struct{ path, prefix, want string }{
		{"/b.b00", "", "b.b00"},
		{"b.b00", "", "b.b00"},
		{`\esx\b.b00`, "", "esx/b.b00"},
		{"b.b00", "/esx/", "esx/b.b00"},
		{"/b.b00", "/esx", "b.b00"},
		{"b.b00", "http://other/esx", "b.b00"},
		{"../../etc/passwd", "", "etc/passwd"},
		{"//x//y", "", "x/y"},
	} {
		if got := inTree(tt.path, tt.prefix); got != tt.want {
			t.Errorf("inTree(%q, %q) = %q, want %q", tt.path, tt.prefix, got, tt.want)
		}
	}
}

func TestConfigCheck(t *testing.T) {
	good := "kernel=b.b00\nprefix=http://h/t\nmodules=a\n"
	for _, tt := range []struct{ name, text, want string }{
		{"good", good, ""},
		{"no kernel", "modules=a\n", "no kernel="},
		{"blank before =", "kernel =b\nmodules=a\n", "no blank may stand"},
		{"module at the limit", good + "modules=" + strings.Repeat("m", maxModule-1-len("http://h/t/")-1) + "\n", ""},
		{"module over it", good + "modules=" + strings.Repeat("m", maxModule-len("http://h/t/")-1) + "\n", "the boot loader takes 255"},
		{"kernel line over it", good + "kernelopt=" + strings.Repeat("o", maxKernel) + "\n", "the boot loader takes 4095"},
		{"prefix with ---", "kernel=b\nprefix=http://h/a---b\n", "holds ---"},
	} {
		c, err := ParseConfig(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		err = c.Check()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestBootLine(t *testing.T) {
	c, err := bootLine("default menu.c32\nlabel x\n  kernel memdisk\n  append a --- b\nlabel ESXi Installer\n  KERNEL /mboot.c32\n  APPEND vmkboot.gz opt --- vmkernel.gz --- install.vgz\n")
	if err != nil {
		t.Fatal(err)
	}
	if c.Kernel().Path != "vmkboot.gz" || c.Get("kernelopt") != "opt" || len(c.Modules()) != 2 {
		t.Errorf("got %q", c.Text())
	}
	for _, text := range []string{"", "kernel mboot.c32\nappend ---\n", "kernel mboot.c32\nappend -c boot.cfg\n", "append a --- b\n"} {
		if c, err := bootLine(text); err == nil {
			t.Errorf("%q: got %q, want an error", text, c.Text())
		}
	}
}

// FuzzConfig: whatever a medium's boot.cfg holds, what is made of it means the
// same when it is read again.
func FuzzConfig(f *testing.F) {
	f.Add("bootstate=0\ntitle=x\nkernel=/b.b00\nkernelopt=runweasel\nmodules=/a --- /b\n", "kernelopt", "x y")
	f.Add("k=1\r\n=2\n#\n\x00=\nmodules=---\n", "prefix", "http://h")
	f.Fuzz(func(t *testing.T, text, key, val string) {
		c, err := ParseConfig(text)
		if err != nil {
			return
		}
		list := c.Modules()
		again, err := ParseConfig(c.Text())
		if err != nil || !slices.Equal(list, again.Modules()) || c.Kernel() != again.Kernel() {
			t.Fatalf("read again it differs: %v", err)
		}
		if !slices.Contains(known, key) || slices.Contains(numbers, key) || strings.Join(strings.Fields(val), " ") != val || strings.ContainsAny(val, "\x00\r\n") {
			return
		}
		c.Set(key, val)
		if again, err = ParseConfig(c.Text()); err != nil || again.Get(key) != val {
			t.Fatalf("set %s=%q, read %q, %v", key, val, again.Get(key), err)
		}
	})
}
