package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"margay/provision"
	"margay/provision/api"
)

var doctorCmd = &Command{
	Name:  "doctor",
	Usage: "[--quick] [--screen text]",
	Short: "look at everything that machines need to boot, with the way out for each fault",
	Long: `Look at everything that machines need to boot: interfaces and networks, ports and
who else holds them, capabilities, the packet filter's rules, other DHCP servers,
names both ways, dynamic ranges, clock, MTU, disk space, media, the certificate of HTTPS, the
exports on which guests' disks are to be, and every node that is set to boot from
the network or that stopped on its way. Each fault comes with its way out; exit
status 1 if there is one. With --json each check is an object: its level ok or
FAIL, its label, and a text.`,
	Group: GroupMargay,
	Flags: func(f *pflag.FlagSet) {
		f.String("screen", "", "explain what a machine's screen says, in place of all else")
		f.Bool("quick", false, "ask nobody on the network: neither for other DHCP servers, which takes four seconds, nor NFS servers")
	},
	Complete: func(*Session, []string, string) []string { return nil },
	Run:      doctor,
}

func doctor(ctx context.Context, s *Session, args []string) error {
	if len(args) > 0 {
		return Usagef("%q is not wanted", args[0])
	}
	if screen := s.String("screen"); screen != "" {
		return explain(s, screen)
	}
	checks := s.Service.Doctor(s.served())
	checks = append(checks, portChecks(s)...)
	checks = append(checks, firewallCheck(ctx, s))
	checks = append(checks, certificateChecks(s)...)
	if !s.Bool("quick") {
		checks = append(checks, exportChecks(ctx, s.DB.Snapshot())...)
		if s.Foreign != nil {
			checks = append(checks, foreignChecks(ctx, s)...)
		}
	}
	faults := 0
	for _, c := range checks {
		if !c.OK {
			faults++
		}
		s.check(c)
	}
	if faults > 0 {
		return fmt.Errorf("%d of %d checks failed", faults, len(checks))
	}
	return nil
}

// served are the interfaces that the daemon serves, as they are now.
func (s *Session) served() []provision.Interface {
	if s.Served == nil {
		return nil
	}
	return s.Served()
}

// explain says what a message on a machine's screen means.
func explain(s *Session, screen string) error {
	known := provision.Explain(screen)
	if len(known) == 0 {
		return errors.New("not a message that is known; margay watch NODE --once says how far the machine came")
	}
	for _, k := range known {
		s.Line("%s: %s; %s", k.Screen, k.Means, k.Way)
	}
	return nil
}

// check prints one check: as a line, green or red on a terminal; in JSON its
// parts are the frame's, level, label and text.
func (s *Session) check(c provision.Check) {
	mark, text := "ok", c.Text
	if !c.OK {
		mark = "FAIL"
		if c.Way != "" {
			text += "; " + c.Way
		}
	}
	if s.Req.JSON {
		s.Conn.Send(api.Frame{Kind: api.FrameOut, Level: mark, Label: c.Name, Text: text})
		return
	}
	mark = fmt.Sprintf("%-4s", mark)
	if s.Req.TTY {
		mark = colour(c.OK, mark)
	}
	s.Line("%s %s: %s", mark, c.Name, text)
}

func colour(ok bool, text string) string {
	if ok {
		return "\x1b[32m" + text + "\x1b[0m"
	}
	return "\x1b[31m" + text + "\x1b[0m"
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
	served := s.served()
	answers := make(chan answer, len(served))
	asked := 0
	for _, i := range served {
		if i.Name == "lo" || len(i.Prefixes) == 0 {
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
		case slices.Contains(s.Proxied, a.ifname):
			out = append(out, besideAnother(name, a.found))
		case slices.Contains(s.Others, a.ifname):
			who := "nobody answers there"
			if len(a.found) > 0 {
				who = answersThere(a.found)
			}
			out = append(out, provision.Check{Name: name, OK: true, Text: who + ", and by our DHCP nobody is served"})
		case len(a.found) > 0:
			out = append(out, provision.Check{Name: name, Text: answersThere(a.found), Way: "stop it, or serve with --interface " + a.ifname + "=proxy"})
		default:
			out = append(out, provision.Check{Name: name, OK: true, Text: "none" + metBefore(s, a.ifname)})
		}
	}
	return out
}

// besideAnother checks an interface in proxy mode: exactly there somebody else has to
// give the addresses.
func besideAnother(name string, found []ForeignDHCP) provision.Check {
	if !slices.ContainsFunc(found, func(f ForeignDHCP) bool { return !f.Proxy }) {
		who := "nobody gives addresses there"
		if len(found) > 0 {
			who = answersThere(found) + ", but nobody gives addresses"
		}
		return provision.Check{Name: name, Text: who + ", and in proxy mode neither do we", Way: "start the other server, or serve with authority"}
	}
	return provision.Check{Name: name, OK: true, Text: answersThere(found) + ", as it should in proxy mode"}
}

// metBefore tells of the servers that machines met there lately, and that are
// silent now.
func metBefore(s *Session, ifname string) string {
	text := ""
	for _, f := range s.Service.Strangers() {
		if f.Interface == ifname {
			text += fmt.Sprintf("; %s gave an address there until %s", f.Server, f.Last.Format("15:04:05"))
		}
	}
	return text
}

// answersThere names servers by identifier, and by address where that is
// another.
func answersThere(found []ForeignDHCP) string {
	var names []string
	for _, f := range found {
		name := f.Server.String()
		if f.Addr.IsValid() && f.Addr != f.Server {
			name += " (at " + f.Addr.String() + ")"
		}
		if f.Proxy {
			name += " (boot files only)"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ") + " answers there"
}
