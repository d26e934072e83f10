package folder

import (
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

// keep notes a change that stays on this disk only.
func (s *state) keep(p id.Path, k keptHere) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[p] = k
	s.bump()
}

func (s *state) unkeep(p id.Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.kept[p]; ok {
		delete(s.kept, p)
		s.bump()
	}
}

// unkeepGone forgets what is kept as deleted below a directory that is gone itself.
func (s *state) unkeepGone(dir id.Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, k := range s.kept {
		if p.Below(dir) && k.disk.Stat.Kind == vfs.Absent {
			delete(s.kept, p)
		}
	}
}

func (s *state) keptAt(p id.Path) (keptHere, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.kept[p]
	return k, ok
}

// hasten has a path that was skipped looked at with the next outcome: the user has
// changed it here.
func (s *state) hasten(p id.Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, ok := s.later[p]; ok && d.skipped {
		d.at = time.Time{}
		s.later[p] = d
	}
}

// takeUp makes everything that was left alone an ordinary path that is due.
func (s *state) takeUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, d := range s.later {
		if d.kept {
			s.later[p] = postponed{why: whyFollow, since: d.since}
		}
	}
}

// keptFiles lists what is kept and was something on the disk.
func (s *state) keptFiles() (out []id.Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, k := range s.kept {
		if k.disk.Stat.Kind != vfs.Absent {
			out = append(out, p)
		}
	}
	return out
}

// keptList yields what is kept here, in order.
func (s *state) keptList() iter.Seq2[id.Path, keptHere] {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := maps.Clone(s.kept)
	return func(yield func(id.Path, keptHere) bool) {
		for _, p := range slices.Sorted(maps.Keys(all)) {
			if !yield(p, all[p]) {
				return
			}
		}
	}
}

func (s *state) setHeld(h *local.Held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = h
	s.bump()
}
