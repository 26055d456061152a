package bmctest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"margay/provision/bmc"
)

// RedfishConfig is how a played Redfish service is set up. The zero value
// takes user "admin" with password "secret" on a port of its own.
type RedfishConfig struct {
	Listen    string // "127.0.0.1:0"
	User      string
	Password  string
	Vendor    string
	Sessions  int  // how many at a time; 0: 16
	NoBasic   bool // names and passwords only to open a session
	OnlyBasic bool // no sessions at all

	NeedETag   bool     // a change without If-Match is refused
	ModeFixed  bool     // BootSourceOverrideMode may not be written
	WholeBoot  bool     // target, enabled and mode only together
	Sticky     bool     // overrides are kept for every boot
	ResetTypes []string // what Reset takes; nil: the usual
	ActionInfo bool     // the list is in an ActionInfo
	NoInsert   bool     // virtual media by PATCH
	Fetch      bool     // an image that cannot be fetched is refused
	Cert       *tls.Certificate
}

// A Redfish is a controller that speaks Redfish, strictly: what it was not
// asked for properly it refuses.
type Redfish struct {
	Host *Host
	Addr *net.TCPAddr

	config RedfishConfig
	server *httptest.Server
	stop   chan struct{}

	mu       sync.Mutex // guards what follows
	tokens   map[string]bool
	etag     int
	mode     string
	before   func(w http.ResponseWriter, r *http.Request) bool
	log      []obj
	net      obj
	requests []string
	busy     int
}

type obj = map[string]any

// NewRedfish starts a service in front of a host. The caller closes it.
func NewRedfish(h *Host, c RedfishConfig) (*Redfish, error) {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if c.User == "" {
		c.User, c.Password = "admin", "secret"
	}
	if c.Sessions == 0 {
		c.Sessions = 16
	}
	if c.ResetTypes == nil {
		c.ResetTypes = []string{"On", "ForceOff", "GracefulShutdown", "ForceRestart", "PowerCycle", "Nmi"}
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, err
	}
	x := &Redfish{
		Host: h, Addr: l.Addr().(*net.TCPAddr), config: c, tokens: map[string]bool{}, mode: "UEFI", stop: make(chan struct{}), //nolint:forcetypeassert // TCP
		net: obj{
			"MACAddress": "02:00:00:00:00:0A", "HostName": "bmc1", "LinkStatus": "LinkUp",
			"IPv4Addresses": []obj{{"Address": "10.0.0.10", "SubnetMask": "255.0.0.0", "Gateway": "10.0.0.1", "AddressOrigin": "Static"}},
			"DHCPv4":        obj{"DHCPEnabled": false}, "VLAN": obj{"VLANEnable": false, "VLANId": 1},
		},
	}
	if c.Cert == nil {
		if c.Cert, err = NewCert(); err != nil {
			return nil, err
		}
	}
	x.server = httptest.NewUnstartedServer(x.handler())
	_ = x.server.Listener.Close()
	x.server.Listener = l
	x.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	x.server.TLS = &tls.Config{Certificates: []tls.Certificate{*c.Cert}, MinVersion: tls.VersionTLS12}
	x.server.StartTLS()
	return x, nil
}

// NewCert makes a certificate that nobody signed, as controllers have.
func NewCert() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "bmc"}, NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	return &tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, err
}

// Close stops the service.
func (x *Redfish) Close() {
	close(x.stop)
	x.server.CloseClientConnections()
	x.server.Close()
}

// Target is the service as a client finds it.
func (x *Redfish) Target(node string) bmc.Target {
	return bmc.Target{Node: node, Kind: bmc.Redfish, Address: x.Addr.IP.String(), Port: x.Addr.Port, User: x.config.User, Password: bmc.Secret(x.config.Password)}
}

// Sessions is how many sessions are open.
func (x *Redfish) Sessions() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.tokens)
}

// Forget ends all sessions behind their clients' backs.
func (x *Redfish) Forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	clear(x.tokens)
}

// Busy makes the next n requests be answered 503.
func (x *Redfish) Busy(n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.busy = n
}

// Before is called ahead of each request; if it returns true it has answered.
func (x *Redfish) Before(fn func(w http.ResponseWriter, r *http.Request) bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.before = fn
}

// Stalled is a function for Before that keeps the client waiting for an answer
// until it goes, or the service is closed.
func (x *Redfish) Stalled(_ http.ResponseWriter, r *http.Request) bool {
	select {
	case <-r.Context().Done():
	case <-x.stop:
	}
	return true
}

// Requests are those that came, "GET /redfish/v1/".
func (x *Redfish) Requests() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.requests)
}

// AddEvent puts an entry in the log.
func (x *Redfish) AddEvent(at time.Time, text string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.log = append(x.log, obj{"Id": strconv.Itoa(len(x.log) + 1), "Created": at.Format(time.RFC3339), "Message": text})
}

// Net is the service's own network settings.
func (x *Redfish) Net() map[string]any {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.net
}

const (
	v1     = "/redfish/v1"
	sys    = v1 + "/Systems/1"
	mgr    = v1 + "/Managers/1"
	encl   = v1 + "/Chassis/1"
	cd     = mgr + "/VirtualMedia/Cd"
	logs   = sys + "/LogServices/SEL"
	ses    = v1 + "/SessionService/Sessions"
	acct   = v1 + "/AccountService/Accounts/1"
	nicURL = mgr + "/EthernetInterfaces/1"
)

func ref(path string) obj { return obj{"@odata.id": path} }

func (x *Redfish) handler() http.Handler {
	m := http.NewServeMux()
	x.reads(m)
	m.HandleFunc("PATCH "+sys, x.patchSystem)
	m.HandleFunc("POST "+sys+"/Actions/ComputerSystem.Reset", x.reset)
	m.HandleFunc("POST "+ses, x.openSession)
	m.HandleFunc("DELETE "+ses+"/{token}", func(w http.ResponseWriter, r *http.Request) {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.tokens, r.PathValue("token"))
		w.WriteHeader(http.StatusNoContent)
	})
	m.HandleFunc("POST "+cd+"/Actions/{action}", x.media)
	m.HandleFunc("PATCH "+cd, x.patchMedia)
	m.HandleFunc("POST "+logs+"/Actions/LogService.ClearLog", func(w http.ResponseWriter, _ *http.Request) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.log = nil
		w.WriteHeader(http.StatusNoContent)
	})
	m.HandleFunc("PATCH "+nicURL, x.patchNet)
	m.HandleFunc("PATCH "+acct, x.patchAccount)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if x.first(w, r) {
			m.ServeHTTP(w, r)
		}
	})
}

// first is what comes before any resource: faults, then authentication.
func (x *Redfish) first(w http.ResponseWriter, r *http.Request) bool {
	x.mu.Lock()
	x.requests = append(x.requests, r.Method+" "+r.URL.Path)
	before, busy := x.before, x.busy > 0
	if busy {
		x.busy--
	}
	x.mu.Unlock()
	if before != nil && before(w, r) {
		return false
	}
	if busy {
		refuse(w, http.StatusServiceUnavailable, "ServiceTemporarilyUnavailable", "the service is busy")
		return false
	}
	if x.allowed(r) {
		return true
	}
	refuse(w, http.StatusUnauthorized, "NoValidSession", "no valid session")
	return false
}

func (x *Redfish) allowed(r *http.Request) bool {
	if r.Method == http.MethodGet && strings.TrimSuffix(r.URL.Path, "/") == v1 || r.Method == http.MethodPost && r.URL.Path == ses {
		return true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.tokens[r.Header.Get("X-Auth-Token")] {
		return true
	}
	user, password, ok := r.BasicAuth()
	return ok && !x.config.NoBasic && user == x.config.User && password == x.config.Password
}

func (x *Redfish) openSession(w http.ResponseWriter, r *http.Request) {
	var in struct{ UserName, Password string }
	if !decodeBody(w, r, &in) {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.config.OnlyBasic:
		refuse(w, http.StatusNotFound, "ResourceMissingAtURI", "no sessions")
	case in.UserName != x.config.User || in.Password != x.config.Password:
		refuse(w, http.StatusUnauthorized, "ResourceAtUriUnauthorized", "wrong name or password")
	case len(x.tokens) >= x.config.Sessions:
		refuse(w, http.StatusServiceUnavailable, "SessionLimitExceeded", "the session limit is reached")
	default:
		token := rand.Text()
		x.tokens[token] = true
		w.Header().Set("X-Auth-Token", token)
		w.Header().Set("Location", ses+"/"+token)
		answer(w, http.StatusCreated, obj{"@odata.id": ses + "/" + token, "Id": token, "Name": "session", "UserName": in.UserName})
	}
}

// powerState shows a machine on its way.
func (x *Redfish) powerState() string {
	x.Host.mu.Lock()
	defer x.Host.mu.Unlock()
	moving := x.Host.moving != nil && x.Host.Lag > 0
	switch {
	case x.Host.on && moving && lastOrder(x.Host) == "off":
		return "PoweringOff"
	case !x.Host.on && moving && lastOrder(x.Host) == "on":
		return "PoweringOn"
	case x.Host.on:
		return "On"
	}
	return "Off"
}

func lastOrder(h *Host) string {
	if len(h.orders) == 0 {
		return ""
	}
	return h.orders[len(h.orders)-1]
}

func (x *Redfish) reset(w http.ResponseWriter, r *http.Request) {
	var in struct{ ResetType string }
	if !decodeBody(w, r, &in) {
		return
	}
	if !slices.Contains(x.config.ResetTypes, in.ResetType) {
		refuse(w, http.StatusBadRequest, "ActionParameterNotSupported", "ResetType "+in.ResetType+" is not supported")
		return
	}
	state := x.powerState()
	on := state == "On" || state == "PoweringOn"
	var err error
	switch in.ResetType {
	case "On", "ForceOn":
		if on || state == "PoweringOff" {
			refuse(w, http.StatusConflict, "ResourceInUse", "the system is "+state)
			return
		}
		err = x.Host.SetPower(true)
	case "ForceOff", "GracefulShutdown", "PushPowerButton":
		if !on {
			refuse(w, http.StatusConflict, "ResourceInUse", "the system is "+state)
			return
		}
		err = x.Host.SetPower(false)
	case "ForceRestart":
		err = x.restart("reset", on, w)
	case "PowerCycle":
		err = x.restart("cycle", on, w)
	default:
		x.Host.Note(strings.ToLower(in.ResetType))
	}
	if err == errAnswered { //nolint:errorlint // our own
		return
	}
	if err != nil {
		refuse(w, http.StatusInternalServerError, "InternalError", err.Error())
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

var errAnswered = fmt.Errorf("answered")

func (x *Redfish) restart(name string, on bool, w http.ResponseWriter) error {
	if !on {
		refuse(w, http.StatusConflict, "ResourceInUse", "the system is off")
		return errAnswered
	}
	return x.Host.Restart(name)
}

var targets = map[bmc.Device]string{
	bmc.Network: "Pxe", bmc.HardDisk: "Hdd", bmc.CD: "Cd", bmc.Setup: "BiosSetup", bmc.HTTP: "UefiHttp", bmc.NoOverride: "None", bmc.Default: "None",
}

func (x *Redfish) boot() obj {
	b := x.Host.Boot()
	enabled := "Once"
	switch {
	case b.Device == bmc.NoOverride || b.Device == bmc.Default:
		enabled = "Disabled"
	case b.Persistent:
		enabled = "Continuous"
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return obj{
		"BootSourceOverrideEnabled": enabled, "BootSourceOverrideTarget": targets[b.Device], "BootSourceOverrideMode": x.mode, "HttpBootUri": b.URI,
		"BootSourceOverrideTarget@Redfish.AllowableValues": []string{"None", "Pxe", "Hdd", "Cd", "UefiHttp", "BiosSetup"},
	}
}

func (x *Redfish) patchSystem(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Boot *struct {
			Enabled *string `json:"BootSourceOverrideEnabled"`
			Target  *string `json:"BootSourceOverrideTarget"`
			Mode    *string `json:"BootSourceOverrideMode"`
			URI     *string `json:"HttpBootUri"`
		}
		Locator *bool `json:"LocationIndicatorActive"`
	}
	if !x.matches(w, r) || !decodeBody(w, r, &in) {
		return
	}
	if in.Locator != nil {
		x.Host.setBeacon(*in.Locator)
	}
	if in.Boot == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	b := in.Boot
	switch {
	case b.Mode != nil && x.config.ModeFixed:
		refuse(w, http.StatusBadRequest, "PropertyNotWritable", "BootSourceOverrideMode is read only")
		return
	case x.config.WholeBoot && (b.Mode == nil || b.Target == nil || b.Enabled == nil):
		refuse(w, http.StatusBadRequest, "PropertyMissing", "BootSourceOverrideMode is missing")
		return
	}
	set := x.Host.Boot()
	if b.Target != nil {
		found := false
		for d, word := range targets {
			if word == *b.Target && d != bmc.Default {
				set.Device, found = d, true
			}
		}
		if !found {
			refuse(w, http.StatusBadRequest, "PropertyValueNotInList", "BootSourceOverrideTarget "+*b.Target)
			return
		}
	}
	if b.Mode != nil && *b.Mode != "UEFI" && *b.Mode != "Legacy" {
		refuse(w, http.StatusBadRequest, "PropertyValueNotInList", "BootSourceOverrideMode "+*b.Mode)
		return
	}
	if b.Enabled != nil {
		set.Persistent = *b.Enabled == "Continuous" || x.config.Sticky && *b.Enabled == "Once"
		if *b.Enabled == "Disabled" {
			set = bmc.Boot{}
		}
	}
	if b.URI != nil {
		set.URI = *b.URI
	}
	x.mu.Lock()
	if b.Mode != nil {
		x.mode = *b.Mode
	}
	set.UEFI = x.mode == "UEFI" && set.Device != bmc.NoOverride
	x.mu.Unlock()
	x.Host.setBoot(set)
	w.WriteHeader(http.StatusNoContent)
}

// matches holds changes to their precondition.
func (x *Redfish) matches(w http.ResponseWriter, r *http.Request) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	have := r.Header.Get("If-Match")
	switch {
	case have == "" && x.config.NeedETag:
		refuse(w, http.StatusPreconditionRequired, "PreconditionRequired", "If-Match is required")
		return false
	case have != "" && have != x.tag():
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed", "the resource has changed")
		return false
	}
	x.etag++
	return true
}

func (x *Redfish) tag() string { return fmt.Sprintf(`W/"%d"`, x.etag) }

func (x *Redfish) media(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Image                    string
		Inserted, WriteProtected *bool
	}
	if !decodeBody(w, r, &in) {
		return
	}
	switch action := strings.TrimPrefix(r.PathValue("action"), "VirtualMedia."); {
	case x.config.NoInsert:
		refuse(w, http.StatusNotFound, "ResourceMissingAtURI", "no such action")
	case action == "InsertMedia" && x.Host.Media() != "":
		refuse(w, http.StatusConflict, "ResourceInUse", "media is inserted")
	case action == "InsertMedia" && in.Image != "":
		if err := x.fetch(in.Image); err != nil {
			refuse(w, http.StatusBadRequest, "CouldNotEstablishConnection", "the image cannot be fetched: "+err.Error())
			return
		}
		x.Host.setMedia(in.Image)
		w.WriteHeader(http.StatusNoContent)
	case action == "EjectMedia" && x.Host.Media() == "":
		refuse(w, http.StatusConflict, "ResourceInUse", "no media is inserted")
	case action == "EjectMedia":
		x.Host.setMedia("")
		w.WriteHeader(http.StatusNoContent)
	default:
		refuse(w, http.StatusBadRequest, "ActionParameterMissing", "Image is missing")
	}
}

// fetch reads the start of an image, as controllers do before they say yes:
// sectors, and so by ranges.
func (x *Redfish) fetch(url string) error {
	if !x.config.Fetch {
		return nil
	}
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Range", "bytes=32768-34815") // the volume descriptor
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil || resp.StatusCode != http.StatusPartialContent || len(b) != 2048 || string(b[1:6]) != "CD001" {
		return fmt.Errorf("%s: %d bytes that are no disc's (%v)", resp.Status, len(b), err)
	}
	return nil
}

func (x *Redfish) patchMedia(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Image    *string
		Inserted *bool
	}
	if !decodeBody(w, r, &in) {
		return
	}
	if !x.config.NoInsert {
		refuse(w, http.StatusMethodNotAllowed, "OperationNotAllowed", "use the action")
		return
	}
	image := ""
	if in.Image != nil {
		image = *in.Image
	}
	x.Host.setMedia(image)
	w.WriteHeader(http.StatusNoContent)
}

func (x *Redfish) patchNet(w http.ResponseWriter, r *http.Request) {
	var in struct {
		HostName            *string
		IPv4StaticAddresses []obj
		DHCPv4              obj
		VLAN                obj
	}
	if !x.matches(w, r) || !decodeBody(w, r, &in) {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	n := obj{}
	for k, v := range x.net {
		n[k] = v
	}
	if in.HostName != nil {
		n["HostName"] = *in.HostName
	}
	if in.IPv4StaticAddresses != nil {
		in.IPv4StaticAddresses[0]["AddressOrigin"] = "Static"
		n["IPv4Addresses"] = in.IPv4StaticAddresses
	}
	if in.DHCPv4 != nil {
		n["DHCPv4"] = in.DHCPv4
	}
	if in.VLAN != nil {
		n["VLAN"] = in.VLAN
	}
	x.net = n
	w.WriteHeader(http.StatusNoContent)
}

func (x *Redfish) patchAccount(w http.ResponseWriter, r *http.Request) {
	var in struct{ Password string }
	if !x.matches(w, r) || !decodeBody(w, r, &in) {
		return
	}
	if len(in.Password) < 4 {
		refuse(w, http.StatusBadRequest, "PropertyValueFormatError", "the value '"+in.Password+"' is too short for Password")
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.config.Password = in.Password
	w.WriteHeader(http.StatusNoContent)
}

// decodeBody refuses what is not known, as strict services do.
func decodeBody(w http.ResponseWriter, r *http.Request, v any) bool {
	d := json.NewDecoder(io.LimitReader(r.Body, 1<<20))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		refuse(w, http.StatusBadRequest, "PropertyUnknown", err.Error())
		return false
	}
	return true
}

func refuse(w http.ResponseWriter, code int, id, text string) {
	answer(w, code, obj{"error": obj{"code": "Base.1.18.GeneralError", "message": "see ExtendedInfo", "@Message.ExtendedInfo": []obj{{"MessageId": "Base.1.18." + id, "Message": text}}}})
}

func answer(w http.ResponseWriter, code int, o any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("OData-Version", "4.0")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(o)
}
