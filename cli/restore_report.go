package cli

import (
	"fmt"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

func (w *restorer) problem(x *staged, err error) {
	w.res.Failed++
	if len(w.res.Problems) < restoreNamed {
		w.res.Problems = append(w.res.Problems, control.NewBlockedPath(string(x.path), err.Error()))
	}
}

func (w *restorer) same(x *staged) {
	w.list("same", x)
	w.res.Same++
	w.tick(x.state.Size, 1)
}

func (w *restorer) wrote(x *staged, replaced bool) {
	act := "write"
	if replaced {
		act = "replace"
		w.res.Replaced++
	}
	w.list(act, x)
	if x.state.Kind == "symlink" {
		w.res.Symlinks++
	} else {
		w.res.Files++
		w.res.Bytes += x.state.Size
	}
	w.tick(0, 1)
}

func (w *restorer) unwrote(x *staged, replaced bool) {
	w.res.Symlinks--
	if replaced {
		w.res.Replaced--
	}
}

func (w *restorer) list(act string, x *staged) {
	if !w.o.dryRun {
		return
	}
	if w.a.json {
		l := restoreLine{Action: act, Kind: x.state.Kind, Size: x.state.Size}
		l.Path, l.PathB64 = control.EncodePath(string(x.path))
		w.res.List = append(w.res.List, l)
		return
	}
	shown, _ := control.EncodePath(string(x.path))
	sz := ""
	if x.state.Kind == "file" {
		sz = size(x.state.Size)
	}
	_ = w.table.addTo(w.a.Out, act, x.state.Kind, sz, printable(shown)) // the last print reports a broken pipe
}

// meter counts what was read.
type meter struct{ w *restorer }

func (m *meter) Write(p []byte) (int, error) {
	m.w.tick(int64(len(p)), 0)
	return len(p), nil
}

func (w *restorer) tick(bytes int64, files uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read, w.files = w.read+bytes, w.files+files
	if !w.o.dryRun {
		// A file counts as some bytes more, so that many small ones are seen to move on.
		const each = 64 << 10
		all := w.info.Files + w.info.Symlinks
		w.bar.show(w.read+int64(w.files)*each, w.info.Bytes+int64(all)*each, fmt.Sprintf("%s/%s files, %s/%s", count(w.files), count(all), size(w.read), size(w.info.Bytes)))
	}
}
