package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"margay/provision/provisiontest"
)

// TestRefusals: what HTTP and TFTP refuse is explained to who asks each time, and
// once in the log and in the node's timeline, however often it asks. Each line of
// the log is an object, with whom it is about, and none holds a secret.
func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	iso := filepath.Join(dir, "esxi.iso")
	if err := provisiontest.WriteESXi(iso, provisiontest.ESXi{Version: "8.0.2"}); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, dir, "--log-format", "json", "--verbose")
	s.must("copycds", iso)
	s.must("chtab", "key=vmware", "passwd.username=root", "passwd.password=Secret-1")
	s.must("mkdef", "-t", "node", "esx1", "groups=all", "mac=52:54:00:00:00:01", "ip=127.0.0.1", "arch=x86_64")
	s.must("mkdef", "-t", "node", "esx2", "groups=all", "mac=52:54:00:00:00:02", "ip=127.0.0.2", "arch=x86_64")
	s.must("nodeset", "esx2", "osimage=esxi8.0.2-x86_64-install-base")
	set := func() { s.must("nodeset", "esx1", "osimage=esxi8.0.2-x86_64-install-base") }
	spoil := func() { s.must("chdef", "esx1", "os=esxi9.9.9", "provmethod=install") }

	const curl, ipxe = "curl/8.0", "iPXE/1.21.1+"
	tests := []struct {
		name   string
		before func()
		ask    func() string
		screen []string // what who asks is told, each time
		why    string   // what the log and the timeline say
		node   string   // whose timeline
		file   string   // as the log names it
		silent bool     // the log is not told: the timeline is
	}{
		{name: "not installing", ask: s.asks("GET", "/boot/esx1/ks.cfg", curl),
			screen: []string{"403", "run nodeset esx1 install"}, why: `so there is no ks.cfg for it`, node: "esx1", file: "boot/esx1/ks.cfg"},
		{name: "another's script", ask: s.asks("GET", "/boot/esx2/script", curl),
			screen: []string{"403", "for node esx2 at 127.0.0.2 only, and you ask from 127.0.0.1"}, why: "these files are for node esx2", node: "esx2", file: "boot/esx2/script"},
		{name: "another's script, by iPXE", ask: s.asks("GET", "/boot/esx2/script", ipxe),
			screen: []string{"200", "#!ipxe\n", "echo margay: these files are for node esx2 at 127.0.0.2 only", "\necho On the server: margay watch esx2\n", "\nexit 1\n"},
			why:    "these files are for node esx2", node: "esx2", file: "boot/esx2/script"},
		{name: "another's, by TFTP", ask: s.packet("\x00\x01boot/esx2/boot.cfg\x00octet\x00"),
			screen: []string{"\x00\x05\x00\x02these files are for node esx2"}, why: "these files are for node esx2", node: "esx2", file: "boot/esx2/boot.cfg"},
		{name: "no token", before: set, ask: s.asks("GET", "/boot/esx1/ks.cfg", curl),
			screen: []string{"403", "ks.cfg"}, why: "token", node: "esx1", file: "boot/esx1/ks.cfg"},
		{name: "wrong token", ask: s.asks("GET", "/boot/esx1/ks.cfg?t=S3CRET", curl),
			screen: []string{"403", "token"}, why: "token", node: "esx1", file: "boot/esx1/ks.cfg"},
		{name: "forged callback", ask: s.asks("POST", "/callback/S3CRET/installed", curl),
			screen: []string{"403"}, why: "callback", file: "callback/installed"},
		{name: "no such file", ask: s.asks("GET", "/install/esxi8.0.2/x86_64/nothing.v00", curl),
			screen: []string{"404", "no such file"}, why: "nothing.v00: no such file", node: "esx1", silent: true},
		{name: "written to", ask: s.asks("PUT", "/boot/esx1/boot.cfg", curl),
			screen: []string{"405", "files are only read"}, why: "PUT: files are only read", node: "esx1", file: "boot/esx1/boot.cfg"},
		{name: "out of the root", ask: s.sends("GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n"),
			screen: []string{"404", "no such file"}, why: "path leads out of what is served", node: "esx1"},
		{name: "out of the root, by TFTP", ask: s.packet("\x00\x01../../etc/passwd\x00octet\x00"),
			screen: []string{"\x00\x05\x00\x02file name leads out of what is served"}, why: "file name leads out of what is served", node: "esx1"},
		{name: "written to, by TFTP", ask: s.packet("\x00\x02file\x00octet\x00"),
			screen: []string{"\x00\x05\x00\x02this server is read only"}, why: "this server is read only", node: "esx1"},
		{name: "mode, by TFTP", ask: s.packet("\x00\x01file\x00mail\x00"),
			screen: []string{"\x00\x05\x00\x04mode not supported; use octet or netascii"}, why: "mode not supported", node: "esx1"},
		{name: "tree is gone", before: spoil, ask: s.asks("GET", "/boot/esx1/script", ipxe),
			screen: []string{"200", "#!ipxe\n", "echo margay: ", "esxi9.9.9"}, why: "no install tree", node: "esx1", file: "boot/esx1/script"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.before != nil {
				tt.before()
			}
			logged := s.log.String()
			timeline := ""
			if tt.node != "" {
				timeline = s.must("history", tt.node, "--boots")
			}
			for range 3 {
				got := tt.ask()
				for _, want := range tt.screen {
					if !strings.Contains(got, want) {
						t.Fatalf("got %q, want %q in it", got, want)
					}
				}
			}
			known := strings.Contains(logged, tt.why) // by what an earlier row asked
			told := func() bool {
				return (known || tt.silent || strings.Count(s.log.String(), `"msg":"refused"`) > strings.Count(logged, `"msg":"refused"`)) &&
					(tt.node == "" || strings.Contains(s.must("history", tt.node, "--boots"), tt.why))
			}
			for end := time.Now().Add(time.Minute); !told() && time.Now().Before(end); { // who asks is answered first
				time.Sleep(10 * time.Millisecond)
			}
			if n := strings.Count(s.log.String(), `"msg":"refused"`) - strings.Count(logged, `"msg":"refused"`); n > 1 || n == 0 && !known && !tt.silent {
				t.Errorf("the log tells of %d refusals:\n%s", n, s.log.String()[len(logged):])
			}
			for _, line := range s.lines(t, len(logged)) {
				if line["msg"] != "refused" {
					continue
				}
				if why, _ := line["why"].(string); !strings.Contains(why, tt.why) || line["service"] == nil || line["addr"] != "127.0.0.1" || line["level"] != "WARN" {
					t.Errorf("the log says %v", line)
				}
				if tt.node != "" && (line["node"] != tt.node || line["mac"] != "52:54:00:00:00:0"+tt.node[3:]) {
					t.Errorf("the log says %v, want node and MAC of %s", line, tt.node)
				}
				if got, _ := line["file"].(string); got != tt.file {
					t.Errorf("the log names file %q, want %q", got, tt.file)
				}
			}
			if tt.node == "" {
				return
			}
			now := s.must("history", tt.node, "--boots")
			if n := strings.Count(now, tt.why); n == 0 || n-strings.Count(timeline, tt.why) > 1 {
				t.Errorf("the timeline says %q %d times, before %d:\n%s", tt.why, n, strings.Count(timeline, tt.why), now)
			}
		})
	}

	s.must("chdef", "esx1", "os=esxi8.0.2")
	set()
	if got := s.asks("GET", "/boot/esx1/script", ipxe)(); !strings.Contains(got, "mboot") {
		t.Errorf("it does not boot: %s", got)
	}
	for _, line := range s.lines(t, 0) {
		if line["time"] == nil || line["level"] == nil || line["msg"] == nil {
			t.Errorf("the log says %v", line)
		}
		if line["msg"] != "step" {
			continue
		}
		node, _ := line["node"].(string)
		if len(node) != 4 || line["step"] == nil || line["text"] == nil || line["mac"] != "52:54:00:00:00:0"+node[3:] || line["addr"] != "127.0.0.1" && line["addr"] != "127.0.0."+node[3:] {
			t.Errorf("a step without its fields: %v", line)
		}
	}
	for _, secret := range []string{"S3CRET", "Secret-1", "t="} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log holds %q:\n%s", secret, s.log.String())
		}
	}
}

// lines are those of the log behind the first so many bytes.
func (s *server) lines(t *testing.T, from int) (all []map[string]any) {
	t.Helper()
	text := s.log.String()
	text = text[:strings.LastIndexByte(text, '\n')+1] // the last may not be whole yet
	from = min(strings.LastIndexByte(text[:min(from, len(text))], '\n')+1, len(text))
	in := bufio.NewScanner(strings.NewReader(text[from:]))
	for in.Scan() {
		var line map[string]any
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			t.Errorf("%q: %v", in.Text(), err)
		}
		all = append(all, line)
	}
	return all
}

// asks asks as an agent does; the answer is its status and text.
func (s *server) asks(method, path, agent string) func() string {
	return func() string {
		req, err := http.NewRequest(method, "http://"+s.port("http").String()+path, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		req.Header.Set("User-Agent", agent)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			s.t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return fmt.Sprintf("%d %s", resp.StatusCode, text)
	}
}

// sends sends what no library would.
func (s *server) sends(ask string) func() string {
	return func() string {
		conn, err := net.Dial("tcp", s.port("http").String())
		if err != nil {
			s.t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, strings.Replace(ask, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))
		text, _ := io.ReadAll(conn)
		return string(text)
	}
}

// packet sends a packet and returns what comes back.
func (s *server) packet(packet string) func() string {
	return func() string {
		to, err := net.ResolveUDPAddr("udp", s.port("tftp").String())
		if err != nil {
			s.t.Fatal(err)
		}
		// The answer comes from another port than the one that was asked.
		all, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			s.t.Fatal(err)
		}
		defer all.Close()
		all.SetDeadline(time.Now().Add(time.Minute))
		if _, err := all.WriteTo([]byte(packet), to); err != nil {
			s.t.Fatal(err)
		}
		buf := make([]byte, 2000)
		n, _, err := all.ReadFrom(buf)
		if err != nil {
			s.t.Fatal(err)
		}
		return string(buf[:n])
	}
}
