package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
)

type restoreOptions struct {
	to            string
	force, dryRun bool
}

func newRestoreCommand(a *app) *cobra.Command {
	var r control.TreeRequest
	var o restoreOptions
	cmd := &cobra.Command{
		Use:   "restore PATH@REV --to DEST",
		Short: "Write a version of a file, directory or folder elsewhere",
		Long: `Writes what PATH was at REV to DEST, with modes and times: of a directory or
folder the whole tree. DEST is made if it is not there. A file goes to DEST
itself, or into it under its own name where DEST is a directory or ends in a slash.

Nothing that exists is overwritten without --force: it is left, named, and the exit
code is 1. What is there already with the same content is skipped, so a restore
that was interrupted is finished by the same command. Nothing is ever deleted.
In a synced folder what is restored is a change like any other; to bring a folder
itself back to REV use rollback.`,
		Example: `  lockstep restore docs:letters/tax.txt@12 --to ~/Desktop/
  lockstep restore "docs@yesterday 14:00" --to /tmp/docs-then`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if r.Target, r.Rev, err = a.targetRev(args[0]); err != nil {
				return err
			}
			if o.to == "" {
				return badUsage("restore: --to DEST says where to")
			}
			return runRestore(cmd.Context(), a, r, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.to, "to", "", "where to write: `DEST`")
	f.BoolVar(&o.force, "force", false, "replace files that exist with other content")
	f.BoolVar(&o.dryRun, "dry-run", false, "only list what would be written")
	return cmd
}

// restoreResult is what `restore --json` prints.
type restoreResult struct {
	Folder   string `json:"folder"`
	Path     string `json:"path"`
	PathB64  string `json:"path_b64,omitempty"`
	Revision uint64 `json:"revision"`
	To       string `json:"to"`
	DryRun   bool   `json:"dry_run"`
	// What was written; Replaced counts those of them that were there with other
	// content, Same what was there with this.
	Files    uint64 `json:"files"`
	Dirs     uint64 `json:"directories"`
	Symlinks uint64 `json:"symlinks"`
	Bytes    int64  `json:"bytes"`
	Replaced uint64 `json:"replaced"`
	Same     uint64 `json:"same"`
	// Failed counts what was left out; Problems names the first of them.
	Failed   uint64                `json:"failed"`
	Problems []control.BlockedPath `json:"problems"`
	List     []restoreLine         `json:"list,omitempty"` // with --dry-run
}

type restoreLine struct {
	Action  string `json:"action"` // "write", "replace" or "same"
	Kind    string `json:"kind"`
	Size    int64  `json:"size"`
	Path    string `json:"path"`
	PathB64 string `json:"path_b64,omitempty"`
}

func runRestore(ctx context.Context, a *app, r control.TreeRequest, o restoreOptions) error {
	svc, err := a.service()
	if err != nil {
		return err
	}
	w := newRestorer(ctx, a, svc, o)
	err = w.finish(svc.Tree(ctx, r, w.item))
	if w.fs != nil {
		err = errors.Join(err, w.fs.Close())
	}
	if err != nil {
		if n := w.res.Files + w.res.Symlinks; n > 0 && !o.dryRun {
			fmt.Fprintf(a.Err, "%s restored so far, each whole; the same command goes on\n", plural(n, "file is", "files are"))
		}
		return err
	}
	if a.json {
		err = printJSON(a.Out, w.res)
	} else {
		err = w.print()
	}
	if err == nil && w.res.Failed > 0 {
		paths := w.res.Problems
		if more := w.res.Failed - uint64(len(paths)); more > 0 {
			paths = append(paths, control.BlockedPath{Path: "…", Reason: count(more) + " more"})
		}
		return control.Errorf(control.CodeFailed, "restore to %s: %s not written", printable(w.res.To), plural(w.res.Failed, "path was", "paths were")).WithPaths(paths)
	}
	return err
}

func (w *restorer) print() error {
	r := w.res
	if err := w.table.print(w.a.Out); err != nil {
		return err
	}
	did := "restored"
	if r.DryRun {
		did = "would restore"
	}
	what := r.Folder
	if r.Path != "" {
		what += ":" + printable(r.Path)
	}
	var also string
	if r.Replaced > 0 {
		also += fmt.Sprintf(", %s replaced", count(r.Replaced))
	}
	if r.Same > 0 {
		also += fmt.Sprintf(", %s there already", count(r.Same))
	}
	_, err := fmt.Fprintf(w.a.Out, "%s %s@%d to %s: %s, %s%s\n", did, what, r.Revision, printable(r.To), plural(r.Files+r.Symlinks, "file", "files"), size(r.Bytes), also)
	return err
}

// open finds out what DEST means for a source of a kind, makes what is missing of
// it, and opens the directory below which all is written.
func (w *restorer) open(info control.TreeInfo) error {
	wd, _ := w.a.Getwd() // without one, only a relative DEST fails
	dest := w.o.to
	if !filepath.IsAbs(dest) {
		if !filepath.IsAbs(wd) {
			return badUsage("--to %q: relative, and the working directory is not known", dest)
		}
		dest = filepath.Join(wd, dest)
	}
	dest = filepath.Clean(dest)
	slash := strings.HasSuffix(w.o.to, "/") || strings.HasSuffix(w.o.to, string(filepath.Separator))
	st, err := os.Stat(dest)
	isDir := err == nil && st.IsDir()
	root := dest
	if info.Kind != "directory" {
		w.name = filepath.Base(dest)
		if isDir || slash {
			w.name = string(w.source.Base())
		} else {
			root = filepath.Dir(dest)
		}
		dest = filepath.Join(root, w.name)
		w.to = id.Path(w.name)
	}
	w.res.To = dest
	if st, err := os.Stat(root); err == nil && !st.IsDir() {
		return errorf("restore to %q: there is a file; name a directory, or another place", root)
	} else if _, lerr := os.Lstat(root); err != nil && lerr == nil {
		return errorf("restore to %q: a symlink that leads nowhere is there", root)
	}
	real, err := resolvedPath(root)
	if err != nil {
		return errorf("restore to %q: %w", root, err)
	}
	if err := w.allowed(filepath.Join(real, w.name)); err != nil {
		return err
	}
	if _, err := os.Lstat(real); errors.Is(err, os.ErrNotExist) {
		w.made = true
		if w.o.dryRun {
			return nil // nothing is there: all would be written
		}
	}
	if err := os.MkdirAll(real, 0o777); err != nil {
		return errorf("restore: %w", err)
	}
	w.root = real
	if w.fs, err = vfs.OpenReal(real); err != nil {
		return errorf("restore to %q: %w", real, err)
	}
	return nil
}

// allowed refuses what is Lockstep's own: a folder's .lockstep and the home.
func (w *restorer) allowed(real string) error {
	for c := range strings.SplitSeq(filepath.ToSlash(real), "/") {
		if id.IsReserved(c) {
			return control.Errorf(control.CodeFailed, "restore to %q: %s is Lockstep's own directory", real, id.ReservedName).WithHint("choose another place")
		}
	}
	home, err := w.a.home()
	if err != nil {
		return err
	}
	if home, err = resolvedPath(home); err != nil {
		return err
	}
	if real == home || strings.HasPrefix(real, home+string(filepath.Separator)) {
		return control.Errorf(control.CodeFailed, "restore to %q: that is in the node's home", real).WithHint("choose another place")
	}
	return nil
}

// resolvedPath resolves the symlinks in what exists of an absolute path.
func resolvedPath(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, os.ErrNotExist) {
		return real, err
	}
	parent := filepath.Dir(path)
	if parent == path {
		return path, nil
	}
	if real, err = resolvedPath(parent); err != nil {
		return "", err
	}
	return filepath.Join(real, filepath.Base(path)), nil
}
