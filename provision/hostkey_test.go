package provision

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"os"
	"sync"
	"testing"
)

// TestHostKey: a host has one key, however many ask for it at once, and after
// a restart; nobody but the server may read it.
func TestHostKey(t *testing.T) {
	s, _ := newService(t)
	var wg sync.WaitGroup
	keys := make([][]byte, 4)
	for i := range keys {
		wg.Go(func() { keys[i], _ = s.hostKey("esx1") })
	}
	wg.Wait()
	again, err := NewService(s.Config).hostKey("esx1")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if !bytes.Equal(k, again) {
			t.Error("the key is another one")
		}
	}
	block, _ := pem.Decode(again)
	if block == nil {
		t.Fatalf("no PEM: %s", again)
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err != nil || key.N.BitLen() != hostKeyBits {
		t.Errorf("key: %v", err)
	}
	if fi, err := os.Stat(s.hostKeyFile("esx1")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v, want mode 0600", fi, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.makeKeys(ctx); close(done) }()
	s.keysSoon([]string{"esx2"})
	other, err := s.hostKey("esx2")
	if err != nil || bytes.Equal(other, again) {
		t.Errorf("two hosts have one key, or none: %v", err)
	}
	stop()
	<-done
}
