package vsphere_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"margay/vm"
	"margay/vm/vmdk"
	"margay/vm/vmtest"
)

// A kept disk is one of the repository.
type kept struct {
	vmdk.Disk
	name, format string
}

func openKept(name string) (vm.DiskImage, error) {
	d, format, err := vmdk.OpenAny(os.DirFS(filepath.Dir(name)), filepath.Base(name))
	if err != nil {
		return nil, err
	}
	return kept{d, filepath.Base(name), format}, nil
}

func (k kept) Format() string  { return k.format }
func (k kept) Files() []string { return []string{k.name} }

func (k kept) Stream(w io.Writer, p func(done, total int64)) error {
	return vmdk.Stream(k.Disk, w, "disk.vmdk", 1, p)
}

func (k kept) Convert(dir, name, format string, p func(done, total int64)) ([]string, error) {
	return vmdk.Convert(k.Disk, dir, name, format, p)
}

// Room on a datastore is made only if that is asked for, of images that no
// guest uses, oldest first.
func TestMakeRoom(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	at := time.Unix(0, 0)
	r := &vm.Repository{Dir: t.TempDir(), Open: openKept, Now: func() time.Time { at = at.Add(time.Hour); return at }}
	images := map[string]*vm.Image{}
	for _, name := range []string{"old", "used", "young", "new"} {
		img := &vm.Image{Name: name}
		err := r.Add(t.Context(), img, false, func(dir string) ([]string, error) {
			return []string{name + ".raw"}, os.WriteFile(filepath.Join(dir, name+".raw"), []byte(strings.Repeat(name, 1<<18)), 0o644)
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		images[name] = img
	}
	load := func(name string, room bool) (vm.Loaded, error) {
		return c.M.LoadImage(t.Context(), c.DB.Snapshot(), "esx1", vm.LoadRequest{Image: images[name], From: r, Datastore: "datastore1", MakeRoom: room}, func(int) {
			w.Free("datastore1", 1<<30) // what was deleted
		})
	}
	for _, name := range []string{"used", "old", "young"} {
		if out, err := load(name, false); err != nil || !out.Copied {
			t.Fatalf("%s: %+v, %v", name, out, err)
		}
	}
	want(t, "mkvm of an image", c.Make(t, vm.MakeRequest{Image: images["used"], From: r, Linked: true}, "vm1"), "")
	w.Free("datastore1", 300_000)
	_, err := load("new", false)
	if !errors.Is(err, vm.ErrNoSpace) || !strings.Contains(err.Error(), "--make-room would delete the images that no guest there uses: old") {
		t.Errorf("without room: %v", err)
	}
	f := files(t, c)
	dir := vm.Path{Datastore: "datastore1", File: vm.ImageFolder}
	if list, err := f.List(t.Context(), dir); err != nil || len(list) != 3 {
		t.Errorf("something was deleted: %v, %v", list, err)
	}
	out, err := load("new", true)
	if err != nil || !slices.Equal(out.Freed, []string{"old"}) {
		t.Errorf("with room: %+v, %v", out, err)
	}
	list, err := f.List(t.Context(), dir)
	if err != nil || !slices.ContainsFunc(list, func(f vm.File) bool { return f.Path.Base() == "used" }) {
		t.Errorf("what a guest uses was deleted: %v, %v", list, err)
	}
}
