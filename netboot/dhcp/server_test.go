package dhcp

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"margay/netboot"
)

// planFunc is a whole planner.
type planFunc func(context.Context, netboot.Machine) (*netboot.Plan, error)

func (f planFunc) Plan(ctx context.Context, m netboot.Machine) (*netboot.Plan, error) {
	return f(ctx, m)
}

// events keeps what an observer is told.
type events chan netboot.Event

func (e events) Observe(ev netboot.Event) { e <- ev }

var testPlan = netboot.Plan{
	Node:     "esx1",
	Addr:     netip.MustParsePrefix("10.1.0.11/16"),
	Router:   netip.MustParseAddr("10.1.0.1"),
	DNS:      []netip.Addr{netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.1.0.2")},
	NTP:      []netip.Addr{netip.MustParseAddr("10.1.0.1")},
	Log:      []netip.Addr{netip.MustParseAddr("10.1.0.1")},
	Domain:   "cluster.test",
	Search:   []string{"cluster.test", "example.com"},
	Hostname: "esx1",
	MTU:      9000,
	Lease:    600 * time.Second,
}

var testMAC = net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x56}

// start serves on loopback and gives where.
func start(t testing.TB, s *Server) netip.AddrPort {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c, err := ListenAddr(ctx, netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, c) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return c.Addr()
}

// A relay asks a server as a relay with a port of its own does (RFC 8357).
type relay struct {
	t testing.TB
	*net.UDPConn
}

func newRelay(t testing.TB, server netip.AddrPort) *relay {
	t.Helper()
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &relay{t, c}
}

// viaRelay makes a request one that a relay on this host has passed on.
func viaRelay(d *dhcpv4.DHCPv4) {
	d.GatewayIPAddr = net.IPv4(127, 0, 0, 1)
	d.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionRelayAgentInformation, []byte{1, 2, 'e', '0', 19, 0}))
}

func (r *relay) ask(msg *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	r.t.Helper()
	if _, err := r.Write(msg.ToBytes()); err != nil {
		r.t.Fatal(err)
	}
	buf := make([]byte, 4096)
	r.SetReadDeadline(time.Now().Add(time.Minute))
	n, err := r.Read(buf)
	if err != nil {
		r.t.Fatalf("no reply: %v", err)
	}
	got, err := dhcpv4.FromBytes(buf[:n])
	if err != nil {
		r.t.Fatalf("reply: %v", err)
	}
	return got
}

func discover(t testing.TB, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	d, err := dhcpv4.NewDiscovery(testMAC, mods...)
	if err != nil {
		t.Fatal(err)
	}
	d.TransactionID = dhcpv4.TransactionID{1, 2, 3, 4}
	return d
}

func TestServe(t *testing.T) {
	ev := make(events, 8)
	s := &Server{Observer: ev, Planner: planFunc(func(ctx context.Context, m netboot.Machine) (*netboot.Plan, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("the planner has no deadline")
		}
		p := testPlan
		return &p, nil
	})}
	r := newRelay(t, start(t, s))

	d := discover(t, viaRelay)
	offer := r.ask(d)
	if offer.MessageType() != dhcpv4.MessageTypeOffer || offer.YourIPAddr.String() != "10.1.0.11" {
		t.Fatalf("got %s", offer.Summary())
	}
	req, err := dhcpv4.NewRequestFromOffer(offer, viaRelay)
	if err != nil {
		t.Fatal(err)
	}
	ack := r.ask(req)
	if ack.MessageType() != dhcpv4.MessageTypeAck || ack.YourIPAddr.String() != "10.1.0.11" {
		t.Fatalf("got %s", ack.Summary())
	}
	var steps []netboot.Step
	for range 3 {
		e := <-ev
		steps = append(steps, e.Step)
		if e.Node != "esx1" || e.Proto != "dhcp" {
			t.Errorf("event %s of %q by %s, want esx1 by dhcp", e.Step, e.Node, e.Proto)
		}
	}
	// An offer is told of once it is sent, and a machine this near has asked for
	// it by then.
	slices.Sort(steps[1:])
	if want := []netboot.Step{netboot.StepDiscover, netboot.StepAck, netboot.StepOffer}; !slices.Equal(steps, want) {
		t.Errorf("events %v, want %v", steps, want)
	}
	if c := s.Counts(); c.Received != 2 || c.Offers != 1 || c.Acks != 1 {
		t.Errorf("counts %+v", c)
	}
}

func TestSilence(t *testing.T) {
	plans := make(chan netboot.Machine, 8)
	s := &Server{Workers: 1, Planner: planFunc(func(_ context.Context, m netboot.Machine) (*netboot.Plan, error) {
		plans <- m
		if m.Hostname == "" {
			return nil, netboot.ErrIgnore
		}
		p := testPlan
		return &p, nil
	})}
	r := newRelay(t, start(t, s))

	r.Write([]byte("hello"))
	r.Write(discover(t).ToBytes()) // nobody relayed it: there is no way back
	r.Write(discover(t, viaRelay).ToBytes())
	other := discover(t, viaRelay, dhcpv4.WithOption(dhcpv4.OptHostName("x")),
		dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 0, 2, 1))),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IPv4(10, 1, 0, 11))))
	r.Write(other.ToBytes())
	// What comes back first is the answer to the last, so the others got none.
	last := discover(t, viaRelay, dhcpv4.WithOption(dhcpv4.OptHostName("x")))
	last.TransactionID = dhcpv4.TransactionID{9}
	if got := r.ask(last); got.TransactionID != last.TransactionID {
		t.Errorf("answered %s", got.Summary())
	}
	if len(plans) != 3 { // not asked about what it cannot answer
		t.Errorf("the planner was asked %d times, want 3", len(plans))
	}
	for end := time.Now().Add(time.Minute); s.Counts().Offers == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond) // an answer is counted after it was sent
	}
	if c := s.Counts(); c.Received != 5 || c.Malformed != 1 || c.Ignored != 3 || c.Offers != 1 {
		t.Errorf("counts %+v", c)
	}
}

// One planner that waits must not make the others wait.
func TestSlowPlan(t *testing.T) {
	wait := make(chan struct{})
	s := &Server{Planner: planFunc(func(ctx context.Context, m netboot.Machine) (*netboot.Plan, error) {
		if m.Hostname == "slow" {
			select {
			case <-wait:
			case <-ctx.Done():
			}
		}
		p := testPlan
		return &p, nil
	})}
	r := newRelay(t, start(t, s))
	slow := discover(t, viaRelay, dhcpv4.WithOption(dhcpv4.OptHostName("slow")))
	r.Write(slow.ToBytes())
	fast := discover(t, viaRelay)
	fast.TransactionID = dhcpv4.TransactionID{9}
	if got := r.ask(fast); got.TransactionID != fast.TransactionID {
		t.Errorf("the slow one was answered first")
	}
	close(wait)
}

// A flood of requests that the planner sits on is bounded by Workers.
func TestWorkersBounded(t *testing.T) {
	entered := make(chan struct{}, 64)
	release := make(chan struct{})
	s := &Server{Workers: 2, Planner: planFunc(func(ctx context.Context, m netboot.Machine) (*netboot.Plan, error) {
		entered <- struct{}{}
		<-release
		return nil, netboot.ErrIgnore
	})}
	r := newRelay(t, start(t, s))
	for range 10 {
		r.Write(discover(t, viaRelay).ToBytes())
	}
	<-entered
	<-entered
	if n := len(entered); n != 0 {
		t.Errorf("%d more than 2 in hand", n)
	}
	close(release)
	for range 8 {
		<-entered
	}
}

// prompt plans at once for those who have no host name, and says so.
type prompt struct{ planFunc }

func (prompt) Prompt(m netboot.Machine) bool { return m.Hostname == "" }

// TestFullBacklog: with all hands waiting and the line full, machines that can be
// answered at once are, and the others' requests are dropped and counted; what
// has waited for too long is not answered any more.
func TestFullBacklog(t *testing.T) {
	const more = 300
	release := make(chan struct{})
	s := &Server{Workers: 2, Planner: prompt{func(_ context.Context, m netboot.Machine) (*netboot.Plan, error) {
		if m.Hostname != "" {
			<-release
			return nil, netboot.ErrIgnore
		}
		p := testPlan
		return &p, nil
	}}}
	r := newRelay(t, start(t, s))
	slow := discover(t, viaRelay, dhcpv4.WithOption(dhcpv4.OptHostName("slow"))).ToBytes()
	for i := range 2 + backlogSize + more {
		r.Write(slow)
		if i%100 == 99 {
			r.ask(discover(t, viaRelay)) // no faster than it takes them
		}
	}
	fast := discover(t, viaRelay)
	fast.TransactionID = dhcpv4.TransactionID{9}
	if got := r.ask(fast); got.TransactionID != fast.TransactionID {
		t.Errorf("answered %s", got.Summary())
	}
	if n := s.Counts().Dropped; n < more || n > more+2 {
		t.Errorf("%d dropped, want about %d", n, more)
	}
	close(release)
}

func TestStale(t *testing.T) {
	s := &Server{Planner: planFunc(func(context.Context, netboot.Machine) (*netboot.Plan, error) {
		t.Error("asked")
		return nil, netboot.ErrIgnore
	})}
	s.wait(t.Context(), &sock{mode: Authoritative}, &exchange{at: time.Now().Add(-stale - time.Second)})
	if n := s.Counts().Dropped; n != 1 {
		t.Errorf("%d dropped, want 1", n)
	}
}

// deferring answers REQUESTs when the test says so, and all else at once.
type deferring struct {
	planFunc
	waiting chan func(*netboot.Plan, error)
}

func (d deferring) Defer(m netboot.Machine, done func(*netboot.Plan, error)) bool {
	if m.Ask != netboot.AskRequest {
		return false
	}
	d.waiting <- done
	return true
}

// TestDeferred: requests that are answered later keep nobody, however many there
// are; each has its own answer, in any order; and Serve does not end before the
// last has.
func TestDeferred(t *testing.T) {
	d := deferring{waiting: make(chan func(*netboot.Plan, error), backlogSize), planFunc: func(context.Context, netboot.Machine) (*netboot.Plan, error) {
		p := testPlan
		return &p, nil
	}}
	s := &Server{Workers: 1, Planner: d}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c, err := ListenAddr(ctx, netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, c) }()
	r := newRelay(t, c.Addr())
	req := discover(t, viaRelay)
	req.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeRequest))
	req.UpdateOption(dhcpv4.OptRequestedIPAddress(testPlan.Addr.Addr().AsSlice()))
	const many = 700
	var waiting []func(*netboot.Plan, error)
	for i := range many {
		req.TransactionID = dhcpv4.TransactionID{7, byte(i >> 8), byte(i)}
		r.Write(req.ToBytes())
		waiting = append(waiting, <-d.waiting)
	}
	first := discover(t, viaRelay)
	first.TransactionID = dhcpv4.TransactionID{9}
	if got := r.ask(first); got.TransactionID != first.TransactionID {
		t.Errorf("answered %s", got.Summary())
	}
	answer := make([]byte, 1500)
	r.SetReadDeadline(time.Now().Add(time.Minute))
	// However late: what it waited for is done.
	for i := many - 1; i > 0; i-- {
		p := testPlan
		waiting[i](&p, nil)
		n, err := r.Read(answer)
		if err != nil {
			t.Fatal(err)
		}
		got, err := dhcpv4.FromBytes(answer[:n])
		if err != nil || got.MessageType() != dhcpv4.MessageTypeAck || got.TransactionID != (dhcpv4.TransactionID{7, byte(i >> 8), byte(i)}) {
			t.Fatalf("%v: answered %s", err, got.Summary())
		}
	}
	cancel()
	select {
	case <-served:
		t.Error("it ended with a request in hand")
	case <-time.After(20 * time.Millisecond):
	}
	waiting[0](nil, netboot.ErrIgnore)
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if n := s.Counts().Acks; n != many-1 {
		t.Errorf("%d ACKs, want %d", n, many-1)
	}
}
