package linux

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestAnswersByTheirReaders has the answer files of every release, which are
// the golden ones, read by who reads such files: debconf, cloud-init's own
// schema, libxml2.
func TestAnswersByTheirReaders(t *testing.T) {
	for _, tt := range []struct {
		files string
		tool  []string
	}{
		{"*.preseed.cfg", []string{"debconf-set-selections", "--checkonly"}},
		{"*.autoinst.xml", []string{"xmllint", "--noout"}},
		{"*.user-data", []string{"cloud-init", "schema", "--config-file"}},
	} {
		t.Run(tt.tool[0], func(t *testing.T) {
			tool, env := answerReader(t, tt.tool[0])
			files, _ := filepath.Glob(filepath.Join("testdata", tt.files))
			if len(files) == 0 {
				t.Fatal("no files")
			}
			for _, file := range files {
				cmd := exec.Command(tool, append(tt.tool[1:], file)...)
				cmd.Env = append(os.Environ(), env...)
				out, err := cmd.CombinedOutput()
				if text := string(out); err != nil || strings.Contains(text, "error:") || strings.Contains(text, "warning:") {
					t.Errorf("%s: %v\n%s", file, err, out)
				}
			}
		})
	}
}

// answerReader finds a program in PATH, or where .ci/packages unpacks those that are
// not to be installed.
func answerReader(t *testing.T, name string) (tool string, env []string) {
	t.Helper()
	if tool, err := exec.LookPath(name); err == nil {
		return tool, nil
	}
	cache, _ := os.UserCacheDir()
	dir := filepath.Join(cache, "margay-test", name, "usr")
	if tool := filepath.Join(dir, "bin", name); cache != "" {
		if _, err := os.Stat(tool); err == nil {
			return tool, []string{"PYTHONPATH=" + filepath.Join(dir, "lib/python3/dist-packages")}
		}
	}
	if os.Getenv("MARGAY_TEST_REAL") != "" {
		t.Fatalf("%s is not to be had, and MARGAY_TEST_REAL is set; .ci/packages test brings it", name)
	}
	t.Skip(name + " is not to be had; .ci/packages test brings it")
	return "", nil
}

// autoinstallKeys are what subiquity's schema allows at the top of autoinstall
// (autoinstall-schema.json of 20.04 to 24.04); it refuses a file with another.
var autoinstallKeys = strings.Fields(`version interactive-sections early-commands reporting error-commands locale
	refresh-installer source keyboard network proxy apt storage identity ssh snaps active-directory ubuntu-pro codecs
	drivers oem packages kernel kernel-crash-dumps timezone updates shutdown late-commands user-data debconf-selections zdevs`)

var autoinstallKey = regexp.MustCompile(`(?m)^  ([a-z-]+): ?(.*)$`)

// TestAutoinstall reads what is below autoinstall as subiquity's schema does,
// which cloud-init's does not know.
func TestAutoinstall(t *testing.T) {
	files, _ := filepath.Glob("testdata/ubuntu*.user-data")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		top := map[string]string{}
		for _, m := range autoinstallKey.FindAllStringSubmatch(string(text), -1) {
			top[m[1]] = m[2]
		}
		for key := range top {
			if !slices.Contains(autoinstallKeys, key) {
				t.Errorf("%s: subiquity knows no %s", file, key)
			}
		}
		if top["version"] != "1" {
			t.Errorf("%s: version %q", file, top["version"])
		}
		// One of the two has to be there, or it asks for a user.
		_, identity := top["identity"]
		if _, data := top["user-data"]; !identity && !data {
			t.Errorf("%s: neither identity nor user-data", file)
		}
	}
}

// A kickstartWord is a command or an option, and the majors of RHEL that take
// it without a word about it (pykickstart's handlers; those of Fedora that
// became them).
type kickstartWord struct{ from, to int }

var kickstartWords = map[string]kickstartWord{
	"install": {6, 7}, "authconfig": {6, 7}, "authconfig --enableshadow": {6, 7}, "authconfig --passalgo": {6, 7},
	"url": {6, 10}, "url --url": {6, 10}, "lang": {6, 10}, "keyboard": {6, 10}, "timezone": {6, 10}, "timezone --utc": {6, 10},
	"rootpw": {6, 10}, "rootpw --iscrypted": {6, 10}, "text": {6, 10}, "skipx": {6, 10}, "firstboot": {6, 10}, "firstboot --disable": {6, 10},
	"reboot": {6, 10}, "network": {6, 10}, "network --onboot": {6, 10}, "network --device": {6, 10}, "network --hostname": {6, 10},
	"network --bootproto": {6, 10}, "network --ip": {6, 10}, "network --netmask": {6, 10}, "network --gateway": {6, 10},
	"network --nameserver": {6, 10}, "network --nodefroute": {6, 10},
	"firewall": {6, 10}, "firewall --disabled": {6, 10}, "selinux": {6, 10}, "selinux --permissive": {6, 10}, "services": {6, 10}, "services --enabled": {6, 10},
	"zerombr": {6, 10}, "clearpart": {6, 10}, "clearpart --all": {6, 10}, "clearpart --initlabel": {6, 10}, "clearpart --drives": {6, 10},
	"ignoredisk": {6, 10}, "ignoredisk --only-use": {6, 10}, "bootloader": {6, 10}, "bootloader --location": {6, 10}, "bootloader --boot-drive": {7, 10},
	"bootloader --driveorder": {6, 7}, "bootloader --append": {6, 10}, "autopart": {6, 10}, "autopart --type": {7, 10},
	"%include": {6, 10}, "%packages": {6, 10}, "%packages --ignoremissing": {6, 10}, "%pre": {6, 10}, "%post": {6, 10}, "%post --log": {6, 10}, "%end": {6, 10},
}

// TestKickstartWords holds every kickstart against what its line of anaconda
// takes: an option that was withdrawn stops the install at its first screen.
func TestKickstartWords(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.ks.cfg")
	if len(files) < 10 {
		t.Fatal("no kickstarts")
	}
	for _, file := range files {
		os, _, _ := strings.Cut(filepath.Base(file), ".plain")
		os, _, _ = strings.Cut(os, ".full")
		d, ok := parseOS(os)
		if !ok {
			continue // made of an old template
		}
		if d.name == "fedora" {
			d.major = 10
		}
		if err := readKickstart(file, d.major); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func readKickstart(file string, major int) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	section := ""
	for i, line := range strings.Split(string(text), "\n") {
		bad := func(what string) error { return fmt.Errorf("line %d: %s", i+1, what) }
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0][0] == '#':
			continue
		case line == "%end":
			if section == "" {
				return bad("%end of nothing")
			}
			section = ""
			continue
		case section == "%pre" && strings.Contains(line, "autopart"), section == "" || strings.HasPrefix(line, "%include"):
		case section == "%pre" && kickstartWords[words[0]] != kickstartWord{} && strings.Contains(line, "--"):
			// what it writes into the file that is included
		default:
			if line[0] == '%' && section != "%packages" {
				return bad(line + " inside " + section)
			}
			continue
		}
		w := kickstartWords[words[0]]
		if major < w.from || major > w.to {
			return bad(words[0] + " is not a command there")
		}
		if words[0][0] == '%' && words[0] != "%include" {
			section = words[0]
		}
		for _, o := range words[1:] {
			option, _, _ := strings.Cut(o, "=")
			if w := kickstartWords[words[0]+" "+option]; strings.HasPrefix(option, "--") && (major < w.from || major > w.to) {
				return bad(words[0] + " takes no " + option + " there")
			}
			if words[0] == "bootloader" && option == "--append" {
				break // the rest is the kernel's
			}
		}
	}
	if section != "" {
		return fmt.Errorf("%s does not end", section)
	}
	return nil
}
