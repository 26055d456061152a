package command

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"margay/provision"
)

var copycdsCmd = &Command{
	Name:  "copycds",
	Usage: "[-n osver] [-a arch] [-p path] [-i] [-o] [-s] [-w] [--sha256 sum] iso|address|-...",
	Short: "unpack installer media and define their osimages",
	Long: `Unpack installer media into <installdir>/<os>/<arch> and define their osimages.

What a medium is, is read from what is on it. It is unpacked beside its place
and put there in one step: a copycds that is killed leaves nothing half made.

In place of a file of the server's an address that begins with http:// or
https:// may be given. A fetch that was interrupted goes on where it stopped
when the same copycds is given again within a week. With --upload the iso is a
file of the machine where the command is typed, and is sent to the server; - is
what comes on standard input.`,
	Group: GroupBoot,
	Flags: func(f *pflag.FlagSet) {
		f.StringP("name", "n", "", "os name in place of the medium's own")
		f.String("osver", "", "the same as --name")
		f.StringP("arch", "a", "", "architecture that the medium must be for")
		f.StringP("path", "p", "", "directory in place of <installdir>/<os>/<arch>")
		f.BoolP("inspection", "i", false, "only say what the medium is")
		f.BoolP("noosimage", "o", false, "define no osimages")
		f.BoolP("specific", "s", false, "take the update release into the name")
		f.BoolP("nonoverwrite", "w", false, "do not copy what is there already")
		f.String("sha256", "", "what the medium's sha256 must be; for one medium")
		f.Bool("upload", false, "send a file of the client's machine")
		f.Bool("in-place", false, "keep the medium where it is and serve its files from it")
	},
	Complete: func(*Session, []string, string) []string { return nil },
	Input: func(flags *pflag.FlagSet, args []string) string {
		if up, _ := flags.GetBool("upload"); up && len(args) == 1 {
			return args[0]
		}
		return ""
	},
	Run: copycds,
}

func copycds(ctx context.Context, s *Session, args []string) error {
	if len(args) == 0 {
		return errors.New("copycds needs at least one full path to ISO currently.")
	}
	if s.String("sha256") != "" && len(args) > 1 {
		return Usagef("--sha256 goes with one medium")
	}
	if s.Bool("upload") && (len(args) > 1 || args[0] == "-") {
		return Usagef("--upload sends one file")
	}
	for _, iso := range args {
		c := provision.Copy{
			Path: iso, SHA256: s.String("sha256"), OS: s.String("name"), Arch: s.String("arch"), Dir: s.String("path"),
			Detail: s.Bool("specific"), NoImage: s.Bool("noosimage"), NoRepeat: s.Bool("nonoverwrite"), InPlace: s.Bool("in-place"),
		}
		switch {
		case iso == "-" || s.Bool("upload"):
			c.From = s.Stdin()
		case !provision.IsAddress(iso):
			c.Path = s.Path(iso)
		}
		if c.OS == "" {
			c.OS = s.String("osver")
		}
		if c.Dir != "" {
			c.Dir = s.Path(c.Dir)
		}
		if err := copyOne(ctx, s, c); err != nil {
			s.Error("%v", err)
		}
	}
	return nil
}

func copyOne(ctx context.Context, s *Session, c provision.Copy) error {
	c.Progress = progressBar(s)
	if provision.IsAddress(c.Path) {
		s.Line("Fetching %s", maskAddress(c.Path))
		s.Flush()
	}
	if s.Bool("inspection") {
		rel, err := s.Service.Inspect(ctx, c)
		if err != nil {
			return err
		}
		s.Line("OS Image:%s", c.Path)
		s.Line("DISTNAME:%s", rel.OS)
		s.Line("ARCH:%s", rel.Arch)
		s.Line("DISCNO:1")
		return nil
	}
	if c.InPlace {
		rel, err := s.Service.Copycds(ctx, c)
		if err == nil {
			at := "its file in the state directory"
			if c.From == nil && !provision.IsAddress(c.Path) {
				at = c.Path + "; keep it there"
			}
			s.Line("%s/%s is served from %s", rel.OS, rel.Arch, at)
		}
		return err
	}
	c.Begin = func(dir string) { s.Line("Copying media to %s/", strings.TrimSuffix(dir, "/")); s.Flush() }
	_, err := s.Service.Copycds(ctx, c)
	if errors.Is(err, provision.ErrCopied) {
		s.Line("%v", err)
		return nil
	}
	if err != nil {
		return err
	}
	s.Line("Media copy operation successful")
	return nil
}

// progressBar shows a bar on a terminal, and a line in ten seconds elsewhere.
func progressBar(s *Session) func(done, total int64) {
	began := time.Now()
	next := began.Add(100 * time.Millisecond)
	if !s.Req.TTY {
		next = began.Add(10 * time.Second)
	}
	var last int64
	return func(done, total int64) {
		now := time.Now()
		if done < last { // something else began
			began = now
		}
		if last = done; now.Before(next) {
			return
		}
		if total == 0 {
			next = now.Add(time.Second)
			s.Progress("%.0f MB, %.0f MB/s", float64(done)/1e6, float64(done)/1e6/max(now.Sub(began).Seconds(), 0.001))
			return
		}
		percent := float64(done) * 100 / float64(total)
		rate := float64(done) / 1e6 / now.Sub(began).Seconds()
		if s.Req.TTY {
			next = now.Add(100 * time.Millisecond)
			s.Progress("%s %6.2f%%  %.0f of %.0f MB, %.0f MB/s", bar(percent, 30), percent, float64(done)/1e6, float64(total)/1e6, rate)
			return
		}
		next = now.Add(10 * time.Second)
		s.Line("%.2f%%", percent)
	}
}

func bar(percent float64, width int) string {
	full := int(percent / 100 * float64(width))
	return fmt.Sprintf("[%s%s]", strings.Repeat("#", full), strings.Repeat(".", width-full))
}
