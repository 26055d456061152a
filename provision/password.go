package provision

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-crypt/crypt/algorithm/shacrypt"

	"margay/nodedb"
)

// PasswordHash is the password of a row of the passwd table as crypt(3) has
// it: as it stands there if it is hashed in a form that takes allows, hashed by
// SHA-512 if it is in clear text. Only the hash ever leaves the server. A boot
// that is rehearsed gets a text of the same form in place of a new hash.
func (b *Boot) PasswordHash(key, user string, takes func(hash string) bool) (string, error) {
	p, err := b.Snap.Password(key, user)
	if err != nil {
		return "", err
	}
	switch {
	case p.Secret == "":
		return "", fmt.Errorf("passwd key=%s username=%s has no password: %w", key, user, nodedb.ErrNotFound)
	case takes(p.Secret):
		return p.Secret, nil
	case cryptLike.MatchString(p.Secret):
		return "", fmt.Errorf("the password of %s is hashed by %.3s, which the installer of %s does not take; use $6$ (SHA-512): %w", user, p.Secret, b.OS, nodedb.ErrInvalid)
	}
	if b.Rehearsed {
		return rehearsedHash, nil
	}
	return crypt(p.Secret, b.salt(user))
}

// rehearsedHash has the form of a hash and is none: no password comes to it. A
// real one takes milliseconds, and a rehearsal asks for several a node.
var rehearsedHash = "$6$rehearsed$" + strings.Repeat(".", 86)

var cryptLike = regexp.MustCompile(`^\$[0-9a-z]{1,10}\$[./A-Za-z0-9=,$]{20,}$`)

// salt follows from the attempt and the node, so that a file asked for twice
// is the same twice, and no two nodes show that they share a password.
func (b *Boot) salt(user string) []byte {
	sum := sha256.Sum256([]byte(user + " of " + b.Node.Name + " " + b.Token))
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
