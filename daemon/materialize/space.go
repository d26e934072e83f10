package materialize

import (
	"fmt"

	"github.com/dustin/go-humanize"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// NoSpaceError is returned by Stage when the disk is too full.
type NoSpaceError struct {
	Need uint64 // bytes of the files to be staged
	Free uint64
	Keep uint64 // bytes that staging leaves free
}

// Error says how much is needed and how much is there.
func (e *NoSpaceError) Error() string {
	return fmt.Sprintf("not enough space: the new files need %s, %s are free, of which %s stay free",
		humanize.IBytes(e.Need), humanize.IBytes(e.Free), humanize.IBytes(e.Keep))
}

// room reports *NoSpaceError where need bytes do not fit, even without what earlier
// runs have left and other versions than those of the items.
func (x *Executor) room(fsys vfs.FS, need uint64, items []Item) error {
	for last := false; ; last = true {
		free, err := fsys.FreeBytes()
		if err != nil {
			return fmt.Errorf("stage: %w", err)
		}
		// On a small or nearly full disk a tenth of what is free is reserve enough: a
		// directory or a small file must still get through.
		keep := min(x.opts.Reserve, free/10)
		if need == 0 || free >= need+keep {
			return nil
		}
		if last || x.dropLeftovers(items) != nil {
			return &NoSpaceError{Need: need, Free: free, Keep: keep}
		}
	}
}

// need adds up the bytes to be staged, but those that a big file's stage has already.
func (s *Staged) need(fsys vfs.FS) (bytes uint64) {
	counted := make(map[id.Path]bool)
	for i, r := range s.plan.roles {
		if r.stage != meta.File {
			continue
		}
		want := s.plan.items[i].Want
		size := uint64(max(0, want.Size))
		if p := bigPath(want.Content); want.Size >= bigFile && !counted[p] {
			counted[p] = true
			if st, err := fsys.Lstat(p); err == nil && st.Kind == vfs.File {
				size -= min(size, st.Allocated)
			}
		}
		bytes += size
	}
	return bytes
}
