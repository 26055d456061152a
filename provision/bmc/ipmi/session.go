package ipmi

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"margay/provision/bmc"

	"github.com/bougou/go-ipmi/pkg/command/app"
	"github.com/bougou/go-ipmi/pkg/types"
)

// A session is an RMCP+ session that stands.
type session struct {
	*conn
	bmcID     uint32
	keys      *keys
	privilege types.PrivilegeLevel // what the session may at most
	guid      [16]byte
	suite     int

	mu       sync.Mutex // guards what follows, and lets one request out at a time
	sequence uint32     // of packets
	request  byte       // of requests, 6 bits
	level    types.PrivilegeLevel
	divert   func(payload) // takes what is not an answer: SOL data
}

// How often a BMC that says "busy" is asked again, and how long after.
const (
	busyTries = 5
	busyPause = 200 * time.Millisecond
)

// do asks a request and reads the answer into res, which may be nil. level is
// the privilege that it needs (IPMI 2.0, appendix G).
func (s *session) do(ctx context.Context, level types.PrivilegeLevel, req types.Request, res types.Response) error {
	if err := s.raise(ctx, level); err != nil {
		return err
	}
	return s.run(ctx, req, res)
}

func (s *session) run(ctx context.Context, req types.Request, res types.Response) error {
	c := req.Command()
	pause := busyPause
	for try := 1; ; try++ {
		a, err := s.exchange(ctx, 0, c, req.Pack())
		if err != nil {
			return err
		}
		if !busy(a.code) || try == busyTries {
			return a.result(c, res)
		}
		if !bmc.Sleep(ctx, pause) {
			return bmc.Timeout(context.Cause(ctx))
		}
		pause *= 2
	}
}

// busy are the codes after which IPMI 2.0, table 5-2, has the same request
// tried again.
func busy(c types.CompletionCode) bool {
	return c == types.CodeNodeBusy || c == types.CodeProcessTimeout
}

func (a answer) result(c types.Command, res types.Response) error {
	switch {
	case a.code == types.CodeOK && res == nil:
		return nil
	case a.code == types.CodeOK:
		return decode(c, a.data, res)
	}
	err := error(&CodeError{c.Name, a.code})
	switch a.code {
	case types.CodeInsufficientPrivilege, 0xd6:
		return fmt.Errorf("%w: %w", err, bmc.ErrPrivilege)
	case types.CodeInvalidCommand:
		return fmt.Errorf("%w: %w", err, bmc.ErrUnsupported)
	}
	return err
}

// exchange sends a request until it is answered, whatever the answer.
func (s *session) exchange(ctx context.Context, limit time.Duration, c types.Command, data []byte) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.request = (s.request + 1) & 0x3f
	var got answer
	err := s.ask(ctx, limit, func() ([]byte, error) {
		return s.seal(types.PayloadTypeIPMI, buildMessage(c, s.request, data))
	}, func(p payload) (bool, error) {
		if p.kind != types.PayloadTypeIPMI || p.session == 0 {
			if s.divert != nil && p.session != 0 {
				s.divert(p)
			}
			return false, nil
		}
		a, err := parseAnswer(p.data)
		if err != nil || !a.answers(c, s.request) {
			return false, nil //nolint:nilerr // another's, or late: not ours to judge
		}
		got = a
		return true, nil
	})
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", c.Name, err)
	}
	return got, nil
}

// seal frames a payload under the session's next number. The caller holds mu.
func (s *session) seal(t types.PayloadType, data []byte) ([]byte, error) {
	s.sequence++
	if s.sequence == 0 {
		s.sequence = 1 // 0 is for packets outside a session (6.12.8)
	}
	return build20(s.keys, t, s.bmcID, s.sequence, data)
}

// raise makes sure that the session has a privilege. A session starts as User
// (22.18), which is all that asking needs.
func (s *session) raise(ctx context.Context, level types.PrivilegeLevel) error {
	if level <= s.level {
		return nil
	}
	if level > s.privilege {
		return fmt.Errorf("the BMC lets this user be %s at most, and it takes %s: %w", s.privilege, level, bmc.ErrPrivilege)
	}
	want := s.privilege
	var res app.SetSessionPrivilegeLevelResponse
	err := s.run(ctx, &app.SetSessionPrivilegeLevelRequest{PrivilegeLevel: want}, &res)
	var code *CodeError
	if errors.As(err, &code) && want > level {
		want = level
		err = s.run(ctx, &app.SetSessionPrivilegeLevelRequest{PrivilegeLevel: want}, &res)
	}
	// 80h: not available for the user; 81h: exceeds user or channel limit.
	if errors.As(err, &code) && (code.Code == 0x80 || code.Code == 0x81) {
		return fmt.Errorf("the BMC does not let this user be %s: %w", level, bmc.ErrPrivilege)
	}
	if err != nil {
		return err
	}
	s.level = want
	return nil
}

// closePatience is how long the BMC may take to say goodbye. It is told so
// that its session is free at once, not after a minute of silence.
const closePatience = time.Second

func (s *session) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	req := &app.CloseSessionRequest{SessionID: s.bmcID}
	_, _ = s.exchange(ctx, closePatience, req.Command(), req.Pack())
	return s.conn.close()
}
