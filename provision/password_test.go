package provision

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"margay/netboot"
	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

// A hashFamily has root's hash in its files, and keeps those it was given.
type hashFamily struct {
	fakeFamily
	mu   *sync.Mutex
	seen *[]string
}

func (f hashFamily) Make(b *Boot, name string) ([]byte, error) {
	hash, err := b.PasswordHash("vmware", "root", func(s string) bool { return strings.HasPrefix(s, "$6$") })
	f.mu.Lock()
	defer f.mu.Unlock()
	*f.seen = append(*f.seen, hash)
	return fmt.Appendf(nil, "%s %s", name, hash), err
}

// A nodeset of many nodes hashes no password, which takes milliseconds each;
// what machines are sent has a hash of the node's own.
func TestRehearsalHashesNothing(t *testing.T) {
	s, _ := newService(t)
	f := hashFamily{mu: new(sync.Mutex), seen: new([]string)}
	s.Families = []Family{f}
	recs := []nodedb.Record{nodedbtest.Password("vmware", "root", "Secret-1")}
	var names []string
	for i := range 50 {
		names = append(names, fmt.Sprintf("r%d", i))
		recs = append(recs, nodedbtest.Node(names[i], "all", fmt.Sprintf("mac.mac=52:54:00:00:01:%02x", i), fmt.Sprintf("hosts.ip=10.1.0.%d", 100+i),
			"nodetype.os=esxi8", "nodetype.arch=x86_64", "nodetype.profile=base"))
	}
	nodedbtest.Put(t, s.DB, recs...)
	act, err := ParseAction("install")
	if err != nil {
		t.Fatal(err)
	}
	results, err := s.Nodeset(t.Context(), append(names, "esx1", "esx2"), act)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			t.Fatalf("%s: %v", r.Node, r.Err)
		}
	}
	if len(*f.seen) < len(names) {
		t.Fatalf("%d hashes were asked for: the test shows nothing", len(*f.seen))
	}
	hashed := 0
	for _, hash := range *f.seen {
		if hash != rehearsedHash {
			hashed++
		}
	}
	if hashed > 0 {
		t.Errorf("%d passwords were hashed to rehearse", hashed)
	}
	sent := map[string]bool{}
	for i, m := range []netboot.Machine{from1, from2} {
		if _, err := s.get(m, fmt.Sprintf("boot/esx%d/script", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	for _, hash := range (*f.seen)[len(*f.seen)-2:] {
		if hash == rehearsedHash || !regexp.MustCompile(`^\$6\$[./0-9A-Za-z]{16}\$[./0-9A-Za-z]{86}$`).MatchString(hash) {
			t.Errorf("a machine was sent %q", hash)
		}
		sent[hash] = true
	}
	if len(sent) != 2 {
		t.Error("two nodes were sent the same hash")
	}
}
