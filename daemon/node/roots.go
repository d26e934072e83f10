package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/folder"
	"github.com/lockstep-sync/lockstep/internal/atomicfile"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// maxWalk bounds how many names below a new root are looked at for another
// folder's marker: some seconds. A larger tree is taken on trust beyond that.
const maxWalk = 1 << 20

// claim checks that a directory can be a folder's root and keeps it for one add
// until release is called: of two that are under way at once, on one directory or
// one inside the other, the later is refused before it has changed anything. own is
// the folder that the root is to be of, if it is mapped: where that is now is no matter.
func (fs *folders) claim(ctx context.Context, root string, own ...id.Folder) (release func(), err error) {
	fs.change.Lock()
	defer fs.change.Unlock()
	if err := fs.checkMapped(root, own...); err != nil {
		return nil, err
	}
	for other := range fs.claimed {
		if other == root {
			return nil, fmt.Errorf("%s is being added by another command", root)
		}
		if inside(root, other) || inside(other, root) {
			return nil, fmt.Errorf("%s is being added by another command, and %s is inside or around it; a folder cannot be inside another", other, root)
		}
	}
	fs.claimed[root] = struct{}{}
	release = func() {
		fs.change.Lock()
		defer fs.change.Unlock()
		delete(fs.claimed, root)
	}
	fs.change.Unlock() // the walk may take long, and the claim holds
	marked, err := markedBelow(ctx, root, maxWalk)
	fs.change.Lock()
	if err == nil && marked != "" && len(own) > 0 && folder.CheckRoot(marked, own[0]) == nil {
		err = fmt.Errorf("the folder's directory is %s, inside %s: name that one", marked, root)
	}
	if err == nil && marked != "" {
		err = fmt.Errorf("%s is inside %s and is marked as a synced folder; a folder cannot be inside another; if that one is no longer synced, remove %s",
			marked, root, folder.MarkerPath(marked))
	}
	if err != nil {
		delete(fs.claimed, root)
		return nil, err
	}
	return release, nil
}

// claimID keeps a folder for one add until release is called: what an add records
// before the folder is mapped must not be mixed with another's.
func (fs *folders) claimID(f id.Folder, name string) (release func(), err error) {
	fs.change.Lock()
	defer fs.change.Unlock()
	if e := fs.engine(f); e != nil {
		return nil, addedAlready(name, e.Root())
	}
	if _, busy := fs.joining[f]; busy {
		return nil, control.Errorf(control.CodeFailed, "add folder: %q is being added by another command", name)
	}
	fs.joining[f] = struct{}{}
	return func() {
		fs.change.Lock()
		defer fs.change.Unlock()
		delete(fs.joining, f)
	}, nil
}

// checkMapped says why a directory cannot be a folder's root beside what this node
// keeps, and what is marked above it; nil if it can. change is held.
func (fs *folders) checkMapped(root string, own ...id.Folder) error {
	st, err := os.Stat(root)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s does not exist; make the directory first", root)
	}
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return fmt.Errorf("%s is not a directory", root)
	}
	homeDir, err := filepath.EvalSymlinks(string(fs.n.home))
	if err != nil {
		return err
	}
	if inside(homeDir, root) || inside(root, homeDir) {
		return fmt.Errorf("%s and the node's home %s are inside one another; a folder must not hold a node's home", root, homeDir)
	}
	maps, err := fs.n.local.Folders()
	if err != nil {
		return err
	}
	for _, m := range maps {
		if slices.Contains(own, m.ID) {
			continue
		}
		in, around := inside(root, m.Root), inside(m.Root, root)
		switch {
		case in && around && root == m.Root:
			return fmt.Errorf("%s is a synced folder already", root)
		case in && around:
			return fmt.Errorf("%s is the synced folder %s under another path", root, m.Root)
		case in:
			return fmt.Errorf("%s is inside the synced folder %s; a folder cannot be inside another", root, m.Root)
		case around:
			return fmt.Errorf("the synced folder %s is inside %s; a folder cannot be inside another", m.Root, root)
		}
	}
	// A folder of another node's, or of an earlier subscription, above this one.
	for dir := root; dir != filepath.Dir(dir); {
		dir = filepath.Dir(dir)
		if _, err := os.Lstat(folder.MarkerPath(dir)); err == nil {
			return fmt.Errorf("%s is inside %s, which is marked as a synced folder; a folder cannot be inside another", root, dir)
		}
	}
	return nil
}

// markedBelow returns a directory strictly below root that is marked as a folder's
// root, by whatever node; "" if there is none among the first limit names.
func markedBelow(ctx context.Context, root string, limit int) (string, error) {
	next := []string{root}
	for len(next) > 0 && limit > 0 {
		dir := next[len(next)-1]
		next = next[:len(next)-1]
		d, err := os.Open(dir)
		if err != nil {
			continue // unreadable: it is listed as blocked once the folder runs
		}
		for limit > 0 {
			names, err := d.ReadDir(min(limit, 1024))
			limit -= len(names)
			for _, e := range names {
				switch {
				case !e.IsDir():
				case e.Name() != id.ReservedName:
					next = append(next, filepath.Join(dir, e.Name()))
				case dir != root:
					if _, err := os.Lstat(folder.MarkerPath(dir)); err == nil {
						return dir, d.Close()
					}
				}
			}
			if errors.Is(err, io.EOF) || err != nil || len(names) == 0 {
				break
			}
			if err := ctx.Err(); err != nil {
				return "", errors.Join(err, d.Close())
			}
		}
		if err := d.Close(); err != nil {
			return "", err
		}
		if err := ctx.Err(); err != nil {
			return "", err
		}
	}
	return "", nil
}

// inside reports whether the directory p is dir or below it, by name or by what
// the system says is one directory: a bind mount, say, or another spelling.
func inside(p, dir string) bool {
	if within(p, dir) {
		return true
	}
	want, err := os.Stat(dir)
	if err != nil {
		return false
	}
	for {
		if st, err := os.Stat(p); err == nil && os.SameFile(st, want) {
			return true
		}
		up := filepath.Dir(p)
		if up == p {
			return false
		}
		p = up
	}
}

// within reports whether the absolute clean path p is dir or below it.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, string(filepath.Separator))+string(filepath.Separator))
}

// errMarked is for a root that belongs to another folder.
var errMarked = errors.New("is marked as another folder")

// checkMark refuses a root that is marked as another folder than f.
func checkMark(root string, f id.Folder) error {
	data, err := os.ReadFile(folder.MarkerPath(root))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the folder's marker: %w", err)
	}
	// Another folder's history must not be mixed with this directory unasked.
	if other := strings.TrimSpace(string(data)); other != f.String() {
		return fmt.Errorf("%s %w (%s); if that folder is no longer kept there, remove %s and add it again", root, errMarked, other, folder.MarkerPath(root))
	}
	return nil
}

// mark writes the marker that says that root is this folder.
func mark(root string, f id.Folder) error {
	if err := checkMark(root, f); err != nil {
		return err
	}
	dir := filepath.Join(root, id.ReservedName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("mark the folder's root: %w", err)
	}
	return atomicfile.Write(folder.MarkerPath(root), []byte(f.String()+"\n"), 0o600)
}
