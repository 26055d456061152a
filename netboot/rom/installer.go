package rom

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A Report is an address that an installer's script, or an overlay's, tells of
// what it has reached. URL holds a token.
type Report struct {
	Section string // "pre", "post", "firstboot"; "overlay"
	URL     string
}

// Name is the last part of a report's address: what is reported.
func (r Report) Name() string {
	u, _, _ := strings.Cut(r.URL, "?")
	return u[strings.LastIndex(u, "/")+1:]
}

// installer is what ESXi's installer does before it touches a disk: an address
// once more, and its kickstart.
func (l *mboot) installer() error {
	ks := option(l.result.CommandLine, "ks")
	if !hasWord(l.result.CommandLine, "runweasel") {
		if ks != "" {
			return fail("kickstart", errors.New("kernelopt has ks= but not runweasel: nothing would read it"))
		}
		return nil
	}
	if ks == "" {
		return fail("kickstart", errors.New("kernelopt has runweasel but no ks=: the installer would wait for a person"))
	}
	return l.answer(ks, checkKickstart)
}

// linuxInstaller fetches what a Linux installer is told to on its command line.
func (i *ipxe) linuxInstaller() error {
	for _, name := range []string{"inst.ks", "ks", "url", "preseed/url", "autoyast", "AutoYaST"} {
		if at := option(i.result.CommandLine, name); isURL(at) {
			return i.answer(at, func(string) error { return nil })
		}
	}
	if at := option(i.result.CommandLine, "ds"); strings.HasPrefix(at, "nocloud") {
		if _, seed, ok := strings.Cut(at, "s="); ok {
			return i.answer(strings.TrimSuffix(seed, "/")+"/user-data", func(string) error { return nil })
		}
	}
	return nil
}

// option is the value of name= on a command line, the last if there are more.
func option(line, name string) (value string) {
	for _, w := range strings.Fields(line) {
		if v, ok := strings.CutPrefix(w, name+"="); ok {
			value = v
		}
	}
	return value
}

func hasWord(line, word string) bool {
	for _, w := range strings.Fields(line) {
		if w == word {
			return true
		}
	}
	return false
}

// answer fetches an answer file as an installer does.
func (b *boot) answer(at string, check func(string) error) error {
	if !isURL(at) {
		return fail("kickstart", fmt.Errorf("ks=%s: no address", at))
	}
	began := time.Now()
	lease, err := b.dhcp(plainAsk())
	if err != nil {
		return fail("dhcp of the installer", err)
	}
	if lease.Addr != b.lease.Addr {
		return fail("dhcp of the installer", fmt.Errorf("another address: the loader had %s, the installer gets %s", b.lease.Addr, lease.Addr))
	}
	b.tell("dhcp", began, 0, "%s to the installer", lease.Addr)

	began = time.Now()
	w := &bounded{most: text}
	if _, err := b.http.do(request{method: http.MethodGet, url: at, agent: agentInstaller}, w); err != nil {
		return fail("kickstart", err)
	}
	b.result.AnswerURL, b.result.Answer = at, w.buf.String()
	if err := check(b.result.Answer); err != nil {
		return fail("kickstart", err)
	}
	b.result.Reports = reports(b.result.Answer)
	b.tell("kickstart", began, int64(w.buf.Len()), "%s", Redact(at))
	return nil
}

// maxCommands is the weasel's own limit.
const maxCommands = 256

// checkKickstart checks what ESXi's installer stops at: it would show an error
// and wait.
func checkKickstart(ks string) error {
	seen := map[string]bool{}
	n := 0
	for _, line := range strings.Split(ks, "\n") {
		if strings.HasPrefix(line, "%") {
			if !strings.HasPrefix(line, "%include") {
				break
			}
		}
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		seen[words[0]] = true
		n++
	}
	installs := seen["install"] || seen["installorupgrade"]
	switch {
	case n > maxCommands:
		return fmt.Errorf("%d commands, the installer takes %d", n, maxCommands)
	case !installs && !seen["upgrade"]:
		return errors.New("no install, installorupgrade or upgrade")
	case seen["install"] && seen["installorupgrade"] || installs && seen["upgrade"]:
		return errors.New("more than one of install, installorupgrade and upgrade")
	case !seen["vmaccepteula"] && !seen["accepteula"]:
		return errors.New("no vmaccepteula, without which nothing is installed")
	case installs && !seen["rootpw"]:
		return errors.New("no rootpw, without which nothing is installed")
	case !seen["reboot"]:
		return errors.New("no reboot: the installer would wait for a person when it is done")
	}
	return nil
}

// reports finds the addresses that the sections of a kickstart tell, in order.
func reports(ks string) []Report {
	var all []Report
	section, vars := "", map[string]string{}
	for _, line := range strings.Split(ks, "\n") {
		if strings.HasPrefix(line, "%") {
			section = strings.TrimPrefix(first(strings.Fields(line)), "%")
			continue
		}
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		if assign(vars, line) {
			continue
		}
		for _, at := range callbackURL.FindAllString(substitute(vars, line), -1) {
			if r := (Report{section, at}); !known(all, r) {
				all = append(all, r)
			}
		}
	}
	return all
}

func known(all []Report, r Report) bool {
	for _, x := range all {
		if x == r {
			return true
		}
	}
	return false
}

var (
	callbackURL = regexp.MustCompile(`https?://[^\s"'` + "`" + `;|&<>()]+/callback/[A-Za-z0-9_.~-]+/[A-Za-z0-9_.~-]+`)
	assignment  = regexp.MustCompile(`^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=["']?([^"'\s]*)["']?\s*$`)
	variable    = regexp.MustCompile(`\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?`)
)

// assign takes a line that does nothing but set a variable.
func assign(vars map[string]string, line string) bool {
	m := assignment.FindStringSubmatch(line)
	if m != nil {
		vars[m[1]] = substitute(vars, m[2])
	}
	return m != nil
}

func substitute(vars map[string]string, line string) string {
	return variable.ReplaceAllStringFunc(line, func(ref string) string {
		if v, ok := vars[variable.FindStringSubmatch(ref)[1]]; ok {
			return v
		}
		return ref
	})
}

// overlayReports finds the addresses in the files of a gzip tar, which a
// stateless host unpacks last.
func overlayReports(data []byte) []Report {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	var all []Report
	t := tar.NewReader(io.LimitReader(z, int64(overlay)))
	for {
		if _, err := t.Next(); err != nil {
			return all
		}
		text, err := io.ReadAll(t)
		if err != nil {
			return all
		}
		for _, r := range reports(string(text)) {
			r.Section = "overlay"
			all = append(all, r)
		}
	}
}

// Tell sends the reports of the named sections, in order: "pre" and "post" as
// the installer would, then "firstboot" (or "overlay") as the installed host.
// It tells what a machine does with which all goes well: none that is called
// failed.
func (m *Machine) Tell(ctx context.Context, r *Result, tell func(Step), sections ...string) error {
	c := &httpClient{m: m, ctx: ctx}
	defer c.close()
	for _, report := range r.Reports {
		if !slices.Contains(sections, report.Section) || report.Name() == "report" || report.Name() == "failed" {
			continue // nothing fails here, and there is nothing further to tell
		}
		began := time.Now()
		if _, err := c.do(request{method: http.MethodPost, url: report.URL, agent: agentInstaller, body: "from a played machine"}, io.Discard); err != nil {
			return fail("report "+report.Name(), err)
		}
		if tell != nil {
			tell(Step{Name: "report", Detail: report.Section + ": " + report.Name(), Took: time.Since(began)})
		}
	}
	return nil
}
