package materialize

import (
	"errors"
	"io/fs"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// openStage makes a stage. One may be there from an earlier attempt: a big file's at
// its place, which is hashed, unless this run knows that it is incomplete, and is
// either whole or to be gone on with; a small one, whole, among the leftovers.
func (x *Executor) openStage(fsys vfs.FS, near vfs.Near, p id.Path, want meta.Entry) (h vfs.Handle, resume, full bool, err error) {
	if h := x.takeLeftover(fsys, p, want); h != nil {
		return h, false, true, nil
	}
	mode := uint32(0o600)
	if want.Size < bigFile { // in a directory that only we may enter; not one to be opened again for writing
		mode = want.Mode & 0o777
	}
	h, err = near.Create(p, mode)
	if err == nil || !errors.Is(err, fs.ErrExist) {
		return h, false, false, err
	}
	if h, full := x.reopen(fsys, p, want); h != nil {
		return h, !full, full, nil
	}
	if err := fsys.Unlink(p); err != nil {
		return nil, false, false, err
	}
	h, err = fsys.Create(p, mode)
	return h, false, false, err
}

// reopen opens a big file's stage that is there; nil where it is of no use.
func (x *Executor) reopen(fsys vfs.FS, p id.Path, want meta.Entry) (h vfs.Handle, full bool) {
	h, err := fsys.Reopen(p)
	if err != nil {
		return nil, false
	}
	st, err := h.Stat()
	if err != nil || st.Nlink > 1 { // another name of it is the user's
		_ = h.Close()
		return nil, false
	}
	x.mu.Lock()
	incomplete := x.partial[p]
	x.mu.Unlock()
	if st.Size == want.Size && !incomplete {
		sum, err := hashHandle(h)
		full = err == nil && sum == want.Content
	}
	return h, full
}

func (x *Executor) notePartial(p id.Path, incomplete bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if incomplete {
		x.partial[p] = true
	} else {
		delete(x.partial, p)
	}
}
