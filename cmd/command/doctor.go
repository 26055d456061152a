package command

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"margay/provision"
)

var doctorCmd = &Command{
	Name:  "doctor",
	Usage: "[--quick]",
	Short: "look at everything that machines need to boot, with the way out for each fault",
	Long: `Look at everything that machines need to boot: interfaces and networks, ports,
capabilities, firewall, other DHCP servers, names both ways, clock, disk space,
media, and every node that is set to boot from the network. Each fault comes
with its way out; exit status 1 if there is one.`,
	Group: GroupMargay,
	Flags: func(f *pflag.FlagSet) {
		f.Bool("quick", false, "do not look for other DHCP servers, which takes four seconds")
	},
	Complete: func(*Session, []string, string) []string { return nil },
	Run:      doctor,
}

func doctor(ctx context.Context, s *Session, args []string) error {
	if len(args) > 0 {
		return Usagef("%q is not wanted", args[0])
	}
	checks := s.Service.Doctor(s.Served)
	checks = append(checks, portChecks(s)...)
	checks = append(checks, certificateChecks(s)...)
	if !s.Bool("quick") && s.Foreign != nil {
		checks = append(checks, foreignChecks(ctx, s)...)
	}
	faults := 0
	for _, c := range checks {
		mark := "ok  "
		if !c.OK {
			mark = "FAIL"
			faults++
		}
		if s.Req.TTY {
			mark = colour(c.OK, mark)
		}
		line := fmt.Sprintf("%s %s: %s", mark, c.Name, c.Text)
		if !c.OK && c.Way != "" {
			line += "; " + c.Way
		}
		s.Line("%s", line)
	}
	if faults > 0 {
		return fmt.Errorf("%d of %d checks failed", faults, len(checks))
	}
	return nil
}

func colour(ok bool, text string) string {
	if ok {
		return "\x1b[32m" + text + "\x1b[0m"
	}
	return "\x1b[31m" + text + "\x1b[0m"
}

func portChecks(s *Session) []provision.Check {
	var out []provision.Check
	for _, p := range []struct {
		name string
		port int
		flag string
	}{{"DHCP", int(s.Ports.DHCP.Port()), "--dhcp"}, {"TFTP", s.Ports.TFTP, "--tftp"}, {"HTTP", s.Ports.HTTP, "--http"}} {
		if p.port == 0 {
			out = append(out, provision.Check{Name: "service " + p.name, Text: "off in this daemon", Way: "start it without " + p.flag + " off"})
			continue
		}
		out = append(out, provision.Check{Name: "service " + p.name, OK: true, Text: "served"})
	}
	return out
}

// certificateChecks looks at what is shown by HTTPS, where it is served.
func certificateChecks(s *Session) []provision.Check {
	if s.Certificate == nil {
		return nil
	}
	c := s.Certificate()
	whose := "margay's own"
	way := "see whether the state directory's tls/ can be written"
	if c.Own {
		whose, way = "the operator's", "put a new one in the state directory's tls/own.pem and own.key, or remove both for one of margay's own"
	}
	text := fmt.Sprintf("%s certificate for %s, until %s", whose, strings.Join(c.Names, " "), c.Until.Format(time.DateOnly))
	switch {
	case c.Fault != nil:
		return []provision.Check{{Name: "HTTPS", Text: text + ": " + c.Fault.Error(), Way: way}}
	case time.Until(c.Until) < 14*24*time.Hour:
		return []provision.Check{{Name: "HTTPS", Text: text + ", which is soon", Way: way}}
	}
	return []provision.Check{{Name: "HTTPS", OK: true, Text: text}}
}

// foreignChecks asks each network whether somebody else gives addresses there.
func foreignChecks(ctx context.Context, s *Session) []provision.Check {
	type answer struct {
		ifname string
		found  []ForeignDHCP
		err    error
	}
	answers := make(chan answer, len(s.Served))
	asked := 0
	for _, i := range s.Served {
		if i.Name == "lo" {
			continue
		}
		asked++
		go func() {
			found, err := s.Foreign(ctx, i.Name)
			answers <- answer{i.Name, found, err}
		}()
	}
	var out []provision.Check
	for range asked {
		a := <-answers
		name := "other DHCP servers on " + a.ifname
		switch {
		case a.err != nil:
			out = append(out, provision.Check{Name: name, Text: a.err.Error(), Way: "it needs the right to use port 68"})
		case len(a.found) > 0:
			out = append(out, provision.Check{Name: name, Text: fmt.Sprintf("%s answers there", a.found[0].Server), Way: "stop it, or serve with --interface " + a.ifname + "=proxy"})
		default:
			out = append(out, provision.Check{Name: name, OK: true, Text: "none"})
		}
	}
	return out
}
