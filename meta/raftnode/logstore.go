package raftnode

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// cacheEntries and cacheBytes bound the newest entries kept in memory, so that
	// replication and apply do not read them back from disk. Entries are at most
	// 256 KiB.
	cacheEntries = 1024
	cacheBytes   = 8 << 20
	// entryOverhead is what an entry costs in the log beside its data, in bytes,
	// roughly: key, msgpack fields, page slack.
	entryOverhead = 96
)

// ErrLogBroken is wrapped by every write after one that failed or took longer than
// the deadline: what reached the disk is unknown then, so the node must restart.
var ErrLogBroken = errors.New("raft log cannot be written")

// errTruncate is returned for a truncation that would remove entries which the
// store could need after a crash. raft never asks for one; see DESIGN.md.
var errTruncate = errors.New("refused to truncate the raft log beyond the last flush")

// logStore wraps the log on disk: it caches the newest entries, counts bytes since
// the last snapshot, puts a deadline on writes and guards the invariant that the
// log reaches back to the last flush of the metadata store. Safe for concurrent use.
type logStore struct {
	inner    raft.LogStore
	deadline time.Duration
	// durable returns the applied index up to which the metadata store is on disk.
	durable func() uint64
	// restored returns the index of the snapshot that was restored last.
	restored func() uint64
	// onBroken is called once, with the first failed write's error.
	onBroken func(error)
	// full receives a token whenever bytes passes limit.
	full  chan struct{}
	limit int64

	// mu guards what follows.
	mu     sync.Mutex
	broken error
	// cache holds the entries lo <= index < hi at index % cacheEntries.
	cache      [cacheEntries]*raft.Log
	lo, hi     uint64
	cached     int
	bytes      int64
	entries    int64
	started    time.Time
	countReads bool
}

func newLogStore(inner raft.LogStore, deadline time.Duration, limit int64) *logStore {
	return &logStore{
		inner:    inner,
		deadline: deadline,
		durable:  func() uint64 { return 0 },
		restored: func() uint64 { return 0 },
		onBroken: func(error) {},
		full:     make(chan struct{}, 1),
		limit:    limit,
		started:  time.Now(),
	}
}

func entrySize(l *raft.Log) int { return len(l.Data) + len(l.Extensions) + entryOverhead }

// FirstIndex implements raft.LogStore.
func (s *logStore) FirstIndex() (uint64, error) { return s.inner.FirstIndex() }

// LastIndex implements raft.LogStore.
func (s *logStore) LastIndex() (uint64, error) { return s.inner.LastIndex() }

// GetLog implements raft.LogStore.
func (s *logStore) GetLog(index uint64, log *raft.Log) error {
	s.mu.Lock()
	if index >= s.lo && index < s.hi {
		*log = *s.cache[index%cacheEntries]
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	if err := s.inner.GetLog(index, log); err != nil {
		return err
	}
	s.mu.Lock()
	if s.countReads {
		s.bytes += int64(entrySize(log))
		s.entries++
	}
	s.mu.Unlock()
	return nil
}

// StoreLog implements raft.LogStore.
func (s *logStore) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore: durable when it returns nil.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	if err := s.write(func() error { return s.inner.StoreLogs(logs) }); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if logs[0].Index != s.hi {
		s.clearCache()
		s.lo, s.hi = logs[0].Index, logs[0].Index
	}
	for _, l := range logs {
		s.bytes += int64(entrySize(l))
		s.entries++
		s.put(l)
	}
	if s.bytes >= s.limit {
		select {
		case s.full <- struct{}{}:
		default:
		}
	}
	return nil
}

// put caches l, whose index is hi, and drops the oldest beyond the bounds.
func (s *logStore) put(l *raft.Log) {
	if l.Index != s.hi {
		s.clearCache()
		s.lo, s.hi = l.Index, l.Index
	}
	if s.hi-s.lo == cacheEntries {
		s.dropOldest()
	}
	c := *l
	s.cache[l.Index%cacheEntries] = &c
	s.hi++
	s.cached += entrySize(l)
	for s.cached > cacheBytes && s.lo < s.hi {
		s.dropOldest()
	}
}

func (s *logStore) dropOldest() {
	slot := &s.cache[s.lo%cacheEntries]
	s.cached -= entrySize(*slot)
	*slot = nil
	s.lo++
}

func (s *logStore) clearCache() {
	for s.lo < s.hi {
		s.dropOldest()
	}
}

// DeleteRange implements raft.LogStore. raft removes either a prefix, after a
// snapshot, or a suffix that another leader overruled. A prefix may only go as far
// as the metadata store is flushed: after a crash the rest is applied again.
func (s *logStore) DeleteRange(lo, hi uint64) error {
	last, err := s.inner.LastIndex()
	if err != nil {
		return err
	}
	if durable := s.durable(); hi < last && hi > durable {
		return fmt.Errorf("%w: up to %d, flushed to %d", errTruncate, hi, durable)
	}
	s.mu.Lock()
	s.clearCache()
	s.mu.Unlock()
	return s.write(func() error { return s.inner.DeleteRange(lo, hi) })
}

// IsMonotonic implements raft.MonotonicLogStore. raft asks it after it has restored a
// snapshot from the leader; true makes it remove the whole log. Otherwise it would
// keep the last entries, as many as behind a snapshot of its own, and append with a
// gap what follows the snapshot: entries that this node held and that others may
// have overruled, which as a leader it would send to those who lack them. Only
// where the snapshot covers the log: raft may have acknowledged what is beyond it.
func (s *logStore) IsMonotonic() bool {
	last, err := s.inner.LastIndex()
	return err == nil && last <= s.restored()
}

// write runs op with the deadline. After an error or a timeout every later write
// fails. A leader whose disk hangs would otherwise keep its followers quiet with
// heartbeats for ever.
func (s *logStore) write(op func() error) error {
	s.mu.Lock()
	broken := s.broken
	s.mu.Unlock()
	if broken != nil {
		return broken
	}
	done := make(chan error, 1)
	go func() { done <- op() }()
	timer := time.NewTimer(s.deadline)
	defer timer.Stop()
	var err error
	select {
	case err = <-done:
		if err == nil {
			return nil
		}
		err = fmt.Errorf("%w: %w", ErrLogBroken, err)
	case <-timer.C:
		err = fmt.Errorf("%w: a write took longer than %v", ErrLogBroken, s.deadline)
	}
	s.mu.Lock()
	first := s.broken == nil
	if first {
		s.broken = err
	}
	s.mu.Unlock()
	if first {
		s.onBroken(err)
	}
	return err
}

// counting switches the counting of reads: at start raft reads each entry that is
// newer than the newest snapshot once, which tells the log's size without a scan of
// our own.
func (s *logStore) counting(on bool) {
	s.mu.Lock()
	s.countReads = on
	s.mu.Unlock()
}

// sinceSnapshot returns the bytes and entries appended since the last snapshot and
// since when it counts.
func (s *logStore) sinceSnapshot() (bytes, entries int64, started time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes, s.entries, s.started
}

// snapshotTaken subtracts what a snapshot covers.
func (s *logStore) snapshotTaken(bytes, entries int64) {
	s.mu.Lock()
	s.bytes -= bytes
	s.entries -= entries
	s.started = time.Now()
	s.mu.Unlock()
}

var (
	_ raft.LogStore          = (*logStore)(nil)
	_ raft.MonotonicLogStore = (*logStore)(nil)
)
