package command

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/pflag"

	"margay/netboot/rom"
	"margay/nodedb"
)

var probeCmd = &Command{
	Name:  "probe",
	Usage: "boot node [--firmware bios|uefi|uefi-http] [--commit]",
	Short: "boot a node without a machine: walk the whole chain and check each reply",
	Long: `Boot a node without a machine: ask DHCP as its firmware would, load its boot
loader, iPXE script, boot.cfg and every module with its size, and its
kickstart. What real firmware, iPXE or mboot would refuse is an error.

Nothing changes by it, unless --commit is given: then it counts as the machine's
own boot, and the installer's callbacks are made too.`,
	Group: GroupMargay,
	Flags: func(f *pflag.FlagSet) {
		f.String("firmware", "uefi", "bios, bios-ipxe, uefi or uefi-http")
		f.Bool("commit", false, "count as the machine's own boot, callbacks included")
		f.Bool("modules", false, "print each module")
	},
	Run: probe,
	Complete: func(s *Session, args []string, word string) []string {
		if len(args) == 0 {
			return withPrefix([]string{"boot"}, word)
		}
		return s.completeRange(word)
	},
}

func probe(ctx context.Context, s *Session, args []string) error {
	if len(args) != 2 || args[0] != "boot" {
		return Usagef("probe boot and one node are wanted")
	}
	snap := s.DB.Snapshot()
	n, err := snap.Node(args[1])
	if err != nil {
		return fmt.Errorf("node %s: not defined; define it with mkdef", args[1])
	}
	m, err := probeMachine(s, n)
	if err != nil {
		return err
	}
	p := &prober{s: s, node: n.Name}
	began := time.Now()
	r, err := m.Boot(ctx, p.step)
	if err != nil {
		return probeError(n.Name, err)
	}
	p.end(r, time.Since(began))
	if s.Bool("commit") && r.Outcome == rom.ESXi {
		return p.report(ctx, m, r)
	}
	return nil
}

// probeError names the step that failed, in one sentence.
func probeError(node string, err error) error {
	var e *rom.Error
	if errors.As(err, &e) {
		return fmt.Errorf("node %s: the boot fails at %s: %v", node, e.Step, e.Err)
	}
	return fmt.Errorf("node %s: %v", node, err)
}

func probeMachine(s *Session, n *nodedb.Node) (*rom.Machine, error) {
	if len(n.MACs) == 0 {
		return nil, fmt.Errorf("node %s: no MAC address; set it with chdef %s mac=MAC", n.Name, n.Name)
	}
	if n.Mode == nodedb.ModeNone || n.Mode == nodedb.ModeOffline {
		return nil, fmt.Errorf("node %s: it is sent nothing to boot; say what it is to do with nodeset", n.Name)
	}
	if !s.Ports.DHCP.IsValid() {
		return nil, errors.New("DHCP is off in this daemon, so no machine can boot from it; start it without --dhcp off")
	}
	if s.Ports.HTTP == 0 || s.Ports.TFTP == 0 {
		return nil, errors.New("HTTP or TFTP is off in this daemon, so no machine can boot from it")
	}
	fw, err := rom.ParseFirmware(s.String("firmware"))
	if err != nil {
		return nil, err
	}
	var trust *x509.CertPool
	if s.Authority != nil {
		trust = x509.NewCertPool()
		trust.AddCert(s.Authority)
	}
	return &rom.Machine{
		Trust:    trust,
		MAC:      n.MACs[0].Addr,
		Firmware: fw,
		Arch:     n.Arch,
		DHCP:     s.Ports.DHCP,
		Source:   netip.MustParseAddr("127.0.0.1"),
		TFTPPort: uint16(s.Ports.TFTP),
		Probe:    s.Service.ProbeWord(n.Name, s.Bool("commit")),
		Verify:   true,
	}, nil
}

// A prober prints what the played machine does.
type prober struct {
	s       *Session
	node    string
	modules int
	bytes   int64
	took    time.Duration
}

func (p *prober) step(st rom.Step) {
	if st.Name == "module" {
		p.modules++
		p.bytes += st.Bytes
		p.took += st.Took
		p.s.Progress("%s: module %d, %.1f MB", p.node, p.modules, float64(p.bytes)/1e6)
		if !p.s.Bool("modules") {
			return
		}
	}
	p.s.Label(p.node, fmt.Sprintf("%-9s %6.1f ms", st.Name, float64(st.Took.Microseconds())/1000), "%s", st.Detail)
}

func (p *prober) end(r *rom.Result, took time.Duration) {
	switch r.Outcome {
	case rom.LocalDisk:
		p.s.Node(p.node, "would boot from its disk; %.2f s", took.Seconds())
	case rom.ESXi:
		p.s.Label(p.node, fmt.Sprintf("%-9s %6.1f ms", "modules", float64(p.took.Microseconds())/1000), "%d, %.1f MB", len(r.Modules), float64(p.bytes)/1e6)
		what := "start ESXi"
		if r.Answer != "" {
			what = "start the installer with its kickstart"
		}
		p.s.Node(p.node, "would %s; %.1f MB in %.2f s", what, float64(r.Bytes)/1e6, took.Seconds())
	default:
		p.s.Node(p.node, "would start %s; %.2f s", r.Outcome, took.Seconds())
	}
}

// report makes the callbacks that the installer, and then the installed host,
// would make.
func (p *prober) report(ctx context.Context, m *rom.Machine, r *rom.Result) error {
	sections := []string{"pre", "post", "firstboot"}
	if r.Answer == "" {
		sections = []string{"overlay"}
	}
	if err := m.Tell(ctx, r, p.step, sections...); err != nil {
		return probeError(p.node, err)
	}
	return nil
}
