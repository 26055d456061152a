package linux

import (
	"errors"
	"fmt"
	"regexp"

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
func (n *node) hash(key, user string) (string, error) { return n.PasswordHash(key, user, isHash) }

// isHash: the forms that all installers take as crypted.
func isHash(s string) bool { return crypted.MatchString(s) }

var crypted = regexp.MustCompile(`^\$(6|5)\$(rounds=[0-9]{1,9}\$)?[./A-Za-z0-9]{1,16}\$([./A-Za-z0-9]{86}|[./A-Za-z0-9]{43})$`)
