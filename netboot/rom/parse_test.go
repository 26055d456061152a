package rom

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func tgz(t *testing.T, name, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	w.Write([]byte(text))
	w.Close()
	z.Close()
	return b.String()
}

func TestParseBootCfg(t *testing.T) {
	tests := []struct {
		in   string
		want *BootCfg
		err  string
	}{
		{"kernel=b.b00", &BootCfg{Kernel: "b.b00"}, ""},
		{"  # comment\r\nKERNEL=  b.b00 \t x\r\nmodules=a---b.v00 opt --- c\r\nnobootif=1\r\nbuild=1\r\nprefix=",
			&BootCfg{Kernel: "b.b00 x", Modules: []string{"a", "b.v00 opt", "c"}, NoBootIF: true}, ""},
		{"kernel=a\nkernel=b", &BootCfg{Kernel: "b"}, ""},
		{"kernel=a\nkernelopt=x=y z", &BootCfg{Kernel: "a", KernelOpt: "x=y z"}, ""},
		{"kernel = a", nil, "blank before"},
		{"k=a", nil, "takes it for kernel"},
		{"=a", nil, "takes it for kernel"},
		{"kernel=a\nnonsense", nil, "no key=value"},
		{"kernel=a\ntimeout=1x", nil, "not a number"},
		{"kernel=a\nmodules=a --- --- b", nil, "no name"},
		{"title=x", nil, "no kernel"},
		{"kernel=a\x00", nil, "zero byte"},
	}
	for _, tt := range tests {
		got, err := ParseBootCfg([]byte(tt.in))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: %v, want %q", tt.in, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
			continue
		}
		got.Other = nil
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %+v, want %+v", tt.in, got, tt.want)
		}
	}
}

func TestMakePath(t *testing.T) {
	tests := []struct{ prefix, dir, name, want string }{
		{"", "", "b.b00", "b.b00"},
		{"", "http://h/boot/n1", "b.b00", "http://h/boot/n1/b.b00"},
		{"http://h/tree/", "http://h/boot/n1", "b.b00 opt", "http://h/tree/b.b00"},
		{"http://h/tree", "x", "/b.b00", "/b.b00"},
		{"http://h/tree", "x", "tftp://s/b.b00", "tftp://s/b.b00"},
		{`\esx\`, "x", `a\b`, "/esx/a/b"},
	}
	for _, tt := range tests {
		if got := makePath(tt.prefix, tt.dir, tt.name); got != tt.want {
			t.Errorf("makePath(%q, %q, %q) = %q, want %q", tt.prefix, tt.dir, tt.name, got, tt.want)
		}
	}
}

func TestQueryOptions(t *testing.T) {
	got, err := queryOptions("http://h/bootx64.efi?-c&http%3A%2F%2Fip%2Fboot.cfg&-S&1")
	if want := []string{"-c", "http://ip/boot.cfg", "-S", "1"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q %v, want %q", got, err, want)
	}
	if _, err := queryOptions("http://h/bootx64.efi?-c&http%3A//ip/boot.cfg"); err == nil {
		t.Error("a slash that is not escaped passes")
	}
}

// recorder is an interpreter that keeps what it is told to do.
type recorder struct {
	set  settings
	said []string
}

func (r *recorder) command(args []string) error {
	i := &ipxe{boot: &boot{Machine: &Machine{}, result: &Result{}, ctx: context.Background(), report: func(Step) {}}, set: r.set}
	switch args[0] {
	case "fail", "imgfetch", "module", "initrd", "kernel", "imgselect", "imgload", "chain", "imgexec", "boot":
		return errors.New("failed")
	case "echo":
		r.said = append(r.said, strings.Join(args[1:], " "))
		return nil
	}
	return i.command(args)
}

func TestScript(t *testing.T) {
	tests := []struct{ in, said, err string }{
		{"#!ipxe\necho a\n# echo b\necho c", "a c", ""},
		{"#!ipxe\nfail || echo b\necho c", "b c", ""},
		{"#!ipxe\nfail && echo b || echo c", "c", ""},
		{"#!ipxe\nfail && echo b\necho c", "", "line 2: failed"},
		{"#!ipxe\nfail && echo b ||\necho c", "c", ""},
		{"#!ipxe\necho a || echo b\necho c && echo d", "a c d", ""},
		{"#!ipxe\nfail ; echo b\necho c", "b c", ""},
		{"#!ipxe\nset x 1 2\necho ${x}", "1 2", ""},
		{"#!ipxe\nset y x\nset x deep\necho ${${y}}", "deep", ""},
		{"#!ipxe\necho [${nothing}]", "[]", ""},
		{"#!ipxe\nisset ${nothing} || echo unset", "unset", ""},
		{"#!ipxe\nset x a\niseq ${x} a && echo same", "same", ""},
		{"#!ipxe\ngoto end\necho no\n:end\necho yes", "yes", ""},
		{"#!ipxe\ngoto nowhere", "", "no label"},
		{"#!ipxe\n:a\ngoto a", "", "circle"},
		{"#!ipxe\necho a \\\nb\nexit\necho c", "a b", ""},
		{"#!ipxe\nexit 1", "", "exit 1"},
		{"#!ipxe\nset x ${x}${x}}\n", "", ""},
		{"#!ipxe\nset x $\necho ${x", "${x", ""},
		{"#!ipxe\necho ${net0/mac:hexhyp} ${mac} ${mac:hexraw}", "52-54-00-ab-cd-ef 52:54:00:ab:cd:ef 525400abcdef", ""},
	}
	for _, tt := range tests {
		r := &recorder{set: settings{"mac": {[]byte{0x52, 0x54, 0, 0xab, 0xcd, 0xef}, "hex"}}}
		s, err := parseScript([]byte(tt.in))
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
			continue
		}
		err = s.run(r.set, r)
		if got := strings.Join(r.said, " "); got != tt.said {
			t.Errorf("%q said %q, want %q", tt.in, got, tt.said)
		}
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%q: %v, want %q", tt.in, err, tt.err)
		}
	}
	if _, err := parseScript([]byte("#!ipxely\n")); err == nil {
		t.Error("a script that is none passes")
	}
}

func TestReports(t *testing.T) {
	got := reports("install\n# http://h/callback/t/no\n%pre\nreport=http://h/callback/t/report\nsay http://h/callback/t/installing\n" +
		"%post --x\nB='http://h/callback/t'\nsay ${B}/installed && say \"$B/installed\"\n%firstboot\nsay http://h/callback/t/booted;\n")
	want := []Report{
		{"pre", "http://h/callback/t/installing"},
		{"post", "http://h/callback/t/installed"}, {"firstboot", "http://h/callback/t/booted"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func FuzzBootCfg(f *testing.F) {
	f.Add([]byte("kernel=b.b00\nkernelopt=runweasel\nmodules=a.b00 --- b.v00 x\nprefix=http://h/x\n"))
	f.Add([]byte("k = \n#\n=\n---"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseBootCfg(data)
		if err != nil {
			return
		}
		if c.Kernel == "" {
			t.Error("no kernel, and no error")
		}
		for _, m := range c.Modules {
			if p := makePath(c.Prefix, "dir", m); m == "" || strings.Contains(strings.Replace(p, "://", "", 1), "//") {
				t.Errorf("module %q is %q", m, p)
			}
		}
	})
}

func FuzzScript(f *testing.F) {
	f.Add([]byte("#!ipxe\nset a ${b}\n:x\niseq ${a} c && goto x || exit 1\nimgfetch --name a b\nchain c d\n"))
	f.Add([]byte("#!gpxe\nset a ${a}${a}\n:l\ngoto l\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseScript(data)
		if err != nil {
			return
		}
		r := &recorder{set: settings{}}
		_ = s.run(r.set, r)
	})
}

func FuzzKickstart(f *testing.F) {
	f.Add(kickstart)
	f.Fuzz(func(t *testing.T, ks string) {
		_ = checkKickstart(ks)
		for _, r := range reports(ks) {
			if r.Name() == "" || !isURL(r.URL) {
				t.Errorf("%+v", r)
			}
		}
	})
}
