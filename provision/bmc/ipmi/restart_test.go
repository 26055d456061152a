package ipmi

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"margay/provision/bmc"
	"margay/provision/bmc/bmctest"

	"github.com/bougou/go-ipmi/pkg/command/app"
	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/command/sensor"
	"github.com/bougou/go-ipmi/pkg/command/storage"
	"github.com/bougou/go-ipmi/pkg/command/transport"
	"github.com/bougou/go-ipmi/pkg/types"
)

// answers are all that this package has the library read.
func answers() []types.Response {
	return []types.Response{
		&app.GetChannelAuthenticationCapabilitiesResponse{}, &app.SetSessionPrivilegeLevelResponse{}, &app.GetSystemGUIDResponse{},
		&app.GetUserAccessResponse{}, &app.GetUsernameResponse{}, &chassis.GetChassisStatusResponse{}, &chassis.GetSystemBootOptionsParamResponse{},
		&sensor.GetSensorReadingResponse{}, &storage.GetFRUInventoryAreaInfoResponse{}, &storage.ReserveSDRRepoResponse{}, &storage.GetSDRResponse{},
		&storage.GetSELEntryResponse{}, &storage.ReserveSELResponse{}, &storage.ClearSELResponse{}, &transport.GetLanConfigParamResponse{},
		&transport.ActivatePayloadResponse{}, &rawResponse{},
	}
}

// TestConsoleSurvivesRestart has a BMC go away under a console and come back.
func TestConsoleSurvivesRestart(t *testing.T) {
	x := bmctest.StartIPMI(t, nil, bmctest.IPMIConfig{Console: serial(t)})
	target := x.Target("n1")
	target.Timeout, target.Retries = 2*time.Second, 1
	c := &bmc.Consoles{Open: func(ctx context.Context, _ string) (io.ReadWriteCloser, error) { return OpenConsole(ctx, target) }}
	defer c.Close()
	w, err := c.Attach(t.Context(), "n1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	_, _ = w.Write([]byte("one\r"))
	bmctest.Expect(t, w, "ONE\r")
	x.Close()
	_, _ = w.Write([]byte("two\r")) // nobody acknowledges it
	bmctest.Expect(t, w, "lost: ")
	y, err := bmctest.NewIPMI(&bmctest.Host{}, bmctest.IPMIConfig{Listen: fmt.Sprintf("127.0.0.1:%d", target.Port), Console: serial(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer y.Close()
	eventually(t, "the console is back", func() bool { return y.Sessions() > 0 })
	got := make(chan string, 1)
	go func() {
		buf := make([]byte, 100)
		n, _ := w.Read(buf)
		got <- string(buf[:n])
	}()
	for {
		_, _ = w.Write([]byte("three\r"))
		select {
		case s := <-got:
			if !strings.Contains(s, "THREE") && !strings.Contains(s, "lost") {
				t.Errorf("after the restart: %q", s)
			}
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// silentPort is a port that takes what comes and never answers, and stays
// taken until the test ends.
func silentPort(t *testing.T) int {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.LocalAddr().(*net.UDPAddr).Port //nolint:forcetypeassert // it is
}

// TestEachOverSockets is the fan-out with real controllers, half of them dead.
func TestEachOverSockets(t *testing.T) {
	const half = 50
	var targets []bmc.Target
	for i := range half {
		x := bmctest.StartIPMI(t, nil, bmctest.IPMIConfig{Latency: 20 * time.Millisecond})
		alive, dead := x.Target(fmt.Sprint("alive", i)), x.Target(fmt.Sprint("dead", i))
		dead.Port = silentPort(t)
		dead.Timeout, dead.Retries = 500*time.Millisecond, 1
		alive.Timeout = 20 * time.Second
		targets = append(targets, dead, alive)
	}
	var d Dialer
	begin := time.Now()
	counts := map[string]int{}
	for r := range bmc.Each(t.Context(), bmc.Limits{Busy: 8}, targets, func(ctx context.Context, target bmc.Target) (string, error) {
		c, err := d.Dial(ctx, target)
		if err != nil {
			return "", err
		}
		defer func() { _ = c.Close() }()
		return bmc.Power(ctx, c, bmc.Stat, 0)
	}) {
		if (r.Err == nil) != strings.HasPrefix(r.Target.Node, "alive") {
			t.Errorf("%s: %v", r.Target.Node, r.Err)
		}
		counts[r.Value]++
	}
	if counts["off"] != half || counts[""] != half {
		t.Errorf("%v", counts)
	}
	t.Logf("%d controllers, %d of them dead, in %v", 2*half, half, time.Since(begin))
}
