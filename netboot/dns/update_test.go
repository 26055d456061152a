package dns

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"margay/netboot/netboottest"
)

// writable is a cluster whose names others may change.
type writable struct {
	mu    sync.Mutex
	names atomic.Pointer[fixed]
	said  error
	log   []string // guarded by mu
}

func newWritable() *writable {
	w := new(writable)
	w.names.Store(cluster(1))
	return w
}

func (w *writable) Update(_ context.Context, key, zone string, changes []Change) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, fmt.Sprintf("%s %s %v", key, zone, changes))
	if w.said != nil {
		return w.said
	}
	f := cluster(2)
	for _, c := range changes {
		h := f.hosts[c.Name]
		if c.Delete {
			delete(f.hosts, c.Name)
			continue
		}
		h.Addrs = append(slices.Clone(h.Addrs), netip.MustParseAddr(c.Value))
		f.hosts[c.Name] = h
	}
	w.names.Store(f)
	return nil
}

var updateKey = Key{Secret: []byte("0123456789abcdef0123456789abcdef")}

func (w *writable) server() *Server {
	p := &Policy{Keys: map[string]Key{"xcat_key": updateKey}}
	return &Server{Names: func() Names { return w.names.Load() }, Policy: func() *Policy { return p }, Updater: w}
}

func TestUpdate(t *testing.T) {
	rr := func(s string) miekg.RR {
		r, err := miekg.NewRR(s)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	tests := []struct {
		name string
		make func(m *miekg.Msg)
		want int
		log  string
	}{
		{"insert", func(m *miekg.Msg) { m.Insert([]miekg.RR{rr("new.cluster.test. 60 IN A 10.1.0.50")}) }, miekg.RcodeSuccess,
			"xcat_key cluster.test [{false new.cluster.test A 10.1.0.50}]"},
		{"delete one", func(m *miekg.Msg) { m.Remove([]miekg.RR{rr("esx1.cluster.test. 0 IN A 10.1.0.11")}) }, miekg.RcodeSuccess,
			"xcat_key cluster.test [{true esx1.cluster.test A 10.1.0.11}]"},
		{"delete type", func(m *miekg.Msg) { m.RemoveRRset([]miekg.RR{rr("esx1.cluster.test. 0 IN A 10.1.0.11")}) }, miekg.RcodeSuccess,
			"xcat_key cluster.test [{true esx1.cluster.test A }]"},
		{"delete name", func(m *miekg.Msg) { m.RemoveName([]miekg.RR{rr("esx1.cluster.test. 0 IN A 10.1.0.11")}) }, miekg.RcodeSuccess,
			"xcat_key cluster.test [{true esx1.cluster.test  }]"},
		{"nothing", func(m *miekg.Msg) {}, miekg.RcodeSuccess, ""},
		{"not of the zone", func(m *miekg.Msg) { m.Insert([]miekg.RR{rr("new.example.com. 60 IN A 10.1.0.50")}) }, miekg.RcodeNotZone, ""},
		{"no zone of ours", func(m *miekg.Msg) { m.Question[0].Name = "example.com." }, miekg.RcodeNotAuth, ""},
		{"a type that we have not", func(m *miekg.Msg) { m.Insert([]miekg.RR{rr("new.cluster.test. 60 IN TXT x")}) }, miekg.RcodeRefused, ""},
		{"the zone itself", func(m *miekg.Msg) { m.RemoveName([]miekg.RR{rr("cluster.test. 60 IN A 1.2.3.4")}) }, miekg.RcodeRefused, ""},
		{"name is used, is not", func(m *miekg.Msg) { m.NameUsed([]miekg.RR{rr("new.cluster.test. 0 IN A 1.2.3.4")}) }, miekg.RcodeNameError, ""},
		{"name is used", func(m *miekg.Msg) { m.NameUsed([]miekg.RR{rr("esx1.cluster.test. 0 IN A 1.2.3.4")}) }, miekg.RcodeSuccess, ""},
		{"name is not used, is", func(m *miekg.Msg) { m.NameNotUsed([]miekg.RR{rr("esx1.cluster.test. 0 IN A 1.2.3.4")}) }, miekg.RcodeYXDomain, ""},
		{"type is there, is not", func(m *miekg.Msg) { m.RRsetUsed([]miekg.RR{rr("esx1.cluster.test. 0 IN AAAA ::1")}) }, miekg.RcodeNXRrset, ""},
		{"type is not there, is", func(m *miekg.Msg) { m.RRsetNotUsed([]miekg.RR{rr("esx1.cluster.test. 0 IN A 1.2.3.4")}) }, miekg.RcodeYXRrset, ""},
		{"values are", func(m *miekg.Msg) {
			m.Used([]miekg.RR{rr("dual.cluster.test. 0 IN A 10.1.0.13"), rr("dual.cluster.test. 0 IN A 10.1.0.12")})
		}, miekg.RcodeSuccess, ""},
		{"values are, are more", func(m *miekg.Msg) { m.Used([]miekg.RR{rr("dual.cluster.test. 0 IN A 10.1.0.13")}) }, miekg.RcodeNXRrset, ""},
	}
	for _, tt := range tests {
		w := newWritable()
		at := serve(t, w.server())
		m := new(miekg.Msg)
		m.SetUpdate("cluster.test.")
		tt.make(m)
		m.SetTsig("xcat_key.", miekg.HmacSHA256, 300, time.Now().Unix())
		c := &miekg.Client{TsigSecret: map[string]string{"xcat_key.": base64.StdEncoding.EncodeToString(updateKey.Secret)}}
		got, _, err := c.Exchange(m, at.String()) // checks the answer's signature
		if tt.want == miekg.RcodeNotAuth && errors.Is(err, miekg.ErrAuth) {
			err = nil // the library's word for it
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got.Rcode != tt.want || got.IsTsig() == nil {
			t.Errorf("%s: %s, want %s", tt.name, miekg.RcodeToString[got.Rcode], miekg.RcodeToString[tt.want])
		}
		w.mu.Lock()
		log := strings.Join(w.log, "; ")
		w.mu.Unlock()
		if log != tt.log {
			t.Errorf("%s: changes %q, want %q", tt.name, log, tt.log)
		}
	}
}

func TestUpdateRefused(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(updateKey.Secret)
	tests := []struct {
		name, key, secret, algorithm string
		signed                       time.Time
		said                         error
		want, tsig                   int
	}{
		{name: "not signed", want: miekg.RcodeRefused},
		{name: "by a key of nobody", key: "other.", secret: good, want: miekg.RcodeNotAuth, tsig: miekg.RcodeBadKey},
		{name: "wrongly", key: "xcat_key.", secret: "AAAA", want: miekg.RcodeNotAuth, tsig: miekg.RcodeBadSig},
		{name: "by another algorithm", key: "xcat_key.", secret: good, algorithm: miekg.HmacSHA1, want: miekg.RcodeNotAuth, tsig: miekg.RcodeBadKey},
		{name: "long ago", key: "xcat_key.", secret: good, signed: time.Now().Add(-time.Hour), want: miekg.RcodeNotAuth, tsig: miekg.RcodeBadTime},
		{name: "by the updater", key: "xcat_key.", secret: good, said: fmt.Errorf("esx1: a node: %w", ErrRefused), want: miekg.RcodeRefused},
		{name: "by a fault", key: "xcat_key.", secret: good, said: errors.New("disk full"), want: miekg.RcodeServerFailure},
	}
	for _, tt := range tests {
		w := newWritable()
		w.said = tt.said
		m := new(miekg.Msg)
		m.SetUpdate("cluster.test.")
		rr, _ := miekg.NewRR("new.cluster.test. 60 IN A 10.1.0.50")
		m.Insert([]miekg.RR{rr})
		raw, err := m.Pack()
		if tt.key != "" {
			if tt.signed.IsZero() {
				tt.signed = time.Now()
			}
			if tt.algorithm == "" {
				tt.algorithm = miekg.HmacSHA256
			}
			m.SetTsig(tt.key, tt.algorithm, 300, tt.signed.Unix())
			raw, _, err = miekg.TsigGenerate(m, tt.secret, "", false)
		}
		if err != nil {
			t.Fatal(err)
		}
		got := new(miekg.Msg)
		if err := got.Unpack(w.server().update(t.Context(), raw)); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		fault := 0
		if s := got.IsTsig(); s != nil {
			fault = int(s.Error)
		}
		if got.Rcode != tt.want || fault != tt.tsig {
			t.Errorf("%s: %s, TSIG error %d; want %s, %d", tt.name, miekg.RcodeToString[got.Rcode], fault, miekg.RcodeToString[tt.want], tt.tsig)
		}
		if len(w.log) > 0 && tt.said == nil {
			t.Errorf("%s: changed %v", tt.name, w.log)
		}
	}
}

// What is so already is no change, and no fault (RFC 2136, 3.4.2), unless it is
// changed before.
func TestUpdateStands(t *testing.T) {
	tests := []struct{ zone, update, log string }{
		{"cluster.test.", "esx1.cluster.test. 60 IN A 10.1.0.11", ""},
		{"cluster.test.", "new.cluster.test. 0 ANY ANY", ""},
		{"cluster.test.", "new.cluster.test. 0 ANY A", ""},
		{"cluster.test.", "esx1.cluster.test. 0 ANY TXT", ""},
		{"cluster.test.", "esx1.cluster.test. 0 NONE A 10.1.0.12", ""},
		{"cluster.test.", "rack.cluster.test. 0 ANY ANY", ""},
		{"1.10.in-addr.arpa.", "11.0.1.10.in-addr.arpa. 60 IN PTR ESX1.cluster.test.", ""},
		{"1.10.in-addr.arpa.", "99.0.1.10.in-addr.arpa. 0 ANY PTR", ""},
		{"1.10.in-addr.arpa.", "11.0.1.10.in-addr.arpa. 60 IN PTR new.cluster.test.", "[{false 11.0.1.10.in-addr.arpa PTR new.cluster.test}]"},
		{"cluster.test.", "esx1.cluster.test. 0 ANY A\nesx1.cluster.test. 60 IN A 10.1.0.11",
			"[{true esx1.cluster.test A } {false esx1.cluster.test A 10.1.0.11}]"},
	}
	for _, tt := range tests {
		w := newWritable()
		m := new(miekg.Msg)
		m.SetUpdate(tt.zone)
		for l := range strings.Lines(tt.update) {
			m.Ns = append(m.Ns, updateRR(t, strings.Fields(l)))
		}
		raw, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		var got miekg.Msg
		if err := got.Unpack(raw); err != nil {
			t.Fatal(err)
		}
		w.said = ErrRefused
		want := miekg.RcodeSuccess
		if tt.log != "" {
			want = miekg.RcodeRefused
		}
		if rcode := w.server().change(t.Context(), "xcat_key", &got); rcode != want {
			t.Errorf("%s: %s, want %s", tt.update, miekg.RcodeToString[rcode], miekg.RcodeToString[want])
		}
		if log := strings.TrimPrefix(strings.Join(w.log, "; "), "xcat_key "+strings.TrimSuffix(tt.zone, ".")+" "); log != tt.log {
			t.Errorf("%s: changes %q, want %q", tt.update, log, tt.log)
		}
	}
}

// updateRR is a record of an update: name, TTL, class, type and, if it has any,
// data.
func updateRR(t *testing.T, f []string) miekg.RR {
	if len(f) == 4 {
		return &miekg.ANY{Hdr: miekg.RR_Header{Name: f[0], Rrtype: miekg.StringToType[f[3]], Class: miekg.ClassANY}}
	}
	rr, err := miekg.NewRR(strings.Join([]string{f[0], f[1], "IN", f[3], f[4]}, " "))
	if err != nil {
		t.Fatal(err)
	}
	rr.Header().Class = miekg.StringToClass[f[2]]
	return rr
}

// A question that is signed gets an answer that is, of ours and of others'; one
// that is signed wrongly is told so.
func TestSignedQuestions(t *testing.T) {
	up := newUpstream(t, func(_ string, q *miekg.Msg) *miekg.Msg {
		if q.IsTsig() != nil {
			return says(q, miekg.RcodeRefused) // the asker's key is none of others'
		}
		return says(q, miekg.RcodeSuccess, q.Question[0].Name+" 300 IN A 192.0.2.1")
	})
	s := newWritable().server()
	p := &Policy{Keys: map[string]Key{"xcat_key": updateKey}, Upstreams: []netip.AddrPort{up.addr}}
	s.Policy = func() *Policy { return p }
	at := serve(t, s)
	good := base64.StdEncoding.EncodeToString(updateKey.Secret)
	for _, network := range []string{"udp", "tcp"} {
		c := &miekg.Client{Net: network, Timeout: time.Minute, TsigSecret: map[string]string{"xcat_key.": good}}
		for name, want := range map[string]string{
			"esx1.cluster.test.":    "NOERROR aa | esx1.cluster.test. 86400 IN A 10.1.0.11;",
			"nothing.cluster.test.": "NXDOMAIN aa | | cluster.test. 60 IN SOA",
			"www.example.com.":      "NOERROR | www.example.com. 300 IN A 192.0.2.1;",
		} {
			for _, edns := range []bool{false, true} {
				m := ask(name, "A")
				if edns {
					m.SetEdns0(1232, false)
				}
				m.SetTsig("xcat_key.", miekg.HmacSHA256, 300, time.Now().Unix())
				got, _, err := c.Exchange(m, at.String()) // checks the answer's signature
				if err != nil || got.IsTsig() == nil || (got.IsEdns0() != nil) != edns {
					t.Errorf("%s %s: %v, %v", network, name, got, err)
					continue
				}
				if !strings.HasPrefix(text(got), want) {
					t.Errorf("%s %s: %q, want %q", network, name, text(got), want)
				}
			}
		}
		c.TsigSecret["xcat_key."] = "AAAA"
		m := ask("esx1.cluster.test.", "A")
		m.SetTsig("xcat_key.", miekg.HmacSHA256, 300, time.Now().Unix())
		got, _, _ := c.Exchange(m, at.String())
		if got == nil || got.Rcode != miekg.RcodeNotAuth || got.IsTsig() == nil || got.IsTsig().Error != miekg.RcodeBadSig || len(got.Answer) > 0 {
			t.Errorf("%s, signed wrongly: %v", network, got)
		}
	}
}

func TestNsupdate(t *testing.T) {
	nsupdate := netboottest.Binary(t, "nsupdate")
	w := newWritable()
	at := serve(t, w.server())
	cmd := exec.Command(nsupdate, "-y", "hmac-sha256:xcat_key:"+base64.StdEncoding.EncodeToString(updateKey.Secret))
	cmd.Stdin = strings.NewReader(fmt.Sprintf("server %s %d\nzone cluster.test\nprereq nxdomain new.cluster.test\nupdate add new.cluster.test 60 A 10.1.0.50\nsend\n", at.Addr(), at.Port()))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v\n%s", err, out)
	}
	// it asks for the zone itself, with its key
	cmd = exec.Command(nsupdate, "-y", "hmac-sha256:xcat_key:"+base64.StdEncoding.EncodeToString(updateKey.Secret))
	cmd.Stdin = strings.NewReader(fmt.Sprintf("server %s %d\nupdate add new.cluster.test 60 A 10.1.0.50\nsend\n", at.Addr(), at.Port()))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("without a zone: %v\n%s", err, out)
	}
	if got := text(exchange(t, "udp", at, ask("new.cluster.test.", "A"))); !strings.Contains(got, "A 10.1.0.50;") {
		t.Error(got)
	}
	bad := exec.Command(nsupdate, "-y", "hmac-sha256:xcat_key:AAAA")
	bad.Stdin = strings.NewReader(fmt.Sprintf("server %s %d\nzone cluster.test\nupdate delete esx1.cluster.test\nsend\n", at.Addr(), at.Port()))
	if out, err := bad.CombinedOutput(); err == nil {
		t.Errorf("took a wrong key: %s", out)
	}
}

// FuzzUpdate: whatever comes signed or not, no panic.
func FuzzUpdate(f *testing.F) {
	m := new(miekg.Msg)
	m.SetUpdate("cluster.test.")
	rr, _ := miekg.NewRR("new.cluster.test. 60 IN A 10.1.0.50")
	m.Insert([]miekg.RR{rr})
	m.NameNotUsed([]miekg.RR{rr})
	raw, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	w := newWritable()
	w.said = ErrRefused
	s := w.server()
	f.Fuzz(func(t *testing.T, raw []byte) {
		s.update(t.Context(), raw)
		s.signed(t.Context(), raw, netip.Addr{}, 0)
		var m miekg.Msg
		if m.Unpack(raw) == nil {
			s.change(t.Context(), "xcat_key", &m) // as if it had been signed
		}
	})
}

func TestNotify(t *testing.T) {
	got := make(chan string, 64)
	second := newUpstream(t, func(_ string, q *miekg.Msg) *miekg.Msg {
		if q.Opcode == miekg.OpcodeNotify && len(q.Answer) == 1 {
			got <- fmt.Sprintf("%s %d", q.Question[0].Name, q.Answer[0].(*miekg.SOA).Serial)
		}
		m := new(miekg.Msg)
		return m.SetReply(q)
	})
	w := newWritable()
	s := w.server()
	p := &Policy{Secondaries: []netip.AddrPort{second.addr}}
	s.Policy = func() *Policy { return p }
	changed := make(chan struct{})
	done := make(chan error, 1)
	go func() { done <- s.Notify(t.Context(), changed) }()
	take := func() (all []string) {
		for range len(cluster(1).zones) {
			all = append(all, <-got)
		}
		slices.Sort(all)
		return all
	}
	first := take()
	if !slices.Contains(first, "cluster.test. 1") || !slices.Contains(first, "1.10.in-addr.arpa. 1") {
		t.Errorf("told of %v", first)
	}
	w.names.Store(cluster(2))
	changed <- struct{}{}
	if again := take(); !slices.Contains(again, "cluster.test. 2") {
		t.Errorf("told of %v", again)
	}
	changed <- struct{}{} // and nothing has
	close(changed)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(got) > 0 {
		t.Errorf("told of %s, which has not changed", <-got)
	}
}
