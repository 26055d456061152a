package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"margay/cmd/command"
	"margay/nodedb"
	"margay/nodedb/bolt"
)

// A backup is lines of JSON, compressed: a head, the records with their
// secrets sealed, and a tail with the checksum of all lines before it, without
// which it is not whole.
type backupHead struct {
	Format int       `json:"margay"`
	At     time.Time `json:"at"`
	Rev    int64     `json:"rev"`
	Key    string    `json:"key,omitempty"` // sealing key, in hexadecimal
}

type backupRecord struct {
	Kind  nodedb.Kind `json:"k"`
	Name  string      `json:"n"`
	Attrs []byte      `json:"a"` // as nodedb.AppendAttrs has them
}

type backupTail struct {
	Records int    `json:"records"`
	Sum     string `json:"sha256"`
}

const backupFormat = 1

// backup writes the table as it is now.
func (d *daemon) backup(ctx context.Context, w io.Writer, withKey bool) (int, error) {
	key, err := nodedb.LoadKey(filepath.Join(d.state, "seal.key"))
	if err != nil {
		return 0, err
	}
	snap := d.db.Snapshot()
	var held heldStore
	var changes []nodedb.Change
	for _, kind := range snap.Kinds() {
		for _, r := range snap.Records(kind) {
			changes = append(changes, nodedb.Change{Key: r.Key, Attrs: r.Attrs})
		}
	}
	if _, err := nodedb.Seal(&held, key, secretColumn).Commit(ctx, changes); err != nil {
		return 0, err
	}
	head := backupHead{Format: backupFormat, At: time.Now().UTC(), Rev: snap.Rev()}
	if withKey {
		head.Key = hex.EncodeToString(key[:])
	}
	return len(changes), writeBackup(w, head, held.changes)
}

func writeBackup(w io.Writer, head backupHead, changes []nodedb.Change) error {
	z := gzip.NewWriter(w)
	sum := sha256.New()
	enc := json.NewEncoder(io.MultiWriter(z, sum))
	if err := enc.Encode(head); err != nil {
		return err
	}
	for _, c := range changes {
		if err := enc.Encode(backupRecord{c.Kind, c.Name, nodedb.AppendAttrs(nil, c.Attrs)}); err != nil {
			return err
		}
	}
	if err := json.NewEncoder(z).Encode(backupTail{len(changes), hex.EncodeToString(sum.Sum(nil))}); err != nil {
		return err
	}
	return z.Close()
}

// readBackup reads a whole backup, or says what is wrong with it.
func readBackup(r io.Reader) (backupHead, []nodedb.Record, error) {
	var head backupHead
	z, err := gzip.NewReader(r)
	if err != nil {
		return head, nil, errors.New("not a backup")
	}
	in := bufio.NewReaderSize(z, 1<<20)
	sum := sha256.New()
	line, err := in.ReadBytes('\n')
	if err != nil || json.Unmarshal(line, &head) != nil || head.Format == 0 {
		return head, nil, errors.New("not a backup")
	}
	if head.Format != backupFormat {
		return head, nil, fmt.Errorf("a later version wrote it (format %d); use that one", head.Format)
	}
	sum.Write(line)
	records, err := readRecords(in, sum)
	return head, records, err
}

func readRecords(in *bufio.Reader, sum hash.Hash) ([]nodedb.Record, error) {
	var records []nodedb.Record
	var decoder nodedb.AttrDecoder
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return nil, errors.New("it is cut off or damaged; take another one")
		}
		if bytes.HasPrefix(line, []byte(`{"records"`)) {
			var tail backupTail
			if json.Unmarshal(line, &tail) != nil || tail.Records != len(records) || tail.Sum != hex.EncodeToString(sum.Sum(nil)) {
				return nil, errors.New("it does not match its checksum; take another one")
			}
			return records, nil
		}
		sum.Write(line)
		var b backupRecord
		if err := json.Unmarshal(line, &b); err != nil {
			return nil, fmt.Errorf("record %d is damaged; take another one", len(records)+1)
		}
		attrs, err := decoder.Decode(b.Attrs)
		if err != nil {
			return nil, err
		}
		records = append(records, nodedb.Record{Key: nodedb.Key{Kind: b.Kind, Name: b.Name}, Attrs: attrs, Rev: 1})
	}
}

// A heldStore keeps what is committed to it, and loads what it was given: a
// store behind which there is none.
type heldStore struct {
	changes []nodedb.Change
	records []nodedb.Record
}

func (h *heldStore) Commit(_ context.Context, changes []nodedb.Change) (int64, error) {
	h.changes = append(h.changes, changes...)
	return 1, nil
}

func (h *heldStore) Load(context.Context) ([]nodedb.Record, int64, error) { return h.records, 1, nil }

func (h *heldStore) Watch(context.Context, int64, func([]nodedb.Record, int64)) error {
	return errors.ErrUnsupported
}

func (h *heldStore) Close() error { return nil }

func (c *cli) restoreCommand() *command.Command {
	return &command.Command{
		Name:  "restore",
		Usage: "file [--state dir] [--store url] [--force]",
		Short: "make a state directory's table from a backup, with the daemon stopped",
		Long: `Make the table of a state directory from a file that margay backup wrote. The
daemon must be stopped: while it serves, restorexCATdb and margay undo change
the table.

A table that is there already stays, unless --force: then it is kept beside the
new one under another name. A shared table (--store) must be empty.`,
		Group: command.GroupMargay,
		Flags: func(f *pflag.FlagSet) {
			f.String("state", "/var/lib/margay", "the daemon's state directory")
			f.String("store", "", "etcd://h1:2379,h2:2379/prefix in place of margay.db in the state directory")
			f.Bool("force", false, "put a table that is there out of the way")
		},
		Local: func(ctx context.Context, f *pflag.FlagSet, args []string) error {
			if len(args) != 1 {
				return command.Usagef("one file is wanted")
			}
			state, _ := f.GetString("state")
			store, _ := f.GetString("store")
			force, _ := f.GetBool("force")
			n, err := restore(ctx, args[0], state, store, force)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.stdout, "%d records restored into %s\n", n, state)
			return nil
		},
	}
}

// restore makes a table from a backup.
func restore(ctx context.Context, file, state, store string, force bool) (int, error) {
	records, key, err := openBackup(ctx, file, state)
	if err != nil {
		return 0, fmt.Errorf("backup %s: %w", file, err)
	}
	if err := os.MkdirAll(state, 0o755); err != nil {
		return 0, err
	}
	if err := keepKey(filepath.Join(state, "seal.key"), key); err != nil {
		return 0, err
	}
	own, err := nodedb.LoadKey(filepath.Join(state, "seal.key"))
	if err != nil {
		return 0, err
	}
	if store == "" {
		db := filepath.Join(state, "margay.db")
		if err := outOfTheWay(ctx, db, force); err != nil {
			return 0, err
		}
		store = "bolt:" + db
	}
	return len(records), fill(ctx, store, own, records)
}

// openBackup reads a backup and opens its secrets, with the key in it or that
// of the state directory.
func openBackup(ctx context.Context, file, state string) (records []nodedb.Record, key [32]byte, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, key, errors.Unwrap(err)
	}
	defer f.Close()
	head, sealed, err := readBackup(f)
	if err != nil {
		return nil, key, err
	}
	if head.Key != "" {
		b, err := hex.DecodeString(head.Key)
		if err != nil || len(b) != len(key) {
			return nil, key, errors.New("its key is none; take another one")
		}
		copy(key[:], b)
	} else {
		name := filepath.Join(state, "seal.key")
		if _, err := os.Stat(name); err != nil {
			return nil, key, fmt.Errorf("it was made without the key: put the old server's seal.key into %s first", state)
		}
		if key, err = nodedb.LoadKey(name); err != nil {
			return nil, key, err
		}
	}
	records, _, err = nodedb.Seal(&heldStore{records: sealed}, key, secretColumn).Load(ctx)
	return records, key, err
}

// keepKey puts the key into a state directory that has none yet.
func keepKey(name string, key [32]byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil // its own: secrets are sealed anew with it
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(key[:]); err != nil {
		return err
	}
	return f.Sync()
}

// outOfTheWay makes room for a new file. One that a daemon has open is left,
// as is one that holds anything unless force is given.
func outOfTheWay(ctx context.Context, db string, force bool) error {
	if _, err := os.Stat(db); err != nil {
		return logsAside(db, force)
	}
	s, err := openStore(ctx, "bolt:"+db)
	switch {
	case err == nil:
		records, _, loadErr := s.Load(ctx)
		s.Close()
		if loadErr == nil && len(records) == 0 {
			return nil
		}
		if !force {
			return fmt.Errorf("%s holds %d records; --force keeps it under another name and goes on", db, len(records))
		}
	case !errors.Is(err, nodedb.ErrInvalid): // not damaged: in use, or not to be read
		return err
	case !force:
		return fmt.Errorf("%w; --force keeps it under another name and goes on", err)
	}
	aside := asideName(db)
	if err := moveLogs(db, aside); err != nil { // of a damaged one: they stay with it
		return err
	}
	return os.Rename(db, aside)
}

func asideName(db string) string {
	return db + time.Now().Format(".before-restore-20060102-150405")
}

func moveLogs(db, to string) error {
	for _, log := range bolt.Logs(db) {
		if err := os.Rename(log, to+strings.TrimPrefix(log, db)); err != nil {
			return err
		}
	}
	return nil
}

// logsAside makes room where a table's logs are left, and it is not.
func logsAside(db string, force bool) error {
	logs := bolt.Logs(db)
	if len(logs) > 0 && !force {
		return fmt.Errorf("%s is gone, and %s is its log; --force keeps that under another name and goes on", db, logs[0])
	}
	return moveLogs(db, asideName(db))
}

// fill writes the records into an empty store, with their secrets sealed.
func fill(ctx context.Context, name string, key [32]byte, records []nodedb.Record) error {
	s, err := openStore(ctx, name)
	if err != nil {
		return err
	}
	defer s.Close()
	there, _, err := s.Load(ctx)
	if err != nil {
		return err
	}
	if len(there) > 0 {
		return fmt.Errorf("store %s holds %d records; name an empty one", name, len(there))
	}
	changes := make([]nodedb.Change, len(records))
	for i, r := range records {
		changes[i] = nodedb.Change{Key: r.Key, Attrs: r.Attrs}
	}
	_, err = nodedb.Seal(s, key, secretColumn).Commit(ctx, changes)
	return err
}
