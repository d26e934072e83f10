package node

import (
	"context"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/folder"
	"github.com/lockstep-sync/lockstep/internal/id"
)

// reachTime is how long a command that has committed something waits until this disk
// holds it: who asks for a version looks at his files next. A larger change goes on by
// itself.
const reachTime = 5 * time.Second

// reached waits until the revision, or a later one, is on this node's disk, and reports
// whether it is. It gives up at once where the folder does not bring anything.
func (s service) reached(ctx context.Context, e *folder.Engine, r id.Revision) bool {
	if r == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	for {
		changed := e.Changed()
		_, onDisk, err := e.Progress()
		switch {
		case err != nil:
			return false
		case onDisk >= r:
			in, err := e.Info()
			return err == nil && in.Skipped == 0 && in.Left == 0 // what the folder's mode leaves as it is counts there, but not for who looks
		}
		in, err := e.Info()
		if err != nil || in.Phase != folder.StateRunning {
			return false
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}
