package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"margay/netboot/rom"
	"margay/provision/provisiontest"
)

// story is what an operator does on the first day.
func (st *stage) story(ctx context.Context) error {
	st.chapter("an installer medium, as VMware lays it out")
	iso := filepath.Join(st.dir, "VMware-VMvisor-Installer-8.0U2-22380479.x86_64.iso")
	if err := provisiontest.WriteESXi(iso, provisiontest.ESXi{Version: "8.0.2", Total: 64 << 20}); err != nil {
		return err
	}
	fi, err := os.Stat(iso)
	if err != nil {
		return err
	}
	fmt.Fprintf(st.out, "made %s, %.1f MB\n", filepath.Base(iso), float64(fi.Size())/1e6)

	st.chapter("the daemon")
	if err := st.serve(ctx); err != nil {
		return err
	}
	for _, chapter := range []func(context.Context) error{
		func(ctx context.Context) error { return st.define(ctx, iso) },
		st.checks, st.probes, st.install, st.after, st.adopt, st.guest, st.clones, st.moves,
	} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	st.chapter("the end")
	if err := st.close(); err != nil {
		return err
	}
	fmt.Fprintf(st.out, "all of it worked, in %.1f s\n", time.Since(st.began).Seconds())
	return nil
}

func (st *stage) define(ctx context.Context, iso string) error {
	st.chapter("medium, node and password")
	return st.runAll(ctx,
		[]string{"copycds", filepath.Base(iso)},
		[]string{"lsdef", "-t", "osimage"},
		[]string{"mkdef", "esxihost", "groups=esxi,all", "arch=x86_64", "mac=52:54:00:00:00:01", "ip=" + st.addr(hostIP)},
		[]string{"chdef", "esxihost", "os=esxi8.0.2", "profile=base"},
		[]string{"chtab", "key=vmware", "passwd.username=root", "passwd.password=Demo-only-1"},
		[]string{"lsdef", "esxihost"},
	)
}

func (st *stage) checks(ctx context.Context) error {
	st.chapter("the services answer already; the commands check and explain")
	return st.runAll(ctx,
		[]string{"makedhcp", "esxihost"},
		[]string{"makedhcp", "-q", "esxihost"},
		[]string{"makedns", "esxihost"},
		[]string{"nodeset", "esxihost", "install"},
		[]string{"margay", "render", "esxihost", "boot.cfg", "--firmware", "uefi"},
		[]string{"margay", "show", "chain", "esxihost"},
	)
}

func (st *stage) probes(ctx context.Context) error {
	st.chapter("would it boot? walked without a machine, changing nothing")
	if err := st.runAll(ctx,
		[]string{"margay", "probe", "boot", "esxihost", "--firmware", "bios"},
		[]string{"margay", "probe", "boot", "esxihost", "--firmware", "uefi-http"},
	); err != nil {
		return err
	}
	return st.fails(ctx, "margay", "probe", "boot", "nosuch")
}

func (st *stage) install(ctx context.Context) error {
	st.chapter("a machine is switched on")
	return st.boots(ctx, "esxihost", "52:54:00:00:00:01", st.addr(hostIP), rom.UEFI)
}

// boots switches a machine on and watches it install itself.
func (st *stage) boots(ctx context.Context, node, mac, ip string, fw rom.Firmware) error {
	watch, err := st.watch(ctx, node)
	if err != nil {
		return err
	}
	if err := st.play(ctx, node, mac, ip, fw); err != nil {
		watch.Process.Kill()
		watch.Wait()
		return err
	}
	if err := watch.Wait(); err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	return nil
}

func (st *stage) after(ctx context.Context) error {
	st.chapter("what the table says now")
	out, err := st.type_(ctx, true, "lsdef", "esxihost", "-i", "status,currstate")
	if err != nil {
		return err
	}
	for _, want := range []string{"currstate=boot", "status=booted"} {
		if !strings.Contains(out, want) {
			return fmt.Errorf("the table does not say %s", want)
		}
	}
	return st.run(ctx, "margay", "watch", "esxihost", "--once")
}

func (st *stage) runAll(ctx context.Context, commands ...[]string) error {
	for _, words := range commands {
		if err := st.run(ctx, words...); err != nil {
			return err
		}
	}
	return nil
}

// addr is a machine's address: its own on the private network, or the same
// last part on loopback.
func (st *stage) addr(ip string) string {
	if st.wire {
		return ip
	}
	return "127.0.0." + ip[strings.LastIndex(ip, ".")+1:]
}

// watch shows the timeline while it happens.
func (st *stage) watch(ctx context.Context, node string) (*exec.Cmd, error) {
	fmt.Fprintf(st.out, "$ margay watch %s --until booted &\n", node)
	cmd := exec.CommandContext(ctx, st.bin, "watch", node, "--until", "booted", "--timeout", "60s")
	cmd.Args[0] = "margay"
	cmd.Env = append(os.Environ(), "MARGAY_SOCKET="+st.socket())
	cmd.Stdout, cmd.Stderr = st.out, st.out
	return cmd, cmd.Start()
}

// play switches the machine on, in a namespace of its own if there is a wire.
func (st *stage) play(ctx context.Context, node, mac, ip string, fw rom.Firmware) error {
	p := player{MAC: mac, Firmware: fw, Wait: st.wire}
	if !st.wire {
		if err := st.loopback(&p, ip); err != nil {
			return err
		}
	}
	file := filepath.Join(st.dir, "machine.json")
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "-play", file)
	cmd.Stdout, cmd.Stderr = st.out, st.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if st.wire {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if st.wire {
		if err := plug(node, cmd.Process.Pid); err != nil {
			cmd.Process.Kill()
			cmd.Wait()
			return err
		}
	}
	return cmd.Wait()
}

// loopback reads the ports that the daemon took out of what it said.
func (st *stage) loopback(p *player, ip string) error {
	p.Source = netip.MustParseAddr(ip)
	lines := bufio.NewScanner(strings.NewReader(st.said.String()))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 2 {
			continue
		}
		addr, err := netip.ParseAddrPort(f[1])
		if err != nil {
			continue
		}
		switch f[0] {
		case "dhcp":
			p.DHCP = addr
		case "tftp":
			p.TFTPPort = addr.Port()
		}
	}
	if !p.DHCP.IsValid() || p.TFTPPort == 0 {
		return fmt.Errorf("the daemon did not say where it serves: %s", st.said.String())
	}
	return nil
}
