package command

import (
	"context"
	"fmt"

	"margay/provision"
)

var mediaCmd = &Command{
	Name:  "media",
	Usage: "list | verify [os/arch]... | remove os/arch",
	Short: "list the installer media that copycds took in, check their trees, remove them",
	Long: `List the installer media that copycds took in; compare their install trees,
file by file, with what was on the medium; remove a tree with its osimages,
which is refused while a node uses it.`,
	Group: GroupBoot,
	Run:   media,
	Complete: func(s *Session, args []string, word string) []string {
		if len(args) == 0 {
			return withPrefix([]string{"list", "verify", "remove"}, word)
		}
		var names []string
		for _, m := range provision.Library(s.DB.Snapshot()) {
			names = append(names, m.OS+"/"+m.Arch)
		}
		return withPrefix(names, word)
	},
}

func media(ctx context.Context, s *Session, args []string) error {
	if len(args) == 0 {
		args = []string{"list"}
	}
	chosen, err := chooseMedia(s, args[1:])
	if err != nil {
		return err
	}
	switch args[0] {
	case "list":
		for _, m := range chosen {
			where := "unpacked"
			if m.InPlace {
				where = "in place: " + m.ISO
			}
			from := ""
			if m.Source != "" {
				from = ", from " + m.Source
			}
			s.Line("%s/%s: %s, %.1f MB, %s, sha256 %s%s", m.OS, m.Arch, m.Title, float64(m.Size)/1e6, where, orNone(m.SHA256), from)
		}
		return nil
	case "verify":
		for _, m := range chosen {
			if err := verifyMedia(ctx, s, m); err != nil {
				s.Error("%v", err)
			}
		}
		return nil
	case "remove":
		if len(args) != 2 {
			return Usagef("media remove wants one os/arch")
		}
		return s.Service.RemoveMedia(ctx, chosen[0])
	}
	return Usagef("%q: one of list, verify, remove is wanted", args[0])
}

func chooseMedia(s *Session, names []string) ([]provision.Media, error) {
	all := provision.Library(s.DB.Snapshot())
	if len(names) == 0 {
		return all, nil
	}
	var out []provision.Media
	for _, name := range names {
		found := false
		for _, m := range all {
			if m.OS+"/"+m.Arch == name || m.OS == name {
				out, found = append(out, m), true
			}
		}
		if !found {
			return nil, fmt.Errorf("media %s: not taken in; see margay media list", name)
		}
	}
	return out, nil
}

func verifyMedia(ctx context.Context, s *Session, m provision.Media) error {
	faults, err := s.Service.Verify(ctx, m, progressBar(s))
	if err != nil {
		return err
	}
	for _, f := range faults {
		s.Error("%s/%s: %s: %s", m.OS, m.Arch, f.Name, f.What)
	}
	if len(faults) == 0 {
		s.Line("%s/%s: as it was on the medium", m.OS, m.Arch)
	}
	return nil
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}
