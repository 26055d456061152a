package esxi

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// An overlayFile is one file of the module that makes a stateless host its
// own. ESXi unpacks modules in the order of boot.cfg, so the last one's files
// stand over the others'.
type overlayFile struct {
	name string
	mode int64
	text string
}

// overlay is the module of a stateless boot: a gzip tar. The same boot makes
// the same bytes.
func (f *Family) overlay(h *host) ([]byte, error) {
	d, err := h.kickstartData()
	if err != nil {
		return nil, err
	}
	list := []overlayFile{{"etc/shadow", 0o600, shadow(d.Password, h.version)}}
	if len(d.Keys) > 0 {
		list = append(list, overlayFile{keysFile(h.version), 0o600, strings.Join(d.Keys, "\n") + "\n"})
	}
	if h.HostKey != nil && h.version.AtLeast(5) { // ESXi 4's sshd has keys in a form of its own
		key, err := h.HostKey()
		if err != nil {
			return nil, err
		}
		list = append(list, overlayFile{"etc/ssh/ssh_host_rsa_key", 0o600, string(key)})
	}
	cert, err := h.hostCert()
	if err != nil {
		return nil, err
	}
	if cert != nil {
		list = append(list, overlayFile{"etc/vmware/ssl/rui.crt", 0o644, string(cert.Cert)}, overlayFile{"etc/vmware/ssl/rui.key", 0o400, string(cert.Key)})
	}
	scripts, err := f.overlayScripts(h, d)
	if err != nil {
		return nil, err
	}
	own, err := f.ownFiles(h, d)
	if err != nil {
		return nil, err
	}
	return packOverlay(merge(list, scripts, own))
}

// merge puts lists together; of files with one name the last stands.
func merge(lists ...[]overlayFile) []overlayFile {
	var out []overlayFile
	at := map[string]int{}
	for _, f := range slices.Concat(lists...) {
		if i, ok := at[f.name]; ok {
			out[i] = f
			continue
		}
		at[f.name] = len(out)
		out = append(out, f)
	}
	return out
}

// ownFiles are the operator's, from esxi/overlay and esxi/overlay.<profile> in
// the templates' directory: as they are, or filled in where their names end in
// .tmpl. What the table decides stays the table's.
func (f *Family) ownFiles(h *host, d *KickstartData) ([]overlayFile, error) {
	var out []overlayFile
	for _, dir := range []string{"esxi/overlay", "esxi/overlay." + h.Profile} {
		files, err := f.templates.Files(dir)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text := []byte(file.Text)
			name, isTemplate := strings.CutSuffix(file.Name, ".tmpl")
			if isTemplate {
				if text, err = file.Render(d); err != nil {
					return nil, err
				}
			}
			name = strings.TrimPrefix(name, dir+"/")
			if name == "etc/shadow" {
				return nil, fmt.Errorf("%s: root's password comes from the passwd table; remove this file", file.Source)
			}
			out = append(out, overlayFile{name, int64(file.Mode), string(text)})
		}
	}
	return out, nil
}

// shadow is etc/shadow: root with its hash, all others locked.
func shadow(hash string, v Version) string {
	users := []string{"nobody", "nfsnobody", "dcui", "daemon"}
	if v.AtLeast(5) {
		users = append(users, "vpxuser")
	} else {
		users = append(users, "vimuser")
	}
	var b strings.Builder
	b.WriteString("root:" + hash + ":13358:0:99999:7:::\n")
	for _, u := range users {
		b.WriteString(u + ":*:13358:0:99999:7:::\n")
	}
	return b.String()
}

// keysFile is where sshd looks for root's keys.
func keysFile(v Version) string {
	if v.AtLeast(5) {
		return "etc/ssh/keys-root/authorized_keys"
	}
	return ".ssh/authorized_keys"
}

// overlayScripts are the start script that sets the host up and says that it
// is there, and the text on its screen.
func (f *Family) overlayScripts(h *host, d *KickstartData) ([]overlayFile, error) {
	var out []overlayFile
	for _, x := range []struct{ template, name string }{
		{"esxi/stateless.sh", initScript(h.version)},
		{"esxi/welcome", "etc/vmware/welcome"},
	} {
		t, err := f.templates.Find(x.template)
		if err != nil {
			return nil, err
		}
		text, err := t.Render(d)
		if err != nil {
			return nil, err
		}
		mode := int64(0o644)
		if path.Ext(x.template) == ".sh" {
			mode = 0o755
		}
		out = append(out, overlayFile{x.name, mode, string(text)})
	}
	return out, nil
}

// initScript is the start script's place; it runs late.
func initScript(v Version) string {
	if v.AtLeast(5) {
		return "etc/init.d/99.margay"
	}
	return "etc/vmware/init/init.d/99.margay"
}

// packOverlay makes a tar of the files and the directories above them.
func packOverlay(list []overlayFile) ([]byte, error) {
	var dirs []string
	for _, f := range list {
		for d := path.Dir(f.name); d != "."; d = path.Dir(d) {
			dirs = append(dirs, d)
		}
	}
	slices.Sort(dirs)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	t := tar.NewWriter(z)
	for _, d := range slices.Compact(dirs) {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: d + "/", Mode: 0o755, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}); err != nil {
			return nil, err
		}
	}
	for _, f := range list {
		if err := t.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.text)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}); err != nil {
			return nil, err
		}
		if _, err := t.Write([]byte(f.text)); err != nil {
			return nil, err
		}
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
