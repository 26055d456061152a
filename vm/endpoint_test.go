package vm

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestParseURI(t *testing.T) {
	tests := []struct {
		in   string
		want Endpoint
		bad  error
	}{
		{"esx://example-esx.com", Endpoint{Kind: ESX, Host: "example-esx.com"}, nil},
		{"esx://root@[2001:db8::1]:8443/?no_verify=1&auto_answer=1", Endpoint{Kind: ESX, Host: "2001:db8::1", Port: 8443, User: "root", NoVerify: true, AutoAnswer: true}, nil},
		{"vpx://example-vcenter.com/dc1/cluster1/example-esx.com", Endpoint{Kind: VPX, Host: "example-vcenter.com", Path: []string{"dc1", "cluster1", "example-esx.com"}}, nil},
		{"vpx://vc/a%2fb/", Endpoint{Kind: VPX, Host: "vc", Path: []string{"a/b"}}, nil},
		{"esx://h/?vcenter=*", Endpoint{Kind: ESX, Host: "h", VCenter: "*"}, nil},
		{"esx://h/?transport=http", Endpoint{Kind: ESX, Host: "h", Plain: true}, nil},
		{"gsx://h", Endpoint{}, ErrUnsupported},
		{"esx+ssh://h", Endpoint{}, ErrUnsupported},
		{"http://h", Endpoint{}, ErrInvalid},
		{"esx://", Endpoint{}, ErrInvalid},
		{"esx://root:secret@h", Endpoint{}, ErrInvalid},
		{"esx://h/?no_verfy=1", Endpoint{}, ErrInvalid},
		{"esx://h/?no_verify=yes", Endpoint{}, ErrInvalid},
		{"esx://h/?transport=ftp", Endpoint{}, ErrInvalid},
		{"esx://h:99999", Endpoint{}, ErrInvalid},
	}
	for _, tt := range tests {
		got, err := ParseURI(tt.in)
		if !errors.Is(err, tt.bad) || tt.bad == nil && err != nil {
			t.Errorf("ParseURI(%q): error %v, want %v", tt.in, err, tt.bad)
			continue
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the password is in the error: %v", tt.in, err)
		}
		if err == nil && !reflect.DeepEqual(got, tt.want) {
			t.Errorf("ParseURI(%q) = %+v, want %+v", tt.in, got, tt.want)
		}
	}
}

func TestProxy(t *testing.T) {
	for in, want := range map[string]string{
		"example-proxy.com":               "http://example-proxy.com:1080",
		"socks://example-proxy.com:23456": "socks5://example-proxy.com:23456",
		"socks4a://p":                     "socks4a://p:1080",
		"http://p:3128":                   "http://p:3128",
	} {
		e, err := ParseURI("esx://h/?proxy=" + in)
		if err != nil || e.Proxy.String() != want {
			t.Errorf("proxy=%s: %v, %v, want %s", in, e.Proxy, err, want)
		}
	}
	if _, err := ParseURI("esx://h/?proxy=ftp://p"); err == nil {
		t.Error("an ftp proxy is let pass")
	}
}

func TestEndpointAddr(t *testing.T) {
	for want, e := range map[string]Endpoint{
		"h:443":             {Kind: ESX, Host: "h"},
		"h:80":              {Kind: ESX, Host: "h", Plain: true},
		"[2001:db8::1]:444": {Kind: VPX, Host: "2001:db8::1", Port: 444},
	} {
		if got := e.Addr(); got != want {
			t.Errorf("Addr = %s, want %s", got, want)
		}
	}
}

func FuzzParseURI(f *testing.F) {
	f.Add("vpx://u@h:1/a/b?no_verify=1&proxy=socks4://x")
	f.Add("esx://%zz/?%")
	f.Fuzz(func(t *testing.T, s string) {
		e, err := ParseURI(s)
		if err == nil && (e.Host == "" || e.Kind != ESX && e.Kind != VPX) {
			t.Errorf("%q: %+v", s, e)
		}
	})
}
