package dns

import (
	"context"
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"time"

	miekg "github.com/miekg/dns"
)

// A Key authenticates those who may update (RFC 8945).
type Key struct {
	Algorithm string // "hmac-sha256", which empty means too, "hmac-sha512", ...
	Secret    []byte
}

func (k *Key) algorithm() string {
	if k.Algorithm == "" {
		return miekg.HmacSHA256
	}
	return miekg.CanonicalName(k.Algorithm)
}

const fudge = 300 // seconds by which clocks may differ, RFC 8945, 10

// signs says whether a message is signed.
func signs(raw []byte) bool {
	var m miekg.Msg
	return m.Unpack(raw) == nil && m.IsTsig() != nil
}

// signed answers a question that is signed, and signs the answer (RFC 8945, 5.3):
// nsupdate asks so which zone a name is in. Limit as in reply.
func (s *Server) signed(ctx context.Context, raw []byte, from netip.Addr, limit int) []byte {
	var m miekg.Msg
	if m.Unpack(raw) != nil || m.IsTsig() == nil {
		return nil
	}
	_, key, fault := s.authentic(raw, &m)
	if fault != miekg.RcodeSuccess {
		return s.unauthentic(&m, fault)
	}
	sig := m.IsTsig()
	m.Extra = m.Extra[:len(m.Extra)-1]
	bare, err := m.Pack()
	if err != nil {
		return nil
	}
	var q query
	_ = q.read(bare)
	if limit == 0 {
		limit = min(q.size, bestUDP)
	}
	limit -= miekg.Len(sig)
	msg, v := s.reply(s.moment(), nil, bare, from, limit, &q)
	if v == later {
		msg = s.passOn(ctx, bare, limit)
	}
	r := &miekg.Msg{Compress: true}
	if r.Unpack(msg) != nil {
		return nil
	}
	return key.sign(r, sig)
}

// authentic gives the key that a message is signed by, or what is wrong: a
// TSIG error (RFC 8945, 5.2), or that it is not signed at all.
func (s *Server) authentic(raw []byte, m *miekg.Msg) (name string, key Key, fault int) {
	t := m.IsTsig()
	if t == nil {
		return "", key, miekg.RcodeRefused
	}
	name = strings.ToLower(strings.TrimSuffix(t.Hdr.Name, "."))
	key, ok := s.policy().Keys[name]
	if !ok || miekg.CanonicalName(t.Algorithm) != key.algorithm() {
		return name, key, miekg.RcodeBadKey
	}
	switch err := miekg.TsigVerify(raw, base64.StdEncoding.EncodeToString(key.Secret), "", false); {
	case err == nil:
		return name, key, miekg.RcodeSuccess
	case errors.Is(err, miekg.ErrTime):
		return name, key, miekg.RcodeBadTime
	default:
		return name, key, miekg.RcodeBadSig
	}
}

// sign is a message, signed as the answer to one that has sig.
func (k *Key) sign(r *miekg.Msg, sig *miekg.TSIG) []byte {
	r.SetTsig(sig.Hdr.Name, sig.Algorithm, fudge, time.Now().Unix())
	b, _, err := miekg.TsigGenerate(r, base64.StdEncoding.EncodeToString(k.Secret), sig.MAC, false)
	if err != nil {
		return nil
	}
	return b
}

// unauthentic refuses what is not signed, or not as it should be.
func (s *Server) unauthentic(m *miekg.Msg, fault int) []byte {
	s.count.refused.Add(1)
	r := &miekg.Msg{MsgHdr: miekg.MsgHdr{Id: m.Id, Response: true, Opcode: m.Opcode, Rcode: fault}, Question: m.Question}
	if sig := m.IsTsig(); sig != nil {
		r.Rcode = miekg.RcodeNotAuth
		r.SetTsig(sig.Hdr.Name, sig.Algorithm, fudge, time.Now().Unix())
		t := r.IsTsig()
		t.Error, t.OrigId = uint16(fault), m.Id
	}
	b, err := r.Pack()
	if err != nil {
		return nil
	}
	return b
}
