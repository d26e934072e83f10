package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

type resolveOptions struct {
	keep, with, message string
	seen                uint64
}

func newConflictsResolveCommand(a *app) *cobra.Command {
	var o resolveOptions
	cmd := &cobra.Command{
		Use:   "resolve ID (--keep current|other|both | --with FILE)",
		Short: "Resolve a conflict, on all nodes, in one commit",
		Long: `Resolves a conflict as one commit that is the same on all nodes:
  --keep current  the file stays as it is, the copy goes
  --keep other    the copy's version takes the file's place, the copy goes
  --keep both     both stay; the copy is a file like others from now on
  --with FILE     FILE's content takes the file's place, the copy goes
Every version stays in history. What this disk has not committed yet is committed
first. It is refused where another node has changed the file or the copy since
` + "`conflicts show`" + ` showed it here (or since --seen).
ID is FOLDER#n, or n where this node has one folder only.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runConflictsResolve(cmd.Context(), a, args[0], o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.keep, "keep", "", "`SIDE` to keep: current, other or both")
	f.StringVar(&o.with, "with", "", "`FILE` whose content resolves it")
	f.Uint64Var(&o.seen, "seen", 0, "refuse if path or copy changed after revision `N`")
	f.StringVarP(&o.message, "message", "m", "", "say why, for the log: `TEXT`")
	return cmd
}

func runConflictsResolve(ctx context.Context, a *app, id string, o resolveOptions) error {
	switch o.keep {
	case "", control.KeepCurrent, control.KeepOther, control.KeepBoth:
	default:
		return badUsage("conflicts resolve: --keep %q is none of current, other, both", o.keep)
	}
	if (o.keep == "") == (o.with == "") {
		return badUsage("conflicts resolve: say either --keep current|other|both or --with FILE")
	}
	svc, err := a.service()
	if err != nil {
		return err
	}
	r := control.ResolveRequest{Keep: o.keep, Seen: o.seen, Message: o.message}
	if r.ConflictRequest, err = a.conflictID(ctx, svc, "conflicts resolve", id); err != nil {
		return err
	}
	var with io.Reader
	if o.with != "" {
		f, err := a.openSteady(o.with)
		if err != nil {
			return err
		}
		defer f.file.Close()
		r.Keep, with = control.KeepWith, f
		r.With = &control.WithFile{Size: f.stat.Size(), Mode: uint32(f.stat.Mode().Perm()), MTime: f.stat.ModTime().UnixNano()}
	}
	var res control.ResolveResult
	const label = "conflicts resolve"
	err = a.meanwhile(ctx, svc, label, r.Folder, func(ctx context.Context) (err error) {
		res, err = svc.ConflictResolve(ctx, r, with)
		return err
	})
	if err != nil {
		return err
	}
	if a.json {
		if res.Revision != 0 && !res.OnDisk {
			res.OnDisk = a.follow(ctx, svc, label, res.Folder, res.Revision) == ""
		}
		return printJSON(a.Out, res)
	}
	what := map[string]string{
		control.KeepCurrent: "the current version stays", control.KeepOther: "the other version took its place",
		control.KeepBoth: "both versions stay", control.KeepWith: printable(o.with) + " took its place",
	}[r.Keep]
	if res.Revision != 0 {
		what += fmt.Sprintf(", revision %d", res.Revision)
	}
	_, err = fmt.Fprintf(a.Out, "%s is resolved: %s: %s\n", res.ID, printable(res.Path), what)
	if err == nil && !res.OnDisk {
		err = a.arrived(ctx, svc, label, res.Folder, res.Revision)
	}
	return err
}

// steadyFile reads a file that must not change meanwhile: before the last byte is given
// away the file is looked at again, for what was read of a file being written is no
// version of it.
type steadyFile struct {
	path string
	file *os.File
	stat fs.FileInfo
	left int64
}

// quiet is how long a file must have been left alone: a younger change could be part of
// a longer write that the clock of the filesystem does not tell apart.
const quiet = 50 * time.Millisecond

// openSteady opens a regular file.
func (a *app) openSteady(path string) (*steadyFile, error) {
	full := path
	if !filepath.IsAbs(full) {
		wd, err := a.Getwd()
		if err != nil {
			return nil, errorf("--with %s: relative, and the working directory is not known: %w", printable(path), err)
		}
		full = filepath.Join(wd, path)
	}
	st, err := os.Stat(full) // before the open: that of a FIFO would wait for a writer
	if err == nil && !st.Mode().IsRegular() {
		return nil, errorf("--with %s: not a file", printable(path))
	}
	var f *os.File
	if err == nil {
		f, err = os.Open(full)
	}
	if err != nil {
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			err = pe.Err
		}
		return nil, errorf("--with %s: %w", printable(path), err)
	}
	if st, err = f.Stat(); err == nil && !st.Mode().IsRegular() {
		err = errors.New("not a file")
	}
	if err != nil {
		return nil, errors.Join(errorf("--with %s: %w", printable(path), err), f.Close())
	}
	s := &steadyFile{path: path, file: f, stat: st, left: st.Size()}
	if s.left == 0 {
		if err := s.check(); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return s, nil
}

// Read implements io.Reader.
func (s *steadyFile) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n, err := s.file.Read(p[:min(int64(len(p)), s.left)])
	if s.left -= int64(n); s.left == 0 {
		err = s.check()
	}
	switch {
	case err == io.EOF:
		return 0, s.changed()
	case err != nil:
		return 0, err
	}
	return n, nil
}

// check fails if the file is not what it was when it was opened.
func (s *steadyFile) check() error {
	if age := time.Since(s.stat.ModTime()); age >= 0 && age < quiet {
		time.Sleep(quiet - age)
	}
	st, err := s.file.Stat()
	if err != nil {
		return errorf("--with %s: %w", printable(s.path), err)
	}
	if st.Size() != s.stat.Size() || !st.ModTime().Equal(s.stat.ModTime()) {
		return s.changed()
	}
	return nil
}

func (s *steadyFile) changed() error {
	return errorf("--with %s: it changed while it was read; nothing was resolved: run it again when it is complete", printable(s.path))
}
