package provision

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"margay/nodedb"
)

// A doorFamily's systems have an API and SSH.
type doorFamily struct{ fakeFamily }

func (doorFamily) Doors(b *Boot) []Door {
	return []Door{{"API port 443", netip.AddrPortFrom(b.Node.Addr, 443), true}, {"SSH", netip.AddrPortFrom(b.Node.Addr, 22), false}}
}

// A street is where machines open doors.
type street struct {
	mu   sync.Mutex
	open map[uint16]bool
	s    *Service
	c    *clock
	t    *testing.T
}

func newStreet(t *testing.T) *street {
	s, c := newService(t)
	st := &street{open: map[uint16]bool{}, c: c, t: t}
	s.Config.Families = []Family{doorFamily{}}
	s.Config.Reach = func(_ context.Context, at netip.AddrPort) error {
		st.mu.Lock()
		defer st.mu.Unlock()
		if !st.open[at.Port()] {
			return errors.New("refused")
		}
		return nil
	}
	st.s = NewService(s.Config)
	return st
}

func (st *street) doors(ports ...uint16) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.open = map[uint16]bool{}
	for _, p := range ports {
		st.open[p] = true
	}
}

func (st *street) pass(d time.Duration) {
	for end := st.c.now.Add(d); st.c.now.Before(end); {
		st.c.tick(knockEvery)
		st.s.knock(st.t.Context())
	}
}

// install brings esx1 to a step, by its own word.
func (st *street) install(steps ...string) {
	st.t.Helper()
	st.s.mustSet(st.t, "esx1", "install")
	st.s.get(from1, "boot/esx1/script")
	cfg, err := st.s.get(from1, "boot/esx1/boot.cfg")
	if err != nil {
		st.t.Fatal(err)
	}
	for _, step := range steps {
		if err := st.s.Receive(st.t.Context(), from1, "callback/"+token(cfg)+"/"+step, strings.NewReader("")); err != nil {
			st.t.Fatal(err)
		}
	}
}

func (st *street) want(status nodedb.Status, step StepName, text string) {
	st.t.Helper()
	n := mustNode(st.t, st.s, "esx1")
	boots := st.s.Views([]string{"esx1"})[0].Boots
	last := boots[len(boots)-1].Last()
	if n.Status != status || last.Name != step || !strings.Contains(last.Text, text) {
		st.t.Errorf("status %s, last step %+v; want %s, %s %q", n.Status, last, status, step, text)
	}
}

// TestArrival: after its last word a host is knocked at until API and SSH
// answer, and its timeline says that they do.
func TestArrival(t *testing.T) {
	st := newStreet(t)
	st.install("installing", "installed", "booted")
	st.pass(time.Minute)
	st.want(nodedb.StatusBooted, StepBooted, "")
	st.doors(443)
	st.pass(time.Minute)
	st.want(nodedb.StatusBooted, StepBooted, "") // SSH is waited for
	st.doors(443, 22)
	st.pass(knockEvery)
	st.want(nodedb.StatusBooted, StepAnswers, "API port 443 answers, SSH answers")
	if !attempt(st.s.DB.Snapshot(), "esx1").Up || len(st.s.arrivals.nodes) != 0 {
		t.Error("it is still knocked at")
	}
}

// TestArrivalUnreachable: a host that says it is up and does not answer is
// unreachable, and booted when it answers after all.
func TestArrivalUnreachable(t *testing.T) {
	st := newStreet(t)
	st.install("installing", "installed", "booted")
	was := mustNode(t, st.s, "esx1").Attr("nodelist.statustime")
	st.doors(22)
	st.pass(giveUp + time.Minute)
	st.want(nodedb.StatusUnreachable, StepSilent, "SSH answers, API port 443 does not answer (refused)")
	if now := mustNode(t, st.s, "esx1").Attr("nodelist.statustime"); now == was {
		t.Errorf("statustime stays %s", now)
	}
	again := NewService(st.s.Config) // a restart goes on
	again.recallArrivals()
	again.journal = st.s.journal
	st.s = again
	st.doors(443)
	st.pass(2 * knockSlower)
	st.want(nodedb.StatusBooted, StepAnswers, "API port 443 answers, SSH does not answer")
}

// TestArrivalWithoutWord: with Secure Boot no %firstboot runs; the API's answer
// is the host's last word. The installer's own answer is not.
func TestArrivalWithoutWord(t *testing.T) {
	st := newStreet(t)
	st.doors(443, 22) // the installer's
	st.install("installing", "installed")
	st.pass(time.Minute)
	st.want(nodedb.StatusInstalled, StepInstalled, "")
	st.doors()
	st.pass(knockEvery)
	st.doors(443, 22)
	st.pass(knockEvery)
	st.want(nodedb.StatusBooted, StepAnswers, "%firstboot does not run with Secure Boot on")
	if a := attempt(st.s.DB.Snapshot(), "esx1"); a.Phase != PhaseBooted {
		t.Errorf("phase %s", a.Phase)
	}
	// nodeset again ends it
	st.install("installing", "installed")
	st.s.mustSet(t, "esx1", "install")
	st.doors(443, 22)
	st.pass(installerGone + time.Minute)
	if n := mustNode(t, st.s, "esx1"); n.Mode != nodedb.ModeInstall || attempt(st.s.DB.Snapshot(), "esx1").Phase != PhaseArmed {
		t.Errorf("an old attempt's arrival changed the new one: %+v", n)
	}
}
