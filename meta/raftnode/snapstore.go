package raftnode

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

const (
	// retainSnapshots is how many are kept. The older one serves while the newer is
	// found damaged.
	retainSnapshots = 2

	snapPrefix    = "snap-"
	tempPrefix    = "tmp-"
	damagedPrefix = "damaged-"
)

// snapshots is raft's snapshot store on checkpoint directories:
//
//	snap-INDEX-TERM-RANDOM/snapshot        the manifest
//	snap-INDEX-TERM-RANDOM/snapshot.copy   the same: only it tells raft where the log begins
//	snap-INDEX-TERM-RANDOM/state/          the checkpoint, tables shared with the store by hard links
//
// Safe for concurrent use.
type snapshots struct {
	fs  vfs.FS
	dir string
	log *slog.Logger
	// wanted gets a token when a snapshot turned out to be damaged on use.
	wanted chan struct{}

	// mu guards list, newest first.
	mu   sync.Mutex
	list []*snapshot
}

// snapshot is one complete snapshot on disk.
type snapshot struct {
	dir  string
	head []byte // the manifest as it is on disk
	m    *manifest
	meta *raft.SnapshotMeta
	// bad: its content is damaged. It stays until a newer one is there, because its
	// manifest still tells raft where the log begins. Guarded by snapshots.mu.
	bad bool
}

// openSnapshots opens the store in dir and removes what was left unfinished.
func openSnapshots(fs vfs.FS, dir string, log *slog.Logger) (*snapshots, error) {
	s := &snapshots{fs: fs, dir: dir, log: log, wanted: make(chan struct{}, 1)}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open snapshots %q: %w", dir, err)
	}
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("open snapshots %q: %w", dir, err)
	}
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		switch {
		case strings.HasPrefix(name, tempPrefix), strings.HasPrefix(name, damagedPrefix):
			if err := fs.RemoveAll(path); err != nil {
				return nil, fmt.Errorf("remove left-over snapshot: %w", err)
			}
		case strings.HasPrefix(name, snapPrefix):
			snap, err := s.load(name)
			if err != nil {
				s.log.Error("snapshot cannot be used", "snapshot", name, "error", err)
				s.setAside(name)
				continue
			}
			s.list = append(s.list, snap)
		}
	}
	s.sort()
	return s, nil
}

// load reads a snapshot's manifest and checks that its files have the right sizes.
// One that has not is kept as damaged, for what its manifest says. The content is
// checked when it is used.
func (s *snapshots) load(name string) (*snapshot, error) {
	dir := s.fs.PathJoin(s.dir, name)
	head, m, err := s.manifest(dir, manifestName)
	if err != nil {
		s.log.Error("snapshot's manifest cannot be used, its copy may", "snapshot", name, "error", err)
		if head, m, err = s.manifest(dir, copyName); err != nil {
			return nil, err
		}
	}
	meta, err := m.meta(name, tarSize(len(head), m))
	if err != nil {
		return nil, err
	}
	snap := &snapshot{dir: dir, head: head, m: m, meta: meta}
	for _, f := range m.Files {
		info, err := s.fs.Stat(s.fs.PathJoin(dir, stateName, f.Name))
		if err == nil && info.Size() != f.Size {
			err = fmt.Errorf("%w: file %q has %d bytes, want %d", ErrDamaged, f.Name, info.Size(), f.Size)
		}
		if err != nil {
			snap.bad = true
			s.log.Error("snapshot is damaged", "snapshot", name, "error", err)
			s.wantNew()
			break
		}
	}
	return snap, nil
}

// manifest reads one of the two files that hold a snapshot's manifest.
func (s *snapshots) manifest(dir, name string) (head []byte, m *manifest, err error) {
	f, err := s.fs.Open(s.fs.PathJoin(dir, name))
	if err != nil {
		return nil, nil, err
	}
	head, err = io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, nil, err
	}
	m, err = parseManifest(head)
	return head, m, err
}

func (s *snapshots) sort() {
	slices.SortFunc(s.list, func(a, b *snapshot) int {
		return cmp.Or(cmp.Compare(b.m.Index, a.m.Index), cmp.Compare(b.m.Term, a.m.Term), cmp.Compare(b.meta.ID, a.meta.ID))
	})
}

// newest returns the newest snapshot's index, 0 if there is none.
func (s *snapshots) newest() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) == 0 {
		return 0
	}
	return s.list[0].m.Index
}

// damaged reports whether the newest snapshot waits for one to replace it.
func (s *snapshots) damaged() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.list) > 0 && s.list[0].bad
}

// List implements raft.SnapshotStore.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*raft.SnapshotMeta
	for _, snap := range s.list {
		meta := *snap.meta
		out = append(out, &meta)
	}
	return out, nil
}

// Open implements raft.SnapshotStore. It verifies every file first, so a damaged
// snapshot is neither restored nor sent; it is set aside.
func (s *snapshots) Open(name string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	snap, err := s.verified(name)
	if err != nil {
		return nil, nil, err
	}
	meta := *snap.meta
	return &meta, &opened{tarReader: newTarReader(s.fs, snap.dir, snap.head, snap.m), snap: snap}, nil
}

// opened is what Open returns: a stream, or for our own FSM the directory itself.
type opened struct {
	*tarReader
	snap *snapshot
}

// verified returns a snapshot whose files match their hashes.
func (s *snapshots) verified(name string) (*snapshot, error) {
	s.mu.Lock()
	i := slices.IndexFunc(s.list, func(x *snapshot) bool { return x.meta.ID == name })
	if i < 0 {
		s.mu.Unlock()
		return nil, fmt.Errorf("open snapshot %q: not there", name)
	}
	snap, bad := s.list[i], s.list[i].bad
	s.mu.Unlock()
	if bad {
		return nil, fmt.Errorf("open snapshot %q: %w", name, ErrDamaged)
	}
	if err := s.verify(snap); err != nil {
		if errors.Is(err, ErrDamaged) {
			s.mu.Lock()
			snap.bad = true
			s.mu.Unlock()
			s.log.Error("snapshot is damaged", "snapshot", name, "error", err)
			s.wantNew()
		}
		return nil, fmt.Errorf("open snapshot %q: %w", name, err)
	}
	return snap, nil
}

func (s *snapshots) verify(snap *snapshot) error {
	for _, f := range snap.m.Files {
		n, sum, err := hashFile(s.fs, s.fs.PathJoin(snap.dir, stateName, f.Name))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if n != f.Size || sum != f.Digest {
			return fmt.Errorf("%w: file %q", ErrDamaged, f.Name)
		}
	}
	return nil
}

// drop takes a damaged snapshot out of the list and sets it aside.
func (s *snapshots) drop(name string) {
	s.mu.Lock()
	s.list = slices.DeleteFunc(s.list, func(x *snapshot) bool { return x.meta.ID == name })
	s.mu.Unlock()
	s.setAside(name)
}

// setAside renames a damaged snapshot; the next Open removes it.
func (s *snapshots) setAside(name string) {
	err := s.fs.Rename(s.fs.PathJoin(s.dir, name), s.fs.PathJoin(s.dir, damagedPrefix+name))
	if err != nil {
		s.log.Error("set damaged snapshot aside", "snapshot", name, "error", err)
	}
}

// add takes a finished snapshot in and removes damaged ones and those beyond the
// newest two.
func (s *snapshots) add(snap *snapshot) {
	s.mu.Lock()
	var old []*snapshot
	for _, x := range s.list {
		if x.bad {
			old = append(old, x)
		}
	}
	s.list = slices.DeleteFunc(s.list, func(x *snapshot) bool { return x.bad })
	s.list = append(s.list, snap)
	s.sort()
	if len(s.list) > retainSnapshots {
		old = append(old, s.list[retainSnapshots:]...)
		s.list = slices.Clone(s.list[:retainSnapshots])
	}
	s.mu.Unlock()
	for _, o := range old {
		if err := s.fs.RemoveAll(o.dir); err != nil {
			s.log.Error("remove old snapshot", "snapshot", o.meta.ID, "error", err)
		}
	}
}

// Create implements raft.SnapshotStore.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration,
	configurationIndex uint64, _ raft.Transport,
) (raft.SnapshotSink, error) {
	if version != 1 {
		return nil, fmt.Errorf("create snapshot: unsupported version %d", version)
	}
	var unique [4]byte
	rand.Read(unique[:])
	name := fmt.Sprintf("%s%020d-%020d-%x", snapPrefix, index, term, unique)
	temp := s.fs.PathJoin(s.dir, tempPrefix+name)
	if err := s.fs.MkdirAll(temp, 0o700); err != nil {
		return nil, fmt.Errorf("create snapshot: %w", err)
	}
	return &sink{
		s: s, name: name, temp: temp,
		m: &manifest{
			Index: index, Term: term,
			Configuration: raft.EncodeConfiguration(c), ConfigurationIndex: configurationIndex,
		},
	}, nil
}
