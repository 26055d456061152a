package nodedb

import (
	"fmt"
	"strings"
)

// A Password is a row of the passwd table. It is never printed or logged.
type Password struct {
	Key         string
	User        string
	Secret      string // passwd.password
	CryptMethod string
	AuthDomain  string
}

// String hides the secret.
func (p *Password) String() string { return p.Key + "/" + p.User + " ******" }

// GoString hides the secret.
func (p *Password) GoString() string { return p.String() }

// Password returns the row of a key and a user; user "" is the first row of
// the key. The error wraps ErrNotFound.
func (s *Snapshot) Password(key, user string) (*Password, error) {
	for _, row := range s.kind(KindPasswd).from(key) {
		k, u, _ := strings.Cut(row.rec.Name, KeySep)
		if k > key {
			break
		}
		if k == key && (user == "" || u == user) && !isDisabled(row.rec.Attrs["passwd.disable"]) {
			return &Password{
				Key: k, User: u,
				Secret:      row.rec.Attrs["passwd.password"],
				CryptMethod: row.rec.Attrs["passwd.cryptmethod"],
				AuthDomain:  row.rec.Attrs["passwd.authdomain"],
			}, nil
		}
	}
	if user != "" {
		return nil, fmt.Errorf("passwd table: no row for key %s and username %s: %w", key, user, ErrNotFound)
	}
	return nil, fmt.Errorf("passwd table: no row for key %s; add one with chtab key=%s passwd.username=... passwd.password=...: %w", key, key, ErrNotFound)
}
