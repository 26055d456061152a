package redfish

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"margay/provision/bmc"
	"margay/provision/bmc/bmctest"
)

// fuzzedPaths are the resources that a service may lie about, one at a time.
var fuzzedPaths = []string{
	"/redfish/v1/", "/redfish/v1/Systems", "/redfish/v1/Systems/1", "/redfish/v1/Managers", "/redfish/v1/Managers/1",
	"/redfish/v1/Managers/1/VirtualMedia", "/redfish/v1/Managers/1/VirtualMedia/Cd", "/redfish/v1/Managers/1/EthernetInterfaces/1",
	"/redfish/v1/Systems/1/LogServices/SEL/Entries", "/redfish/v1/Chassis/1", "/redfish/v1/Chassis/1/Thermal", "/redfish/v1/Chassis/1/Power",
	"/redfish/v1/Systems/1/Memory/1", "/redfish/v1/Systems/1/EthernetInterfaces/NIC1", "/redfish/v1/AccountService/Accounts/1",
}

// FuzzService asks everything of a service that answers one resource with
// whatever comes: nothing panics or runs on, errors are short, and what is
// printed holds no control characters.
func FuzzService(f *testing.F) {
	for i, body := range []string{
		`{}`, `{"Members":[{"@odata.id":"/redfish/v1/Systems/1"}]}`, `{"PowerState":"On","Boot":{"BootSourceOverrideTarget":"\u001b[2J","BootSourceOverrideEnabled":"Once"}}`,
		`{"Members":[{"@odata.id":"//x/y"}]}`, `{"EthernetInterfaces":{"@odata.id":"/redfish/v1/Systems"}}`, `[]`, `null`,
		`{"MediaTypes":["CD"],"Image":"\n","Inserted":true}`, `{"Members":[{"Created":"x","Message":null}]}`,
		`{"Temperatures":[{"Name":"\u0007","ReadingCelsius":1e308}],"Fans":[{"Reading":-1}]}`, `{"IPv4Addresses":[{"Address":"::"}]}`,
	} {
		f.Add(byte(i), 200, []byte(body))
	}
	type lie struct {
		path string
		code int
		body []byte
	}
	var now atomic.Pointer[lie]
	x := bmctest.StartRedfish(f, nil, bmctest.RedfishConfig{Sessions: 1 << 20})
	x.Before(func(w http.ResponseWriter, r *http.Request) bool {
		l := now.Load()
		if l == nil || r.Method != http.MethodGet || r.URL.Path != l.path {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(l.code)
		_, _ = w.Write(l.body)
		return true
	})
	d := dialer()
	f.Fuzz(func(t *testing.T, which byte, code int, body []byte) {
		if code < 200 || code > 599 || code == http.StatusNoContent || code == http.StatusNotModified {
			code = 200
		}
		if code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable {
			code = http.StatusInternalServerError // busy is asked again for a while, which tells nothing new
		}
		now.Store(&lie{fuzzedPaths[int(which)%len(fuzzedPaths)], code, body})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		c, err := d.Dial(ctx, x.Target("n1"))
		short(t, err)
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		_, err = c.State(ctx)
		short(t, err)
		b, err := c.Boot(ctx)
		short(t, err, b.String())
		image, err := c.Media(ctx)
		short(t, err, image)
		v, err := c.Inventory(ctx)
		short(t, err)
		if err == nil {
			show(t, v.Lines())
		}
		sensors, err := c.Vitals(ctx)
		short(t, err)
		for _, s := range sensors {
			show(t, []bmc.Line{s.Line()})
		}
		events, err := c.Events(ctx, 0)
		short(t, err)
		for _, e := range events {
			short(t, nil, e.String())
		}
		_, err = c.MACs(ctx)
		short(t, err)
		_, err = c.Net(ctx)
		short(t, err)
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func show(t *testing.T, lines []bmc.Line) {
	for _, l := range lines {
		short(t, nil, l.Label, l.Value)
	}
}

// short holds what is printed to what a terminal may be sent.
func short(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err != nil {
		if text := err.Error(); len(text) > 2000 {
			t.Errorf("an error of %d bytes", len(text))
		}
		texts = append(texts, bmc.Brief(err).Error())
	}
	for _, s := range texts {
		for _, r := range s {
			if r < ' ' && r != '\t' || r == 0x7f {
				t.Errorf("%q holds a control character", s)
				return
			}
		}
	}
}
