package watcher

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// table is the tree of watched directories, and the only user of the notifier.
//
// The library knows watches by path while the system knows them by inode, so a
// watch that is left on a renamed directory gives wrong names, and hides the
// directory's new watch. Hence the rules: whenever something is said to be gone
// from a path, or new at it, all watches within the path go first; and add and
// drop hold mu across the call, so that the tree and the notifier agree.
type table struct {
	root string

	mu        sync.Mutex // guards all below; taken before the notifier's own locks
	n         notifier   // nil: there are no events
	tree      node
	watches   int
	unwatched map[id.Path]string // directories without events, and why
}

// node is one directory of the tree: it is there if it or one below is watched.
type node struct {
	watched  bool
	children map[string]*node
}

func newTable(root string) *table {
	return &table{root: root, unwatched: make(map[id.Path]string)}
}

// path is a directory's name for the notifier.
func (t *table) path(p id.Path) string {
	if p == "" {
		return t.root
	}
	return filepath.Join(t.root, filepath.FromSlash(string(p)))
}

// rel is the path that an event names, false if it is not within the root.
func (t *table) rel(name string) (id.Path, bool) {
	if name == t.root {
		return "", true
	}
	prefix := t.root
	if !strings.HasSuffix(prefix, string(filepath.Separator)) {
		prefix += string(filepath.Separator)
	}
	rest, ok := strings.CutPrefix(name, prefix)
	return id.Path(filepath.ToSlash(rest)), ok && rest != ""
}

// swap puts another notifier in place, nil for none, and forgets all watches. It
// returns the old one, for the caller to close.
func (t *table) swap(n notifier) notifier {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.n
	t.n, t.tree, t.watches = n, node{}, 0
	clear(t.unwatched)
	return old
}

// empty reports whether there is no notifier.
func (t *table) empty() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n == nil
}

// add watches the directory p. An error means that p is not there. Where there is
// no room for a watch, p is noted as unwatched.
func (t *table) add(p id.Path) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		return nil
	}
	if err := t.n.Add(t.path(p)); err != nil {
		if isGone(err) {
			return err
		}
		t.unwatched[p] = err.Error()
		return nil
	}
	delete(t.unwatched, p)
	if n := t.tree.make(p); !n.watched {
		n.watched = true
		t.watches++
	}
	return nil
}

// drop removes the watches of p and of everything below.
func (t *table) drop(p id.Path) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.unwatched) > 0 {
		for q := range t.unwatched {
			if q.Within(p) {
				delete(t.unwatched, q)
			}
		}
	}
	n := t.tree.cut(p)
	if n == nil || t.n == nil {
		return
	}
	n.each(p, func(q id.Path) {
		t.watches--
		_ = t.n.Remove(t.path(q)) // gone already where the directory is
	})
}

// rootWatched reports whether the root, if it was watched, still is, as the
// notifier says itself.
func (t *table) rootWatched() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n == nil || !t.tree.watched || t.n.Watched(t.root)
}

// tops returns the topmost unwatched directories, and why the first of them is.
func (t *table) tops() (out []id.Path, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p, reason := range t.unwatched {
		top := true
		for d := p; top && d != ""; {
			d = d.Dir()
			_, covered := t.unwatched[d]
			top = !covered
		}
		if top {
			out = append(out, p)
			if why == "" {
				why = reason
			}
		}
	}
	return out, why
}

func (t *table) counts() (watches, unwatched int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.watches, len(t.unwatched)
}

// isGone reports whether err says that there is no such directory.
func isGone(err error) bool {
	return errors.Is(err, errNoEntry) || errors.Is(err, errNoDir)
}

// make returns p's node, made if it is not there.
func (n *node) make(p id.Path) *node {
	for p != "" {
		name := p.First()
		c := n.children[name]
		if c == nil {
			if n.children == nil {
				n.children = make(map[string]*node)
			}
			c = &node{}
			n.children[strings.Clone(name)] = c
		}
		n, p = c, below(p)
	}
	return n
}

// find returns p's node or nil.
func (n *node) find(p id.Path) *node {
	for p != "" && n != nil {
		n, p = n.children[p.First()], below(p)
	}
	return n
}

// cut takes p's node out of the tree and returns it, nil if it is not there.
func (n *node) cut(p id.Path) *node {
	if p == "" {
		old := *n
		*n = node{}
		return &old
	}
	parent := n.find(p.Dir())
	if parent == nil {
		return nil
	}
	c := parent.children[p.Base()]
	delete(parent.children, p.Base())
	if len(parent.children) == 0 {
		parent.children = nil
	}
	return c
}

// each calls f with every watched directory of the tree whose top is at p.
func (n *node) each(p id.Path, f func(id.Path)) {
	if n.watched {
		f(p)
	}
	for name, c := range n.children {
		c.each(p.Join(name), f)
	}
}

// below is p without its first component.
func below(p id.Path) id.Path {
	if f := p.First(); len(f) < len(p) {
		return p[len(f)+1:]
	}
	return ""
}
