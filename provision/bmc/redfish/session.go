package redfish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"margay/provision/bmc"

	"github.com/stmcginnis/gofish"
	"github.com/stmcginnis/gofish/schemas"
)

// A session is a way in: a token, or name and password with each request where
// the service has no sessions.
type session struct {
	target bmc.Target
	http   *http.Client
	api    *gofish.APIClient
	basic  bool
}

// login opens a session (DSP0266, 13.3.4).
func login(ctx context.Context, t bmc.Target, h *http.Client) (*session, error) {
	s := &session{target: t, http: h}
	return s, s.login(ctx)
}

func (s *session) login(ctx context.Context) error {
	pause := laterPause
	for try := 1; ; try++ {
		err := s.connect(ctx)
		if noSessions(err) && !s.basic {
			s.basic = true
			err = s.connect(ctx)
		}
		// All sessions taken: others end theirs, or they lapse.
		if !later(err) || try == laterTries {
			return s.explain(err)
		}
		if !bmc.Sleep(ctx, pause) {
			return bmc.Timeout(context.Cause(ctx))
		}
		pause *= 2
	}
}

// later says that a service has asked to be asked again.
func later(err error) bool {
	code := status(err)
	return code == http.StatusServiceUnavailable || code == http.StatusTooManyRequests
}

func (s *session) connect(ctx context.Context) error {
	api, err := gofish.ConnectContext(ctx, gofish.ClientConfig{
		Endpoint: "https://" + s.target.HostPort(443), HTTPClient: s.http, NoModifyTransport: true, ReuseConnections: true,
		Username: s.target.User, Password: string(s.target.Password), BasicAuth: s.basic,
	})
	if err != nil {
		return err
	}
	s.api = api
	if _, err := api.GetSession(); err != nil && !s.basic {
		return errNoToken
	}
	return nil
}

// errNoToken: the session was made and no token came with it.
var errNoToken = errors.New("the service gave no token")

// errParse: a resource is not of the shape that the standard gives it.
var errParse = errors.New("the answer does not parse")

// noSessions says that a service answered and has no sessions to give.
func noSessions(err error) bool {
	switch status(err) {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusBadRequest:
		return true
	}
	return errors.Is(err, errNoToken)
}

// close ends the session with the service. It is told so that its session is
// free at once; there are few.
func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if s.api != nil && !s.basic {
		s.api.WithContext(ctx).Logout()
	}
	s.http.CloseIdleConnections()
}

// status is the HTTP status that an error carries, 0 if none.
func status(err error) int {
	var e *schemas.Error
	if errors.As(err, &e) {
		return e.HTTPReturnedStatusCode
	}
	return 0
}

// Waits for a service that says "later" (429, 503) or is at work (409).
const (
	laterTries = 4
	laterPause = 500 * time.Millisecond
)

// request does one request and reads its answer into v, which may be nil. A
// session that the service has forgotten is opened anew, once; a service that
// is busy is asked again.
func (s *session) request(ctx context.Context, method, path string, body, v any, headers map[string]string) (http.Header, error) {
	pause, renewed := laterPause, false
	for try := 1; ; try++ {
		h, err := s.once(ctx, method, path, body, v, headers)
		switch {
		case status(err) == http.StatusUnauthorized && !renewed && !s.basic:
			renewed = true
			if err := s.login(ctx); err != nil {
				return nil, err
			}
			continue
		case later(err) && try < laterTries:
			if !bmc.Sleep(ctx, pause) {
				return nil, bmc.Timeout(context.Cause(ctx))
			}
			pause *= 2
			continue
		}
		return h, s.explain(err)
	}
}

func (s *session) once(ctx context.Context, method, path string, body, v any, headers map[string]string) (http.Header, error) {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
		return nil, fmt.Errorf("the service links to %q, which is no path of its own: refused", path)
	}
	api := s.api.WithContext(ctx)
	var resp *http.Response
	var err error
	switch method {
	case http.MethodGet:
		resp, err = api.GetWithHeaders(path, headers)
	case http.MethodPost:
		resp, err = api.PostWithHeaders(path, body, headers)
	case http.MethodPatch:
		resp, err = api.PatchWithHeaders(path, body, headers)
	default:
		return nil, fmt.Errorf("method %s", method)
	}
	defer schemas.DeferredCleanupHTTPResponse(resp)
	if err != nil {
		return nil, err
	}
	if v == nil || resp.StatusCode == http.StatusNoContent {
		return resp.Header, nil
	}
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		return nil, fmt.Errorf("%s: %w: %v", path, errParse, err)
	}
	return resp.Header, nil
}

func (s *session) get(ctx context.Context, path string, v any) error {
	_, err := s.request(ctx, http.MethodGet, path, nil, v, nil)
	return err
}

func (s *session) post(ctx context.Context, path string, body any) error {
	_, err := s.request(ctx, http.MethodPost, path, body, nil, nil)
	return err
}

// patch changes a resource. It is read for its ETag first: many services want
// one, and the others do not mind (DSP0266, 7.7).
func (s *session) patch(ctx context.Context, path string, body any) error {
	for try := 1; ; try++ {
		var r struct {
			ETag string `json:"@odata.etag"`
		}
		h, err := s.request(ctx, http.MethodGet, path, nil, &r, nil)
		if err != nil {
			return err
		}
		headers := map[string]string{}
		if tag := h.Get("ETag"); tag != "" {
			headers["If-Match"] = tag
		} else if r.ETag != "" {
			headers["If-Match"] = r.ETag
		}
		_, err = s.request(ctx, http.MethodPatch, path, body, nil, headers)
		if status(err) != http.StatusPreconditionFailed || try == 3 {
			return err
		}
	}
}

// explain turns an error of the wire or the service into one of bmc's. The
// service's own words are kept, without the password that they may repeat.
func (s *session) explain(err error) error {
	if err == nil {
		return nil
	}
	var e *schemas.Error
	if !errors.As(err, &e) {
		return bmc.Timeout(err)
	}
	return &serviceError{cause: e, text: s.hide(message(e))}
}

// A serviceError is a refusal by the service.
type serviceError struct {
	cause *schemas.Error
	text  string
}

func (e *serviceError) Error() string {
	if e.cause.HTTPReturnedStatusCode == http.StatusUnauthorized {
		return bmc.ErrPassword.Error()
	}
	return fmt.Sprintf("%s (HTTP %d)", e.text, e.cause.HTTPReturnedStatusCode)
}

func (e *serviceError) Unwrap() []error {
	errs := []error{e.cause}
	switch e.cause.HTTPReturnedStatusCode {
	case http.StatusUnauthorized:
		errs = append(errs, bmc.ErrPassword)
	case http.StatusForbidden:
		errs = append(errs, bmc.ErrPrivilege)
	case http.StatusNotImplemented, http.StatusMethodNotAllowed:
		errs = append(errs, bmc.ErrUnsupported)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		errs = append(errs, bmc.ErrBusy)
	}
	return errs
}

// message is the service's best text: its extended messages, then the general
// one.
func message(e *schemas.Error) string {
	var texts []string
	for _, x := range e.ExtendedInfos {
		if m := bmc.Clean(x.Message); m != "" && len(texts) < 3 {
			texts = append(texts, m)
		}
	}
	if len(texts) == 0 {
		texts = append(texts, bmc.Clean(e.Message))
	}
	text := strings.Join(texts, " ")
	if len(text) > 300 {
		text = text[:300] + "..."
	}
	if text == "" || strings.HasPrefix(text, "<") {
		return "the service refuses" // an HTML page, or nothing
	}
	return text
}

func (s *session) hide(text string) string {
	if s.target.Password == "" {
		return text
	}
	return strings.ReplaceAll(text, string(s.target.Password), "******")
}
