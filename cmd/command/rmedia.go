package command

import (
	"context"
	"fmt"
	"net/url"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision"
	"margay/provision/bmc"
)

var rmediaCmd = &Command{
	Name:  "rmedia",
	Usage: "noderange [stat | insert [URL] | boot [URL] | eject] [-u]",
	Short: "put a disc into machines' virtual drives, through Redfish, and boot from it",
	Long: `Put a disc into machines' virtual drives through their management controllers,
which is a way in where a card cannot boot from the network.

  stat      what is in the drive (the default)
  insert    put the image at URL there, in place of what is; the controller
            fetches it, so the address must be one that it reaches
  boot      insert it, set CD as the boot device once, read both back, then reset
            the machine, or switch it on
  eject     empty the drive

Without a URL the disc is margay's own, for UEFI on x86-64: its boot loader, which
asks our DHCP for the machine and goes on with what nodeset says. So "nodeset esx1 osimage" and
"rmedia esx1 boot" install a machine whose cards cannot. Eject it afterwards.`,
	Group: GroupPower,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("uefi", "u", false, "boot the disc the UEFI way")
		f.Bool("dry-run", false, "print what would be done; do nothing")
		yesFlag(f)
	},
	Complete: rangeThen("stat", "insert", "boot", "eject"),
	Run:      rmedia,
}

func rmedia(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, words, err := s.Nodes(snap, args)
	if err != nil {
		return err
	}
	word, image, err := mediaWords(words)
	if err != nil {
		return err
	}
	if word == "boot" {
		if err := s.Confirm(len(nodes), "boot from a disc"); err != nil {
			return err
		}
	}
	did := map[string]nodedb.Status{}
	discs, targets := s.discs(snap, word, image, s.metalOnly(snap, nodes))
	metal(ctx, s, snap, targets, func(ctx context.Context, t bmc.Target, c bmc.Controller) (string, error) {
		switch {
		case word == "stat":
			return c.Media(ctx)
		case s.Bool("dry-run"):
			had, err := c.Media(ctx)
			return mediaPlan(word, had, discs[t.Node]), err
		case word == "eject":
			return "eject", c.EjectMedia(ctx)
		}
		return s.insert(ctx, c, t, word, discs[t.Node])
	}, func(t bmc.Target, text string) {
		if word == "stat" {
			text = drive(text)
		}
		s.Node(t.Node, "%s", text)
		if word == "boot" && !s.Bool("dry-run") {
			did[t.Node] = poweringOn
		}
	})
	return s.setStatuses(ctx, did)
}

func mediaWords(words []string) (word, image string, err error) {
	word = "stat"
	if len(words) > 0 {
		word = words[0]
	}
	takes := word == "insert" || word == "boot"
	if !takes && word != "stat" && word != "eject" {
		return "", "", fmt.Errorf("unsupported command media %s", word)
	}
	if len(words) > 2 || len(words) == 2 && !takes {
		return "", "", Usagef("%q is not wanted after %s", words[len(words)-1], word)
	}
	if len(words) < 2 {
		return word, "", nil
	}
	u, err := url.Parse(words[1])
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", "", fmt.Errorf("image %q: not an http:// or https:// address", words[1])
	}
	return word, words[1], nil
}

// discs is the image for each controller. Those for which there is none lose
// their place, each with its error.
func (s *Session) discs(snap *nodedb.Snapshot, word, image string, targets []bmc.Target) (map[string]string, []bmc.Target) {
	discs := map[string]string{}
	if word != "insert" && word != "boot" {
		return discs, targets
	}
	var with []bmc.Target
	for _, t := range targets {
		disc := image
		if disc == "" {
			var err error
			if disc, err = s.Service.Disc(snap, t.Address); err != nil {
				s.NodeError(t.Node, err)
				continue
			}
		}
		discs[t.Node] = disc
		with = append(with, t)
	}
	return discs, with
}

// insert puts the disc in and, with boot, starts the machine from it.
func (s *Session) insert(ctx context.Context, c bmc.Controller, t bmc.Target, word, disc string) (string, error) {
	if err := c.InsertMedia(ctx, disc); err != nil {
		return "", err
	}
	if word == "insert" {
		return disc, nil
	}
	got, notes, err := bmc.SetBoot(ctx, c, bmc.Boot{Device: bmc.CD, UEFI: s.Bool("uefi")})
	if err != nil {
		return "", err
	}
	for _, n := range notes {
		s.NodeWarn(t.Node, "%s", n)
	}
	s.Service.Note(t.Node, provision.StepBootDevice, fmt.Sprintf("%s, read back; %s is in the virtual drive", got, disc))
	did, err := bmc.Power(ctx, c, bmc.BootUp, t.Settle)
	if err != nil {
		return "", err
	}
	s.Service.Note(t.Node, provision.StepPower, "boot: "+did)
	return did, nil
}

func mediaPlan(word, had, disc string) string {
	switch word {
	case "eject":
		return drive(had) + " -> empty (not done)"
	case "boot":
		return drive(had) + " -> " + disc + ", then CD/DVD once and boot (not done)"
	}
	return drive(had) + " -> " + disc + " (not done)"
}

func drive(image string) string {
	if image == "" {
		return "empty"
	}
	return image
}
