package bmc_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"margay/nodedb"
	"margay/provision/bmc"
)

func containsAny(s string, of ...string) bool {
	for _, x := range of {
		if strings.Contains(s, x) {
			return true
		}
	}
	return false
}

// machine is a machine of few words.
type machine struct {
	mu      sync.Mutex
	state   nodedb.PowerState
	lag     time.Duration
	refuses bmc.Action
	orders  []bmc.Action
}

func (m *machine) State(context.Context) (nodedb.PowerState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, nil
}

func (m *machine) become(s nodedb.PowerState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = s
}

func (m *machine) Do(_ context.Context, a bmc.Action) error {
	if a == m.refuses {
		return bmc.ErrUnsupported
	}
	m.orders = append(m.orders, a)
	next, _ := m.State(context.Background())
	switch a {
	case bmc.On, bmc.Cycle, bmc.Wake:
		next = nodedb.PowerOn
	case bmc.Off:
		next = nodedb.PowerOff
	}
	time.AfterFunc(m.lag, func() { m.become(next) })
	return nil
}

func TestPower(t *testing.T) {
	tests := []struct {
		name   string
		m      *machine
		action bmc.Action
		word   string
		orders string
	}{
		{"on when suspended wakes", &machine{state: nodedb.PowerSuspended}, bmc.On, "wake", "wake"},
		{"a machine without cycle is switched off and on", &machine{state: nodedb.PowerOn, refuses: bmc.Cycle, lag: 7 * time.Second}, bmc.Cycle, "cycle", "off on"},
		{"seven seconds to come up", &machine{state: nodedb.PowerOff, lag: 7 * time.Second}, bmc.On, "on", "on"},
		{"softoff does not wait", &machine{state: nodedb.PowerOn}, bmc.SoftOff, "softoff", "softoff"},
		{"suspend", &machine{state: nodedb.PowerOn}, bmc.Suspend, "suspend", "suspend"},
		{"wake", &machine{state: nodedb.PowerSuspended}, bmc.Wake, "wake", "wake"},
		{"nmi", &machine{state: nodedb.PowerOn}, bmc.NMI, "nmi", "nmi"},
		{"boot when the state is not known", &machine{state: nodedb.PowerUnknown}, bmc.BootUp, "reset", "reset"},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			word, err := bmc.Power(t.Context(), tt.m, tt.action, 0)
			time.Sleep(time.Minute)
			var orders []string
			for _, o := range tt.m.orders {
				orders = append(orders, string(o))
			}
			if err != nil || word != tt.word || strings.Join(orders, " ") != tt.orders {
				t.Errorf("%s: %q %v %v; want %q %q", tt.name, word, err, orders, tt.word, tt.orders)
			}
		})
	}
}

func TestParse(t *testing.T) {
	for word, want := range map[string]bmc.Action{"stat": bmc.Stat, "state": bmc.Stat, "status": bmc.Stat, "on": bmc.On, "boot": bmc.BootUp} {
		if got, err := bmc.ParseAction(word); got != want || err != nil {
			t.Errorf("%s: %q, %v", word, got, err)
		}
	}
	for _, word := range []string{"", "ON", "statu", "onn"} {
		if _, err := bmc.ParseAction(word); err == nil || err.Error() != "unsupported command power "+word {
			t.Errorf("%q: %v", word, err)
		}
	}
	if _, err := bmc.ParseDevice("cdrom"); err == nil || err.Error() != "unsupported command setboot cdrom" {
		t.Errorf("cdrom: %v", err)
	}
	for word, want := range map[string]struct {
		n     int
		clear bool
		bad   bool
	}{"": {}, "all": {}, "clear": {clear: true}, "5": {n: 5}, "0": {bad: true}, "-1": {bad: true}, "x": {bad: true}} {
		n, clear, err := bmc.ParseEventArg(word)
		if n != want.n || clear != want.clear || (err != nil) != want.bad {
			t.Errorf("%q: %d %v %v", word, n, clear, err)
		}
	}
}

func TestSensorLines(t *testing.T) {
	tests := []struct {
		s    bmc.Sensor
		want string
	}{
		{bmc.Sensor{Value: 44, Unit: "C"}, "44 C (111 F)"},
		{bmc.Sensor{Value: 29.75, Unit: "C"}, "29.75 C (86 F)"},
		{bmc.Sensor{Value: 50, Unit: "F"}, "10 C (50 F)"},
		{bmc.Sensor{Value: 4200, Unit: "RPM"}, "4200 RPM"},
		{bmc.Sensor{Value: 39, Unit: "Watts"}, "39 Watts (133 BTUs/hr)"},
		{bmc.Sensor{Value: 77, Unit: "Watts"}, "77 Watts (263 BTUs/hr)"},
		{bmc.Sensor{Value: 12.2, Unit: "Volts"}, "12.2 Volts"},
		{bmc.Sensor{Absent: true, Unit: "C"}, "N/A"},
		{bmc.Sensor{Text: "0", State: "Present"}, "0                    (Present)"},
		{bmc.Sensor{Value: 0, Unit: "C", State: "At or below lower non-critical threshold"}, "0 C (32 F)           (At or below lower non-critical threshold)"},
		{bmc.Sensor{Text: "on\x1b[2J"}, "on [2J"},
	}
	for _, tt := range tests {
		if got := tt.s.Line().Value; got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.s, got, tt.want)
		}
	}
}

func TestPins(t *testing.T) {
	var p bmc.MemoryPins
	ctx := t.Context()
	if err := bmc.CheckPin(ctx, &p, "n1", "sha256:aa"); err != nil {
		t.Errorf("first sight: %v", err)
	}
	if err := bmc.CheckPin(ctx, &p, "n1", "sha256:aa"); err != nil {
		t.Errorf("the same: %v", err)
	}
	if err := bmc.CheckPin(ctx, &p, "n1", "sha256:bb"); !errors.Is(err, bmc.ErrPin) {
		t.Errorf("another: %v", err)
	}
	if err := bmc.CheckPin(ctx, &p, "n2", "sha256:bb"); err != nil {
		t.Errorf("another node: %v", err)
	}
}
