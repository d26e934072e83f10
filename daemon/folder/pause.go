package folder

import (
	"context"
	"errors"
	"fmt"

	"github.com/lockstep-sync/lockstep/daemon/local"
)

// ErrPaused is why a paused folder is not waited for, and takes no commands.
var ErrPaused = errors.New("the folder is paused on this node")

// rest is what an engine does that was made for a paused folder: nothing is watched,
// proposed or brought. History goes on in the state machine, and the next engine finds
// by a full scan and a comparison with the head what came meanwhile on both sides,
// which is what it does after every start. Only what is committed by location is
// still packed, for that is about history's bytes.
func (e *Engine) rest(ctx context.Context) error {
	if err := e.loadHeld(); err != nil { // for status
		return err
	}
	e.st.set(StatePaused)
	return e.packLoop(ctx)
}

// Paused reports whether the engine was made for a paused folder.
func (e *Engine) Paused() bool { return e.o.Paused }

// HeldError says that deletions wait for the user.
type HeldError struct{ Held local.Held }

// Error implements error.
func (e *HeldError) Error() string { return HeldReason(e.Held) }

// HeldReason says in words what is held.
func HeldReason(h local.Held) string {
	return fmt.Sprintf("%d of %d files were deleted here at once, and wait for you to say whether that was meant", h.Deletes, h.Paths)
}

func keptReason(k keptHere) string { return k.reason + ", on a node that only receives" }

// Stopped says at once why there is nothing to wait for: the folder is paused, or
// deletions are held. It is nil where waiting makes sense.
func (e *Engine) Stopped() error {
	if e.o.Paused {
		return ErrPaused
	}
	if err := e.recountHeld(); err != nil {
		return err
	}
	e.st.mu.Lock()
	defer e.st.mu.Unlock()
	if h := e.st.held; h != nil {
		return &HeldError{*h}
	}
	return e.st.ended
}
