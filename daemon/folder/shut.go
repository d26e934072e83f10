package folder

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/materialize"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// whyUnreadable is why nothing can be done at a path that cannot be looked at. Where a
// directory above it has a mode that keeps its own owner out, it says so: the daemon could
// open what it owns, but would have to keep it open to see what is changed in it, and a
// crash would leave it open (decision 20).
func whyUnreadable(f vfs.FS, p id.Path) string {
	for d := p.Dir(); d != ""; d = d.Dir() {
		st, err := f.Lstat(d)
		if err != nil {
			continue // shut from above
		}
		if st.Kind == vfs.Dir && st.Mode&0o100 == 0 {
			return fmt.Sprintf("cannot be read: the mode %03o of %q keeps even its owner out; chmod u+rwx it, here or on another node", st.Mode, string(d))
		}
		break
	}
	return "cannot be read"
}

// whyOpen is why a directory waits: its mode comes last.
const whyOpen = "mode"

// keepOpen leaves a directory whose mode keeps even its owner out open for the owner, who
// this daemon is, until all below it is there, and reports whether that leaves something
// to do now. Its record has the mode that it has on the disk, so the head's is still to be
// brought, also after a crash. mu is held.
func (e *Engine) keepOpen(s *snap, it *materialize.Item) bool {
	if it.Want.Kind != meta.Dir || it.Want.Mode&0o100 != 0 || s.shutting {
		return true
	}
	if it.Expect.Kind == vfs.Dir && it.MoveFrom == "" {
		if it.Expect.Mode&0o100 == 0 {
			return true // it is shut already
		}
		e.ajar[it.Path] = true
		e.st.postpone(it.Path, postponed{why: whyOpen, at: time.Now().Add(retryBlocked)})
		return false
	}
	e.ajar[it.Path] = true
	it.Want.Mode |= 0o700
	return true
}

// shutAll gives the directories that were kept open their modes, where nothing below them
// is still to come. With an error it returns those.
func (e *Engine) shutAll(ctx context.Context, s *snap) (rest []id.Path, err error) {
	e.mu.Lock()
	var ready []id.Path
	for p := range e.ajar {
		waits := slices.ContainsFunc(e.st.postponedWithin(p), func(q id.Path) bool { return !e.ajar[q] })
		if !waits {
			ready = append(ready, p)
		}
	}
	for _, p := range ready {
		delete(e.ajar, p)
	}
	e.mu.Unlock()
	if len(ready) == 0 {
		return nil, nil
	}
	slices.Sort(ready)
	s.shutting = true
	defer func() { s.shutting = false }()
	if err := e.bring(ctx, s, slices.Clone(ready), nil); err != nil {
		return ready, err
	}
	return nil, nil
}
