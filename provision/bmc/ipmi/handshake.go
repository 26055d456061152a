package ipmi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"margay/provision/bmc"

	"github.com/bougou/go-ipmi/pkg/command/app"
	"github.com/bougou/go-ipmi/pkg/crypto"
	"github.com/bougou/go-ipmi/pkg/rmcpplus"
	"github.com/bougou/go-ipmi/pkg/types"
)

// How a session comes about (IPMI 2.0, 13.15): the channel is asked what it
// can, a session is opened with a cipher suite, and RAKP messages 1 to 4 prove
// each side's password to the other.
//
// The standard has the console ask for the list of suites first (22.15). Some
// BMCs never answer that, and others list suites they refuse; we propose the
// good ones in turn, which costs one packet.

// defaultCiphers are the two suites worth having: 17 is SHA-256 with AES, 3 is
// SHA-1 with AES and what every IPMI 2.0 controller has (22.15.2).
func defaultCiphers() []int { return []int{17, 3} }

// open sets up a session.
func open(ctx context.Context, t bmc.Target) (*session, error) {
	if len(t.User) > rmcpplus.MaxUserNameLength {
		return nil, fmt.Errorf("user %q: longer than the %d characters of IPMI: %w", t.User, rmcpplus.MaxUserNameLength, bmc.ErrUser)
	}
	if len(t.Password) > 20 {
		return nil, fmt.Errorf("longer than the 20 characters of IPMI 2.0: %w", bmc.ErrPassword)
	}
	c, err := dial(ctx, t)
	if err != nil {
		return nil, err
	}
	s, err := handshake(ctx, c, t)
	if err != nil {
		_ = c.close()
		return nil, err
	}
	return s, nil
}

// Refusals after which the handshake is begun anew, and how long after.
const (
	handshakeTries = 4
	handshakePause = time.Second
)

func handshake(ctx context.Context, c *conn, t bmc.Target) (*session, error) {
	if err := knock(ctx, c); err != nil {
		return nil, err
	}
	n := negotiation{conn: c, target: t, privilege: types.PrivilegeLevelAdministrator, ciphers: t.Ciphers}
	if len(n.ciphers) == 0 {
		n.ciphers = defaultCiphers()
	}
	pause := handshakePause
	for try := 1; ; {
		s, err := n.try(ctx)
		if err == nil {
			return s, nil
		}
		again, wait := n.learn(err)
		if !again {
			return nil, err
		}
		if !wait {
			continue
		}
		if try++; try > handshakeTries {
			return nil, err
		}
		if !bmc.Sleep(ctx, pause) {
			return nil, bmc.Timeout(context.Cause(ctx))
		}
		pause *= 2
	}
}

// knock asks what the channel can, which every BMC answers to anyone (13.15,
// 22.13). Whoever is dead is found dead here, and holds nobody up.
func knock(ctx context.Context, c *conn) error {
	req := &app.GetChannelAuthenticationCapabilitiesRequest{
		IPMIv20Extended: true, ChannelNumber: types.ChannelNumberSelf, MaximumPrivilegeLevel: types.PrivilegeLevelAdministrator,
	}
	cmd := req.Command()
	packet := build15(buildMessage(cmd, 1, req.Pack()))
	var got answer
	resume := bmc.Pause(ctx)
	err := c.ask(ctx, 0, func() ([]byte, error) { return packet, nil }, func(p payload) (bool, error) {
		if p.session != 0 || p.kind != types.PayloadTypeIPMI {
			return false, nil
		}
		a, err := parseAnswer(p.data)
		if err != nil || !a.answers(cmd, 1) {
			return false, nil //nolint:nilerr // not the answer: wait on
		}
		got = a
		return true, nil
	})
	if err != nil {
		return err
	}
	if err := resume(ctx); err != nil {
		return err
	}
	var res app.GetChannelAuthenticationCapabilitiesResponse
	if got.code != types.CodeOK || decode(cmd, got.data, &res) != nil {
		return nil // it lives; the session will say the rest
	}
	if !res.IPMIv20ExtendedAvailable || !res.SupportIPMIv20 && res.SupportIPMIv15 {
		return fmt.Errorf("the BMC speaks only IPMI 1.5, whose passwords go over the wire in clear; update its firmware: %w", bmc.ErrUnsupported)
	}
	return nil
}

// A statusError is a refusal by RMCP+ status code.
type statusError struct {
	step   string
	status types.RmcpStatusCode
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s: %s (0x%02x)", e.step, e.status, uint8(e.status))
}

func (e *statusError) Unwrap() error {
	switch e.status {
	case types.RmcpStatusCodeNoResToCreateSess, types.RmcpStatusCodeNoResToCreateSessAtRole:
		return bmc.ErrBusy
	case types.RmcpStatusCodeUnauthorizedName, types.RmcpStatusCodeInvalidNameLength:
		return bmc.ErrUser
	case types.RmcpStatusCodeInvalidRole, types.RmcpStatusCodeUnauthorizedRoleOfPriLevel:
		return bmc.ErrPrivilege
	}
	return nil
}

// errCipher: the BMC did not take the cipher suite that was proposed.
var errCipher = errors.New("cipher suite refused")

// A negotiation is what has been learnt of a BMC while a session is set up.
type negotiation struct {
	*conn
	target    bmc.Target
	ciphers   []int // still to be tried; the first is next
	privilege types.PrivilegeLevel
}

// learn says whether another try may help, and whether it is worth a pause.
func (n *negotiation) learn(err error) (again, wait bool) {
	var st *statusError
	switch {
	case errors.Is(err, errCipher):
		n.ciphers = n.ciphers[1:]
		return len(n.ciphers) > 0, false
	case errors.Is(err, bmc.ErrPrivilege) && n.privilege > types.PrivilegeLevelUser:
		n.privilege-- // Administrator, Operator, User
		return true, false
	case errors.Is(err, bmc.ErrBusy):
		return true, true
	case errors.As(err, &st):
		// Sessions that the BMC forgot halfway: a packet of ours came late or
		// twice. Begin anew.
		return st.status == types.RmcpStatusCodeInvalidSessionID ||
			st.status == types.RmcpStatusCodeInactiveSessionID ||
			st.status == types.RmcpStatusCodeInvalidIntegrityCheckValue, true
	}
	return false, false
}

// An attempt is the state of one handshake.
type attempt struct {
	*negotiation
	tag       byte
	id, bmcID uint32
	auth      types.AuthAlg
	integrity types.IntegrityAlg
	crypt     types.CryptAlg
	random    [16]byte
	bmcRandom [16]byte
	guid      [16]byte
	role      byte
	sik       []byte
}

// try does one handshake with the first cipher suite.
func (n *negotiation) try(ctx context.Context) (*session, error) {
	a := &attempt{negotiation: n}
	seed := crypto.RandomBytes(5)
	a.tag, a.id = seed[0], binary.LittleEndian.Uint32(seed[1:])|1
	copy(a.random[:], crypto.RandomBytes(16))
	id := n.ciphers[0]
	var ok bool
	a.auth, a.integrity, a.crypt, ok = types.GetCipherSuiteAlgorithms(types.CipherSuiteID(id)) //nolint:gosec // checked below
	if !ok || id < 0 || id > 255 || (id != 3 && id != 17) {
		return nil, fmt.Errorf("cipher suite %d: only 17 and 3 authenticate and encrypt with what is still good; see site.ipmiciphers: %w", id, bmc.ErrUnsupported)
	}
	if err := a.openSession(ctx); err != nil {
		return nil, err
	}
	if err := a.rakp12(ctx); err != nil {
		return nil, err
	}
	k, err := a.keys()
	if err != nil {
		return nil, err
	}
	if err := a.rakp34(ctx); err != nil {
		return nil, err
	}
	a.conn.session.Store(&secured{id: a.id, keys: k})
	return &session{conn: a.conn, bmcID: a.bmcID, keys: k, privilege: n.privilege, level: types.PrivilegeLevelUser, guid: a.guid, suite: id}, nil
}

// speak sends one message of the handshake and waits for its answer of a kind,
// tag and session.
//
// Answers outside a session are authentic only by what they prove, and anyone
// can send one. So an answer that check does not like is remembered while the
// BMC has time to send another, and its fault stands only if none comes.
func (a *attempt) speak(ctx context.Context, limit time.Duration, kind types.PayloadType, message []byte, answer types.PayloadType, check func([]byte) error) error {
	packet, err := build20(nil, kind, 0, 0, message)
	if err != nil {
		return err
	}
	var fault error
	next := func() ([]byte, error) { return packet, fault }
	return a.ask(ctx, limit, next, func(p payload) (bool, error) {
		if p.kind != answer || p.session != 0 || !p.plus || len(p.data) < 8 || p.data[0] != a.tag {
			return false, nil
		}
		// An error need not carry our session (table 13-10: reserved then).
		if id := binary.LittleEndian.Uint32(p.data[4:]); id != a.id && (p.data[1] == 0 || id != 0) {
			return false, nil
		}
		err := check(p.data)
		if proven(err) {
			return true, err
		}
		fault = err
		return false, nil
	})
}

// proven says that nothing is gained by waiting for another answer: all is
// well, or the refusal is one that another try gets round.
func proven(err error) bool {
	return !errors.Is(err, bmc.ErrPassword) && !errors.Is(err, bmc.ErrUser)
}

// openSession is messages Open Session Request and Response (13.17, 13.18).
func (a *attempt) openSession(ctx context.Context) error {
	auth, integrity, crypt := rmcpplus.NewAlgorithmPayloads(a.auth, a.integrity, a.crypt)
	req := rmcpplus.OpenSessionRequest{
		MessageTag: a.tag, RemoteConsoleSessionID: a.id, // privilege 0: the highest that matches
		AuthenticationPayload: auth, IntegrityPayload: integrity, ConfidentialityPayload: crypt,
	}
	limit := time.Duration(0)
	if len(a.ciphers) > 1 {
		// A BMC that does not know a suite may keep silent about it. It has
		// answered the knock, so it is not dead: do not wait for long.
		limit = min(a.patience/4, 2*time.Second)
	}
	err := a.speak(ctx, limit, types.PayloadTypeRmcpOpenSessionRequest, req.Pack(), types.PayloadTypeRmcpOpenSessionResponse, a.opened)
	if errors.Is(err, bmc.ErrTimeout) && limit > 0 && ctx.Err() == nil {
		return fmt.Errorf("cipher suite %d: no answer: %w", a.ciphers[0], errCipher)
	}
	return err
}

// opened reads the Open Session Response.
func (a *attempt) opened(data []byte) error {
	var res rmcpplus.OpenSessionResponse
	if err := res.Unpack(data); err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	switch res.RmcpStatusCode {
	case types.RmcpStatusCodeNoErrors:
	case types.RmcpStatusCodeInvalidAuthAlg, types.RmcpStatusCodeInvalidIntegrityAlg, types.RmcpStatusCodeNoMatchingAuthPayload,
		types.RmcpStatusCodeNoMatchingIntegrityPayload, types.RmcpStatusCodeInvalidConfidentAlg, types.RmcpStatusCodeNoCipherSuiteMatch,
		types.RmcpStatusCodeIllegalParameter, types.RmcpStatusCodeInvalidPayloadType:
		return fmt.Errorf("cipher suite %d: %s: %w", a.ciphers[0], res.RmcpStatusCode, errCipher)
	default:
		return &statusError{"open session", res.RmcpStatusCode}
	}
	if types.AuthAlg(res.AuthAlg) != a.auth || types.IntegrityAlg(res.IntegrityAlg) != a.integrity || types.CryptAlg(res.CryptAlg) != a.crypt {
		return fmt.Errorf("cipher suite %d: the BMC chose other algorithms: %w", a.ciphers[0], errCipher)
	}
	a.bmcID = res.ManagedSystemSessionID
	return nil
}

// rakp12 is RAKP messages 1 and 2 (13.20, 13.21): the BMC proves that it knows
// the password.
func (a *attempt) rakp12(ctx context.Context) error {
	req := rmcpplus.RAKPMessage1{
		MessageTag: a.tag, ManagedSystemSessionID: a.bmcID, RemoteConsoleRandomNumber: a.random,
		NameOnlyLookup: true, RequestedMaximumPrivilegeLevel: a.privilege,
		UsernameLength: uint8(len(a.target.User)), Username: []byte(a.target.User), //nolint:gosec // at most 16
	}
	a.role = req.Role()
	err := a.speak(ctx, 0, types.PayloadTypeRAKPMessage1, req.Pack(), types.PayloadTypeRAKPMessage2, a.rakp2)
	if errors.Is(err, bmc.ErrPassword) {
		a.giveUp()
	}
	return err
}

// rakp2 reads RAKP message 2 and believes it or not.
func (a *attempt) rakp2(data []byte) error {
	res := rmcpplus.RAKPMessage2{AuthAlg: a.auth}
	if err := res.Unpack(data); err != nil {
		return fmt.Errorf("RAKP 2: %w", err)
	}
	if res.RmcpStatusCode != types.RmcpStatusCodeNoErrors {
		return &statusError{"RAKP 2", res.RmcpStatusCode}
	}
	a.bmcRandom, a.guid = res.ManagedSystemRandomNumber, res.ManagedSystemGUID
	want, err := crypto.RAKP2AuthCode(a.auth, a.id, a.bmcID, a.random[:], a.bmcRandom[:], a.guid[:], a.role, a.target.User, a.kuid())
	if err != nil {
		return err
	}
	if !crypto.Equal(want, res.KeyExchangeAuthenticationCode) {
		return bmc.ErrPassword
	}
	return nil
}

// giveUp tells the BMC that message 2 did not convince us, so that it frees
// the session now (13.22: message 3 with a status).
func (a *attempt) giveUp() {
	bad := rmcpplus.RAKPMessage3{MessageTag: a.tag, RmcpStatusCode: types.RmcpStatusCodeInvalidIntegrityCheckValue, ManagedSystemSessionID: a.bmcID}
	if packet, err := build20(nil, types.PayloadTypeRAKPMessage3, 0, 0, bad.Pack()); err == nil {
		_, _ = a.udp.Write(packet)
	}
}

// kuid is the user's key: the password, padded to 20 bytes (13.31).
func (a *attempt) kuid() []byte { return crypto.PadPassword20([]byte(a.target.Password)) }

func (a *attempt) keys() (*keys, error) {
	sik, k1, k2, err := crypto.DeriveSessionKeys(a.auth, a.random[:], a.bmcRandom[:], a.role, a.target.User, a.kuid())
	a.sik = sik
	return &keys{integrity: a.integrity, crypt: a.crypt, k1: k1, k2: k2}, err
}

// rakp34 is RAKP messages 3 and 4 (13.22, 13.23): we prove it, and the BMC
// shows that both have come to the same session key.
func (a *attempt) rakp34(ctx context.Context) error {
	code, err := crypto.RAKP3AuthCode(a.auth, a.bmcRandom[:], a.id, a.role, a.target.User, a.kuid())
	if err != nil {
		return err
	}
	req := rmcpplus.RAKPMessage3{MessageTag: a.tag, ManagedSystemSessionID: a.bmcID, KeyExchangeAuthenticationCode: code}
	return a.speak(ctx, 0, types.PayloadTypeRAKPMessage3, req.Pack(), types.PayloadTypeRAKPMessage4, a.rakp4)
}

// rakp4 reads RAKP message 4 and believes it or not. The BMC has proved in
// message 2 that it knows our password; if it refuses now, something came
// between, and the handshake is worth another try.
func (a *attempt) rakp4(data []byte) error {
	res := rmcpplus.RAKPMessage4{AuthAlg: a.auth}
	if err := res.Unpack(data); err != nil {
		return fmt.Errorf("RAKP 4: %w", err)
	}
	if res.RmcpStatusCode != types.RmcpStatusCodeNoErrors {
		if res.RmcpStatusCode == types.RmcpStatusCodeUnauthorizedName {
			return &statusError{"RAKP 4", types.RmcpStatusCodeInvalidIntegrityCheckValue}
		}
		return &statusError{"RAKP 4", res.RmcpStatusCode}
	}
	want, err := crypto.RAKP4ICV(a.auth, a.random[:], a.bmcID, a.guid[:], a.sik)
	if err != nil {
		return err
	}
	if !crypto.Equal(want, res.IntegrityCheckValue) {
		return &statusError{"RAKP 4", types.RmcpStatusCodeInvalidIntegrityCheckValue}
	}
	return nil
}
