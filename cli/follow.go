package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// stillTime is how long nothing may move before a command that has committed something
// no longer waits for it to reach this disk: longer than a slow
// disk takes to compare and sync tens of thousands of files. What was committed goes on by itself.
const stillTime = time.Minute

// follow waits until a revision that a command has committed is on this disk, as long as
// that moves, and tells how far it is. say is for people: why it is not there, "" where
// it is.
func (a *app) follow(ctx context.Context, svc control.Service, label, folder string, rev uint64) (say string) {
	wait := fmt.Sprintf("it goes on by itself: lockstep wait %s", folder)
	p := a.progress(label)
	defer p.clear()
	var last [3]int64
	var total int64
	moved := a.Now()
	for r := (control.StatusRequest{}); ; {
		st, err := svc.Status(ctx, r)
		if ctx.Err() != nil {
			return fmt.Sprintf("not waited for: revision %d is committed, and %s", rev, wait)
		}
		f, ok := folderOf(st, folder)
		if err != nil || !ok {
			return "it is still on its way to this disk; " + wait
		}
		if here, why := arrival(f, rev); here || why != "" {
			return why
		}
		at := [3]int64{int64(f.AppliedRevision), int64(f.PendingFiles), f.PendingBytes}
		if at != last {
			last, moved = at, a.Now()
		} else if a.Now().Sub(moved) >= stillTime {
			return fmt.Sprintf("it is still on its way to this disk, and nothing has moved for a minute; %s", wait)
		}
		if total = max(total, f.PendingBytes); f.PendingBytes == 0 {
			total = 0
		}
		p.show(total-f.PendingBytes, total, fmt.Sprintf("revision %d is committed; %s", rev, printable(f.Summary)))
		r.After = st.Change
		select {
		case <-ctx.Done():
		case <-time.After(watchGap):
		}
	}
}

func folderOf(st control.Status, name string) (control.FolderStatus, bool) {
	for _, f := range st.Folders {
		if f.Name == name {
			return f, true
		}
	}
	return control.FolderStatus{}, false
}

// arrival says whether a revision is on this disk, or else why it does not come; "" where
// it is on its way.
func arrival(f control.FolderStatus, rev uint64) (here bool, why string) {
	switch {
	case f.Mode == "send" && f.NotBrought > 0:
		return false, fmt.Sprintf("this node only sends: what is on its disk stays as it is (%s)", plural(uint64(f.NotBrought), "path differs", "paths differ"))
	case f.State == control.StatePaused:
		return false, fmt.Sprintf("the folder is paused here: it comes to this disk after `lockstep folder resume %s`", f.Name)
	case f.State == control.StateHalted:
		return false, "the folder is halted here, and it comes to this disk when that is over: " + oneLine(printable(f.Error))
	case f.AppliedRevision < rev:
		return false, ""
	case len(f.Kept) > 0:
		return false, "this node only receives: what was changed on its disk stays as it is, the rest is here; `lockstep status` lists it"
	case len(f.Held) > 0:
		return false, "what is held here stays as it is, the rest is here: see `lockstep status`"
	}
	return true, ""
}

// toFile reports whether w is a file that is being written, and nothing that somebody
// looks at or that shows something itself.
func toFile(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode().IsRegular()
}

// barred tells a progress of what is written.
type barred struct {
	io.Writer
	bar         *progress
	done, total int64
}

// Write implements io.Writer.
func (b *barred) Write(p []byte) (int, error) {
	n, err := b.Writer.Write(p)
	b.done += int64(n)
	b.bar.show(b.done, b.total, size(b.done)+" of "+size(b.total))
	return n, err
}
