package vm

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"margay/nodedb"
)

// Adopt is mkhypervisor: a host that runs is taken on, whoever installed it.
// Its certificate is pinned by the connection, what can be done with it is
// found out, and if the table names a vCenter it joins that. With dry it is
// only said what would be done, and no certificate is pinned.
func (m *Manager) Adopt(ctx context.Context, snap *nodedb.Snapshot, hosts []*nodedb.Node, dry bool, emit Emit) {
	emit = serial(emit)
	for _, n := range hosts {
		a := &adoption{m: m, snap: snap, n: n, dry: dry}
		err := a.run(ctx)
		for _, line := range a.lines {
			emit(Result{Node: n.Name, Text: line})
		}
		if a.warn != nil {
			emit(Result{Node: n.Name, Warn: a.warn.Error()})
		}
		facts := map[string]string{}
		if err == nil && n.HostType == "" && !dry {
			facts["hypervisor.type"] = "esx"
		}
		emit(Result{Node: n.Name, Err: err, Facts: facts})
	}
}

// An adoption is one host on its way.
type adoption struct {
	m     *Manager
	snap  *nodedb.Snapshot
	n     *nodedb.Node
	dry   bool
	lines []string
	warn  error // what keeps nobody from taking the host on
}

func (a *adoption) say(format string, args ...any) {
	a.lines = append(a.lines, fmt.Sprintf(format, args...))
}

func (a *adoption) run(ctx context.Context) error {
	e, err := HostEndpoint(a.snap, a.n.Name)
	if err != nil {
		return err
	}
	hv, done, err := a.open(ctx, e)
	if err != nil {
		return err
	}
	defer done()
	h, err := hv.Host(ctx, "")
	if err != nil {
		return err
	}
	licence, changed := a.license(ctx, hv, h, !HasVCenter(a.n))
	if changed { // it may be used in other ways by now
		if hv, err = a.m.Open(ctx, e); err != nil {
			return err
		}
	}
	if a.lines, err = describeHost(hv.About(), h, a.n); err != nil {
		return err
	}
	if a.dry && strings.HasPrefix(licence, "would ") {
		a.say("%s", licence)
	}
	if a.dry && e.Pin == "" && hv.About().FirstSight {
		a.say("would trust certificate %s from then on", hv.About().Fingerprint)
	}
	switch {
	case HasVCenter(a.n) && a.dry:
		return a.foreseeJoin(ctx, hv, h)
	case HasVCenter(a.n):
		return a.join(ctx)
	case h.VCenter != "":
		a.say("managed by vCenter %s; set hostmanager to it", h.VCenter)
	}
	return nil
}

// open connects. A dry run keeps nothing of a connection to what is not
// trusted yet.
func (a *adoption) open(ctx context.Context, e Endpoint) (Hypervisor, func(), error) {
	if !a.dry || e.Pin != "" {
		hv, err := a.m.Open(ctx, e)
		return hv, func() {}, err
	}
	e.Passing = true
	hv, err := a.m.dial(ctx, e)
	if err != nil {
		return nil, nil, err
	}
	return hv, func() { hv.Close() }, nil
}

// license gives the host the licence that prodkey has for it, as xCAT did
// whenever it connected. A host of a version that takes none, and one that
// does not take this, is taken on all the same. With here false another
// connection is to do it.
func (a *adoption) license(ctx context.Context, hv Hypervisor, h *Host, here bool) (text string, changed bool) {
	key, err := licenceKey(a.snap, a.n)
	if err == nil && (key == "" || !here || noLicenceKeys(h.Version)) {
		return "", false
	}
	if err == nil {
		text, changed, err = a.m.license(ctx, a.snap, hv, a.n, nameAt(hv, h), key, a.dry)
	}
	if err != nil && !errors.Is(err, ErrUnsupported) {
		a.warn = err
	}
	return text, changed
}

func (a *adoption) join(ctx context.Context) error {
	e, err := VCenterEndpoint(a.snap, a.n.HostManager)
	if err != nil {
		return err
	}
	vc, err := a.m.Open(ctx, e)
	if err != nil {
		return err
	}
	name, err := a.m.hostName(ctx, a.snap, vc, a.n.Name)
	if err != nil {
		return err
	}
	a.say("vCenter %s: %s", e, name)
	text, err := a.m.reconnect(ctx, a.snap, vc, a.n, false)
	if err != nil {
		return fmt.Errorf("vCenter %s has lost it, and connecting it again: %w", e, err)
	}
	if text != connectedAlready {
		a.say("vCenter %s: %s", e, text)
	}
	if text, changed := a.license(ctx, vc, &Host{Name: name}, true); changed {
		a.say("vCenter %s: %s", e, text)
	}
	if want := vmotionOf(a.n); want != "" {
		if text, err = SelectVMotion(want).do(ctx, vc, name); err == nil {
			a.say("%s", text)
		}
		return err
	}
	v, ok := as[VMotioner](vc)
	if !ok {
		return nil
	}
	cards, err := v.KernelNICs(ctx, name)
	if err == nil {
		a.say("%s", movesOver(cards, a.n.Name))
	}
	return err
}

// foreseeJoin is join for a dry run. The cards are asked of the host itself
// where the vCenter does not have it yet.
func (a *adoption) foreseeJoin(ctx context.Context, hv Hypervisor, h *Host) error {
	e, err := VCenterEndpoint(a.snap, a.n.HostManager)
	if err != nil {
		return err
	}
	vc, done, err := a.open(ctx, e)
	if err != nil {
		return err
	}
	defer done()
	name, err := inInventory(ctx, a.snap, vc, a.n.Name)
	switch {
	case err != nil:
		return err
	case name == "" && off(a.snap.Site("vcenterautojoin")):
		return errNoJoin(a.n.Name)
	case name == "":
		a.say("would join vCenter %s", e)
		if text, _ := a.license(ctx, hv, h, true); strings.HasPrefix(text, "would ") {
			a.say("%s", text)
		}
	default:
		a.say("vCenter %s: %s", e, name)
		text, err := a.m.reconnect(ctx, a.snap, vc, a.n, true)
		if err != nil {
			return err
		}
		if text != connectedAlready {
			a.say("vCenter %s: %s", e, text)
		}
		hv, h = vc, &Host{Name: name}
		if text, _ := a.license(ctx, vc, h, true); strings.HasPrefix(text, "would ") {
			a.say("vCenter %s: %s", e, text)
		}
	}
	want := vmotionOf(a.n)
	if want == "" {
		return nil
	}
	lines, err := SelectVMotion(want).foresee(ctx, hv, h)
	a.lines = append(a.lines, lines...)
	return err
}
