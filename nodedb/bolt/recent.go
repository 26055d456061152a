package bolt

import (
	"context"
	"sync"

	"margay/nodedb"
)

// A commit is what watchers are told of.
type commit struct {
	recs []nodedb.Record
	rev  int64
}

// recent is the last commits, for those who watch. It is in memory only: the
// file is open in no other process, and who opens it next loads it whole.
type recent struct {
	mu      sync.Mutex
	commits []commit      // in order of revision, without gaps; guarded by mu
	records int           // in commits; guarded by mu
	last    int64         // the newest revision; guarded by mu
	news    chan struct{} // closed and replaced at every change; guarded by mu
	ended   bool          // guarded by mu
}

// How much a watcher may lag behind. The newest commit is always kept.
const (
	keepCommits = 4096
	keepRecords = 1 << 16
)

func (l *recent) start(rev int64) {
	l.last, l.news = rev, make(chan struct{})
}

// add appends commits and drops the oldest.
func (l *recent) add(commits []commit) {
	if len(commits) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if commits[0].rev != l.last+1 { // one was reported as failed, and is there
		l.commits, l.records = nil, 0
	}
	for _, c := range commits {
		l.commits = append(l.commits, c)
		l.records += len(c.recs)
		l.last = c.rev
	}
	drop := 0
	for len(l.commits)-drop > 1 && (len(l.commits)-drop > keepCommits || l.records > keepRecords) {
		l.records -= len(l.commits[drop].recs)
		l.commits[drop] = commit{}
		drop++
	}
	l.commits = l.commits[drop:]
	l.wake()
}

func (l *recent) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.wake()
}

func (l *recent) wake() {
	close(l.news)
	l.news = make(chan struct{})
}

// since returns the commits after a revision; gap: some are no longer kept.
func (l *recent) since(after int64) (list []commit, gap, ended bool, news <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.last - after
	if n < 0 || n > int64(len(l.commits)) {
		return nil, true, l.ended, l.news
	}
	list = append(list, l.commits[int64(len(l.commits))-n:]...)
	return list, false, l.ended, l.news
}

func (l *recent) watch(ctx context.Context, after int64, fn func([]nodedb.Record, int64)) error {
	for ctx.Err() == nil {
		list, gap, ended, news := l.since(after)
		if gap {
			return nodedb.ErrCompact
		}
		for _, c := range list {
			if ctx.Err() != nil {
				return nil
			}
			fn(c.recs, c.rev)
			after = c.rev
		}
		if len(list) > 0 {
			continue
		}
		if ended {
			return errClosed
		}
		select {
		case <-news:
		case <-ctx.Done():
		}
	}
	return nil
}
