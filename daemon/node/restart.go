package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/folder"
	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/watcher/ignore"
)

// restart ends a folder's engine, does what must not be done beside it, and runs a new
// one as the mapping and the settings are by then. For the folder that is what a
// restart of the daemon is: what was under way is found again, and the disk is compared
// with the index by a full scan. The folder never seems not to be here meanwhile.
// change is held.
func (fs *folders) restart(f id.Folder, why error, do func() error) error {
	fs.mu.Lock()
	r := fs.live[f]
	fs.mu.Unlock()
	if r == nil {
		return control.Errorf(control.CodeFailed, "the folder is not on this node any more")
	}
	fs.engine(f).End(why)
	r.cancel()
	select {
	case <-r.done:
	case <-fs.ended:
		return errEnding
	}
	fs.engine(f).Retire(why) // that of a last try again
	err := do()
	m, ok, rerr := fs.n.local.Folder(f)
	if rerr != nil || !ok {
		return cmp.Or(err, rerr, errors.New("the folder is not mapped any more"))
	}
	next, rerr := fs.build(f, m.Root)
	if rerr != nil {
		return errors.Join(err, rerr)
	}
	fs.mu.Lock()
	fs.live[f] = next
	fs.mu.Unlock()
	return errors.Join(err, fs.run(next))
}

// errSettings ends what waits for an engine that is restarted.
var errSettings = errors.New("the folder's settings were changed meanwhile; run it again")

// setOwn changes this node's settings of a folder, durably, and makes them hold. Who
// waits for the folder is told why that ends.
func (fs *folders) setOwn(ctx context.Context, f id.Folder, why error, change func(*local.Settings)) error {
	fs.change.Lock()
	defer fs.change.Unlock()
	old, err := fs.n.local.Settings(f)
	if err != nil {
		return err
	}
	next := old
	change(&next)
	if next == old {
		return nil
	}
	if next.Only != old.Only {
		return fs.setOnly(ctx, f, why, old, next)
	}
	return fs.restart(f, why, func() error {
		b := fs.n.local.NewBatch()
		b.SetSettings(f, next)
		return b.Commit(true)
	})
}

// setOnly is setOwn where another part of the folder is to be kept. Before the setting
// holds, what was changed here is in the queue, and from the beginning on no deletion of
// what is not kept any more is proposed. The new engine makes its records right. change
// is held.
func (fs *folders) setOnly(ctx context.Context, f id.Folder, why error, old, next local.Settings) error {
	only, err := ignore.ParseOnly(next.Only)
	if err != nil {
		return err
	}
	if e := fs.engine(f); only != nil && e != nil {
		if err := e.Leave(ctx, only); err != nil {
			e.Stay()
			return fmt.Errorf("nothing was set, for changes on this disk could not be taken before: %w", err)
		}
	}
	return fs.restart(f, why, func() error {
		m, _, err := fs.n.local.Folder(f)
		if err != nil {
			return err
		}
		b := fs.n.local.NewBatch()
		b.SetSettings(f, next)
		if old.Only != "" {
			m.Kept = append(m.Kept, old.Only)
			b.SetFolder(m)
		}
		return b.Commit(true)
	})
}

// compared waits until what is kept here now has its records, and what is not kept any
// more is let go: what the user does after that is a change of what he sees, or nobody's
// business. Where the folder is paused that comes later.
func (fs *folders) compared(ctx context.Context, f id.Folder) error {
	e := fs.engine(f)
	if e == nil {
		return nil
	}
	err := e.Compared(ctx)
	if errors.Is(err, folder.ErrPaused) {
		return nil
	}
	return err
}

// errRootMoved ends what waits for an engine whose root has moved.
var errRootMoved = errors.New("the folder's root was moved meanwhile; run it again")

// errNotMoved is for a directory that is not marked as the folder.
var errNotMoved = errors.New("it is not marked as that")

// move makes root the folder's place on this machine. The directory is there already,
// with the marker; the engine makes its records right before it compares anything.
func (fs *folders) move(ctx context.Context, f id.Folder, root string) error {
	release, err := fs.claim(ctx, root, f)
	if err != nil {
		return err
	}
	defer release()
	fs.change.Lock()
	defer fs.change.Unlock()
	if err := fs.checkMapped(root, f); err != nil {
		return err
	}
	if err := folder.CheckRoot(root, f); err != nil {
		return fmt.Errorf("%w: %w", errNotMoved, err)
	}
	return fs.restart(f, errRootMoved, func() error {
		m, _, err := fs.n.local.Folder(f)
		if err != nil {
			return err
		}
		m.ID, m.Root, m.Moved = f, root, true
		b := fs.n.local.NewBatch()
		b.SetFolder(m)
		return b.Commit(true)
	})
}
