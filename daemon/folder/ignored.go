package folder

import (
	"context"
	"fmt"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
)

// IgnoredPath is something on the disk that is not synced because a rule ignores it.
type IgnoredPath struct {
	Path id.Path
	Kind vfs.Kind
	// RuleFile is the rule file's path, Line the rule's line in it and Pattern the rule
	// as it is written. Line 0 is for a file that cannot be used; Pattern says why. Without
	// a file Pattern is the "only=" that leaves the path out.
	RuleFile id.Path
	Line     int
	Pattern  string
}

// Ignored calls emit with everything on the disk that is ignored and not tracked, the
// topmost paths only, a directory's before those of the directories in it. The rules
// are those in force at the time of the call.
func (e *Engine) Ignored(ctx context.Context, emit func(IgnoredPath) error) error {
	if err := e.rulesRead(ctx); err != nil {
		return err
	}
	f, err := e.openFS()
	if err != nil {
		return err
	}
	defer f.Close()
	for dirs := []id.Path{""}; len(dirs) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		dir := dirs[len(dirs)-1]
		below, err := e.ignoredIn(f, dir, emit)
		if err != nil {
			return err
		}
		dirs = dirs[:len(dirs)-1]
		for i := len(below) - 1; i >= 0; i-- {
			dirs = append(dirs, below[i])
		}
	}
	return nil
}

// rulesRead returns once all rule files have been read since the start.
func (e *Engine) rulesRead(ctx context.Context) error {
	if err := e.running(ctx); err != nil || !e.watch.Status().LastScan.IsZero() {
		return err
	}
	return e.watch.Scan(ctx, "")
}

// ignoredIn is Ignored for the names in one directory. It returns the directories in
// which to go on.
func (e *Engine) ignoredIn(f vfs.FS, dir id.Path, emit func(IgnoredPath) error) (below []id.Path, err error) {
	names, err := f.ReadDir(dir)
	if err != nil {
		return nil, nil // gone, or listed as blocked
	}
	for _, name := range names {
		p := dir.Join(name)
		if dir == "" && name == id.ReservedName {
			continue
		}
		st, err := f.Lstat(p)
		if err != nil || st.Kind == vfs.Absent {
			continue
		}
		by, is, err := e.ignoredBy(p, st.Kind)
		switch {
		case err != nil:
			return nil, err
		case is:
			if err := emit(by); err != nil {
				return nil, err
			}
		case st.Kind == vfs.Dir:
			below = append(below, p)
		}
	}
	return below, nil
}

// IgnoredBy says which rule keeps what is on the disk at a path from being synced; is
// is false where none does, because none matches or the path is tracked.
func (e *Engine) IgnoredBy(ctx context.Context, p id.Path) (by IgnoredPath, is bool, err error) {
	if err := e.rulesRead(ctx); err != nil {
		return by, false, err
	}
	f, err := e.openFS()
	if err != nil {
		return by, false, err
	}
	defer f.Close()
	st, err := lstat(f, p)
	if err != nil || st.Kind == vfs.Absent {
		return by, false, err
	}
	return e.ignoredBy(p, st.Kind)
}

// notKept begins the reason of what this node does not keep.
const notKept = "not kept on this node: "

// ruleOf says in words which rule keeps an ignored path.
func (e *Engine) ruleOf(p id.Path, kind vfs.Kind) string {
	m := e.watch.Rule(p, kind == vfs.Dir)
	switch {
	case !m.Ignored():
		return "it holds ignored names and nothing else"
	case m.Rule.Only():
		return notKept + m.Rule.Text
	case m.Rule.Unusable():
		return fmt.Sprintf("%s cannot be used: %s", m.Dir.Join(ignore.Name), m.Rule.Text)
	}
	return fmt.Sprintf("%s:%d:%s", m.Dir.Join(ignore.Name), m.Rule.Line, m.Rule.Text)
}

func (e *Engine) ignoredBy(p id.Path, kind vfs.Kind) (by IgnoredPath, is bool, err error) {
	m := e.watch.Rule(p, kind == vfs.Dir)
	if !m.Ignored() {
		return by, false, nil
	}
	if _, had, err := e.o.Local.Get(e.o.ID, p); err != nil || had {
		return by, false, err
	}
	live, err := headOf{e}.Live([]id.Path{p})
	if err != nil || live[p] {
		return by, false, err
	}
	if m.Rule.Only() {
		return IgnoredPath{Path: p, Kind: kind, Pattern: m.Rule.Text}, true, nil
	}
	return IgnoredPath{p, kind, m.Dir.Join(ignore.Name), m.Rule.Line, m.Rule.Text}, true, nil
}
