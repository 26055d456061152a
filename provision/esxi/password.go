package esxi

import (
	"errors"
	"fmt"
	"regexp"

	"margay/nodedb"
)

// rootHash is root's password as crypt(3) has it, from the row of the passwd
// table with key vmware. Only the hash ever leaves the server.
func (h *host) rootHash() (string, error) {
	hash, err := h.hash("vmware", "root")
	if errors.Is(err, nodedb.ErrNotFound) {
		return "", fmt.Errorf("no root password for ESXi; set one with chtab key=vmware passwd.username=root passwd.password=...: %w", nodedb.ErrNotFound)
	}
	return hash, err
}

// hash is the password of a row of the passwd table, hashed unless it is.
func (h *host) hash(key, user string) (string, error) { return h.PasswordHash(key, user, isHash) }

// isHash: the forms that the installer takes as crypted.
func isHash(s string) bool { return sha512.MatchString(s) || md5.MatchString(s) }

var (
	sha512 = regexp.MustCompile(`^\$6\$(rounds=[0-9]{1,9}\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{86}$`)
	md5    = regexp.MustCompile(`^\$1\$[./A-Za-z0-9]{1,8}\$[./A-Za-z0-9]{22}$`)
)
