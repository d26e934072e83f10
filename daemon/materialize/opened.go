package materialize

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// opened is a directory that was made writable for a batch.
type opened struct {
	ino       uint64
	mode, was uint32
}

// writableFor runs f. If it is refused for want of permission, those of dirs that
// are read-only directories are made writable, under an intent, until the end of
// the batch, and f is run again. to is where dirs[2], if any, goes by f.
func (c *commit) writableFor(dirs []id.Path, to id.Path, f func() error) error {
	err := f()
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	var list []intent
	var paths []id.Path
	for _, d := range dirs {
		st, serr := c.fs.Lstat(d)
		if _, is := c.opened[d]; serr != nil || st.Kind != vfs.Dir || writable(st.Mode) || is || d == "" {
			continue
		}
		open := st
		open.Mode |= 0o300
		for _, p := range c.places(d, to) {
			in := intent{op: opDirMode, path: p, expect: open, new: st}
			if i, ok := c.item[p]; ok && c.res[i].Want.Kind == meta.Dir {
				in.new.Mode = c.res[i].Want.Mode
			}
			list = append(list, in)
		}
		paths = append(paths, d)
		c.opened[d] = opened{ino: st.Ino, mode: open.Mode, was: st.Mode}
	}
	if len(paths) == 0 {
		return err
	}
	p := tmpDir + "/" + intentsPrefix + id.Path(fmt.Sprintf("%s-%d", c.batch, len(c.records)))
	if werr := writeIntents(c.fs, p, keepValid(list)); werr != nil {
		for _, d := range paths {
			delete(c.opened, d)
		}
		return errors.Join(err, werr)
	}
	c.records = append(c.records, p)
	for _, d := range paths {
		if cerr := c.fs.Chmod(d, c.opened[d].mode); cerr != nil {
			delete(c.opened, d)
			return err
		}
	}
	return f()
}

// places returns where the directory d may be when a crash comes: it, or one above
// it, may be moved later in the batch.
func (c *commit) places(d, to id.Path) []id.Path {
	if c.goes == nil {
		c.goes = map[id.Path]id.Path{}
		for i := range c.res {
			if it := &c.res[i].Item; it.MoveFrom != "" && it.Want.Kind == meta.Dir {
				c.goes[it.MoveFrom] = it.Path
			}
		}
	}
	out := []id.Path{d, to}
	for from := d; from != ""; from = from.Dir() {
		if end, ok := c.goes[from]; ok {
			out = append(out, d.Rebase(from, end))
		}
	}
	return out
}

// renamed keeps opened true after a rename.
func (c *commit) renamed(from, to id.Path, m vfs.RenameMode) {
	now := make(map[id.Path]opened, len(c.opened))
	for d, o := range c.opened {
		switch {
		case d.Within(from):
			now[d.Rebase(from, to)] = o
		case !d.Within(to):
			now[d] = o
		case m == vfs.Exchange:
			now[d.Rebase(to, from)] = o
		}
	}
	c.opened = now
}

// keepValid drops intents about Lockstep's own directories, which need none.
func keepValid(list []intent) []intent {
	out := list[:0]
	for _, in := range list {
		if in.path.Check() == nil {
			out = append(out, in)
		}
	}
	return out
}

// closed returns st with the mode that p has for the user while it is opened.
func (c *commit) closed(p id.Path, st vfs.Stat) vfs.Stat {
	if o, ok := c.opened[p]; ok && st.Kind == vfs.Dir && st.Ino == o.ino && st.Mode == o.mode {
		st.Mode = o.was
	}
	return st
}

// closeOpened gives the opened directories their modes back, deepest first.
func (c *commit) closeOpened() {
	dirs := slices.Sorted(maps.Keys(c.opened))
	for _, d := range slices.Backward(dirs) {
		o := c.opened[d]
		st, err := c.fs.Lstat(d)
		if err == nil && st.Kind == vfs.Dir && st.Ino == o.ino && st.Mode == o.mode {
			err = c.fs.Chmod(d, o.was)
			c.touch(d)
		}
		if err != nil {
			c.x.log.Warn("give a directory its mode back", "path", d, "mode", o.was, "err", err)
		}
	}
}
