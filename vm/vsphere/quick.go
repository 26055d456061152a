package vsphere

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

// A quick sends requests to an endpoint. It reads the answers that hold
// properties of thousands of objects by a scanner of its own where all of them
// are plain: the library's way, by reflection, takes twenty times as long. Whatever the scanner
// does not know, faults among it, the library reads from the same bytes.
type quick struct {
	*soap.Client
	buffers sync.Pool // of *bytes.Buffer
}

// maxKept is how large a buffer may be to be used again.
const maxKept = 8 << 20

// RoundTrip sends one request.
func (q *quick) RoundTrip(ctx context.Context, req, res soap.HasFault) error {
	switch res.(type) {
	case *methods.RetrievePropertiesExBody, *methods.ContinueRetrievePropertiesExBody:
		return q.retrieve(ctx, req, res)
	}
	return q.Client.RoundTrip(ctx, req, res)
}

func (q *quick) retrieve(ctx context.Context, req, res soap.HasFault) error {
	body, err := xml.Marshal(soap.Envelope{Body: req})
	if err != nil {
		return err
	}
	r, err := http.NewRequest(http.MethodPost, q.URL().String(), bytes.NewReader(append([]byte(xml.Header), body...)))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", `text/xml; charset="utf-8"`)
	r.Header.Set("SOAPAction", q.Namespace+"/"+q.Version)
	return q.Do(ctx, r, func(answer *http.Response) error { return q.read(answer, res) })
}

func (q *quick) read(answer *http.Response, res soap.HasFault) error {
	switch answer.StatusCode {
	case http.StatusOK, http.StatusInternalServerError: // the latter with a fault that says why
	default:
		return &url.Error{Op: answer.Request.Method, URL: answer.Request.URL.Path, Err: errors.New(answer.Status)}
	}
	buf, ok := q.buffers.Get().(*bytes.Buffer)
	if !ok {
		buf = &bytes.Buffer{}
	}
	defer func() {
		if buf.Cap() <= maxKept {
			buf.Reset()
			q.buffers.Put(buf)
		}
	}()
	if _, err := buf.ReadFrom(answer.Body); err != nil {
		return err
	}
	if r, ok := scanObjects(buf.Bytes()); ok {
		fill(res, r)
		return nil
	}
	dec := xml.NewDecoder(bytes.NewReader(buf.Bytes()))
	dec.TypeFunc = q.Types
	if err := dec.Decode(&soap.Envelope{Body: res}); err != nil {
		return err
	}
	if f := res.Fault(); f != nil {
		return soap.WrapSoapFault(f)
	}
	return nil
}

// fill puts what was read where the library looks for it.
func fill(res soap.HasFault, r *types.RetrieveResult) {
	switch res := res.(type) {
	case *methods.RetrievePropertiesExBody:
		res.Res = &types.RetrievePropertiesExResponse{Returnval: r}
	case *methods.ContinueRetrievePropertiesExBody:
		if r == nil {
			r = &types.RetrieveResult{}
		}
		res.Res = &types.ContinueRetrievePropertiesExResponse{Returnval: *r}
	}
}
