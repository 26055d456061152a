package ipmi

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"margay/nodedb"
	"margay/provision/bmc"
	"margay/provision/bmc/bmctest"
)

// connect opens a session that the test's end closes.
func connect(t *testing.T, target bmc.Target) *Controller {
	t.Helper()
	c, err := Dial(t.Context(), target)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestPowerWords(t *testing.T) {
	words := append(bmctest.PowerWords(), bmctest.PowerWord{On: true, Action: bmc.SoftOff, Word: "softoff", Orders: "softoff off"})
	bmctest.TestPower(t, words, func(t *testing.T, h *bmctest.Host) bmc.Machine {
		return connect(t, bmctest.StartIPMI(t, h, bmctest.IPMIConfig{}).Target("n1"))
	})
}

func TestPowerUnsupported(t *testing.T) {
	h := &bmctest.Host{}
	_ = h.SetPower(true)
	c := connect(t, bmctest.StartIPMI(t, h, bmctest.IPMIConfig{}).Target("n1"))
	for _, a := range []bmc.Action{bmc.Suspend, bmc.Wake} {
		if _, err := bmc.Power(t.Context(), c, a, 0); !errors.Is(err, bmc.ErrUnsupported) {
			t.Errorf("%s: %v, want not supported", a, err)
		}
	}
}

func TestPowerThatLags(t *testing.T) {
	h := &bmctest.Host{Lag: 300 * time.Millisecond}
	c := connect(t, bmctest.StartIPMI(t, h, bmctest.IPMIConfig{}).Target("n1"))
	if word, err := bmc.Power(t.Context(), c, bmc.On, 0); word != "on" || err != nil {
		t.Fatalf("on: %q, %v", word, err)
	}
	if !h.On() {
		t.Error("on was printed before the machine was on")
	}
}

func TestPowerIgnored(t *testing.T) {
	c := connect(t, bmctest.StartIPMI(t, &bmctest.Host{IgnorePower: true}, bmctest.IPMIConfig{}).Target("n1"))
	_, err := bmc.Power(t.Context(), c, bmc.On, 300*time.Millisecond)
	if !errors.Is(err, bmc.ErrIgnored) {
		t.Errorf("%v, want ignored", err)
	}
}

func TestCiphers(t *testing.T) {
	tests := []struct {
		has, wants []int
		want       error
	}{
		{[]int{17}, nil, nil},
		{[]int{3}, nil, nil}, // 17 is refused, then 3
		{[]int{3}, []int{17}, errCipher},
		{[]int{17}, []int{3}, errCipher},
		{[]int{3, 17}, []int{3}, nil},
		{[]int{3, 17}, []int{0}, bmc.ErrUnsupported}, // no authentication: never
	}
	for _, tt := range tests {
		x := bmctest.StartIPMI(t, nil, bmctest.IPMIConfig{Ciphers: tt.has})
		target := x.Target("n1")
		target.Ciphers = tt.wants
		c, err := Dial(t.Context(), target)
		if !errors.Is(err, tt.want) {
			t.Errorf("BMC has %v, we want %v: %v, want %v", tt.has, tt.wants, err, tt.want)
		}
		if err == nil {
			_ = c.Close()
		}
	}
}

func TestLogin(t *testing.T) {
	x := bmctest.StartIPMI(t, nil, bmctest.IPMIConfig{})
	tests := []struct {
		name           string
		user, password string
		want           error
	}{
		{"right", "admin", "secret", nil},
		{"wrong password", "admin", "Secret", bmc.ErrPassword},
		{"no password", "admin", "", bmc.ErrPassword},
		{"unknown user", "root", "secret", bmc.ErrPassword}, // as good BMCs do, this one does not say which
		{"user too long", strings.Repeat("a", 17), "secret", bmc.ErrUser},
		{"password too long", "admin", strings.Repeat("a", 21), bmc.ErrPassword},
	}
	for _, tt := range tests {
		target := x.Target("n1")
		target.User, target.Password = tt.user, bmc.Secret(tt.password)
		c, err := Dial(t.Context(), target)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if err == nil {
			_ = c.Close()
		}
		if err != nil && strings.Contains(err.Error(), tt.password) && tt.password != "" {
			t.Errorf("%s: the error shows the password: %v", tt.name, err)
		}
	}
	eventually(t, "all sessions are closed", func() bool { return x.Sessions() == 0 })
}

// eventually waits for what another goroutine does in its own time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in a minute: %s", what)
		}
	}
}

func TestPrivilege(t *testing.T) {
	tests := []struct {
		privilege uint8
		act       error
	}{{4, nil}, {3, nil}, {2, bmc.ErrPrivilege}}
	for _, tt := range tests {
		x := bmctest.StartIPMI(t, nil, bmctest.IPMIConfig{Privilege: tt.privilege})
		c := connect(t, x.Target("n1"))
		if s, err := c.State(t.Context()); err != nil || s != nodedb.PowerOff {
			t.Errorf("privilege %d: stat: %v, %v", tt.privilege, s, err)
		}
		if _, err := bmc.Power(t.Context(), c, bmc.On, 0); !errors.Is(err, tt.act) {
			t.Errorf("privilege %d: on: %v, want %v", tt.privilege, err, tt.act)
		}
	}
}

func TestSessionsFull(t *testing.T) {
	x := bmctest.StartIPMI(t, nil, bmctest.IPMIConfig{Sessions: 1})
	first, err := Dial(t.Context(), x.Target("n1"))
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		second, err := Dial(context.WithoutCancel(t.Context()), x.Target("n1"))
		if err == nil {
			_ = second.Close()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("second session while the only one is taken: %v, want it to wait", err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if err := <-got; err != nil {
		t.Errorf("second session after the first was closed: %v", err)
	}
}

func TestNodeBusy(t *testing.T) {
	x := bmctest.StartIPMI(t, nil, bmctest.IPMIConfig{})
	c := connect(t, x.Target("n1"))
	x.RefuseBusy(2)
	if s, err := c.State(t.Context()); err != nil || s != nodedb.PowerOff {
		t.Errorf("stat of a busy node: %v, %v", s, err)
	}
}

func TestDeadCostsItsPatience(t *testing.T) {
	x := bmctest.StartIPMI(t, nil, bmctest.IPMIConfig{})
	target := x.Target("n1")
	target.Timeout, target.Retries = 100*time.Millisecond, 1
	x.Close()
	if _, err := Dial(t.Context(), target); !errors.Is(err, bmc.ErrTimeout) {
		t.Errorf("%v, want timeout", err)
	}
}

func TestCancelled(t *testing.T) {
	x := bmctest.StartIPMI(t, nil, bmctest.IPMIConfig{})
	target := x.Target("n1")
	x.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := Dial(ctx, target); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want canceled", err)
	}
}

func TestBoot(t *testing.T) {
	h := &bmctest.Host{}
	c := connect(t, bmctest.StartIPMI(t, h, bmctest.IPMIConfig{}).Target("n1"))
	tests := []struct {
		set  bmc.Boot
		want string
	}{
		{bmc.Boot{Device: bmc.Network}, "Network"},
		{bmc.Boot{Device: bmc.HardDisk, Persistent: true}, "Hard Drive"},
		{bmc.Boot{Device: bmc.CD, UEFI: true}, "CD/DVD"},
		{bmc.Boot{Device: bmc.Floppy}, "Floppy"},
		{bmc.Boot{Device: bmc.Setup}, "BIOS Setup"},
		{bmc.Boot{Device: bmc.Default}, "BIOS default"},
	}
	if b, err := c.Boot(t.Context()); err != nil || b.String() != "boot override inactive" {
		t.Errorf("at first: %v, %v", b, err)
	}
	for _, tt := range tests {
		got, notes, err := bmc.SetBoot(t.Context(), c, tt.set)
		if err != nil || got.String() != tt.want || got.UEFI != tt.set.UEFI || got.Persistent != tt.set.Persistent || len(notes) != 0 {
			t.Errorf("set %+v: %+v %q, %v", tt.set, got, notes, err)
		}
		if h.Boot() != tt.set {
			t.Errorf("set %+v: the machine has %+v", tt.set, h.Boot())
		}
	}
	if _, _, err := bmc.SetBoot(t.Context(), c, bmc.Boot{Device: bmc.HTTP}); !errors.Is(err, bmc.ErrUnsupported) {
		t.Errorf("http: %v, want not supported", err)
	}
}

func TestBootIgnored(t *testing.T) {
	c := connect(t, bmctest.StartIPMI(t, &bmctest.Host{IgnoreBoot: true}, bmctest.IPMIConfig{}).Target("n1"))
	_, _, err := bmc.SetBoot(t.Context(), c, bmc.Boot{Device: bmc.Network})
	if !errors.Is(err, bmc.ErrIgnored) || !strings.Contains(err.Error(), `"Network" 3 times and reads back "boot override inactive"`) {
		t.Errorf("%v, want ignored", err)
	}
}
