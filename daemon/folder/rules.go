package folder

import (
	"cmp"
	"slices"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/materialize"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
)

// reasonInTheWay is for a head that cannot come because only ignored files, which are
// not in history, are where it belongs.
const reasonInTheWay = "ignored files are in a directory at its path: move them away or remove them"

// reasonNotKept is for a directory that leads to what this node keeps and cannot come.
const reasonNotKept = "something that this node does not keep is at its path: move it away or remove it"

// headOf is the head as the watcher asks for it: watcher.Head.
type headOf struct{ e *Engine }

// Live returns those of the paths that the head has.
func (h headOf) Live(paths []id.Path) (map[id.Path]bool, error) {
	s, err := h.e.snap()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	out := make(map[id.Path]bool)
	for _, p := range paths {
		v, err := s.version(p)
		if err != nil {
			return nil, err
		}
		if v.Entry.Kind != meta.Absent {
			out[p] = true
		}
	}
	return out, nil
}

// Coming reports that the head has a rule file at p that was never on this disk.
func (h headOf) Coming(p id.Path) bool {
	e := h.e
	e.st.mu.Lock()
	noted := e.st.coming[p]
	e.st.mu.Unlock()
	if !noted {
		return false
	}
	_, had, err := e.o.Local.Get(e.o.ID, p)
	live, lerr := h.Live([]id.Path{p})
	if err != nil || lerr != nil || !had && live[p] {
		return true // or it cannot be told
	}
	e.st.mu.Lock()
	defer e.st.mu.Unlock()
	delete(e.st.coming, p)
	return false
}

// findComing notes the rule files of the head that this disk has not had, before the
// watcher looks: what they ignore must not be taken for new on the first day.
func (e *Engine) findComing() error {
	s, err := e.snap()
	if err != nil {
		return err
	}
	defer s.Close()
	return s.view.Tree(e.o.ID, "", s.head.Revision, func(v meta.Version) error {
		if v.Path.Base() != ignore.Name {
			return nil
		}
		_, err := e.noteComing(v.Path)
		return err
	})
}

// noteComing notes a rule file of the head if this disk has not had it.
func (e *Engine) noteComing(p id.Path) (noted bool, err error) {
	_, had, err := e.o.Local.Get(e.o.ID, p)
	if err != nil || had {
		return false, err
	}
	e.st.mu.Lock()
	defer e.st.mu.Unlock()
	noted = !e.st.coming[p]
	e.st.coming[p] = true
	return noted, nil
}

// stillComing notes those of the paths that are rule files and could not be brought.
func (e *Engine) stillComing(paths []id.Path) error {
	for _, p := range paths {
		if p.Base() != ignore.Name {
			continue
		}
		live, err := headOf{e}.Live([]id.Path{p})
		if err != nil {
			return err
		}
		if !live[p] {
			continue
		}
		noted, err := e.noteComing(p)
		if err != nil {
			return err
		}
		if noted {
			e.watch.Reread(p.Dir())
		}
	}
	return nil
}

// leftOut fills in whether ignore rules leave out what is at a path of which nothing
// is recorded.
func (e *Engine) leftOut(f vfs.FS, p id.Path, c *choice) {
	if !c.had && f != nil {
		c.disk.Ignored = e.watch.Leaves(f, p, c.disk.Stat)
		c.disk.Outside = e.diskOutside(p, c.disk.Stat)
	}
}

// leftBehind deals with directories that could not go because something is in them.
// One that holds only ignored names counts as absent: it stays, without a record, and
// its path is as the head says, or blocked where the head has something else there. It
// returns the paths that are dealt with. mu is held.
func (e *Engine) leftBehind(results []materialize.Result) map[id.Path]bool {
	var busy []materialize.Result
	for _, r := range results {
		if r.State == materialize.Busy && r.Expect.Kind == vfs.Dir && r.Want.Kind != meta.Dir {
			busy = append(busy, r)
		}
	}
	if len(busy) == 0 {
		return nil
	}
	f, err := e.openFS()
	if err != nil {
		return nil
	}
	defer f.Close()
	slices.SortStableFunc(busy, func(a, b materialize.Result) int { return cmp.Compare(b.Path.Depth(), a.Path.Depth()) })
	out := make(map[id.Path]bool)
	for _, r := range busy {
		if !e.watch.Hollow(f, r.Path) {
			continue
		}
		if r.Want.Kind != meta.Absent {
			e.st.postpone(r.Path, postponed{why: reasonInTheWay, blocked: reasonInTheWay, at: time.Now().Add(retryBlocked)})
			out[r.Path] = true
			continue
		}
		t := r.Tag.(tag)
		b := e.o.Local.NewBatch()
		if t.had {
			e.dropRow(b, r.Path, t.row)
		}
		if err := b.Commit(false); err != nil {
			e.log.Warn("forget a directory of ignored files", "path", r.Path, "error", err)
			continue
		}
		e.st.settle(r.Path)
		out[r.Path] = true
	}
	return out
}
