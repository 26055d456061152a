package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"margay/cmd/command"
	"margay/nodedb"
	"margay/nodedb/bolt"
	"margay/nodedb/etcd"
)

// openStore opens the store that text names: bolt:FILE, or
// etcd://h1:2379,h2:2379/prefix and its like.
func openStore(ctx context.Context, text string) (nodedb.Store, error) {
	if file, ok := strings.CutPrefix(text, "bolt:"); ok {
		return bolt.Open(file)
	}
	if strings.HasPrefix(text, "etcd") {
		cfg, err := etcd.ParseURL(text)
		if err != nil {
			return nil, err
		}
		return etcd.Open(ctx, cfg)
	}
	return nil, fmt.Errorf("store %s: neither bolt:FILE nor etcd://HOST:PORT/PREFIX", text)
}

// openTable opens the table with its secrets sealed. Servers that share an
// etcd share the key: <state>/seal.key is the same file on each.
func (d *daemon) openTable(ctx context.Context) error {
	store, err := openStore(ctx, d.storeText())
	if err != nil {
		return err
	}
	key, err := nodedb.LoadKey(filepath.Join(d.state, "seal.key"))
	if err == nil {
		d.db, err = nodedb.New(ctx, nodedb.Seal(store, key, secretColumn))
	}
	if err != nil {
		store.Close()
	}
	return err
}

// storeText is the name of the daemon's store, as openStore takes it.
func (d *daemon) storeText() string {
	if d.store == "" {
		return "bolt:" + filepath.Join(d.state, "margay.db")
	}
	return d.store
}

// storeName says where the table of a store is that openStore has opened.
func storeName(text string) command.StoreName {
	if file, ok := strings.CutPrefix(text, "bolt:"); ok {
		return command.StoreName{Where: text, Engine: "bbolt", Name: file}
	}
	cfg, err := etcd.ParseURL(text)
	if err != nil {
		return command.StoreName{}
	}
	hosts := strings.Join(cfg.Endpoints, ",")
	where := "etcd://" + hosts + "/" + strings.TrimSuffix(cfg.Prefix, "/")
	if cfg.Username != "" {
		where += "|" + cfg.Username
	}
	return command.StoreName{Where: where, Engine: "etcd", Name: cfg.Prefix, Host: hosts, Admin: cfg.Username}
}

// secretColumn says which columns are sealed: xCAT's passwords, and the
// secrets that tokens are made from.
func secretColumn(column string) bool {
	return nodedb.IsSecret(column) || column == "attempt.secret"
}

func (c *cli) storeCommand() *command.Command {
	return &command.Command{
		Name:  "store",
		Usage: "copy from to",
		Short: "copy a node table from one store to another: bolt:FILE, etcd://HOST:PORT/PREFIX",
		Long: `Copy a whole node table from one store to another, which must be empty. A store
is bolt:FILE (/var/lib/margay/margay.db, with the daemon stopped) or
etcd://h1:2379,h2:2379/prefix. Secrets stay sealed: the new daemon needs the old
one's seal.key in its state directory.`,
		Group: command.GroupMargay,
		Local: func(ctx context.Context, _ *pflag.FlagSet, args []string) error {
			if len(args) != 3 || args[0] != "copy" {
				return command.Usagef("copy and two stores are wanted")
			}
			n, err := copyStore(ctx, args[1], args[2])
			if err != nil {
				return err
			}
			fmt.Fprintf(c.stdout, "%d records copied\n", n)
			return nil
		},
	}
}

// copyStore copies all records as they are stored, sealed columns too.
func copyStore(ctx context.Context, from, to string) (int, error) {
	src, err := openStore(ctx, from)
	if err != nil {
		return 0, err
	}
	defer src.Close()
	dst, err := openStore(ctx, to)
	if err != nil {
		return 0, err
	}
	defer dst.Close()
	n, err := nodedb.Copy(ctx, src, dst)
	if err != nil {
		return n, fmt.Errorf("store copy from %s to %s: %w", from, to, err)
	}
	return n, nil
}
