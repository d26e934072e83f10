package raftnode

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// slowLog blocks its writes until released.
type slowLog struct {
	memLog
	slow    atomic.Bool
	release chan struct{}
}

func (s *slowLog) StoreLogs(l []*raft.Log) error {
	if s.slow.Load() {
		<-s.release
	}
	return s.memLog.StoreLogs(l)
}

func TestLogWriteDeadline(t *testing.T) {
	t.Parallel()
	disk := &slowLog{memLog: newMemLog(), release: make(chan struct{})}
	defer close(disk.release)
	var broke atomic.Pointer[error]
	s := newLogStore(disk, 20*time.Millisecond, 1<<20)
	s.onBroken = func(err error) { broke.Store(&err) }
	if err := s.StoreLog(&raft.Log{Index: 1}); err != nil {
		t.Fatal(err)
	}
	disk.slow.Store(true)
	if err := s.StoreLog(&raft.Log{Index: 2}); !errors.Is(err, ErrLogBroken) {
		t.Errorf("a write that hangs: %v, want ErrLogBroken", err)
	}
	if broke.Load() == nil {
		t.Error("the node was not told")
	}
	disk.slow.Store(false)
	if err := s.StoreLog(&raft.Log{Index: 2}); !errors.Is(err, ErrLogBroken) {
		t.Errorf("a write after it: %v, want ErrLogBroken still", err)
	}
}

func TestLogTruncationGuard(t *testing.T) {
	t.Parallel()
	s := newLogStore(newMemLog(), time.Second, 1<<20)
	for i := uint64(1); i <= 20; i++ {
		if err := s.StoreLog(&raft.Log{Index: i, Data: []byte{byte(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	s.durable = func() uint64 { return 8 }
	if err := s.DeleteRange(1, 9); !errors.Is(err, errTruncate) {
		t.Errorf("a prefix beyond the flush: %v, want a refusal", err)
	}
	if err := s.DeleteRange(1, 8); err != nil {
		t.Errorf("a prefix up to the flush: %v", err)
	}
	if err := s.DeleteRange(15, 20); err != nil {
		t.Errorf("an overruled suffix: %v", err)
	}
	for i := uint64(15); i < 3000; i++ {
		if err := s.StoreLog(&raft.Log{Index: i, Term: 2, Data: make([]byte, 10<<10)}); err != nil {
			t.Fatal(err)
		}
	}
	if s.cached > cacheBytes || s.hi-s.lo > cacheEntries {
		t.Errorf("cache of %d bytes, %d entries", s.cached, s.hi-s.lo)
	}
	for _, i := range []uint64{9, 15, 2500, 2999} {
		var l raft.Log
		if err := s.GetLog(i, &l); err != nil || l.Index != i || (i >= 15) != (l.Term == 2) {
			t.Errorf("entry %d: %+v, %v", i, l.Index, err)
		}
	}
}
