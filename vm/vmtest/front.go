package vmtest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"time"
)

func newCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return tls.Certificate{}, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "localhost.localdomain", Organization: []string{"VMware, Inc"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func tlsConfig(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

func fingerprints(cert tls.Certificate) (string, string) {
	s256 := sha256.Sum256(cert.Certificate[0])
	s1 := sha1.Sum(cert.Certificate[0])
	return colons(s256[:]), colons(s1[:])
}

func colons(b []byte) string {
	return strings.TrimSuffix(strings.ReplaceAll(fmt.Sprintf("% X", b), " ", ":"), ":")
}

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// answer passes requests on to vcsim and makes its answers like a host's.
func (w *World) answer(rw http.ResponseWriter, r *http.Request) {
	mux := w.model.Service.ServeMux
	switch {
	case r.URL.Path == "/sdk":
		r.Header.Del("Accept-Encoding")
		after := w.happens(r)
		rec := httptest.NewRecorder()
		mux.ServeHTTP(rec, r)
		after()
		for k, v := range rec.Header() {
			rw.Header()[k] = v
		}
		rw.Header().Del("Content-Length")
		rw.WriteHeader(rec.Code)
		body := goType.ReplaceAll(rec.Body.Bytes(), []byte("<localizedMessage></localizedMessage>"))
		if !w.opts.Raw && !strings.HasPrefix(r.UserAgent(), "margay") {
			body = likeHost(body) // it takes long, and our own client does not care
		}
		rw.Write(body)
	case strings.HasPrefix(r.URL.Path, "/nfc/"):
		w.nfc(rw, r)
	case strings.HasPrefix(r.URL.Path, "/folder"):
		if !w.loggedIn(r) {
			rw.Header().Set("WWW-Authenticate", `Basic realm="VMware HTTP server"`)
			http.Error(rw, "401 Unauthorized", http.StatusUnauthorized)
			return
		}
		w.folder(rw, r)
	case r.URL.Path == "/screen":
		w.screen(rw, r)
	default:
		mux.ServeHTTP(rw, r)
	}
}

func (w *World) loggedIn(r *http.Request) bool {
	if user, pass, ok := r.BasicAuth(); ok {
		return user == w.User && pass == w.Password
	}
	c, err := r.Cookie("vmware_soap_session")
	if err != nil {
		return false
	}
	key := strings.Trim(c.Value, `"`)
	for _, s := range w.sessions() {
		if s == key {
			return true
		}
	}
	return false
}

func (w *World) sessions() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for key := range w.keys {
		out = append(out, key)
	}
	return out
}

var (
	arrayValue = regexp.MustCompile(`(?s)<(val|changeValue|result) [^>]*:type="ArrayOf(\w+)"[^>]*>.*?</(?:val|changeValue|result)>`)
	// goType is what vcsim writes where a host writes a sentence.
	goType = regexp.MustCompile(`<localizedMessage>\*types\.\w+</localizedMessage>`)
)

// likeHost gives elements of arrays their type, which strict clients want.
func likeHost(body []byte) []byte {
	return arrayValue.ReplaceAllFunc(body, func(m []byte) []byte {
		t := string(arrayValue.FindSubmatch(m)[2])
		xsi := t
		switch t {
		case "String", "Int", "Long", "Short", "Byte", "Boolean":
			t = strings.ToLower(t[:1]) + t[1:]
			xsi = "xsd:" + t
		}
		element := regexp.MustCompile(`<` + t + `((?:\s[^>]*)?)(/?)>`)
		return element.ReplaceAllFunc(m, func(e []byte) []byte {
			part := element.FindSubmatch(e)
			if bytes.Contains(part[1], []byte(":type=")) {
				return e
			}
			return []byte("<" + t + ` xsi:type="` + xsi + `"` + string(part[1]) + string(part[2]) + ">")
		})
	})
}
