package httpd

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// callback hands what a machine tells to the receiver. GET is as good as POST:
// the wget of some installers can do nothing else.
func (s *Server) callback(w http.ResponseWriter, r *http.Request, name string) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		s.bar(w, r, name, http.StatusMethodNotAllowed, r.Method+": callbacks are posted", "callbacks are posted")
		return
	}
	m := machine(r)
	most := s.Body
	if most <= 0 {
		most = DefaultBody
	}
	in := &posted{r: http.MaxBytesReader(w, r.Body, most), control: http.NewResponseController(w)}
	err := s.Receiver.Receive(r.Context(), m, name, in)
	switch {
	case in.tooLarge:
		s.bar(w, r, name, http.StatusRequestEntityTooLarge, fmt.Sprintf("what is posted has more than %d bytes", most), fmt.Sprintf("body too large; %d bytes are taken", most))
	case err != nil:
		s.refuse(w, m, name, err)
	default:
		say(w, http.StatusOK, "ok")
	}
}

// posted reads a request's body with a deadline that moves as it arrives.
type posted struct {
	r        io.Reader
	control  *http.ResponseController
	tooLarge bool
}

func (p *posted) Read(b []byte) (int, error) {
	_ = p.control.SetReadDeadline(time.Now().Add(stallTime))
	n, err := p.r.Read(b)
	var most *http.MaxBytesError
	if errors.As(err, &most) {
		p.tooLarge = true
	}
	return n, err
}
