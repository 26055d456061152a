package linux

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-crypt/crypt/algorithm/shacrypt"

	"margay/nodedb"
)

// rootHash is root's password as crypt(3) has it, from the row of the passwd
// table with key system. Only the hash ever leaves the server.
func (n *node) rootHash() (string, error) {
	hash, err := n.hash("system", "root")
	if errors.Is(err, nodedb.ErrNotFound) {
		return "", fmt.Errorf("no root password; set one with chtab key=system passwd.username=root passwd.password=...: %w", nodedb.ErrInvalid)
	}
	return hash, err
}

// hash is the password of a row of the passwd table, hashed unless it is.
func (n *node) hash(key, user string) (string, error) {
	p, err := n.Snap.Password(key, user)
	if err != nil {
		return "", err
	}
	switch {
	case p.Secret == "":
		return "", fmt.Errorf("passwd key=%s username=%s has no password: %w", key, user, nodedb.ErrNotFound)
	case isHash(p.Secret):
		return p.Secret, nil
	case cryptLike.MatchString(p.Secret):
		return "", fmt.Errorf("the password of %s is hashed by %.3s, which not every installer takes; use $6$ (SHA-512): %w", user, p.Secret, nodedb.ErrInvalid)
	}
	return crypt(p.Secret, n.salt(user))
}

// isHash: the forms that all installers take as crypted.
func isHash(s string) bool { return crypted.MatchString(s) }

var (
	crypted   = regexp.MustCompile(`^\$(6|5)\$(rounds=[0-9]{1,9}\$)?[./A-Za-z0-9]{1,16}\$([./A-Za-z0-9]{86}|[./A-Za-z0-9]{43})$`)
	cryptLike = regexp.MustCompile(`^\$[0-9a-z]{1,10}\$[./A-Za-z0-9=,$]{20,}$`)
)

// salt follows from the attempt and the node, so that a file asked for twice
// is the same twice, and no two nodes show that they share a password.
func (n *node) salt(user string) []byte {
	sum := sha256.Sum256([]byte(user + " of " + n.Node.Name + " " + n.Token))
	salt := make([]byte, 16)
	for i := range salt {
		salt[i] = saltAlphabet[sum[i]&63]
	}
	return salt
}

const saltAlphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// rounds is crypt's own default, which its text then leaves out.
const rounds = 5000

// crypt is SHA-512 crypt ($6$).
func crypt(password string, salt []byte) (string, error) {
	hasher, err := shacrypt.New(shacrypt.WithSHA512(), shacrypt.WithIterations(rounds))
	if err != nil {
		return "", err
	}
	d, err := hasher.HashWithSalt(password, salt)
	if err != nil {
		return "", err
	}
	return strings.Replace(d.Encode(), fmt.Sprintf("$rounds=%d$", rounds), "$", 1), nil
}
