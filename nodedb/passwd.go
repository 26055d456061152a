package nodedb

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
