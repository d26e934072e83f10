package folder

import (
	"context"
	"errors"
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
