// Package etcd keeps the table in etcd (3.4 or later), where several servers
// share it.
//
// A record is one key. A commit is one transaction of etcd, which compares the
// revisions of all keys that it changes. A commit that is too big for one (etcd
// takes 128 operations) is made in steps under a lock; batch.go says how, and
// why nobody ever sees half of it.
package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/logutil"
	clientv3 "go.etcd.io/etcd/client/v3"

	"margay/nodedb"
)

// A Store is a nodedb.Store in etcd.
type Store struct {
	c    *clientv3.Client
	cfg  Config
	name string // of the endpoints, for errors
	keys keys

	ctx    context.Context // done when the store is closed
	cancel context.CancelFunc
}

var _ nodedb.Store = (*Store)(nil)

// keys says where things are.
type keys struct {
	records string // prefix of records
	batch   string // there while a big commit is being applied
	lock    string // there while a big commit is being made
	format  string
	redo    string // prefix of what a big commit is made of
}

// makeKeys puts what watches follow between prefix+"b" and prefix+"s".
func makeKeys(prefix string) keys {
	return keys{
		batch:   prefix + "batch",
		format:  prefix + "format",
		lock:    prefix + "lock",
		records: prefix + "record/",
		redo:    prefix + "z/",
	}
}

const format = "1"

// How long to wait for etcd.
const (
	dialTimeout = 5 * time.Second
	callTimeout = 10 * time.Second
	keepAlive   = 3 * time.Second // an endpoint that is silent so long is given up
)

// Open connects to etcd; it fails if none of the endpoints answers.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s := &Store{cfg: cfg, name: "etcd at " + strings.Join(cfg.Endpoints, ","), keys: makeKeys(cfg.Prefix)}
	if err := probe(cfg); err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	quiet, err := logutil.CreateDefaultZapLogger(5) // the level of what ends the program: nothing
	if err != nil {
		return nil, err
	}
	s.c, err = clientv3.New(clientv3.Config{
		Endpoints:            cfg.Endpoints,
		Username:             cfg.Username,
		Password:             cfg.Password,
		TLS:                  cfg.TLS,
		DialTimeout:          dialTimeout,
		DialKeepAliveTime:    keepAlive,
		DialKeepAliveTimeout: keepAlive,
		Logger:               quiet,
	})
	if err != nil {
		return nil, s.explain(err)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.checkFormat(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// checkFormat marks a new table with our format, and refuses another one's.
func (s *Store) checkFormat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := s.c.Txn(ctx).
		If(absent(s.keys.format)).
		Then(clientv3.OpPut(s.keys.format, format)).
		Else(clientv3.OpGet(s.keys.format)).Commit()
	if err != nil {
		return s.explain(err)
	}
	if !r.Succeeded && string(r.Responses[0].GetResponseRange().Kvs[0].Value) != format {
		return fmt.Errorf("%s: a later version wrote this table; use that one", s.name)
	}
	return nil
}

// Close ends all watches and the connection.
func (s *Store) Close() error {
	s.cancel()
	return s.c.Close()
}

// roomAgain is the way out of an etcd that takes no more.
const roomAgain = "it is full: etcdctl compact and defrag it, or raise its --quota-backend-bytes, and then etcdctl alarm disarm"

// explain names etcd in an error.
func (s *Store) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rpctypes.ErrCompacted):
		return nodedb.ErrCompact
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%s: not written, %s: %w", s.name, roomAgain, err)
	case errors.Is(err, context.DeadlineExceeded):
		if why := probe(s.cfg); why != nil {
			return fmt.Errorf("%s does not answer: %w (%v)", s.name, err, why)
		}
		return fmt.Errorf("%s does not answer in time: %w", s.name, err)
	}
	return fmt.Errorf("%s: %w", s.name, err)
}

func absent(key string) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "=", 0)
}

// recordKey is where a record is kept.
func (s *Store) recordKey(k nodedb.Key) string {
	return s.keys.records + string(k.Kind) + "\x00" + k.Name
}

func (s *Store) decode(d *nodedb.AttrDecoder, kv *mvccpb.KeyValue) (nodedb.Record, error) {
	k := kv.Key[len(s.keys.records):]
	kind, name, ok := bytes.Cut(k, []byte{0})
	if !ok {
		return nodedb.Record{}, fmt.Errorf("%s: key %q makes no sense: %w", s.name, kv.Key, nodedb.ErrInvalid)
	}
	attrs, err := d.Decode(kv.Value)
	if err != nil {
		return nodedb.Record{}, fmt.Errorf("%s: key %q: %w", s.name, kv.Key, err)
	}
	return nodedb.Record{Key: nodedb.Key{Kind: nodedb.Kind(d.Text(kind)), Name: string(name)}, Attrs: attrs, Rev: kv.ModRevision}, nil
}

// pageSize is how many records Load asks for at once.
const pageSize = 2000

// Load returns every record at one revision, which is none at which a big
// commit was half made.
func (s *Store) Load(ctx context.Context) ([]nodedb.Record, int64, error) {
	for {
		recs, rev, err := s.load(ctx)
		switch {
		case errors.Is(err, errHalfMade):
			if err := s.settle(ctx); err != nil {
				return nil, 0, err
			}
		case errors.Is(err, nodedb.ErrCompact): // while we read; begin anew
		default:
			return recs, rev, err
		}
	}
}

var errHalfMade = errors.New("a big commit is being made")

func (s *Store) load(ctx context.Context) (recs []nodedb.Record, rev int64, err error) {
	decoder := new(nodedb.AttrDecoder)
	from, end := s.keys.records, clientv3.GetPrefixRangeEnd(s.keys.records)
	for {
		page, err := s.get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(pageSize), clientv3.WithRev(rev))
		if err != nil {
			return nil, 0, err
		}
		if rev == 0 {
			rev = page.Header.Revision
			if half, err := s.get(ctx, s.keys.batch, clientv3.WithRev(rev)); err != nil || len(half.Kvs) > 0 {
				return nil, 0, errors.Join(err, errHalf(err))
			}
		}
		for _, kv := range page.Kvs {
			r, err := s.decode(decoder, kv)
			if err != nil {
				return nil, 0, err
			}
			recs = append(recs, r)
		}
		if !page.More {
			return recs, rev, nil
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}

func errHalf(err error) error {
	if err != nil {
		return nil
	}
	return errHalfMade
}

// get asks for keys, and gives up in time.
func (s *Store) get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := s.c.Get(ctx, key, opts...)
	if err != nil {
		return nil, s.explain(err)
	}
	return r, nil
}
