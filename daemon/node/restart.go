package node

import (
	"errors"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/local"
	"github.com/lockstep-sync/lockstep/internal/id"
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
	fs.engine(f).End(why) // that of a last try again
	err := do()
	root, rerr := fs.rootOf(f)
	if rerr != nil {
		return errors.Join(err, rerr)
	}
	next, rerr := fs.build(f, root)
	if rerr != nil {
		return errors.Join(err, rerr)
	}
	fs.mu.Lock()
	fs.live[f] = next
	fs.mu.Unlock()
	return errors.Join(err, fs.run(next))
}

// rootOf is where the folder is mapped.
func (fs *folders) rootOf(f id.Folder) (string, error) {
	maps, err := fs.n.local.Folders()
	if err != nil {
		return "", err
	}
	for _, m := range maps {
		if m.ID == f {
			return m.Root, nil
		}
	}
	return "", errors.New("the folder is not mapped")
}

// errSettings ends what waits for an engine that is restarted.
var errSettings = errors.New("the folder's settings were changed meanwhile; run it again")

// setOwn changes this node's settings of a folder, durably, and makes them hold.
func (fs *folders) setOwn(f id.Folder, change func(*local.Settings)) error {
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
	return fs.restart(f, errSettings, func() error {
		b := fs.n.local.NewBatch()
		b.SetSettings(f, next)
		return b.Commit(true)
	})
}
