package bmctest

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"margay/provision/bmc"
)

// StartIPMI starts a controller in front of a host, or of one of its own if h
// is nil. The test's end closes it.
func StartIPMI(tb testing.TB, h *Host, c IPMIConfig) *IPMI {
	tb.Helper()
	return started(tb, h, c, NewIPMI)
}

// StartRedfish starts a service in front of a host, or of one of its own if h
// is nil. The test's end closes it.
func StartRedfish(tb testing.TB, h *Host, c RedfishConfig) *Redfish {
	tb.Helper()
	return started(tb, h, c, NewRedfish)
}

func started[C any, X interface{ Close() }](tb testing.TB, h *Host, c C, start func(*Host, C) (X, error)) X {
	tb.Helper()
	if h == nil {
		h = &Host{}
	}
	x, err := start(h, c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(x.Close)
	return x
}

// Switched is a host that is on, or off.
func Switched(on bool) *Host {
	h := &Host{}
	if on {
		_ = h.SetPower(true)
	}
	return h
}

// A PowerWord is what rpower prints for a machine that is on or off, and the
// orders that the machine then got.
type PowerWord struct {
	On     bool
	Action bmc.Action
	Word   string
	Orders string
}

// PowerWords are those of every controller.
func PowerWords() []PowerWord {
	return []PowerWord{
		{false, bmc.Stat, "off", ""},
		{true, bmc.Stat, "on", ""},
		{false, bmc.On, "on", "on"},
		{true, bmc.On, "on", ""},
		{true, bmc.Off, "off", "off"},
		{false, bmc.Off, "off", ""},
		{false, bmc.SoftOff, "off", ""},
		{true, bmc.Reset, "reset", "reset"},
		{false, bmc.Reset, "off", ""},
		{true, bmc.BootUp, "reset", "reset"},
		{false, bmc.BootUp, "on", "on"},
		{true, bmc.Cycle, "cycle", "cycle"},
		{false, bmc.Cycle, "cycle", "on"},
	}
}

// TestPower holds a controller to the words: connect connects to a host.
func TestPower(t *testing.T, words []PowerWord, connect func(*testing.T, *Host) bmc.Machine) {
	for _, w := range words {
		t.Run(fmt.Sprintf("%s when on is %v", w.Action, w.On), func(t *testing.T) {
			h := Switched(w.On)
			before := len(h.Orders())
			word, err := bmc.Power(t.Context(), connect(t, h), w.Action, 0)
			if err != nil || word != w.Word {
				t.Errorf("printed %q, %v; want %q", word, err, w.Word)
			}
			if got := strings.Join(h.Orders()[before:], " "); got != w.Orders {
				t.Errorf("orders %q, want %q", got, w.Orders)
			}
		})
	}
}

// Text is lines as commands print them, without the node.
func Text(lines []bmc.Line) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.Label + ": " + l.Value + "\n")
	}
	return b.String()
}

// Expect reads a console until it has said something.
func Expect(t *testing.T, r io.ReadCloser, want string) {
	t.Helper()
	defer time.AfterFunc(time.Minute, func() { _ = r.Close() }).Stop()
	var got bytes.Buffer
	buf := make([]byte, 1024)
	for !strings.Contains(got.String(), want) {
		n, err := r.Read(buf)
		if err != nil {
			t.Fatalf("console ended with %v after %.80q, want %.80q", err, got.String(), want)
		}
		got.Write(buf[:n])
	}
}
