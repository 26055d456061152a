package vsphere

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

// likeESXi is an answer as hosts write it.
func likeESXi(props ...string) string {
	out := `<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenc="http://schemas.xmlsoap.org/soap/encoding/"
 xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"
 xmlns:xsd="http://www.w3.org/2001/XMLSchema"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<soapenv:Body>
<RetrievePropertiesExResponse xmlns="urn:vim25"><returnval>`
	for i, p := range props {
		out += fmt.Sprintf(`<objects><obj type="VirtualMachine">%d</obj>%s</objects>`, i+1, p)
	}
	return out + "</returnval></RetrievePropertiesExResponse>\n</soapenv:Body>\n</soapenv:Envelope>"
}

const (
	someName  = `<propSet><name>name</name><val xsi:type="xsd:string">a &lt;b&gt; &amp;&#34;&#x27; é</val></propSet>`
	someState = `<propSet><name>runtime.powerState</name><val xsi:type="VirtualMachinePowerState">poweredOn</val></propSet>`
	someHost  = `<propSet><name>runtime.host</name><val type="HostSystem" xsi:type="ManagedObjectReference">ha-host</val></propSet>`
)

// marshalled is an answer as the simulator writes it.
func marshalled(t testing.TB) string {
	r := &types.RetrieveResult{Token: "7"}
	for i := range 3 {
		r.Objects = append(r.Objects, types.ObjectContent{
			Obj: types.ManagedObjectReference{Type: "VirtualMachine", Value: fmt.Sprint("vm-", i)},
			PropSet: []types.DynamicProperty{
				{Name: "name", Val: fmt.Sprint("guest <", i, `> & "co" `)}, {Name: "summary.config.numCpu", Val: int32(2)},
				{Name: "summary.config.template", Val: i == 1}, {Name: "size", Val: int64(1) << 40},
				{Name: "runtime.powerState", Val: types.VirtualMachinePowerStatePoweredOff},
				{Name: "runtime.connectionState", Val: types.VirtualMachineConnectionStateConnected},
				{Name: "runtime.host", Val: types.ManagedObjectReference{Type: "HostSystem", Value: "host-1", ServerGUID: "x"}},
				{Name: "vm", Val: types.ArrayOfManagedObjectReference{ManagedObjectReference: []types.ManagedObjectReference{{Type: "VirtualMachine", Value: "vm-1"}, {Type: "VirtualMachine", Value: "vm-2"}}}},
				{Name: "guest.ipAddress", Val: ""},
			},
		})
	}
	b, err := xml.Marshal(soap.Envelope{Body: &methods.RetrievePropertiesExBody{Res: &types.RetrievePropertiesExResponse{Returnval: r}}})
	if err != nil {
		t.Fatal(err)
	}
	return xml.Header + string(b)
}

// byLibrary reads an answer the long way.
func byLibrary(b string) (*types.RetrieveResult, error) {
	next := strings.Contains(b, "ContinueRetrievePropertiesExResponse")
	one, more := &methods.RetrievePropertiesExBody{}, &methods.ContinueRetrievePropertiesExBody{}
	var body soap.HasFault = one
	if next {
		body = more
	}
	dec := xml.NewDecoder(strings.NewReader(b))
	dec.TypeFunc = types.TypeFunc()
	if err := dec.Decode(&soap.Envelope{Body: body}); err != nil {
		return nil, err
	}
	switch {
	case one.Res != nil:
		return one.Res.Returnval, nil
	case more.Res != nil:
		return &more.Res.Returnval, nil
	}
	return nil, fmt.Errorf("no answer")
}

// TestScan has answers read as the library reads them.
func TestScan(t *testing.T) {
	for name, b := range map[string]string{
		"ESXi":           likeESXi(someName+someState+someHost, someName+someState+someHost, someState, ""),
		"simulator":      marshalled(t),
		"nothing":        likeESXi(),
		"no result":      `<Envelope xmlns="` + soapSpace + `"><Body><RetrievePropertiesExResponse/></Body></Envelope>`,
		"no result, too": `<Envelope xmlns="` + soapSpace + `"><Body><RetrievePropertiesExResponse></RetrievePropertiesExResponse></Body></Envelope>`,
		"more":           strings.ReplaceAll(likeESXi(someName), "RetrieveP", "ContinueRetrieveP"),
		"empty strings":  likeESXi(`<propSet><name>name</name><val xsi:type="xsd:string"></val></propSet>`, `<propSet><name>name</name><val xsi:type="xsd:string"/></propSet>`),
	} {
		got, ok := scanObjects([]byte(b))
		if !ok {
			if name != "no result" {
				t.Errorf("%s: not read:\n%s", name, b)
			}
			continue
		}
		want, err := byLibrary(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got\n%#v\nthe library\n%#v, %v", name, got, want, err)
		}
	}
}

// TestScanLeaves has the scanner leave to the library what it does not know, or what is broken.
func TestScanLeaves(t *testing.T) {
	whole := likeESXi(someName + someState)
	for _, b := range []string{
		strings.Replace(whole, "xsd:string", "VirtualMachineQuestionInfo", 1),
		strings.Replace(whole, `encoding="UTF-8"`, `encoding="latin1"`, 1),
		strings.Replace(whole, "a &lt;", "a &nbsp;", 1),
		strings.Replace(whole, "a &lt;", "a ]]>", 1),
		strings.Replace(whole, "a &lt;", "a \x01", 1),
		strings.Replace(whole, "a &lt;", "a \xff", 1),
		strings.Replace(whole, "a &lt;", "a <!-- x -->", 1),
		strings.Replace(whole, "a &lt;", "a\r\n", 1),
		strings.Replace(whole, "</val>", "</name>", 1),
		strings.Replace(whole, "</propSet></objects>", "</propSet><missingSet><path>x</path></missingSet></objects>", 1),
		strings.Replace(whole, "RetrievePropertiesExResponse", "Fault", 2),
		whole + "<x/>",
		"", "<", "<a", `<?xml version="1.0"`,
	} {
		if r, ok := scanObjects([]byte(b)); ok {
			t.Errorf("was read:\n%s\nas %v", b, r)
		}
	}
	for i := range whole {
		if _, ok := scanObjects([]byte(whole[:i])); ok {
			t.Errorf("read though cut at %d", i)
		}
	}
}

// TestQuick has faults, statuses and answers that only the library can read arrive as the library's own round trip has them.
func TestQuick(t *testing.T) {
	fault := `<Envelope xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><Body><Fault><faultcode>ServerFaultCode</faultcode><faultstring>who?</faultstring><detail><NotAuthenticatedFault xsi:type="NotAuthenticated"/></detail></Fault></Body></Envelope>`
	question := likeESXi(someName + `<propSet><name>runtime.question</name><val xsi:type="VirtualMachineQuestionInfo"><id>1</id><text>moved?</text></val></propSet>`)
	for _, tt := range []struct {
		name, body string
		status     int
	}{
		{"plain", likeESXi(someName+someHost, someState), 200},
		{"question", question, 200},
		{"fault", fault, 500},
		{"busy", "", 503},
		{"cut", question[:len(question)-9], 200},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b := new(bytes.Buffer)
			b.ReadFrom(r.Body)
			if !strings.Contains(b.String(), "<RetrievePropertiesEx ") || r.Header.Get("SOAPAction") == "" {
				t.Errorf("%s: asked %q %s", tt.name, r.Header.Get("SOAPAction"), b)
			}
			w.WriteHeader(tt.status)
			fmt.Fprint(w, tt.body)
		}))
		u, _ := url.Parse(srv.URL)
		client := soap.NewClient(u, true)
		client.Namespace, client.Version = "urn:vim25", "8.0"
		ask := func(rt soap.RoundTripper) (*types.RetrievePropertiesExResponse, error) {
			return methods.RetrievePropertiesEx(t.Context(), rt, &types.RetrievePropertiesEx{This: types.ManagedObjectReference{Type: "PropertyCollector", Value: "pc"}})
		}
		want, wantErr := ask(client)
		got, err := ask(&quick{Client: client})
		if !reflect.DeepEqual(got, want) || fmt.Sprint(err) != fmt.Sprint(wantErr) || isNotAuthenticated(err) != isNotAuthenticated(wantErr) {
			t.Errorf("%s: got %+v, %v\nthe library %+v, %v", tt.name, got, err, want, wantErr)
		}
		srv.Close()
	}
}

// FuzzScan has whatever the scanner reads be what the library reads.
func FuzzScan(f *testing.F) {
	f.Add(likeESXi(someName+someState+someHost, someName+someState+someHost))
	f.Add(marshalled(f))
	f.Add(strings.ReplaceAll(likeESXi(someName), "RetrieveP", "ContinueRetrieveP"))
	f.Fuzz(func(t *testing.T, b string) {
		got, ok := scanObjects([]byte(b))
		if !ok {
			return
		}
		want, err := byLibrary(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got\n%#v\nthe library\n%#v, %v", b, got, want, err)
		}
	})
}

func BenchmarkScan(b *testing.B) {
	var guests []string
	for i := range 1000 {
		guests = append(guests, strings.Replace(someName, "a &", fmt.Sprint("guest", i, "&"), 1)+someState+someHost)
	}
	answer := likeESXi(guests...)
	b.Run("scanner", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if _, ok := scanObjects([]byte(answer)); !ok {
				b.Fatal("not read")
			}
		}
	})
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if _, err := byLibrary(answer); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestQuickVM has guests read the quick way be what the general way reads.
func TestQuickVM(t *testing.T) {
	host := types.ManagedObjectReference{Type: "HostSystem", Value: "host-1"}
	hosts := map[types.ManagedObjectReference]string{host: "esx1"}
	o := types.ObjectContent{Obj: types.ManagedObjectReference{Type: "VirtualMachine", Value: "vm-1"}}
	values := map[string]types.AnyType{"name": "vm1", "runtime.powerState": types.VirtualMachinePowerStateSuspended, "runtime.host": host,
		"runtime.connectionState": types.VirtualMachineConnectionStateOrphaned, "summary.config.uuid": "658f1942-79d5-26fb-8de7-3ae49e1790a7",
		"summary.config.vmPathName": "[ds 1] vm1/vm1.vmx", "summary.config.guestId": "otherGuest", "summary.config.numCpu": int32(2),
		"summary.config.memorySizeMB": int32(512), "summary.config.template": true, "guest.ipAddress": "10.0.0.5", "guest.toolsRunningStatus": "guestToolsRunning"}
	for _, name := range summaryProps() {
		if val, ok := values[name]; ok {
			o.PropSet = append(o.PropSet, types.DynamicProperty{Name: name, Val: val})
		} else if name != "runtime.question" {
			t.Errorf("%s is not tried", name)
		}
	}
	for n := range len(o.PropSet) + 1 {
		part := o
		part.PropSet = o.PropSet[:n]
		got, ok := quickVM(&part, hosts)
		var m mo.VirtualMachine
		if err := mo.LoadObjectContent([]types.ObjectContent{part}, &m); err != nil {
			t.Fatal(err)
		}
		if want := toVM(&m, hosts, nil); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%d properties: got %+v, want %+v", n, got, want)
		}
	}
	o.PropSet = append(o.PropSet, types.DynamicProperty{Name: "runtime.question", Val: types.VirtualMachineQuestionInfo{Id: "1", Text: "moved?", Choice: types.ChoiceOption{ChoiceInfo: []types.BaseElementDescription{&types.ElementDescription{Key: "1"}}}}})
	if _, ok := quickVM(&o, hosts); ok {
		t.Error("a question is left out")
	}
	if list, err := plain([]types.ObjectContent{o}, hosts); err != nil || list[0].Question == nil || list[0].Question.Text != "moved?" {
		t.Errorf("with a question: %+v, %v", list, err)
	}
	if _, err := plain([]types.ObjectContent{{Obj: o.Obj, MissingSet: []types.MissingProperty{{Path: "name", Fault: types.LocalizedMethodFault{Fault: &types.NoPermission{}}}}}}, hosts); err == nil {
		t.Error("what may not be read passes")
	}
}
