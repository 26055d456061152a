package ipmi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"margay/provision/bmc"

	"github.com/bougou/go-ipmi/pkg/command/app"
	"github.com/bougou/go-ipmi/pkg/command/transport"
	"github.com/bougou/go-ipmi/pkg/types"
)

// Serial over LAN (15, 24): the machine's serial port as packets of a session.
// Each side numbers its packets and sends the next when the last was
// acknowledged.

const (
	solInstance = 1
	solHeader   = 4

	statusNack        = 0x40 // table 15-2
	statusDeactivated = 0x10

	solResend    = 500 * time.Millisecond
	solTries     = 12
	solKeepalive = 20 * time.Second // BMCs end a session after 60 s of silence (6.12.15)
	solMaxChunk  = 200
)

// Answers to Activate Payload (24.1).
const (
	codePayloadActive   = 0x80
	codePayloadDisabled = 0x81
)

// errEnded: the BMC has deactivated the console.
var errEnded = errors.New("the BMC ended the console")

// A console is an activated SOL payload. One goroutine runs it; readers and
// writers meet it in the stream.
type console struct {
	*stream
	s      *session
	cancel context.CancelFunc
	done   chan struct{}

	chunk int // how many characters the BMC takes at a time

	out     byte // number of the packet that is under way, 1 to 15
	pending []byte
	tries   int
	resend  *time.Timer

	in    byte // number of the last packet taken
	inLen int  // how many characters of it
	acks  []types.SOLPayloadPacket
	ended bool
}

// Console opens the serial console in a session of its own. A console that
// another holds is taken over, as xCAT and freeipmi do.
func (c *Controller) Console(ctx context.Context) (io.ReadWriteCloser, error) {
	return OpenConsole(ctx, c.target)
}

// OpenConsole opens a target's serial console, whatever protocol it is managed
// by otherwise. The caller closes it.
func OpenConsole(ctx context.Context, t bmc.Target) (io.ReadWriteCloser, error) {
	s, err := open(ctx, t)
	if err != nil {
		return nil, err
	}
	x, err := activate(ctx, s)
	if err != nil {
		_ = s.close()
		return nil, err
	}
	return x, nil
}

func activate(ctx context.Context, s *session) (*console, error) {
	req := &transport.ActivatePayloadRequest{PayloadType: types.PayloadTypeSOL, PayloadInstance: solInstance, EnableEncryption: true, EnableAuthentication: true}
	var res transport.ActivatePayloadResponse
	err := s.do(ctx, user, req, &res)
	if codeOf(err) == codePayloadActive {
		if err := s.do(ctx, user, &transport.DeactivatePayloadRequest{PayloadType: types.PayloadTypeSOL, PayloadInstance: solInstance}, nil); err != nil {
			return nil, fmt.Errorf("console is in use, and cannot be taken over: %w", err)
		}
		err = s.do(ctx, user, req, &res)
	}
	if codeOf(err) == codePayloadDisabled {
		return nil, unsupported(errors.New("serial over LAN is disabled in the BMC; enable it there"))
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	x := &console{stream: newStream(), s: s, cancel: cancel, done: make(chan struct{}), chunk: solMaxChunk}
	if n := int(res.InboundPayloadSize) - solHeader; n > 0 && n < x.chunk {
		x.chunk = n
	}
	s.divert = x.take
	go x.run(ctx)
	return x, nil
}

// Close deactivates the console and ends its session.
func (x *console) Close() error {
	x.stream.end(io.ErrClosedPipe)
	x.cancel()
	<-x.done
	return nil
}

func (x *console) run(ctx context.Context) {
	defer close(x.done)
	x.resend = time.NewTimer(solResend)
	defer x.resend.Stop()
	alive := time.NewTicker(solKeepalive)
	defer alive.Stop()
	err := x.loop(ctx, alive.C)
	x.stream.end(err)
	if ctx.Err() != nil { // ours to end: one that the BMC ended may be another's by now
		bye, cancel := context.WithTimeout(context.Background(), closePatience)
		_ = x.s.do(bye, user, &transport.DeactivatePayloadRequest{PayloadType: types.PayloadTypeSOL, PayloadInstance: solInstance}, nil)
		cancel()
	}
	_ = x.s.close()
}

func (x *console) loop(ctx context.Context, alive <-chan time.Time) error {
	for {
		select {
		case <-ctx.Done():
			return io.ErrClosedPipe
		case p := <-x.s.inbox:
			x.take(p)
		case <-x.stream.typed:
		case <-x.stream.room:
			x.poll()
		case <-x.resend.C:
			if err := x.again(); err != nil {
				return err
			}
		case <-x.s.done:
			return fmt.Errorf("console: %w", x.s.gone)
		case <-alive:
			if err := x.s.run(ctx, &app.GetDeviceIDRequest{}, &rawResponse{}); err != nil && codeOf(err) == types.CodeOK {
				return fmt.Errorf("console: %w", err)
			}
		}
		if x.ended {
			return errEnded
		}
		x.acknowledge()
		x.next()
	}
}

// acknowledge sends the acknowledgements that take has left. It cannot send
// them itself: a request may be out, and its packets are numbered too.
func (x *console) acknowledge() {
	for _, a := range x.acks {
		x.send(a)
	}
	x.acks = x.acks[:0]
}

// next sends what was typed meanwhile, unless the last is still under way.
func (x *console) next() {
	if x.pending != nil {
		return
	}
	if x.pending = x.stream.takeTyped(x.chunk); x.pending == nil {
		return
	}
	x.out = x.out%15 + 1
	x.tries = 0
	x.sendPending()
}

func (x *console) sendPending() {
	x.tries++
	x.send(types.SOLPayloadPacket{SequenceNumber: x.out, CharacterData: x.pending})
	x.resend.Reset(solResend)
}

// again repeats what was not acknowledged.
func (x *console) again() error {
	if x.pending == nil {
		return nil
	}
	if x.tries >= solTries {
		return fmt.Errorf("console: %w", bmc.ErrTimeout)
	}
	x.sendPending()
	return nil
}

// poll tells a BMC whose data were refused for want of room that there is some.
func (x *console) poll() { x.send(types.SOLPayloadPacket{}) }

func (x *console) send(p types.SOLPayloadPacket) {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	if b, err := x.s.seal(types.PayloadTypeSOL, p.Pack()); err == nil {
		_, _ = x.s.udp.Write(b)
	}
}

// take handles a packet from the BMC. It is called from the loop, and from
// exchange while a request is out, which holds the session's lock.
func (x *console) take(p payload) {
	if p.kind != types.PayloadTypeSOL || p.session == 0 {
		return
	}
	var sol types.SOLPayloadPacket
	if sol.Unpack(p.data) != nil {
		return
	}
	if sol.ControlByte&statusDeactivated != 0 {
		x.ended = true
	}
	x.acknowledged(sol)
	x.received(sol)
}

// acknowledged takes off what the BMC has accepted. A BMC that cannot take
// more says NACK and how much it took; the rest goes out again in time (15.11).
func (x *console) acknowledged(sol types.SOLPayloadPacket) {
	if x.pending == nil || sol.AckedSequenceNumber != x.out {
		return
	}
	n := min(int(sol.AcceptedCharacterCount), len(x.pending))
	if n == 0 {
		return // refused: again after the timer
	}
	rest := x.pending[n:]
	x.pending = nil
	if len(rest) > 0 {
		x.stream.untype(rest)
	}
}

// late says that a packet is a copy of one taken before the last: the network
// kept it back. Numbers go round from 1 to 15, so half of them are behind.
func (x *console) late(number byte) bool {
	behind := (int(x.in) - int(number) + 15) % 15
	return x.in != 0 && behind > 0 && behind < 8
}

// received passes on characters and acknowledges them. A repeated packet keeps
// its number and may have grown (15.11).
func (x *console) received(sol types.SOLPayloadPacket) {
	if sol.SequenceNumber == 0 || len(sol.CharacterData) == 0 {
		return
	}
	if x.late(sol.SequenceNumber) {
		return
	}
	fresh := sol.CharacterData
	if sol.SequenceNumber == x.in {
		fresh = fresh[min(x.inLen, len(fresh)):]
	}
	if !x.stream.deliver(fresh) {
		return // no room: the BMC repeats it
	}
	x.in, x.inLen = sol.SequenceNumber, len(sol.CharacterData)
	x.acks = append(x.acks, types.SOLPayloadPacket{AckedSequenceNumber: x.in, AcceptedCharacterCount: uint8(min(x.inLen, 255))}) //nolint:gosec // at most 255
}
