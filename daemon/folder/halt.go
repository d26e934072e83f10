package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/watcher"
)

// HaltError is why a folder whose root or marker is missing has halted, in words that
// say what to do. It wraps the error that it explains.
type HaltError struct {
	Reason string
	cause  error
}

// Error implements error.
func (e *HaltError) Error() string { return e.Reason }

// Unwrap returns the error that is explained.
func (e *HaltError) Unwrap() error { return e.cause }

// explain says what is at the root of a folder that has halted because of err.
// Other errors are returned as they are.
func explain(root string, f id.Folder, err error) error {
	if !errors.Is(err, watcher.ErrRootMissing) {
		return err
	}
	const calm = "nothing is deleted anywhere; it goes on by itself when the folder is back there"
	const moved = "; where you moved it for good, say so with `lockstep folder move`"
	say := func(format string, args ...any) error {
		return &HaltError{Reason: fmt.Sprintf(format, args...) + "; " + calm, cause: err}
	}
	names, derr := os.ReadDir(root)
	switch {
	case errors.Is(derr, fs.ErrNotExist):
		return say("%s is not there: it was moved or deleted, or the disk that holds it is not mounted"+moved, root)
	case derr != nil:
		return say("%s cannot be read: %v", root, derr)
	}
	switch data, merr := os.ReadFile(MarkerPath(root)); {
	case merr == nil && strings.TrimSpace(string(data)) == f.String():
		return err // it is back already
	case merr == nil:
		return say("%s holds another folder (its marker says %.64q): another disk is mounted there", root, strings.TrimSpace(string(data)))
	case !errors.Is(merr, fs.ErrNotExist):
		return say("the folder's marker %s cannot be read: %v", MarkerPath(root), merr)
	case len(names) == 0:
		return say("%s is empty and has no folder's marker: its disk is not mounted, or the folder was moved or emptied"+moved, root)
	}
	return say("%s has no folder's marker: another disk is mounted there, or its .lockstep was deleted (if that is all, `lockstep folder rm` and then `folder add` it again: files that are equal stay as they are)", root)
}

// Halted reports whether the engine has halted.
func (e *Engine) Halted() bool {
	e.st.mu.Lock()
	defer e.st.mu.Unlock()
	return e.st.phase == StateHalted
}

// StillHalted tells a halted engine what keeps it from being started again now.
func (e *Engine) StillHalted(err error) {
	err = explain(e.o.Root, e.o.ID, err)
	e.st.mu.Lock()
	defer e.st.mu.Unlock()
	if _, was := errors.AsType[*HaltError](e.st.err); !was || e.st.phase != StateHalted {
		return // it has halted for another reason, which stands
	}
	if err.Error() != e.st.err.Error() {
		e.log.Warn("folder is still halted", "root", e.o.Root, "error", err)
		e.st.err = err
		e.st.bump()
	}
}
