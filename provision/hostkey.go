package provision

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// hostKeyBits is the size of hosts' RSA keys: what every release's sshd takes,
// those in FIPS mode too.
const hostKeyBits = 3072

// hostKeys are the SSH keys of stateless hosts, which would have new ones at
// each boot otherwise. They are made once and kept below the state directory.
type hostKeys struct {
	mu   sync.Mutex // guards the fields below
	busy map[string]*sync.Mutex
	work chan string // nodes whose keys are to be made beforehand
}

func (s *Service) hostKeyFile(node string) string {
	return filepath.Join(s.State, "hostkeys", node+".pem")
}

// hostKey is a node's SSH key in PEM (PKCS #1), made if need be.
func (s *Service) hostKey(node string) ([]byte, error) {
	name := s.hostKeyFile(node)
	if b, err := os.ReadFile(name); !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	s.keys.mu.Lock()
	mu := s.keys.busy[node]
	if mu == nil {
		mu = &sync.Mutex{}
		s.keys.busy[node] = mu
	}
	s.keys.mu.Unlock()
	mu.Lock()
	defer mu.Unlock()
	if b, err := os.ReadFile(name); !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	key, err := rsa.GenerateKey(rand.Reader, hostKeyBits)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	return text, writePrivate(name, text)
}

// writePrivate writes a file that only we may read, whole or not at all.
func writePrivate(name string, data []byte) error {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(tmp.Name(), name), syncDir(dir))
}

// keysSoon has the keys of nodes made before they ask for them: many hosts
// that boot at once would wait for each other.
func (s *Service) keysSoon(nodes []string) {
	for _, n := range nodes {
		select {
		case s.keys.work <- n:
		default: // made when asked for
		}
	}
}

// makeKeys makes keys beforehand until ctx is done.
func (s *Service) makeKeys(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case node := <-s.keys.work:
			if _, err := s.hostKey(node); err != nil {
				s.Log.Error("an SSH key could not be made", "node", node, "err", err)
			}
		}
	}
}
